#!/usr/bin/env python3
# What large transfers cost a proxy: CPU for each GB, throughput, and how much memory it takes while
# it passes on what cannot fit into its buffers. One client; nothing is stored.
#   tests/bench/bulk.py --schemux build/release/schemux [--floors DIR] [--jobs copy_out,row,…]
#       [--scale 0.1] [--repeats 3] [--out DIR]
# Exits 0 whatever the figures are.

import argparse
import sys
import time

import bed as testbed
import load
import proxies
import report
from asker import Asker, message
from report import Column

TIMEOUT = 120
KILOBYTE = 1000
COPY_ROWS, ROWS, ROW_BYTES = 500_000, 100_000, 200_000_000
TEXT = f"repeat('x', {KILOBYTE - 1})"  # with the end of its line 1 KB
MESSAGE_ROWS, SEND_ROWS = 8, 1000  # of a CopyData, as with psql, and of what is sent at a time

FIELDS = ("job", "pass", "system", "bytes", "cpu_s_per_gb", "mb_per_s", "growth_kib")
COLUMNS = (Column("cpu_s_per_gb", "CPU s/GB", 8, 2), Column("mb_per_s", "MB/s", 7, 0),
           Column("growth_kib", "peak +MiB", 9, 2, 1 / 1024))
PANELS = {"cpu_s_per_gb": "CPU of the proxy, s for each GB", "mb_per_s": "MB a second",
          "growth_kib": "most resident memory beyond what there was before, KiB"}


def copy_out(client, scale):
    return client.ask(f"COPY (SELECT {TEXT} FROM generate_series(1, {round(COPY_ROWS * scale)})) "
                      "TO STDOUT")


def copy_in(client, scale):
    """PostgreSQL reads the rows and keeps none."""
    client.send("COPY sink FROM STDIN WHERE false")
    client.wait(message(b"G", b"\0\0\1\0\0"))
    rows = (b"x" * (KILOBYTE - 1) + b"\n") * MESSAGE_ROWS
    part = message(b"d", rows) * (SEND_ROWS // MESSAGE_ROWS)
    sent = 0
    while sent < COPY_ROWS * scale * KILOBYTE:
        client.socket.sendall(part)
        sent += len(part)
    client.socket.sendall(message(b"c", b""))
    client.wait()
    return sent


def many_rows(client, scale):
    return client.ask(f"SELECT {TEXT} FROM generate_series(1, {round(ROWS * scale)})")


def one_row(client, scale):
    return client.ask(f"SELECT repeat('x', {round(ROW_BYTES * scale)})")


JOBS = {"copy_out": copy_out, "copy_in": copy_in, "rows": many_rows, "row": one_row}


def measure(system, job, scale):
    process = system.process()
    client = Asker(process.port, testbed.PLAIN, TIMEOUT)
    client.ask()
    process.forget_peak()
    memory, cpu, began = process.rss_kib(), process.cpu_seconds(), time.monotonic()
    size = JOBS[job](client, scale)
    took = time.monotonic() - began
    figures = {"bytes": size, "cpu_s_per_gb": round((process.cpu_seconds() - cpu) / size * 1e9, 4),
               "mb_per_s": round(size / took / 1e6, 1),
               "growth_kib": max(0, process.peak_kib() - memory)}
    client.close()
    return figures


def run_all(systems, options, paper):
    for job in options.jobs:
        for turn, system in load.turns(systems, options.repeats):
            try:
                figures = measure(system, job, options.scale)
            except OSError as problem:
                testbed.fail(f"{job} through {system.name}: {problem}\n{system.process().tail()}")
            if turn:
                paper.rows.append({"job": job, "pass": turn, "system": system.name, **figures})
        done = [row for row in paper.rows if row["job"] == job]
        paper.table(f"{job}, {done[0]['bytes'] / 1e6:.0f} MB", done, COLUMNS,
                    report.bases_of(systems))
        paper.write()
    paper.picture("large transfers", paper.rows, lambda row: row["job"], PANELS, "bulk")


def parse_options(arguments):
    parser = argparse.ArgumentParser(description="What large transfers cost a proxy.")
    proxies.add_options(parser)
    report.add_options(parser)
    parser.add_argument("--jobs", default=",".join(JOBS))
    parser.add_argument("--scale", type=float, default=1.0, help="0.1: a tenth of every transfer")
    options = parser.parse_args(arguments)
    options.jobs = options.jobs.split(",")
    for job in options.jobs:
        if job not in JOBS:
            parser.error(f"no such job: {job}")
    return options


def main(arguments):
    options = parse_options(arguments)
    paper = report.Report(options.out, FIELDS, "bulk-")
    with testbed.Bed() as bed:
        bed.sql(testbed.PLAIN, "CREATE TABLE sink (line text)")
        systems, versions = proxies.start_systems(bed, options)
        paper.about(bed.machine(versions))
        run_all(systems, options, paper)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
