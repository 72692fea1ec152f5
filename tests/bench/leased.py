#!/usr/bin/env python3
# How much of a pool its clients have while somebody waits all the time: schemux's own count of the
# time that clients held backends, and what PostgreSQL did in it, of the pool's size times the time.
# A lease counts from when it is promised, though it may be on its way to its worker, and is added
# at its end: those under way when the time begins and ends make a figure unsharp by some tenths of
# a percent.
#   tests/bench/leased.py --schemux build/release/schemux [--workers 1,2,4] [--repeats 3]
#       [--seconds 8]
# Exits 0 whatever the figures are.

import argparse
import re
import time
import urllib.request

import bed as testbed

POOL, CLIENTS = 10, 40
LEASES = (0.005, 0.01, 0.02)  # seconds of a query, at the least
SAMPLE_SECONDS = 0.2
WARM_SECONDS = 1.0


def start_schemux(bed, path, workers):
    """What uses backends for itself is off: audits, health checks, and what replaces old ones."""
    port, http = testbed.free_port(), testbed.free_port()
    config = bed.write(f"leased-{workers}.yaml", f"""\
listen:
  - {{ address: 127.0.0.1, port: {port} }}
http: {{ address: 127.0.0.1, port: {http} }}
backend:
  dsn: "{bed.conninfo(bed.postgres_port, testbed.PLAIN)}"
pool:
  max_connections: {POOL}
  min_connections: {POOL}
  acquire_timeout: 60s
  audit_sample: 0
  health_check_after: 0
  lifetime: 0
  idle_timeout: 0
auth: {{ method: trust }}
workers: {workers}
services:
  - {{ name: {testbed.PLAIN} }}
""")
    program = bed.adopt_program(path, f"leased-{workers}.bin")
    system = bed.start(f"schemux-{workers}", [program, "serve", "--config", config], port)
    system.http = http
    return system


class Scrape:
    """The metrics at one moment."""

    def __init__(self, system):
        began = time.monotonic()
        url = f"http://127.0.0.1:{system.http}/metrics"
        with urllib.request.urlopen(url, timeout=10) as answer:
            text = answer.read().decode()
        self.when = (began + time.monotonic()) / 2
        self.held = self._sum(text, "schemux_backend_seconds_total")
        self.queries = self._sum(text, "schemux_queries_total")
        self.waiting = self._sum(text, "schemux_clients_waiting")

    @staticmethod
    def _sum(text, name):
        return sum(float(value) for value in
                   re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)$", text, re.MULTILINE))


def measure(bed, system, lease, seconds):
    """The part that clients held, the part in which PostgreSQL slept for them, queries a second,
    and the fewest that waited."""
    script = bed.write(f"leased-{lease}.sql", f"SELECT pg_sleep({lease});\n")
    load = bed.pgbench(system.port, testbed.PLAIN, ["-M", "simple", "-f", script], CLIENTS,
                       int(seconds + 2 * WARM_SECONDS + 1))
    time.sleep(WARM_SECONDS)
    scrapes = [Scrape(system)]
    while scrapes[-1].when < scrapes[0].when + seconds:
        time.sleep(SAMPLE_SECONDS)
        scrapes.append(Scrape(system))
    _, errors = load.communicate()
    if load.returncode != 0:
        testbed.fail(f"pgbench: {errors.strip()}")
    first, last = scrapes[0], scrapes[-1]
    whole = POOL * (last.when - first.when)
    queries = last.queries - first.queries
    return ((last.held - first.held) / whole, queries * lease / whole,
            queries / (last.when - first.when), min(one.waiting for one in scrapes))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--schemux", required=True)
    parser.add_argument("--workers", default="1,2,4")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8)
    options = parser.parse_args()
    with testbed.Bed() as bed:
        print(bed.machine([]))
        print(f"\n{CLIENTS} clients on {POOL} connections: the part of the connections' time that "
              "clients held, and\nin which PostgreSQL slept for them (a query sleeps for longer "
              "than it was told to, and its answer travels)")
        print(f"  {'workers':>7}{'query ms':>10}{'leased':>9}{'asleep':>9}{'queries/s':>11}"
              f"{'waiting, least':>16}")
        systems = {workers: start_schemux(bed, options.schemux, workers)
                   for workers in options.workers.split(",")}
        for _ in range(options.repeats):
            for workers, system in systems.items():
                for lease in LEASES:
                    leased, asleep, rate, waiting = measure(bed, system, lease, options.seconds)
                    print(f"  {workers:>7}{lease * 1e3:10.0f}{leased:9.2%}{asleep:9.2%}{rate:11.0f}"
                          f"{waiting:16.0f}", flush=True)


if __name__ == "__main__":
    main()
