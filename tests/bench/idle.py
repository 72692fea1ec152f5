#!/usr/bin/env python3
# What clients cost a proxy while they do nothing: resident memory of each, and CPU for each
# transaction of a few active ones beside them.
#   tests/bench/idle.py --schemux build/release/schemux [--floors DIR] [--idle 5000] [--active 16]
#       [--seconds 2] [--repeats 3] [--out DIR]
# Exits 0 whatever the figures are.

import argparse
import resource
import sys
import time

import bed as testbed
import load
import proxies
import report
from asker import Asker
from report import Column

TIMEOUT = 30
REST_SECONDS = 1.0  # what a proxy gives back late, it gives back by then
DESCRIPTORS = 100  # besides those of the clients

FIELDS = ("idle", "active", "pass", "system", "base_kib", "client_kib", "cpu_us_without",
          "cpu_us_with", "tps_without", "tps_with")
COLUMNS = (Column("client_kib", "KiB each", 8, 2), Column("base_kib", "base MiB", 8, 1, 1 / 1024),
           Column("cpu_us_without", "CPU us", 8, 2), Column("cpu_us_with", "with idle", 9, 2),
           Column("tps_without", "tps", 8, 0), Column("tps_with", "with idle", 9, 0))
PANELS = {"client_kib": "resident memory for each idle client, KiB",
          "cpu_us_without": "CPU us for each transaction of the active, no idle clients",
          "cpu_us_with": "CPU us for each transaction of the active, beside the idle clients"}


def measure(bed, system, options, script, turn):
    """A process of its own, as one that has had many clients may keep their memory."""
    process = system.launch(f"{system.name}_idle_{turn}", testbed.POOL, False)
    shares = [load.Share(testbed.PLAIN, options.active, ["-f", script])]

    def active(seconds):
        figures = load.measure(bed, system.name, process, shares, seconds)
        return figures or testbed.fail(f"{system.name} did not do a transaction in {seconds} s")

    clients = []
    try:
        active(1)  # makes the connections to PostgreSQL
        without = active(options.seconds)
        time.sleep(REST_SECONDS)
        base = process.rss_kib()
        for _ in range(options.idle):
            clients.append(Asker(process.port, testbed.PLAIN, TIMEOUT))
            clients[-1].ask()
        time.sleep(REST_SECONDS)
        grown = process.rss_kib() - base
        beside = active(options.seconds)
    except OSError as problem:
        testbed.fail(f"client {len(clients)} of {system.name}: {problem}\n{process.tail()}")
    finally:
        for client in clients:
            client.close()
    process.stop()
    return {"base_kib": base, "client_kib": round(grown / options.idle, 3),
            "cpu_us_without": without["cpu_us"], "cpu_us_with": beside["cpu_us"],
            "tps_without": without["tps"], "tps_with": beside["tps"]}


def run_all(bed, systems, options, paper):
    script = bed.write("idle.sql", "SELECT 1;\n")
    # Each measurement makes its own connections and caches: no turn is for nothing.
    for turn, system in load.turns(systems, options.repeats):
        if not turn:
            continue
        figures = measure(bed, system, options, script, turn)
        paper.rows.append({"idle": options.idle, "active": options.active, "pass": turn,
                           "system": system.name, **figures})
        paper.write()
    paper.table(f"{options.idle} idle, {options.active} active", paper.rows, COLUMNS,
                report.bases_of(systems))
    paper.write()
    title = f"{options.idle} idle clients"
    paper.picture(title, paper.rows, lambda row: title, PANELS, "idle")


def parse_options(arguments):
    parser = argparse.ArgumentParser(description="What idle clients cost a proxy.")
    proxies.add_options(parser)
    report.add_options(parser)
    parser.add_argument("--idle", type=int, default=5000)
    parser.add_argument("--active", type=int, default=16)
    parser.add_argument("--seconds", type=int, default=2)
    return parser.parse_args(arguments)


def main(arguments):
    options = parse_options(arguments)
    paper = report.Report(options.out, FIELDS, "idle-")
    with testbed.Bed() as bed:
        descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if descriptors < options.idle + DESCRIPTORS:
            testbed.fail(f"ulimit -n allows {descriptors} descriptors: too few for "
                         f"{options.idle} idle clients")
        systems, versions = proxies.start_systems(bed, options)
        # PostgreSQL has no room for as many.
        systems = [system for system in systems if system.kind != "forwarder"]
        paper.about(bed.machine(versions))
        try:
            run_all(bed, systems, options, paper)
        except load.Broken as broken:
            testbed.fail(broken)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
