#!/usr/bin/env python3
# Services that log in as roles of their own (isolation: strict), all on one bounded pool: how often
# backends change hands, and what clients wait. 20 connections, queries of 2 ms (pg_sleep, so that
# the machine is a small part of it), services' loads by Zipf's law; 5 services at 80 % of what the
# connections can do, and 20 at 30 %. Where p50 is far above 2 ms the machine was too small for it.
#   tests/bench/identities.py --schemux build/release/schemux [--seconds 10]
# Exits 0 whatever the figures are. Goals: at most 2 % and 5 % of the leases reconnect.

import argparse
import time
import urllib.request

import bed as testbed
from fairness import Load, percentile

POOL = 20
QUERY = 0.002
SCRIPT = f"SELECT pg_sleep(random() * {2 * QUERY});\n"
LOADS = ((5, 0.8), (20, 0.3))
# What a query takes besides its sleep: the timer's slack, plan, network.
OVERHEAD = 0.0003


def config(bed, port, http, services):
    rows = "".join(f"  - {{ name: s{n}, role: strict_{n} }}\n" for n in range(1, services + 1))
    return f"""\
listen:
  - {{ address: 127.0.0.1, port: {port} }}
http: {{ address: 127.0.0.1, port: {http} }}
backend:
  dsn: "{bed.conninfo(bed.postgres_port, testbed.PLAIN)}"
pool: {{ max_connections: {POOL}, acquire_timeout: 60s }}
auth: {{ method: trust }}
services:
  - {{ name: {testbed.PLAIN} }}
{rows}"""


def metric(http, name):
    with urllib.request.urlopen(f"http://127.0.0.1:{http}/metrics") as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith(name + " "):
                return float(line.split()[1])
    return 0.0


def start(bed, path, services):
    port, http = testbed.free_port(), testbed.free_port()
    name = f"strict-{services}"
    file = bed.write(name + ".yaml", config(bed, port, http, services))
    program = bed.adopt_program(path, name + ".bin")
    return bed.start(name, [program, "serve", "--config", file], port), http


def measure(bed, path, services, part, seconds):
    system, http = start(bed, path, services)
    rate = part * POOL / (QUERY + OVERHEAD)
    harmonic = sum(1 / n for n in range(1, services + 1))

    def load(n, length):
        own = rate / n / harmonic
        clients = max(2, min(40, int(own * 0.05)))
        return Load(bed, system.port, f"s{n}", SCRIPT, clients, length, own)

    for warm in [load(n, 2) for n in range(1, services + 1)]:
        warm.latencies()
    before = metric(http, "schemux_backend_connections_opened_total")
    began = time.monotonic()
    loads = [load(n, seconds) for n in range(1, services + 1)]
    latencies = [one.latencies() for one in loads]
    took = time.monotonic() - began
    opened = metric(http, "schemux_backend_connections_opened_total") - before
    waits = [value for values in latencies for value in values]
    print(f"  {services:9}{part:7.0%}{len(waits) / took:12.0f}{len(waits) / took / rate:9.0%}"
          f"{opened / max(len(waits), 1):12.2%}{percentile(waits, .5) * 1e3:9.2f}"
          f"{percentile(waits, .99) * 1e3:9.2f}{percentile(waits, 1) * 1e3:9.2f}", flush=True)
    system.stop()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--schemux", required=True)
    parser.add_argument("--seconds", type=int, default=10)
    arguments = parser.parse_args()
    with testbed.Bed() as bed:
        for n in range(1, max(services for services, _ in LOADS) + 1):
            bed.sql(testbed.PLAIN, f"CREATE ROLE strict_{n} LOGIN")
        print(f"{POOL} connections, {QUERY * 1e3:.0f} ms a query, each service a role of its own")
        print(f"  {'services':>9}{'load':>7}{'queries/s':>12}{'of it':>9}{'reconnect':>12}"
              f"{'p50 ms':>9}{'p99 ms':>9}{'max ms':>9}")
        for services, part in LOADS:
            measure(bed, arguments.schemux, services, part, arguments.seconds)


if __name__ == "__main__":
    main()
