#!/usr/bin/env python3
# Compares schemux with PgBouncer and with the least that a user-space hop can cost, on one machine,
# in one run, interleaved: proxy CPU for each transaction, throughput, latency, memory.
#   tests/bench/run.py --schemux build/release/schemux [--floors DIR] [--clients 8,64]
#       [--workloads select1,simple,…] [--repeats 3] [--seconds 2] [--out FILE.csv]
# --schemux may be given several times as NAME=PATH, to compare builds.
# CPU per transaction is the figure to go by: throughput on a shared machine moves by a third
# from run to run, and only ratios within one run mean anything. Exits 0 whatever the figures are.

import argparse
import csv
import functools
import glob
import os
import re
import shutil
import statistics
import sys

import bed as testbed

KEY = r"\set aid random(1, " + str(testbed.ROWS) + ")\n"
SAMPLING = 0.2  # of the transactions, for the latencies


class Broken(Exception):
    """A proxy, or the load through it, ended badly."""


class Workload:
    """`template`: what schemux is asked as well, in turn with the same SQL written out.
    `zones`: a time zone, as a startup parameter, for each pgbench of those that share the clients;
    `other_zones`: what every system is asked as well, in turn with that."""

    def __init__(self, mode, script=None, template=None, skip=(), zones=(None,), other_zones=None,
                 pool=testbed.POOL, clients=None):
        self.mode = mode
        self.script = script  # none: pgbench's own -S
        self.template = template
        self.skip = skip
        self.zones = zones
        self.other_zones = other_zones
        self.pool = pool
        self.clients = clients  # instead of those of the command line

    def arguments(self, path):
        return ["-M", self.mode, *(["-f", path] if path else ["-S"])]


WRITTEN = KEY + "SELECT abalance FROM app.accounts WHERE aid = :aid;\n"
TEMPLATE = KEY + "SELECT abalance FROM {{tables.accounts}} WHERE aid = :aid;\n"

ONE = "SELECT 1;\n"
FLOORS = ("fwd_epoll", "minipool")  # they know no settings
# PgBouncer of any version has TimeZone among what it carries from backend to backend.
TOKYO, PARIS = "Asia/Tokyo", "Europe/Paris"

# PgBouncer before 1.21 and minipool do not carry prepared statements from backend to backend.
WORKLOADS = {
    "select1": Workload("simple", ONE),
    "simple": Workload("simple"),
    "extended": Workload("extended"),
    "prepared": Workload("prepared", skip=("minipool",)),
    "template": Workload("simple", WRITTEN, TEMPLATE),
    "template_extended": Workload("extended", WRITTEN, TEMPLATE),
    "template_prepared": Workload("prepared", WRITTEN, TEMPLATE, skip=("minipool",)),
    # All clients with the same setting beside none.
    "settings": Workload("simple", ONE, skip=FLOORS, other_zones=(TOKYO,)),
    # Two clients take turns on one backend, with other settings beside the same: each transaction
    # of theirs needs a switch.
    "switch": Workload("simple", ONE, skip=FLOORS, zones=(TOKYO, TOKYO),
                       other_zones=(TOKYO, PARIS), pool=1, clients=2),
    "switch_extended": Workload("extended", ONE, skip=FLOORS, zones=(TOKYO, TOKYO),
                                other_zones=(TOKYO, PARIS), pool=1, clients=2),
}
DEFAULT = "select1,simple,extended,prepared,template"
TEMPLATED = "{{}}"  # behind the name of a system
OTHER_ZONES = "+set"

FIELDS = ("workload", "clients", "pass", "system", "transactions", "cpu_us", "user_us", "tps",
          "p50_ms", "p99_ms", "rss_kib")


class System:
    """`start`, given a name and a pool's size, gives a process."""

    def __init__(self, start, name, kind, version=""):
        self.start = start
        self.name = name
        self.kind = kind
        self.version = version
        self.processes = {testbed.POOL: start(name, testbed.POOL)}

    def process(self, pool=testbed.POOL):
        if pool not in self.processes:
            self.processes[pool] = self.start(f"{self.name}_{pool}", pool)
        return self.processes[pool]

    def takes(self, workload, clients):
        if self.kind not in workload.skip:
            old = self.kind == "pgbouncer" and testbed.version_key(self.version)[:2] < [1, 21]
            return not (old and workload.mode == "prepared" and clients > 1)
        return False

    def database(self, workload):
        """Peers know schemas by nothing but the SQL."""
        routed = self.kind == "schemux" and workload.template
        return testbed.ROUTED if routed else testbed.PLAIN


