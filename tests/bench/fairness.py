#!/usr/bin/env python3
# Two services on one bounded pool, beside PgBouncer with the same bound in the same run: what the
# light one waits while the greedy one has a hundred times its load, what each gets of the backends'
# time, and what a turn costs when two services share one connection.
#   tests/bench/fairness.py --schemux build/release/schemux [--pgbouncer PATH] [--seconds 5]
#       [--plot FILE.svg]
# Exits 0 whatever the figures are.

import argparse
import glob
import os
import shutil
import subprocess
import threading
import time

import bed as testbed
import plot
from asker import Asker

POOL = 10
GREEDY_CLIENTS, LIGHT_CLIENTS = 100, 2
LIGHT_RATE = 50  # transactions a second of all light clients
LEASE = 0.005  # on the average; the longest takes twice as long
BUSY = f"SELECT pg_sleep(random() * {2 * LEASE});\n"
LONG = "SELECT pg_sleep(0.02);\n"
TURNS = 200
TURN_TIMEOUT = 3.0


def percentile(values, part):
    values = sorted(values)
    return values[int(part * (len(values) - 1))] if values else float("nan")


def schemux_config(bed, port, pool, light, workers):
    return f"""\
listen:
  - {{ address: 127.0.0.1, port: {port} }}
backend:
  dsn: "{bed.conninfo(bed.postgres_port, testbed.PLAIN)}"
pool: {{ max_connections: {pool}, acquire_timeout: 60s }}
auth: {{ method: trust }}
workers: {workers}
services:
  - {{ name: greedy }}
  - {{ name: light{light} }}
  - {{ name: {testbed.PLAIN} }}
"""


def start_schemux(bed, path, name, pool, light="", workers=1):
    port = testbed.free_port()
    config = bed.write(name + ".yaml", schemux_config(bed, port, pool, light, workers))
    program = bed.adopt_program(path, name + ".bin")
    return bed.start(name, [program, "serve", "--config", config], port)


def start_pgbouncer(bed, path, name, pool, forced=False):
    """The bound is on the user: a pool of PgBouncer's belongs to one database entry."""
    port = testbed.free_port()
    users = bed.write(name + ".users", f'"{testbed.USER}" ""\n')
    target = f"host=127.0.0.1 port={bed.postgres_port} dbname={testbed.PLAIN}"
    if forced:
        target += f" user={testbed.USER}"
    entries = "".join(f"{service} = {target}\n" for service in ("greedy", "light", testbed.PLAIN))
    config = bed.write(name + ".ini", f"""\
[databases]
{entries}[users]
{testbed.USER} = max_user_connections={pool}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = {users}
pool_mode = transaction
default_pool_size = {pool}
max_client_conn = 2000
server_tls_sslmode = disable
log_connections = 0
log_disconnections = 0
""")
    return bed.start(name, [path, config], port)


class Load:
    """pgbench on one service, and its log: latency without the lag behind --rate."""

    def __init__(self, bed, port, service, script, clients, seconds, rate=None):
        self.prefix = os.path.join(bed.directory, f"load-{port}-{service}-{time.monotonic_ns()}")
        path = bed.write(os.path.basename(self.prefix) + ".sql", script)
        arguments = ["-f", path, *(["-R", str(rate)] if rate else [])]
        self.process = bed.pgbench(port, service, arguments, clients, seconds,
                                   log_prefix=self.prefix)

    def latencies(self):
        """Seconds for each transaction; None: it did not end well."""
        _, errors = self.process.communicate()
        values = []
        for name in glob.glob(self.prefix + ".*"):
            if name.endswith(".sql"):
                continue
            with open(name, encoding="ascii") as file:
                for line in file:
                    fields = line.split()
                    lag = int(fields[6]) if len(fields) > 6 else 0
                    values.append((int(fields[2]) - lag) / 1e6)
        if self.process.returncode != 0:
            print(f"  (pgbench: {errors.strip().splitlines()[-1]})")
        return values


class Sampler:
    """The most connections of PostgreSQL that were in use within half a second."""

    COUNT = ("SELECT count(*) - 1 FROM pg_stat_activity WHERE backend_type = 'client backend' "
             "AND (state <> 'idle' OR state_change > now() - interval '0.5 s')")

    def __init__(self, bed):
        self.bed, self.most, self.stopping = bed, 0, threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        while not self.stopping.wait(0.2):
            asked = subprocess.run([self.bed.program("psql"), "-XqAt", "-c", self.COUNT,
                                    self.bed.conninfo(self.bed.postgres_port, "postgres")],
                                   capture_output=True, check=True, text=True)
            self.most = max(self.most, int(asked.stdout))

    def __enter__(self):
        time.sleep(1)  # what was measured before must have come to rest
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        self.thread.join()


def measure_light(bed, system, seconds):
    """The greedy service's transactions a second, and how long the light one's took."""
    greedy = Load(bed, system.port, "greedy", BUSY, GREEDY_CLIENTS, seconds + 1)
    time.sleep(0.5)
    light = Load(bed, system.port, "light", "SELECT 1;\n", LIGHT_CLIENTS, seconds, LIGHT_RATE)
    waits = light.latencies()
    return len(greedy.latencies()) / (seconds + 1), waits


