#!/usr/bin/env python3
# Compares schemux with the newest peers and with the least that a user-space hop can cost, on one
# machine, in one run, interleaved: proxy CPU for each transaction, throughput, latency, memory.
#   tests/bench/run.py --schemux build/release/schemux [--floors DIR] [--clients 1,8,64,256,1000]
#       [--workloads select1,simple,…] [--repeats 3] [--seconds 2] [--out DIR]
# --schemux may be given several times as NAME=PATH, to compare builds.
# CPU per transaction is the figure to go by: throughput on a shared machine moves by a third
# from run to run, and only ratios within one run mean anything. Exits 0 whatever the figures are.

import argparse
import sys

import bed as testbed
import load
import proxies
import report
from report import Column
from workloads import DEFAULT, WORKLOADS

TEMPLATED = "{{}}"  # behind the name of a system
OTHER_ZONES = "+set"

FIELDS = ("workload", "clients", "pass", "system", "transactions", "cpu_us", "user_us", "tps",
          "p50_ms", "p99_ms", "rss_kib")
COLUMNS = (Column("cpu_us", "CPU us", 7, 2), Column("user_us", "user", 5, 1),
           Column("tps", "tps", 8, 0), Column("p50_ms", "p50 ms", 7, 2),
           Column("p99_ms", "p99 ms", 7, 2), Column("rss_kib", "RSS MiB", 7, 1, 1 / 1024))
PANELS = {"cpu_us": "CPU of the proxy, us for each transaction", "p50_ms": "median latency, ms",
          "p99_ms": "99th percentile of latency, ms", "tps": "transactions a second",
          "rss_kib": "resident memory of the proxy, KiB"}


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

    def shares(self, workload, clients):
        # Scripts that take turns begin with the first.
        arguments = ["-M", workload.mode, "-D", "turn=-1",
                     *(["-f", self.script] if self.script else ["-S"])]
        # libpq would take TLS wherever it is offered.
        tls = {"PGSSLMODE": "require" if workload.tls else "disable"}
        parts = [(database, {**tls, **({"PGTZ": zone} if zone else {})})
                 for database in workload.databases(self.system) for zone in self.zones]
        return [load.Share(database, count, arguments, environment)
                for (database, environment), count in zip(parts, load.split(clients, len(parts)))]


def entries_for(bed, systems, name, clients):
    workload = WORKLOADS[name]
    script = bed.write(name + ".sql", workload.script) if workload.script else None
    room = proxies.room_for_forwarders(systems)
    entries = []
    for system in systems:
        if not workload.takes(system, clients, room):
            continue
        entries.append(Entry(system, script, system.name, workload.zones))
        if workload.template and system.kind == "schemux":
            template = bed.write(name + "_template.sql", workload.template)
            entries.append(Entry(system, template, system.name + TEMPLATED, workload.zones))
        if workload.other_zones:
            entries.append(Entry(system, script, system.name + OTHER_ZONES, workload.other_zones))
    return entries


def run_all(bed, systems, options, paper):
    systems = list(systems)
    for name in options.workloads:
        workload = WORKLOADS[name]
        for clients in [workload.clients] if workload.clients else options.clients:
            entries = entries_for(bed, systems, name, clients)
            if not entries:
                paper.say(f"\n{name} is not for {clients} clients")
                continue
            for turn, entry in load.turns(entries, options.repeats):
                if entry.system not in systems:
                    continue
                try:
                    sample = load.measure(bed, entry.name, entry.system.process(workload.pool),
                                          entry.shares(workload, clients),
                                          options.seconds if turn else 1, workload.settle)
                except load.Broken as broken:
                    if entry.system.kind == "schemux":
                        raise
                    print(f"left out from here on: {broken}", file=sys.stderr)
                    systems.remove(entry.system)
                    continue
                if not sample:
                    print(f"bench: {entry.name} came to nothing that counts in {name} with "
                          f"{clients} clients: give it more --seconds", file=sys.stderr)
                elif turn:
                    paper.rows.append({"workload": name, "clients": clients, "pass": turn,
                                       "system": entry.name, **sample})
            tell(paper, name, clients, entries)
            paper.write()
        draw(paper, name)
        for system in systems:
            system.stop_others()


def added_time(rows, entry):
    """Microseconds that each transaction takes more than what its system is asked first: where one
    backend does them one behind the other, what a switch takes."""
    own, first = (report.median(rows, name, "tps") for name in (entry.name, entry.system.name))
    return f"{1e6 / own - 1e6 / first:8.1f}" if own and first else f"{'-':>8}"


def tell(paper, workload, clients, entries):
    """The table of one workload and number of clients."""
    rows = [row for row in paper.rows if (row["workload"], row["clients"]) == (workload, clients)]
    varied = {entry.name: entry for entry in entries if entry.varied}

    def beside_first(name):
        if name is None:
            return f" {'/first':>8} {'added us':>8}" if varied else ""
        if name not in varied:
            return ""
        entry = varied[name]
        return (f" {report.ratio(rows, name, entry.system.name, 'cpu_us')}"
                f" {added_time(rows, entry)}")

    bases = report.bases_of(entry.system for entry in entries if not entry.varied)
    paper.table(f"{workload}, {clients} clients", rows, COLUMNS, bases, beside_first)


def draw(paper, workload):
    """The workload's picture: medians by number of clients."""
    rows = [row for row in paper.rows if row["workload"] == workload]
    paper.picture(workload, rows, lambda row: f"{row['clients']} clients", PANELS, workload)


def parse_options(arguments):
    parser = argparse.ArgumentParser(description="Compares schemux with peers and with floors.")
    proxies.add_options(parser)
    parser.add_argument("--clients", default="8,64")
    parser.add_argument("--workloads", default=DEFAULT, help=",".join(WORKLOADS))
    parser.add_argument("--seconds", type=int, default=2)
    report.add_options(parser)
    options = parser.parse_args(arguments)
    options.clients = [int(number) for number in options.clients.split(",")]
    options.workloads = options.workloads.split(",")
    for name in options.workloads:
        if name not in WORKLOADS:
            parser.error(f"no such workload: {name}")
    return options


def main(arguments):
    options = parse_options(arguments)
    paper = report.Report(options.out, FIELDS)
    with testbed.Bed() as bed:
        systems, versions = proxies.start_systems(bed, options)
        paper.about(bed.machine(versions))
        try:
            run_all(bed, systems, options, paper)
        except load.Broken as broken:
            testbed.fail(broken)
        finally:
            paper.write()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
