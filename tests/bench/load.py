# What a load of pgbench costs a process: CPU for each transaction, throughput, latencies, memory.
# It knows pgbench and its log; it must not know which process it is, nor what is compared.

import glob
import os
import re
import threading
import time

SAMPLING = 0.2  # of the transactions, for the latencies
TRACE_SECONDS = 0.02


class Broken(Exception):
    """A proxy, or the load through it, ended badly."""


class Share:
    """One pgbench of the load: its clients have one database and one environment."""

    def __init__(self, database, clients, arguments, environment=None):
        self.database = database
        self.clients = clients
        self.arguments = arguments
        self.environment = environment


class CpuTrace:
    """CPU seconds of a process as time goes by, so that a part of a run can be told from the rest:
    a thousand logins cost as much as half a second of their queries."""

    def __init__(self, process):
        self.process = process
        self.points = []
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def sample(self):
        self.points.append((time.time(), self.process.cpu_seconds()))

    def run(self):
        self.sample()
        while not self.ended.wait(TRACE_SECONDS):
            self.sample()

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()
        self.sample()

    def at(self, moment):
        before = self.points[0]
        for after in self.points:
            if after[0] >= moment:
                span = after[0] - before[0]
                part = (moment - before[0]) / span if span > 0 else 0
                return before[1] + part * (after[1] - before[1])
            before = after
        return before[1]


class Log:
    """Of pgbench, sampled and of all its threads; removed when read."""

    def __init__(self, prefix):
        self.latencies, begun, ended = [], [], []
        for path in glob.glob(glob.escape(prefix) + ".*"):
            with open(path, encoding="ascii") as file:
                for line in file:
                    _, _, took, _, second, microsecond = line.split()[:6]
                    moment = int(second) + int(microsecond) / 1e6
                    self.latencies.append(int(took) / 1e3)
                    begun.append(moment - int(took) / 1e6)
                    ended.append(moment)
            os.unlink(path)
        self.latencies.sort()
        self.begun = min(begun, default=0)
        self.ended = max(ended, default=0)

    def percentile(self, part):
        """In milliseconds."""
        if not self.latencies:
            return 0.0
        return self.latencies[round((len(self.latencies) - 1) * part)]


def split(clients, parts):
    """As evenly as it goes."""
    return [clients // parts + (number < clients % parts) for number in range(parts)]


def measure(bed, name, process, shares, seconds, sampling=SAMPLING):
    """One row of figures; None if not a single transaction came about."""
    prefix = os.path.join(bed.directory, "latency")
    ticks_before = process.user_share()
    with CpuTrace(process) as trace:
        loads = [bed.pgbench(process.port, share.database, share.arguments, share.clients, seconds,
                             prefix, sampling, share.environment) for share in shares]
        said = [load.communicate() for load in loads]
    transactions, rate = 0, 0.0
    for load, (output, errors) in zip(loads, said):
        done = re.search(r"transactions actually processed: (\d+)", output)
        if load.returncode != 0 or not done or not process.alive():
            state = "runs" if process.alive() else f"ended with {process.child.returncode}"
            raise Broken(f"{name} failed; it {state}; pgbench said ({load.returncode}):\n"
                         f"{output}\n{errors}\n{process.tail()}")
        transactions += int(done.group(1))
        found = re.search(r"tps = ([\d.]+)", output)
        rate += float(found.group(1)) if found else 0
    log = Log(prefix)
    if transactions == 0 or not log.latencies:
        return None  # connecting took all the time
    ticks = [after - before for after, before in zip(process.user_share(), ticks_before)]
    cpu_us = (trace.at(log.ended) - trace.at(log.begun)) / transactions * 1e6
    return {"transactions": transactions, "cpu_us": round(cpu_us, 3),
            "user_us": round(cpu_us * ticks[0] / max(1, sum(ticks)), 3), "tps": round(rate, 1),
            "p50_ms": round(log.percentile(0.5), 3), "p99_ms": round(log.percentile(0.99), 3),
            "rss_kib": process.rss_kib()}


def turns(entries, repeats):
    """(turn, entry): A B C, C B A, and so on. Turn 0 does not count: connections and caches are
    made before the clock runs."""
    for turn in range(2 * repeats + 1):
        for entry in entries if turn % 2 else reversed(entries):
            yield turn, entry
