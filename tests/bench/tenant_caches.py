# What tenants with schemas of their own cost PostgreSQL's backends: the first query on a table
# beside the next ones, how the memory of one backend grows with the tenants that it serves, and
# how many backends a tenant meets in a pool of 20, with pool.service_affinity and without, listed
# and by pattern; and what pool.max_backend_memory takes back. A part of tenants.py.
# It knows backends and their memory; it must not know what schemux itself costs.

import random
import re
import statistics
import subprocess
import urllib.request

import bed as testbed
import crowd
from crowd import Crowd
from fairness import percentile

POOL = 20
TABLES = 5  # of each schema
CLIENTS = 6  # that ask at a time
STEPS = 10  # lines of the table of growth
BATCH = 100  # schemas that are made at a time
BOUND_MIB, BOUND_SECONDS = 24, 65  # pool.max_backend_memory, and how long to look at it
PIDS = ("SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' "
        f"AND datname = '{testbed.PLAIN}'")
ASK = "SELECT pg_backend_pid(), count(*) FROM {{{{tables.t{}}}}}"


def add_options(parser):
    parser.add_argument("--schemas", type=int, default=1_000, help="those that have tables")
    parser.add_argument("--queries", type=int, default=20_000, help="for each line of affinity")


def make_schemas(bed, schemas):
    quiet = "SET client_min_messages = warning;"  # about those that are there
    for first in range(0, schemas, BATCH):
        bed.sql(testbed.PLAIN, quiet + "".join(
            f"CREATE SCHEMA IF NOT EXISTS t_{number};" + "".join(
                f"CREATE TABLE t_{number}.t{table} (id int PRIMARY KEY, a text, b int);"
                for table in range(TABLES))
            for number in range(first, min(first + BATCH, schemas))))
    bed.sql(testbed.PLAIN, "CHECKPOINT")


class Pooled:
    """A schemux with these services, by name or by the pattern t_*."""

    def __init__(self, bed, path, name, services, pool, listed=False):
        self.bed = bed
        port, self.http = testbed.free_port(), testbed.free_port()
        listing = '  - { name: "t_*", schema: "t_*" }\n' if not listed else "".join(
            f"  - {{ name: {service}, schema: {service} }}\n" for service in services)
        config = bed.write(name + ".yaml", f"""\
listen:
  - {{ address: 127.0.0.1, port: {port} }}
http: {{ address: 127.0.0.1, port: {self.http} }}
backend:
  dsn: "{bed.conninfo(bed.postgres_port, testbed.PLAIN)}"
pool: {{ audit_sample: 0, {pool} }}
auth: {{ method: trust }}
log: {{ level: warning }}
services:
{listing}""")
        program = bed.adopt_program(path, name + ".bin")
        command = [program, "serve", "--config", config]
        self.process = bed.start(name, command, port, services[0])
        self.port = port

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stop()

    def outgrown(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}/metrics", timeout=30) as answer:
            return int(re.search(r"^schemux_backends_outgrown_total (\d+)", answer.read().decode(),
                                 re.MULTILINE).group(1))

    def memory(self):
        """MiB that are each backend's own."""
        # By psql: drivers wait with select(), which knows no descriptors beyond 1,024.
        asked = subprocess.run([self.bed.program("psql"), "-XqAt", "-c", PIDS,
                                self.bed.conninfo(self.bed.postgres_port, "postgres")],
                               capture_output=True, check=True, text=True)
        return [private_mib(pid) for pid in asked.stdout.split()]