def percentiles(prefix):
    """Median and 99th percentile in milliseconds from pgbench's sampled log, which is removed."""
    latencies = []
    for path in glob.glob(prefix + ".*"):
        with open(path, encoding="ascii") as file:
            latencies += [int(line.split()[2]) for line in file]
        os.unlink(path)
    if not latencies:
        return 0.0, 0.0
    latencies.sort()
    last = len(latencies) - 1
    return latencies[last // 2] / 1e3, latencies[round(last * 0.99)] / 1e3


def measure(bed, entry, workload, clients, seconds):
    """One row of figures; None if not a single transaction came about."""
    prefix = os.path.join(bed.directory, "latency")
    system = entry.system
    process = system.process(workload.pool)
    ticks_before, cpu_before = process.user_share(), process.cpu_seconds()
    loads = [bed.pgbench(process.port, system.database(workload), workload.arguments(entry.script),
                         clients // len(entry.zones), seconds, prefix, SAMPLING,
                         {"PGTZ": zone} if zone else None) for zone in entry.zones]
    transactions, rate = 0, 0.0
    for load in loads:
        output, errors = load.communicate()
        done = re.search(r"transactions actually processed: (\d+)", output)
        if load.returncode != 0 or not done or not process.alive():
            state = "runs" if process.alive() else f"ended with {process.child.returncode}"
            raise Broken(f"{system.name} failed; it {state}; pgbench said ({load.returncode}):\n"
                         f"{output}\n{errors}\n{process.tail()}")
        transactions += int(done.group(1))
        rate += float(re.search(r"tps = ([\d.]+)", output).group(1))
    cpu = process.cpu_seconds() - cpu_before
    ticks = [after - before for after, before in zip(process.user_share(), ticks_before)]
    if transactions == 0:
        return None  # connecting took all the time
    p50, p99 = percentiles(prefix)
    per_transaction = cpu / transactions * 1e6
    return {"transactions": transactions, "cpu_us": round(per_transaction, 3),
            "user_us": round(per_transaction * ticks[0] / max(1, sum(ticks)), 3),
            "tps": round(rate, 1),
            "p50_ms": round(p50, 3), "p99_ms": round(p99, 3), "rss_kib": process.rss_kib()}


class Entry:
    """A column of the comparison: a system, and what it is given: a script, each pgbench's zone."""

    def __init__(self, system, script, name, zones):
        self.system = system
        self.script = script
        self.name = name
        self.zones = zones

    @property
    def varied(self):
        """Not what its system is asked first."""
        return self.name != self.system.name


def entries_for(bed, systems, name, clients):
    workload = WORKLOADS[name]
    script = bed.write(name + ".sql", workload.script) if workload.script else None
    entries = []
    for system in systems:
        if not system.takes(workload, clients):
            continue
        entries.append(Entry(system, script, system.name, workload.zones))
        if workload.template and system.kind == "schemux":
            template = bed.write(name + "_template.sql", workload.template)
            entries.append(Entry(system, template, system.name + TEMPLATED, workload.zones))
        if workload.other_zones:
            entries.append(Entry(system, script, system.name + OTHER_ZONES, workload.other_zones))
    return entries


def run_all(bed, systems, names, options, rows):
    systems = list(systems)
    for name in names:
        fixed = WORKLOADS[name].clients
        for clients in [fixed] if fixed else options.clients:
            entries = entries_for(bed, systems, name, clients)
            # Turn 0 does not count: connections and caches are made before the clock runs.
            for turn in range(2 * options.repeats + 1):
                for entry in entries if turn % 2 else reversed(entries):
                    if entry.system not in systems:
                        continue
                    try:
                        sample = measure(bed, entry, WORKLOADS[name], clients,
                                         options.seconds if turn else 1)
                    except Broken as broken:
                        if entry.system.kind == "schemux":
                            raise
                        print(f"left out from here on: {broken}", file=sys.stderr)
                        systems.remove(entry.system)
                        continue
                    if turn and sample:
                        rows.append({"workload": name, "clients": clients, "pass": turn,
                                     "system": entry.name, **sample})
            print_table(rows, name, clients, entries)


def median_of(rows, workload, clients, system, field):
    values = [row[field] for row in rows if (row["workload"], row["clients"], row["system"]) ==
              (workload, clients, system)]
    return statistics.median(values) if values else None


def ratio(rows, workload, clients, system, base):
    """Median over the passes of system's CPU to base's, both of the same pass."""
    def by_pass(of):
        return {row["pass"]: row["cpu_us"] for row in rows if
                (row["workload"], row["clients"], row["system"]) == (workload, clients, of)}
    own, other = by_pass(system), by_pass(base)
    values = [own[turn] / other[turn] for turn in own if other.get(turn)]
    return f"{statistics.median(values):8.2f}" if values else f"{'-':>8}"


def added_time(rows, workload, clients, entry):
    """Microseconds that each transaction takes more than what its system is asked first: where one
    backend does them one behind the other, what a switch takes."""
    rates = [median_of(rows, workload, clients, name, "tps")
             for name in (entry.name, entry.system.name)]
    return 1e6 / rates[0] - 1e6 / rates[1]


def print_table(rows, workload, clients, entries):
    bases = [entry.name for entry in entries
             if entry.system.kind != "schemux" and not entry.varied]
    varied = any(entry.varied for entry in entries)
    head = f"{workload}, {clients} clients"
    columns = "".join(f" {'/' + base[:7]:>8}" for base in bases)
    first = f" {'/first':>8} {'added us':>8}" if varied else ""
    print(f"\n{head:28} {'CPU us':>7} {'user':>5} {'tps':>8} {'p50 ms':>7} {'p99 ms':>7}"
          f" {'RSS MiB':>7}{columns}{first}")
    for entry in entries:
        value = {field: median_of(rows, workload, clients, entry.name, field)
                 for field in FIELDS[4:]}
        if value["cpu_us"] is None:
            continue
        ratios = "".join(" " + ratio(rows, workload, clients, entry.name, base) for base in bases)
        if entry.varied:
            ratios += " " + ratio(rows, workload, clients, entry.name, entry.system.name)
            ratios += f" {added_time(rows, workload, clients, entry):8.1f}"
        print(f"{entry.name:28} {value['cpu_us']:7.2f} {value['user_us']:5.1f}"
              f" {value['tps']:8.0f} {value['p50_ms']:7.2f} {value['p99_ms']:7.2f}"
              f" {value['rss_kib'] / 1024:7.1f}{ratios}", flush=True)


def write_csv(path, machine, rows):
    with open(path, "w", encoding="utf-8", newline="") as file:
        file.write(f"# {machine}\n")
        writer = csv.DictWriter(file, FIELDS)
        writer.writeheader()
        writer.writerows(rows)


def parse_options(arguments):
    parser = argparse.ArgumentParser(description="Compares schemux with PgBouncer and with floors.")
    parser.add_argument("--schemux", action="append", required=True, metavar="[NAME=]PATH")
    parser.add_argument("--floors", metavar="DIR", help="with fwd_epoll.c and minipool.c")
    parser.add_argument("--pgbouncer", default="pgbouncer", help="'' leaves it out")
    parser.add_argument("--clients", default="8,64")
    parser.add_argument("--workloads", default=DEFAULT, help=",".join(WORKLOADS))
    parser.add_argument("--repeats", type=int, default=3, help="each is there and back")
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--out", metavar="FILE.csv")
    options = parser.parse_args(arguments)
    options.clients = [int(number) for number in options.clients.split(",")]
    if max(options.clients) > testbed.MAX_CLIENTS - 4 * testbed.POOL:
        parser.error("too many clients for one backend each")
    options.workloads = options.workloads.split(",")
    for name in options.workloads:
        if name not in WORKLOADS:
            parser.error(f"no such workload: {name}")
    return options


def start_systems(bed, options):
    """The proxies to compare, and the commands that tell their versions."""
    systems, versions = [], []
    for given in options.schemux:
        name, _, path = given.rpartition("=")
        systems.append(System(functools.partial(bed.start_schemux, path), name or "schemux",
                              "schemux"))
        versions.append([path, "version"])
    pgbouncer = shutil.which(options.pgbouncer) if options.pgbouncer else None
    pgbouncer = pgbouncer or shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin")
    if options.pgbouncer and pgbouncer:
        version = testbed.first_line([pgbouncer, "--version"])
        systems.append(System(functools.partial(bed.start_pgbouncer, pgbouncer), "pgbouncer",
                              "pgbouncer", version))
        versions.append([pgbouncer, "--version"])
    if options.floors:
        for name, path in testbed.build_floors(options.floors, bed.directory).items():
            systems.append(System(functools.partial(bed.start_floor, path), name, name))
    return systems, versions


def main(arguments):
    options = parse_options(arguments)
    rows = []
    with testbed.Bed() as bed:
        systems, versions = start_systems(bed, options)
        machine = bed.machine(versions)
        print(machine, flush=True)
        try:
            run_all(bed, systems, options.workloads, options, rows)
        except Broken as broken:
            testbed.fail(broken)
        finally:
            if options.out:
                write_csv(options.out, machine, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
