#!/usr/bin/env python3
# What PostgreSQL's backends remember of many schemas: memory of a pool of 20 after queries of 100
# services, each with tables of its own, with pool.service_affinity and without it, and the time of
# a query meanwhile.
#   /usr/bin/python3 tests/bench/affinity.py --schemux build/release/schemux [--schemas 100]
#       [--queries 8000]
# Exits 0 whatever the figures are.

import argparse
import random
import threading
import time

import psycopg

import bed as testbed

POOL = 20
TABLES = 20  # of each schema
CLIENTS = 6  # that ask at a time
JOIN = ("SELECT count(*) FROM {{{{tables.t{}}}}} a JOIN {{{{tables.t{}}}}} b USING (id) "
        "JOIN {{{{tables.t{}}}}} c USING (id)")


def make_schemas(bed, schemas):
    for number in range(schemas):
        tables = "".join(f"CREATE TABLE s{number}.t{table} (id int PRIMARY KEY, a text, b int);"
                         for table in range(TABLES))
        bed.sql(testbed.PLAIN, f"CREATE SCHEMA s{number};{tables}")


def start_schemux(bed, path, name, schemas, affinity):
    port = testbed.free_port()
    services = "".join(f"  - {{ name: s{number}, schema: s{number} }}\n"
                       for number in range(schemas))
    config = bed.write(name + ".yaml", f"""\
listen:
  - {{ address: 127.0.0.1, port: {port} }}
backend:
  dsn: "{bed.conninfo(bed.postgres_port, testbed.PLAIN)}"
pool:
  max_connections: {POOL}
  min_connections: {POOL}
  audit_sample: 0
  service_affinity: {str(affinity).lower()}
auth: {{ method: trust }}
services:
  - {{ name: {testbed.PLAIN} }}
{services}""")
    program = bed.adopt_program(path, name + ".bin")
    return bed.start(name, [program, "serve", "--config", config], port)


def ask(port, schemas, queries, seed, took):
    """One client after the other, each of a service; the same ones for each seed."""
    dice = random.Random(seed)
    connections = {}
    for _ in range(queries):
        service = f"s{dice.randrange(schemas)}"
        if service not in connections:
            connections[service] = psycopg.connect(
                host="127.0.0.1", port=port, dbname=service, user=testbed.USER, autocommit=True,
                prepare_threshold=None)
        sql = JOIN.format(*(dice.randrange(TABLES) for _ in range(3)))
        began = time.perf_counter()
        connections[service].execute(sql).fetchall()
        took.append(time.perf_counter() - began)
    for connection in connections.values():
        connection.close()


def memory_of_backends(bed):
    """Bytes that are each backend's own."""
    with psycopg.connect(bed.conninfo(bed.postgres_port, testbed.PLAIN)) as connection:
        pids = [pid for pid, in connection.execute(
            "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' "
            "AND pid <> pg_backend_pid()")]
    private = []
    for pid in pids:
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
            private.append(sum(int(line.split()[1]) * 1024 for line in file
                               if line.startswith("Private_Dirty")))
    return private


def measure(bed, arguments, affinity):
    process = start_schemux(bed, arguments.schemux, f"schemux-{affinity}", arguments.schemas,
                            affinity)
    deadline = time.monotonic() + 10
    while len(memory_of_backends(bed)) < POOL and time.monotonic() < deadline:
        time.sleep(0.1)
    before = sum(memory_of_backends(bed))
    took = []
    threads = [threading.Thread(target=ask, args=(process.port, arguments.schemas,
                                                  arguments.queries // CLIENTS, seed, took))
               for seed in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    after = memory_of_backends(bed)
    took.sort()
    print(f"affinity {'on ' if affinity else 'off'}: {len(after)} backends grew by "
          f"{(sum(after) - before) / 2**20:7.1f} MiB, the largest has {max(after) / 2**20:5.1f} "
          f"MiB; a query took {1000 * took[len(took) // 2]:.2f} ms, p99 "
          f"{1000 * took[len(took) * 99 // 100]:.2f} ms", flush=True)
    process.stop()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--schemux", required=True)
    parser.add_argument("--schemas", type=int, default=100)
    parser.add_argument("--queries", type=int, default=8_000)
    arguments = parser.parse_args()
    with testbed.Bed() as bed:
        make_schemas(bed, arguments.schemas)
        print(f"{arguments.schemas} schemas with {TABLES} tables, pool of {POOL}, {CLIENTS} "
              f"clients, {arguments.queries} queries of three tables")
        for affinity in (False, True, True, False):
            measure(bed, arguments, affinity)


if __name__ == "__main__":
    main()