def private_mib(pid):
    """Private_Dirty would count those pages of shared_buffers, too, that nobody else has mapped."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        return sum(int(line.split()[1]) for line in file if line.startswith("Anonymous:")) / 1024


def report_growth(bed, options):
    """One backend, one tenant after the other: all its tables twice, at once."""
    step = max(1, options.schemas // STEPS)
    services = [f"t_{number}" for number in range(options.schemas)]
    pool = "max_connections: 1, min_connections: 1, lifetime: 0"
    with Pooled(bed, options.schemux, "growth", services, pool) as system, \
            Crowd(system.port, services) as clients:
        before = max(system.memory())
        print(f"\nOne backend that serves tenants with {TABLES} tables each, of {options.schemas} "
              f"schemas; it began with {before:.1f} MiB of its own")
        print(f"    {'tenants':>9}{'MiB':>9}{'KiB each':>10}{'cold p50 ms':>13}{'p99':>8}"
              f"{'warm p50 ms':>13}{'p99':>8}{'cold/warm':>11}")
        for first in range(0, options.schemas - step + 1, step):
            cold, warm = [], []
            for number in range(first, first + step):
                for table in range(TABLES):
                    message = crowd.query(ASK.format(table))
                    cold += clients.ask_one(number, message)
                    warm += clients.ask_one(number, message)
            mib = max(system.memory())
            print(f"    {first + step:9}{mib:9.1f}{(mib - before) * 1024 / (first + step):10.1f}"
                  f"{percentile(cold, .5) * 1e3:13.3f}{percentile(cold, .99) * 1e3:8.3f}"
                  f"{percentile(warm, .5) * 1e3:13.3f}{percentile(warm, .99) * 1e3:8.3f}"
                  f"{percentile(cold, .5) / percentile(warm, .5):11.2f}", flush=True)


def measure_affinity(bed, options, listed, pool, seconds=None):
    """Tenants in any order, CLIENTS at a time, each asked of one of its tables."""
    dice = random.Random(1)
    services = [f"t_{number}" for number in range(options.schemas)]
    messages = [crowd.query(ASK.format(table)) for table in range(TABLES)]
    count = None if seconds else options.queries
    pool = f"max_connections: {POOL}, min_connections: {POOL}, {pool}"
    with Pooled(bed, options.schemux, "affinity", services, pool, listed) as system:
        with Crowd(system.port, services) as clients:
            before = system.memory()
            answers = clients.run(lambda _: dice.choice(messages), CLIENTS, seconds, count, dice,
                                  keep=True)
            after = system.memory()
        pairs = {(of, crowd.first_row(answer)[0])
                 for of, answer in zip(answers.of, answers.bytes)}
        met = len(pairs) / len(set(answers.of))
        return (met, sum(after) - sum(before), max(after), answers.rate,
                percentile(answers.took, .5) * 1e3, percentile(answers.took, .99) * 1e3,
                system.outgrown())


def affinity_line(name, runs):
    met, grew, largest, rate, half, most, outgrown = map(statistics.mean, zip(*runs))
    print(f"    {name:<36}{met:13.2f}{grew:10.1f}{largest:9.1f}{rate:8.0f}{half:8.2f}{most:8.2f}"
          f"{outgrown:10.1f}", flush=True)


def report_affinity(bed, options):
    print(f"\n{options.queries} queries of {options.schemas} tenants in any order, {CLIENTS} at a "
          f"time, {POOL} connections; means of two runs")
    head = (f"    {'':<36}{'backends met':>13}{'grew MiB':>10}{'largest':>9}{'q/s':>8}"
            f"{'p50 ms':>8}{'p99 ms':>8}{'outgrown':>10}")
    print(head)
    lines = [(listed, on) for listed in (True, False) for on in (False, True)]
    runs = {line: [] for line in lines}
    for order in (lines, reversed(lines)):
        for listed, on in order:
            runs[listed, on].append(measure_affinity(
                bed, options, listed, f"service_affinity: {str(on).lower()}"))
    for listed, on in lines:
        affinity_line(f"{'listed' if listed else 'pattern'}, affinity {'on' if on else 'off'}",
                      runs[listed, on])
    print(f"\nThe same for {BOUND_SECONDS} s (memory is looked at each 30 s)\n{head}")
    for bound in ("0", f"{BOUND_MIB}MiB"):
        affinity_line(f"pattern, max_backend_memory: {bound}", [measure_affinity(
            bed, options, False, f"max_backend_memory: {bound}", BOUND_SECONDS)])


def report(bed, options):
    make_schemas(bed, options.schemas)
    report_growth(bed, options)
    report_affinity(bed, options)
