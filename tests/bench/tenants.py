#!/usr/bin/env python3
# What ten thousand tenants of a pattern (t_*) cost: memory and metrics behind their logins and when
# they are connected, logins, CPU for a query with a template, and a pool of 20 with a thousand of
# them; then what PostgreSQL's backends pay (tenant_caches.py). Beside each stand as many clients of
# one listed service, and of 1,000 listed ones in turn, which have other schemas too.
#   tests/bench/tenants.py --schemux build/release/schemux [--tenants 10000] [--connected 10000]
#       [--seconds 2] [--repeats 3] [--schemas 1000] [--parts memory,logins,rewrite,pool,caches]
# Exits 0 whatever the figures are.

import argparse
import collections
import re
import resource
import statistics
import time
import urllib.request

import bed as testbed
import crowd
import tenant_caches
from asker import Asker
from crowd import Crowd
from fairness import percentile

POOL = 20
LISTED = 1_000
IN_FLIGHT = 16
POOL_CLIENTS = 1_000
LOGINS = 2_000  # of each kind
REST_SECONDS = 1.0  # what a proxy gives back late, it gives back by then
TEMPLATE = "SELECT 1 AS {{schema}}"  # no table: PostgreSQL's part is the same for all
LEASE = 0.01
PARTS = ("memory", "logins", "rewrite", "pool", "caches")

# Whose client the n-th one is, and which services there must be for it.
KINDS = {"one listed": lambda number: "one",
         f"{LISTED} listed": lambda number: f"l{number % LISTED}",
         "tenants": lambda number: f"t_{number}"}
SERVICES = dict(zip(KINDS, (
    "  - { name: one, schema: one }\n",
    "".join(f"  - {{ name: l{number}, schema: l{number} }}\n" for number in range(LISTED)),
    '  - { name: "t_*", schema: "t_*" }\n')))
TENANTS = list(KINDS)[-1]


class System:
    """A schemux of its own with services of these kinds; `with System(…) as system:`."""

    def __init__(self, bed, path, name, clients, kinds=tuple(KINDS)):
        self.port, self.http = testbed.free_port(), testbed.free_port()
        config = bed.write(name + ".yaml", f"""\
listen:
  - {{ address: 127.0.0.1, port: {self.port} }}
http: {{ address: 127.0.0.1, port: {self.http} }}
backend:
  dsn: "{bed.conninfo(bed.postgres_port, testbed.PLAIN)}"
pool: {{ max_connections: {POOL}, min_connections: {POOL}, acquire_timeout: 60s, audit_sample: 0 }}
auth: {{ method: trust }}
limits: {{ max_clients: {clients + 100} }}
log: {{ level: warning }}
services:
  - {{ name: {testbed.PLAIN} }}
{"".join(SERVICES[kind] for kind in kinds)}""")
        program = bed.adopt_program(path, name + ".bin")
        self.process = bed.start(name, [program, "serve", "--config", config], self.port)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stop()

    def metrics(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}/metrics", timeout=30) as answer:
            return answer.read().decode()

    def metric(self, name):
        """The sum over its series."""
        return sum(float(value) for value in
                   re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)$", self.metrics(), re.MULTILINE))

    def rest(self):
        """Until nobody but the backends is there, and then a moment."""
        deadline = time.monotonic() + 30
        while self.metric("schemux_client_connections"):
            if time.monotonic() > deadline:
                testbed.fail("clients are counted that went half a minute ago")
            time.sleep(0.05)
        time.sleep(REST_SECONDS)


def visit(system, service):
    """Log in, one query, go; seconds of the login and of the query."""
    began = time.perf_counter()
    client = Asker(system.port, service, crowd.TIMEOUT)
    logged_in = time.perf_counter()
    client.ask(TEMPLATE)
    answered = time.perf_counter()
    crowd.leave([client])
    return logged_in - began, answered - logged_in


def make_schemas(bed, options):
    """Empty ones, for all whom the kinds and the logins call: without, they would be refused."""
    most = max(2 * options.tenants, options.connected, POOL_CLIENTS)
    names = [f"'t_' || n FROM generate_series(0, {most}) n",
             f"'l' || n FROM generate_series(0, {LISTED}) n"]
    names += [f"'t_{word}_' || n FROM generate_series(0, {LOGINS}) n"
              for word in ("kept", "old", "new")]
    loops = "".join(f"""FOR name IN SELECT {one} LOOP
        EXECUTE format('CREATE SCHEMA IF NOT EXISTS %I', name); END LOOP;""" for one in names)
    bed.sql(testbed.PLAIN, f"SET client_min_messages = warning; CREATE SCHEMA one; "
            f"DO $$ DECLARE name text; BEGIN {loops} END $$")


# ---- memory --------------------------------------------------------------------------------------

