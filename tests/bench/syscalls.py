#!/usr/bin/env python3
# System calls for each transaction, by name: what decides a proxy's cost. Nothing but SELECT 1.
#   tests/bench/syscalls.py --schemux build/release/schemux [--floors DIR] [--clients 1,8,64]
#       [--mode simple|extended|prepared] [--seconds 1] [--tool auto|perf|strace]
# perf counts at full speed where the kernel offers its syscall tracepoints; strace works anywhere,
# but slows the proxy, so that more is ready at each wake-up than would be otherwise, and an extra
# call for each wake-up looks smaller than it is. `!name` counts the calls that failed (EAGAIN);
# strace only.

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import bed as testbed
import proxies
from workloads import POOLED_FLOORS, Workload

LEAD_SECONDS = 1  # logins and first connections are over by then
TAIL_SECONDS = 1
SHOWN_MIN = 0.01  # calls for each transaction
PERF_CALLS = ("recvfrom", "sendto", "recvmsg", "sendmsg", "read", "write", "readv", "writev",
              "epoll_wait", "epoll_pwait", "epoll_pwait2", "epoll_ctl", "poll", "futex",
              "timerfd_settime", "clock_gettime", "io_uring_enter", "accept4", "close")


def count_with_strace(pid, seconds):
    """({name: (calls, failed)}, begin, end): epoch seconds of the window."""
    tracer = subprocess.Popen(["strace", "-c", "-f", "-U", "name,calls,errors", "-p", str(pid)],
                              stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    head = tracer.stderr.readline()
    if "attached" not in head:
        testbed.fail(f"strace: {head}{tracer.stderr.read()}")
    begin = time.time()
    time.sleep(seconds)
    tracer.send_signal(signal.SIGINT)
    end = time.time()
    table = tracer.stderr.read()
    tracer.wait()
    counts = {}
    for line in table.splitlines():
        found = re.match(r"\s*([a-z][a-z0-9_]*)\s+(\d+)(?:\s+(\d+))?\s*$", line)
        if found and found.group(1) != "total":
            counts[found.group(1)] = (int(found.group(2)), int(found.group(3) or 0))
    return counts, begin, end


def count_with_perf(pid, seconds):
    events = ",".join(f"syscalls:sys_enter_{name}" for name in PERF_CALLS)
    # perf takes long to begin and to end on a busy machine: its child knows the window better.
    window = f"date +%s.%N; sleep {seconds}; date +%s.%N"
    done = subprocess.run(["perf", "stat", "-x", ";", "-e", events, "-p", str(pid), "--", "sh",
                           "-c", window], capture_output=True, text=True, check=False)
    begin, end = (float(stamp) for stamp in done.stdout.split())
    counts = {}
    for line in done.stderr.splitlines():
        found = re.match(r"(\d+);[^;]*;syscalls:sys_enter_(\w+);", line)
        if found and int(found.group(1)) > 0:
            counts[found.group(2)] = (int(found.group(1)), 0)
    return counts, begin, end


def perf_works():
    if not shutil.which("perf"):
        return False
    tried = subprocess.run(["perf", "stat", "-e", "syscalls:sys_enter_close", "true"],
                           capture_output=True, check=False)
    return tried.returncode == 0


def transactions_between(prefix, begin, end):
    """How many transactions of pgbench's full log ended in the window; removes the log."""
    count = 0
    directory, name = os.path.split(prefix)
    for entry in os.listdir(directory):
        if not entry.startswith(name + "."):
            continue
        path = os.path.join(directory, entry)
        with open(path, encoding="ascii") as file:
            for line in file:
                fields = line.split()
                if begin <= int(fields[4]) + int(fields[5]) / 1e6 < end:
                    count += 1
        os.unlink(path)
    return count


def count_for(bed, system, mode, clients, options, script):
    prefix = os.path.join(bed.directory, "transactions")
    seconds = LEAD_SECONDS + options.seconds + TAIL_SECONDS
    process = system.process()
    load = bed.pgbench(process.port, testbed.PLAIN, ["-M", mode, "-f", script], clients,
                       round(seconds), prefix)
    time.sleep(LEAD_SECONDS)
    counter = count_with_perf if options.tool == "perf" else count_with_strace
    counts, begin, end = counter(process.pid, options.seconds)
    _, errors = load.communicate()
    if load.returncode != 0:
        testbed.fail(f"pgbench through {system.name}: {errors}\n{process.tail()}")
    done = transactions_between(prefix, begin, end)
    if done == 0:
        testbed.fail(f"no transaction of {system.name} ended in the window")
    return {name: (calls / done, failed / done) for name, (calls, failed) in counts.items()}, done


def describe(counts):
    parts = []
    for name, (calls, failed) in sorted(counts.items(), key=lambda item: -item[1][0]):
        if calls >= SHOWN_MIN:
            parts.append(f"{name} {calls:.2f}")
        if failed >= SHOWN_MIN:
            parts.append(f"!{name} {failed:.2f}")
    return "  ".join(parts)


def parse_options(arguments):
    parser = argparse.ArgumentParser(description="System calls for each transaction.")
    proxies.add_options(parser)
    parser.add_argument("--clients", default="1,8,64")
    parser.add_argument("--mode", default="simple", choices=("simple", "extended", "prepared"))
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--tool", default="auto", choices=("auto", "perf", "strace"))
    options = parser.parse_args(arguments)
    options.clients = [int(number) for number in options.clients.split(",")]
    if options.tool == "auto":
        options.tool = "perf" if perf_works() else "strace"
    return options


def main(arguments):
    options = parse_options(arguments)
    workload = Workload(options.mode, "SELECT 1;\n",
                        skip=POOLED_FLOORS if options.mode == "prepared" else ())
    with testbed.Bed() as bed:
        systems, versions = proxies.start_systems(bed, options)
        room = proxies.room_for_forwarders(systems)
        print(f"{bed.machine(versions)}; counted by {options.tool}")
        script = bed.write("syscalls.sql", workload.script)
        print(f"{'system':14} {'clients':>7} {'tx':>7} {'calls/tx':>8}  by name")
        for clients in options.clients:
            for system in systems:
                if not workload.takes(system, clients, room):
                    continue
                counts, done = count_for(bed, system, options.mode, clients, options, script)
                total = sum(calls for calls, _ in counts.values())
                print(f"{system.name:14} {clients:7} {done:7} {total:8.2f}  {describe(counts)}",
                      flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
