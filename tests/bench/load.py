# What a load of pgbench costs a process: CPU for each transaction, throughput, latencies, memory.
# It knows pgbench and its log; it must not know which process it is, nor what is compared.

import glob
import os
import re
import threading
import time

SAMPLING = 0.2  # of the transactions, for the latencies
TRACE_SECONDS = 0.02
SETTLE_SECONDS = 0.0005  # for each of the transactions that do not count, on a busy machine


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
    """What pgbench logged of its transactions, all of them or some; removed when read."""

    def __init__(self, prefix):
        self.entries = []  # (when it ended, seconds it took, its client, which of the client's)
        for path in glob.glob(glob.escape(prefix) + ".*"):
            with open(path, encoding="ascii") as file:
                for line in file:
                    client, number, took, _, second, microsecond = line.split()[:6]
                    self.entries.append((int(second) + int(microsecond) / 1e6, int(took) / 1e6,
                                         (path, client), int(number)))
            os.unlink(path)
        self.begun = min((ended - took for ended, took, _, _ in self.entries), default=0)
        self.ended = max((entry[0] for entry in self.entries), default=0)

    def drop_until_settled(self, clients, settle):
        """Forgets what ended before each of the clients had done so many."""
        first = {}
        for ended, _, client, number in sorted(self.entries):
            if number > settle:
                first.setdefault(client, ended)
        self.begun = max(first.values()) if len(first) == clients else float("inf")
        self.entries = [entry for entry in self.entries if entry[0] > self.begun]

    def percentile(self, part):
        """In milliseconds."""
        took = sorted(entry[1] for entry in self.entries)
        return took[round((len(took) - 1) * part)] * 1e3


def split(clients, parts):
    """As evenly as it goes."""
    return [clients // parts + (number < clients % parts) for number in range(parts)]


def pgbench_said(name, process, loads):
    """How many transactions were done, and how many a second."""
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
    return transactions, rate


def measure(bed, name, process, shares, seconds, settle=0):
    """One row of figures; None if there is not a single transaction to count. With `settle`, a
    transaction counts when each client has done so many: they prepare what the others execute."""
    prefix = os.path.join(bed.directory, "latency")
    clients = sum(share.clients for share in shares)
    seconds += round(clients * settle * SETTLE_SECONDS)
    ticks_before = process.user_share()
    with CpuTrace(process) as trace:
        loads = [bed.pgbench(process.port, share.database, share.arguments, share.clients, seconds,
                             prefix, None if settle else SAMPLING, share.environment)
                 for share in shares]
        transactions, rate = pgbench_said(name, process, loads)
    ticks = [after - before for after, before in zip(process.user_share(), ticks_before)]
    log = Log(prefix)
    if settle:
        log.drop_until_settled(clients, settle)
        transactions = len(log.entries)
        rate = transactions / (log.ended - log.begun) if transactions else 0
    if not log.entries:
        return None  # connecting, or preparing, took all the time
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