def memory_row(system, step, before=None, clients=0):
    text = system.metrics()
    series = sum(not line.startswith("#") for line in text.splitlines())
    kib = system.process.rss_kib()
    grown = f"{(kib - before) / max(clients, 1):11.2f}" if before is not None else ""
    print(f"    {step:<30}{kib / 1024:9.1f}{len(text) / 1024:13.1f}{series:9}{grown}", flush=True)
    return kib


def came_and_went(bed, options, kind):
    """Three rounds of logins, one after the other; the last of names that nobody had before."""
    name = "went-" + kind.replace(" ", "-")
    with System(bed, options.schemux, name, 100, [kind]) as system:
        visit(system, testbed.PLAIN)
        system.rest()
        before = memory_row(system, f"{kind}: started")
        rounds = (("came and went", 0), ("the same again", 0), ("and again", 0),
                  ("others", options.tenants), ("others again", options.tenants))
        for step, first in rounds:
            cpu = system.process.cpu_seconds()
            for number in range(first, first + options.tenants):
                visit(system, KINDS[kind](number))
            cpu = (system.process.cpu_seconds() - cpu) / options.tenants * 1e6
            system.rest()
            memory_row(system, f"{step} ({cpu:.0f} us CPU)", before, options.tenants)


def connected(bed, options, kind):
    services = [KINDS[kind](number) for number in range(options.connected)]
    name = "connected-" + kind.replace(" ", "-")
    with System(bed, options.schemux, name, options.connected, [kind]) as system:
        visit(system, testbed.PLAIN)
        system.rest()
        before = memory_row(system, f"{kind}: started")
        for step in ("connected", "connected again", "and again"):
            with Crowd(system.port, services) as clients:
                clients.run(lambda _: crowd.query(TEMPLATE), IN_FLIGHT, count=len(services))
                time.sleep(REST_SECONDS)
                memory_row(system, step, before, options.connected)
            system.rest()
            memory_row(system, "they went", before, options.connected)


def report_memory(bed, options):
    head = f"    {'':<30}{'RSS MiB':>9}{'metrics KiB':>13}{'series':>9}{'KiB each':>11}"
    print(f"\nMemory: {options.tenants} logins one after the other, with one query each\n{head}")
    for kind in KINDS:
        came_and_went(bed, options, kind)
    print(f"\nMemory: {options.connected} clients at once, which have done one query each\n{head}")
    for kind in KINDS:
        connected(bed, options, kind)


# ---- logins --------------------------------------------------------------------------------------

def report_logins(bed, options):
    """All kinds take turns. Behind its last client a tenant is kept until 1,024 others came; each
    turn makes two: `kept` ones come again after 400 others, `forgotten` ones after thousands."""
    kept = 200
    turns = {"one listed": lambda turn: "one", f"{LISTED} listed": lambda turn: f"l{turn % LISTED}",
             "tenant, seen, kept": lambda turn: f"t_kept_{turn % kept}",
             "tenant, seen, forgotten": lambda turn: f"t_old_{turn}",
             "tenant, never seen": lambda turn: f"t_new_{turn}"}
    took = collections.defaultdict(list)
    with System(bed, options.schemux, "logins", 100) as system:
        for turn in range(LOGINS):
            visit(system, f"t_old_{turn}")
        for turn in range(kept):
            visit(system, f"t_kept_{turn}")
        for turn in range(LOGINS):
            for kind, service in turns.items():
                took[kind].append(visit(system, service(turn)))
    print(f"\nLogins and first queries ({TEMPLATE}), {LOGINS} of each kind, in turn, ms")
    print(f"    {'':<26}{'login p50':>11}{'p99':>8}{'query p50':>11}{'p99':>8}")
    for kind, pairs in took.items():
        figures = [percentile(values, part) * 1e3 for values in zip(*pairs) for part in (.5, .99)]
        print(f"    {kind:<26}" + "{:11.3f}{:8.3f}{:11.3f}{:8.3f}".format(*figures))


# ---- CPU for a query -----------------------------------------------------------------------------

WORKS = {"SELECT 1": crowd.query("SELECT 1"),
         "template": crowd.query(TEMPLATE),
         "template, extended": crowd.parse(b"", TEMPLATE) + crowd.execute(b""),
         "template, prepared": crowd.execute(b"s")}


class Cost:
    """What a run cost schemux: CPU us and switches of search_path, for each query."""

    def __init__(self, system, run):
        switches = system.metric("schemux_label_switches_total")
        cpu = system.process.cpu_seconds()
        self.answers = run()
        done = len(self.answers.took)
        self.cpu_us = (system.process.cpu_seconds() - cpu) / done * 1e6
        self.switches = (system.metric("schemux_label_switches_total") - switches) / done