def measure_parts(bed, system, seconds):
    """What two services get of the pool's time, the one with long leases and few clients."""
    short = Load(bed, system.port, "greedy", BUSY, GREEDY_CLIENTS, seconds)
    long = Load(bed, system.port, "light", LONG, 2 * POOL, seconds)
    first, second = len(short.latencies()) * LEASE, len(long.latencies()) * 0.02
    return first / (first + second) if first + second else float("nan")


def measure_turns(system):
    """Milliseconds for a query of one service alone and of two in turns; None: in vain."""
    first = second = None
    try:
        first = Asker(system.port, "greedy", TURN_TIMEOUT)
        began = time.monotonic()
        for _ in range(TURNS):
            first.ask()
        alone = (time.monotonic() - began) * 1e3 / TURNS
        second = Asker(system.port, "light", TURN_TIMEOUT)
        began = time.monotonic()
        for _ in range(TURNS // 2):
            first.ask()
            second.ask()
        return alone, (time.monotonic() - began) * 1e3 / TURNS
    except (OSError, TimeoutError):
        return None
    finally:
        for asker in (first, second):
            if asker:
                asker.close()


def report_light(bed, systems, seconds, plot_path):
    print(f"\nA light service ({LIGHT_CLIENTS} clients, {LIGHT_RATE} SELECT 1 a second) beside a "
          f"greedy one ({GREEDY_CLIENTS} clients, about {LEASE * 1e3:.0f} ms each); "
          f"the bound is {POOL} connections")
    print(f"  {'system':<28}{'p50 ms':>9}{'p99 ms':>9}{'max ms':>9}{'greedy/s':>10}"
          f"{'connections':>13}{'in use':>9}")
    series = {}
    for name, system in systems.items():
        with Sampler(bed) as sampler:
            rate, waits = measure_light(bed, system, seconds)
        series[name] = [max(wait * 1e3, 1e-3) for wait in waits]
        print(f"  {name:<28}{percentile(waits, .5) * 1e3:9.2f}{percentile(waits, .99) * 1e3:9.2f}"
              f"{percentile(waits, 1) * 1e3:9.2f}{rate:10.0f}{sampler.most:13}"
              f"{rate * LEASE / max(sampler.most, 1):9.1%}")
    if plot_path:
        plot.cumulative(series, "What a light service's query takes beside a greedy service",
                        "milliseconds", plot_path)
        print(f"  plotted in {plot_path}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--schemux", required=True)
    parser.add_argument("--pgbouncer", default=shutil.which("pgbouncer"))
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--plot")
    options = parser.parse_args()
    with testbed.Bed() as bed:
        print(bed.machine([[options.pgbouncer, "--version"]] if options.pgbouncer else []))
        systems = {
            "schemux": start_schemux(bed, options.schemux, "plain", POOL),
            "schemux, 2 workers": start_schemux(bed, options.schemux, "two", POOL, workers=2),
            "schemux, 4 workers": start_schemux(bed, options.schemux, "workers", POOL, workers=4),
            "schemux, guarantee: 2": start_schemux(bed, options.schemux, "guarantee", POOL,
                                                   ", pool: { guarantee: 2 }"),
            "schemux, and reserve": start_schemux(bed, options.schemux, "reserve", POOL,
                                                  ", pool: { guarantee: 2, reserve: true }")}
        ones = {"schemux": start_schemux(bed, options.schemux, "one", 1)}
        if options.pgbouncer:
            systems["PgBouncer, one bound"] = start_pgbouncer(bed, options.pgbouncer, "pgb", POOL)
            ones["PgBouncer"] = start_pgbouncer(bed, options.pgbouncer, "pgb-one", 1)
            ones["PgBouncer, forced user"] = start_pgbouncer(
                bed, options.pgbouncer, "pgb-forced", 1, forced=True)
        report_light(bed, systems, options.seconds, options.plot)
        print("\nThe part of the backends' time of a service with 5 ms leases and "
              f"{GREEDY_CLIENTS} clients, beside one with 20 ms and {2 * POOL} (fair: 50 %)")
        print(f"  {'system':<28}{'part':>9}{'connections':>13}")
        for name, system in systems.items():
            with Sampler(bed) as sampler:
                part = measure_parts(bed, system, options.seconds)
            print(f"  {name:<28}{part:9.1%}{sampler.most:13}")
        print("\nTwo services on one connection, ms for a query")
        print(f"  {'system':<28}{'one alone':>11}{'in turns':>11}")
        for name, system in ones.items():
            took = measure_turns(system)
            print(f"  {name:<28}" + (f"{took[0]:11.3f}{took[1]:11.3f}" if took else
                                     f"  the second waits for more than {TURN_TIMEOUT:.0f} s"))


if __name__ == "__main__":
    main()
