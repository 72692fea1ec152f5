#!/usr/bin/python3
"""The client matrix: one program per driver, the same checks directly and through schemux.

    python3 tests/clients/run.py --schemux PATH [--smoke] [--only NAME] [--keep]
                                 [--postgres VERSION:ROOT]

Each program prints a line per check, `ok NAME` or `FAIL NAME: why`. It runs alone against
PostgreSQL, where every check must be ok; then three at once, one per service, through schemux in
transaction mode on a pool of four, and in session mode: every check must be ok there too, unless
drivers.py expects it to differ. The last line is `clients: N passed, N failed`.
"""

import argparse
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
import traceback

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
sys.path.insert(0, str(HERE.parent / "integration"))

import drivers  # noqa: E402  (found through the path above)
import harness  # noqa: E402
import streaming  # noqa: E402
import tools  # noqa: E402

SERVICES = ["users", "orders", "legacy"]
PROGRAM_SECONDS_MAX = 120
BUILD_SECONDS_MAX = 400
LINE = re.compile(r"^(ok|FAIL) (\w+)(?:: (.*))?$", re.MULTILINE)
# One more than there are services, each of which may have a statement that sleeps until another
# connection of its own has seen it. In session mode each connection has a backend of its own.
MODES = {"transaction": 4, "session": 45}
SETUP_SQL = """
CREATE TABLE {schema}.who (service text NOT NULL);
INSERT INTO {schema}.who VALUES ('{service}');
"""


class Counts:
    def __init__(self):
        self.passed = 0
        self.failed = 0

    def note(self, name, why=None):
        if why is None:
            self.passed += 1
            return
        self.failed += 1
        print(f"\nFAILED {name}\n{why}\n", flush=True)


class Bed:
    """PostgreSQL with the services' data twice: as schemas behind schemux, and as databases."""

    def __init__(self, arguments):
        self.lab = harness.Lab(arguments.schemux, keep=arguments.keep)
        self.schemux = {}

    def open(self):
        postgres = self.lab.postgres
        postgres.create()
        postgres.start()
        postgres.run("CREATE ROLE app LOGIN; CREATE ROLE alice LOGIN SUPERUSER",
                     dbname="postgres")
        postgres.run("CREATE DATABASE app OWNER app", dbname="postgres")
        postgres.run("ALTER SCHEMA public OWNER TO app")
        for service in SERVICES:
            postgres.run(f"CREATE DATABASE {service} OWNER alice", dbname="postgres")
            postgres.run(SETUP_SQL.format(schema="public", service=service), dbname=service)
            with postgres.connect_as_owner() as connection:
                connection.execute(f"CREATE SCHEMA {service}")
                connection.execute(SETUP_SQL.format(schema=service, service=service))
        for mode, connections in MODES.items():
            self.schemux[mode] = self.start(mode, connections, mode)

    def start(self, mode, connections, name):
        return self.lab.schemux(
            {"pool": {"mode": mode, "max_connections": connections, "acquire_timeout": "30s"},
             "services": [{"name": service, "schema": service} for service in SERVICES],
             "log": {"level": "info"}}, name=name)

    def close(self, counts):
        for instance in list(self.lab.running):
            try:
                desyncs = instance.metric("schemux_desync_total")
                status = instance.stop()
                bad = None if desyncs == 0 and status == 0 else (
                    f"{desyncs} desyncs, exit status {status}\n{self.lab.log_tail()}")
            except Exception:  # it is gone, which is the news
                bad = traceback.format_exc() + self.lab.log_tail()
            counts.note(f"{instance.folder.name} at its end", bad)
        self.lab.close()


class Running:
    """One program on one service."""

    def __init__(self, driver, command, port, service):
        self.name = f"{driver.name} {service}"
        environment = {**os.environ, **driver.environment, "PGHOST": "127.0.0.1",
                       "PGPORT": str(port), "PGUSER": "alice", "PGDATABASE": service,
                       "PGCONNECT_TIMEOUT": "60"}
        # A group of its own, so that what it starts ends with it.
        self.process = subprocess.Popen(
            command, cwd=driver.folder, env=environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)

    def finish(self, deadline):
        """{check: None, or why it failed}."""
        try:
            out, errors = self.process.communicate(timeout=max(1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            out, errors = self.process.communicate()
            errors += f"\nstopped after {PROGRAM_SECONDS_MAX} s"
        found = {check: None if verdict == "ok" else (why or "no reason given")
                 for verdict, check, why in LINE.findall(out)}
        failed = any(why is not None for why in found.values())
        if self.process.returncode != (1 if failed else 0) or not found:
            found["end_of_program"] = (f"exit status {self.process.returncode}\n"
                                       f"{out[-1500:]}\n{errors[-2500:]}")
        return found


def run_at_once(driver, command, port, services):
    running = [Running(driver, command, port, service) for service in services]
    deadline = time.monotonic() + PROGRAM_SECONDS_MAX
    return {service: one.finish(deadline) for service, one in zip(services, running)}


def judge(driver, mode, checks, found, counts):
    """`checks`: the names that passed directly; what is expected to differ must differ."""
    for service, results in found.items():
        for check in [*checks, *(set(results) - set(checks))]:
            name = f"{driver.name} {check}, {service}, {mode}"
            why = results.get(check, "did not run") if check not in results else results[check]
            expected = driver.differs.get((check, mode))
            if expected is None:
                counts.note(name, why)
            else:
                counts.note(name, None if why else f"passes, but {expected} says that it differs")


def run_driver(driver, bed, counts):
    began = time.monotonic()
    before = counts.passed, counts.failed
    command = driver.prepare(bed.lab.folder, BUILD_SECONDS_MAX)
    built = time.monotonic() - began
    direct = run_at_once(driver, command, bed.lab.postgres.port, SERVICES[:1])
    checks = list(direct[SERVICES[0]])
    judge(driver, "direct", checks, direct, counts)
    for mode, instance in bed.schemux.items():
        judge(driver, mode, checks, run_at_once(driver, command, instance.port, SERVICES), counts)
    print(f"  {driver.name:18} {len(checks):3} checks {counts.passed - before[0]:4} passed"
          f" {counts.failed - before[1]:3} failed  {time.monotonic() - began:5.1f} s"
          + (f" ({built:.1f} s to build)" if built > 1 else ""), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--schemux", required=True, type=pathlib.Path, metavar="PATH")
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--only", metavar="NAME", action="append", default=[])
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--postgres", metavar="VERSION:ROOT",
                        help="PostgreSQL as installed in the system in the folder ROOT")
    arguments = parser.parse_args()
    if arguments.postgres:
        version, _, root = arguments.postgres.partition(":")
        harness.server.use_root(root, version)
    counts = Counts()
    bed = Bed(arguments)

    def wanted(name, smoke):
        return (smoke or not arguments.smoke) and (
            not arguments.only or any(part in name for part in arguments.only))

    jobs = [(driver.name, driver.smoke, lambda driver=driver: run_driver(driver, bed, counts))
            for driver in drivers.DRIVERS]
    jobs += [(name, False, lambda check=check: check(bed, counts))
             for name, check in [*tools.CHECKS.items(), *streaming.CHECKS.items()]]
    try:
        bed.open()
        for name, smoke, job in jobs:
            if not wanted(name, smoke):
                continue
            try:
                job()
            except Exception:  # the others still run
                counts.note(name, traceback.format_exc())
    finally:
        bed.close(counts)
    print(f"clients: {counts.passed} passed, {counts.failed} failed", flush=True)
    return 0 if counts.failed == 0 and counts.passed > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
