#!/usr/bin/env python3
# Compares schemux with the newest peers and with the least that a user-space hop can cost, on one
# machine, in one run, interleaved: proxy CPU for each transaction, throughput, latency, memory.
#   tests/bench/run.py --schemux build/release/schemux [--floors DIR] [--clients 1,8,64,256,1000]
#       [--workloads select1,simple,…] [--repeats 3] [--seconds 2] [--out DIR]
# --schemux may be given several times as NAME=PATH, to compare builds.
# CPU per transaction is the figure to go by: throughput on a shared machine moves by a third
# from run to run, and only ratios within one run mean anything. Exits 0 whatever the figures are.

import argparse
import statistics
import sys

import bed as testbed
import load
import plot
import proxies
from report import Report
from workloads import DEFAULT, WORKLOADS

TEMPLATED = "{{}}"  # behind the name of a system
OTHER_ZONES = "+set"

FIELDS = ("workload", "clients", "pass", "system", "transactions", "cpu_us", "user_us", "tps",
          "p50_ms", "p99_ms", "rss_kib")
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
        parts = [(database, {"PGTZ": zone} if zone else None)
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


def run_all(bed, systems, options, report):
    systems = list(systems)
    for name in options.workloads:
        workload = WORKLOADS[name]
        for clients in [workload.clients] if workload.clients else options.clients:
            entries = entries_for(bed, systems, name, clients)
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
                    report.rows.append({"workload": name, "clients": clients, "pass": turn,
                                        "system": entry.name, **sample})
            tell(report, name, clients, entries)
            report.write()
        draw(report, name)
        for system in systems:
            system.stop_others()


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


def short(name):
    """Of a base, as wide as its column."""
    return "/" + name.replace("minipool", "mini").replace("_uring", "_ur").replace("_epoll", "")[:7]


def tell(report, workload, clients, entries):
    """The table of one workload and number of clients."""
    rows = report.rows
    bases = [entry.name for entry in entries
             if entry.system.kind != "schemux" and not entry.varied]
    varied = any(entry.varied for entry in entries)
    head = f"{workload}, {clients} clients"
    columns = "".join(f" {short(base):>8}" for base in bases)
    first = f" {'/first':>8} {'added us':>8}" if varied else ""
    report.say(f"\n{head:28} {'CPU us':>7} {'user':>5} {'tps':>8} {'p50 ms':>7} {'p99 ms':>7}"
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
        report.say(f"{entry.name:28} {value['cpu_us']:7.2f} {value['user_us']:5.1f}"
                   f" {value['tps']:8.0f} {value['p50_ms']:7.2f} {value['p99_ms']:7.2f}"
                   f" {value['rss_kib'] / 1024:7.1f}{ratios}")


def draw(report, workload):
    """The workload's picture: medians by number of clients."""
    rows = [row for row in report.rows if row["workload"] == workload]
    if not rows or not report.folder:
        return
    panels = {}
    for field, title in PANELS.items():
        groups = panels.setdefault(title, {})
        for row in rows:
            group = groups.setdefault(f"{row['clients']} clients", {})
            group[row["system"]] = median_of(rows, workload, row["clients"], row["system"], field)
    plot.bars(workload, report.machine, panels, report.path(workload + ".svg"))


def parse_options(arguments):
    parser = argparse.ArgumentParser(description="Compares schemux with peers and with floors.")
    proxies.add_options(parser)
    parser.add_argument("--clients", default="8,64")
    parser.add_argument("--workloads", default=DEFAULT, help=",".join(WORKLOADS))
    parser.add_argument("--repeats", type=int, default=3, help="each is there and back")
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--out", metavar="DIR",
                        help="figures.csv, tables.txt, a picture of each workload")
    options = parser.parse_args(arguments)
    options.clients = [int(number) for number in options.clients.split(",")]
    options.workloads = options.workloads.split(",")
    for name in options.workloads:
        if name not in WORKLOADS:
            parser.error(f"no such workload: {name}")
    return options


def main(arguments):
    options = parse_options(arguments)
    report = Report(options.out, FIELDS)
    with testbed.Bed() as bed:
        systems, versions = proxies.start_systems(bed, options)
        report.about(bed.machine(versions))
        try:
            run_all(bed, systems, options, report)
        except load.Broken as broken:
            testbed.fail(broken)
        finally:
            report.write()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
