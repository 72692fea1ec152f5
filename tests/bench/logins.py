#!/usr/bin/env python3
# What a login costs a proxy: clients that connect, ask one SELECT 1 and go, without a password and
# with SCRAM.
#   tests/bench/logins.py --schemux build/release/schemux [--floors DIR] [--auth trust,scram]
#       [--clients 8] [--seconds 2] [--repeats 3] [--out DIR]
# Exits 0 whatever the figures are.

import argparse
import sys

import bed as testbed
import load
import proxies
import report
from report import Column
from workloads import FLOORS

AUTH = {"trust": False, "scram": True}  # whether clients have a password

FIELDS = ("auth", "clients", "pass", "system", "logins", "cpu_us", "user_us", "per_s", "rss_kib")
COLUMNS = (Column("cpu_us", "CPU us", 8, 1), Column("user_us", "user", 8, 1),
           Column("per_s", "logins/s", 8, 0), Column("rss_kib", "RSS MiB", 7, 1, 1 / 1024))
PANELS = {"cpu_us": "CPU of the proxy, us for each login", "per_s": "logins a second"}


def measure(bed, system, auth, options, script, seconds):
    share = load.Share(testbed.PLAIN, options.clients, ["-C", "-f", script])
    process = system.process(password=AUTH[auth])
    figures = load.measure(bed, system.name, process, [share], seconds)
    if not figures:
        testbed.fail(f"nobody logged in to {system.name} in {seconds} s")
    return {"logins": figures["transactions"], "cpu_us": figures["cpu_us"],
            "user_us": figures["user_us"], "per_s": figures["tps"], "rss_kib": figures["rss_kib"]}


def run_all(bed, systems, options, paper):
    script = bed.write("logins.sql", "SELECT 1;\n")
    for auth in options.auth:
        takers = [system for system in systems if not (AUTH[auth] and system.kind in FLOORS)]
        for turn, system in load.turns(takers, options.repeats):
            figures = measure(bed, system, auth, options, script, options.seconds if turn else 1)
            if turn:
                paper.rows.append({"auth": auth, "clients": options.clients, "pass": turn,
                                   "system": system.name, **figures})
        done = [row for row in paper.rows if row["auth"] == auth]
        paper.table(f"{auth}, {options.clients} clients", done, COLUMNS, report.bases_of(takers))
        paper.write()
    paper.picture("logins", paper.rows, lambda row: row["auth"], PANELS, "logins")


def parse_options(arguments):
    parser = argparse.ArgumentParser(description="What a login costs a proxy.")
    proxies.add_options(parser)
    report.add_options(parser)
    parser.add_argument("--auth", default=",".join(AUTH))
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seconds", type=int, default=2)
    options = parser.parse_args(arguments)
    options.auth = options.auth.split(",")
    for auth in options.auth:
        if auth not in AUTH:
            parser.error(f"no such way to log in: {auth}")
    return options


def main(arguments):
    options = parse_options(arguments)
    paper = report.Report(options.out, FIELDS, "logins-")
    with testbed.Bed() as bed:
        systems, versions = proxies.start_systems(bed, options)
        paper.about(bed.machine(versions))
        try:
            run_all(bed, systems, options, paper)
        except load.Broken as broken:
            testbed.fail(broken)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