def measure_rewrite(system, options, kind, costs):
    services = [KINDS[kind](number) for number in range(options.connected)]
    prepare = crowd.parse(b"s", TEMPLATE) + crowd.SYNC
    with Crowd(system.port, services) as clients:
        clients.run(lambda _: prepare, IN_FLIGHT, count=len(services))
        for work, text in WORKS.items():
            costs[work, kind].append(Cost(system, lambda text=text: clients.run(
                lambda _: text, IN_FLIGHT, seconds=options.seconds)))


def report_rewrite(bed, options):
    """schemux's CPU; of the pair `template` and SELECT 1 the difference is what rewriting costs."""
    costs = collections.defaultdict(list)
    with System(bed, options.schemux, "rewrite", options.connected) as system:
        for turn in range(options.repeats):
            for kind in list(KINDS) if turn % 2 else reversed(KINDS):
                measure_rewrite(system, options, kind, costs)
    print(f"\nCPU of schemux for a query, us: {options.connected} clients in turn, {IN_FLIGHT} at "
          "a time; each next query is another client's")
    heads = "".join(f"{kind:>14}{'switches':>10}{'q/s':>8}" for kind in KINDS)
    print(f"    {'':<20}{heads}{'tenants/listed':>16}")
    for work in WORKS:
        cells, middle = "", {}
        for kind in KINDS:
            rows = costs[work, kind]
            middle[kind] = statistics.median(row.cpu_us for row in rows)
            switches = statistics.median(row.switches for row in rows)
            rate = statistics.median(row.answers.rate for row in rows)
            cells += f"{middle[kind]:14.1f}{switches:10.2f}{rate:8.0f}"
        print(f"    {work:<20}{cells}{middle[TENANTS] / middle[f'{LISTED} listed']:16.2f}")


# ---- the pool ------------------------------------------------------------------------------------

def measure_pool(system, options, kind, sql):
    services = [KINDS[kind](number) for number in range(POOL_CLIENTS)]
    message = crowd.query(sql)
    with Crowd(system.port, services) as clients:
        clients.run(lambda _: message, POOL_CLIENTS, seconds=0.5)
        return Cost(system, lambda: clients.run(lambda _: message, POOL_CLIENTS,
                                                seconds=options.seconds * 2))


def report_pool(bed, options):
    works = {"SELECT 1": "SELECT 1", f"sleeps {LEASE * 1e3:.0f} ms": f"SELECT pg_sleep({LEASE})"}
    rows = collections.defaultdict(list)
    with System(bed, options.schemux, "pool", POOL_CLIENTS) as system:
        for turn in range(options.repeats):
            for kind in list(KINDS) if turn % 2 else reversed(KINDS):
                for work, sql in works.items():
                    rows[work, kind].append(measure_pool(system, options, kind, sql))
    print(f"\n{POOL_CLIENTS} clients that ask all the time, {POOL} connections (medians)")
    print(f"    {'':<14}{'':<14}{'q/s':>8}{'p50 ms':>9}{'p99 ms':>9}{'max ms':>9}{'CPU us':>8}"
          f"{'switches':>10}{'queries of a client':>21}")
    for work in works:
        for kind in KINDS:
            def middle(figure, runs=rows[work, kind]):
                return statistics.median(figure(run) for run in runs)
            of_each = collections.Counter(rows[work, kind][-1].answers.of)
            fewest = min(of_each.get(number, 0) for number in range(POOL_CLIENTS))
            print(f"    {work:<14}{kind:<14}{middle(lambda run: run.answers.rate):8.0f}" + "".join(
                f"{middle(lambda run, part=part: percentile(run.answers.took, part)) * 1e3:9.1f}"
                for part in (.5, .99, 1)) + f"{middle(lambda run: run.cpu_us):8.1f}"
                f"{middle(lambda run: run.switches):10.2f}"
                f"{f'{fewest} to {max(of_each.values())}':>21}", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--schemux", required=True)
    parser.add_argument("--tenants", type=int, default=10_000)
    parser.add_argument("--connected", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--parts", default=",".join(PARTS))
    tenant_caches.add_options(parser)
    options = parser.parse_args()
    parts = options.parts.split(",")
    if not set(parts) <= set(PARTS):
        parser.error(f"parts are {', '.join(PARTS)}")
    with testbed.Bed() as bed:
        descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if descriptors < options.connected + 200:
            testbed.fail(f"ulimit -n allows {descriptors} descriptors: too few for "
                         f"{options.connected} clients")
        print(bed.machine([]), flush=True)
        reports = {"memory": report_memory, "logins": report_logins, "rewrite": report_rewrite,
                   "pool": report_pool, "caches": tenant_caches.report}
        if parts != ["caches"]:
            make_schemas(bed, options)
        for part in PARTS:
            if part in parts:
                reports[part](bed, options)


if __name__ == "__main__":
    main()
