#!/usr/bin/python3
"""Runs the integration tests: real PostgreSQL, real drivers, one schemux per test class.

    python3 tests/integration/run.py --schemux PATH [--smoke] [--only NAME] [--keep]

--smoke runs the short selection; --only, as often as wanted, runs the modules, classes or tests
whose name contains NAME; --keep leaves the temporary folder with data and logs. The last line is
`integration: N passed, N failed`; the exit status is 0 only when nothing failed.
"""

import argparse
import importlib.util
import os
import pathlib
import signal
import sys
import time
import traceback
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
# Debian's drivers are only in Debian's own Python.
DEBIAN_PYTHON = "/usr/bin/python3"
if importlib.util.find_spec("psycopg") is None and "SCHEMUX_INTEGRATION_AGAIN" not in os.environ:
    os.environ["SCHEMUX_INTEGRATION_AGAIN"] = "1"
    os.execv(DEBIAN_PYTHON, [DEBIAN_PYTHON, *sys.argv])

import harness  # noqa: E402  (found through the path above)

# In this order: what is basic first, so that a broken build shows soon.
MODULES = ["startup_test", "auth_test", "rules_test", "auth_query_test",
           "password_test", "patterns_test", "schemas_test", "service_lists_test", "clusters_test",
           "console_test",
           "console_lists_test",
           "tls_test",
           "backend_tls_test",
           "psql_test", "isolation_test", "settings_test",
           "settings_edges_test", "tenants_test", "pins_test", "listen_test", "channels_test",
           "state_test", "wire_test", "hostile_startup_test", "hostile_client_test", "cancel_test",
           "protocol_test", "gone_test", "stall_test", "psycopg3_test", "psycopg2_test",
           "asyncpg_test", "pools_test", "session_test", "pgbench_test", "http_test",
           "identities_test", "client_roles_test", "isolation_audit_test", "isolation_start_test",
           "config_test", "dev_test", "ownership_test", "failure_test", "fairness_test",
           "timeouts_test", "slow_query_test", "log_test", "log_canary_test",
           "severed_test", "outage_test", "chaos_test", "failover_test",
           "names_test", "pause_test", "limits_test", "memory_test", "modes_test",
           "hostile_server_test", "shared_listener_test", "listener_losses_test",
           "red_team_test", "edges_test", "cve_test", "cve_session_test", "cve_pool_test",
           "cve_tls_test", "cve_server_test", "front_door_test", "refusals_test",
           "jdbc_test", "node_test", "drivers_login_test", "examples_test", "adoption_test",
           "monitoring_test", "status_page_test"]
NOT_IN_SMOKE = {"jdbc_test", "node_test", "drivers_login_test", "examples_test", "adoption_test",
                "failure_test", "psycopg2_test",
                "pools_test", "password_test", "memory_test", "outage_test", "names_test",
                "shared_listener_test", "listener_losses_test", "red_team_test", "monitoring_test",
                "status_page_test"}
# A test that takes longer hangs: harness.Watchdog ends its schemux.
TEST_SECONDS_MAX = 200


class Result(unittest.TestResult):
    """Prints each failure when it happens, with the reason and the log of schemux."""

    def __init__(self, lab):
        super().__init__()
        self.lab = lab
        self.passed = 0
        self.failed = 0
        self.left_out = 0
        self.watchdog = harness.Watchdog(lab, TEST_SECONDS_MAX)

    def startTest(self, test):
        super().startTest(test)
        self.watchdog.start(name_of(test))

    def stopTest(self, test):
        self.watchdog.stop()
        super().stopTest(test)

    def addSuccess(self, test):
        super().addSuccess(test)
        self.passed += 1

    def addSkip(self, test, reason):
        # Nothing may be skipped without a word: a skip is a failure.
        self._report(test, f"skipped: {reason}")

    def addFailure(self, test, err):
        self._report(test, "".join(traceback.format_exception(*err)))

    addError = addFailure

    def addSubTest(self, test, subtest, err):
        if err is not None:
            self._report(subtest, "".join(traceback.format_exception(*err)))

    def _report(self, test, reason):
        self.failed += 1
        print(f"\nFAILED {name_of(test)}\n{reason.rstrip()}\n{self.lab.log_tail()}\n", flush=True)


def name_of(test):
    return test.id() if hasattr(test, "id") else str(test)


def tests_in(suite):
    for item in suite:
        if isinstance(item, unittest.TestSuite):
            yield from tests_in(item)
        else:
            yield item


def select(module, arguments, result):
    """The module's tests that this run is about."""
    chosen = unittest.TestSuite()
    for test in tests_in(unittest.defaultTestLoader.loadTestsFromModule(module)):
        method = getattr(test, getattr(test, "_testMethodName", ""), None)
        if arguments.smoke and getattr(method, "full_only", False):
            result.left_out += 1
        elif not arguments.only or any(name in test.id() for name in arguments.only):
            chosen.addTest(test)
    return chosen


def run_modules(arguments, result):
    for name in MODULES:
        if arguments.smoke and name in NOT_IN_SMOKE:
            print(f"  {name:20} not in the smoke run", flush=True)
            continue
        if arguments.only and not any(may_match(name, wanted) for wanted in arguments.only):
            continue
        began = time.monotonic()
        passed, failed = result.passed, result.failed
        try:
            suite = select(importlib.import_module(name), arguments, result)
        except Exception:
            result.failed += 1
            print(f"\nFAILED {name} could not be loaded\n{traceback.format_exc()}", flush=True)
            continue
        suite.run(result)
        result._previousTestClass = None  # else the next run tears this module's class down again
        if suite.countTestCases() > 0:
            print(f"  {name:20} {result.passed - passed:4} passed {result.failed - failed:4} failed"
                  f"  {time.monotonic() - began:6.1f} s", flush=True)


def may_match(module, wanted):
    """Cheap, so that --only does not import drivers which it does not need."""
    return wanted in module or module in wanted or "_test" not in wanted


def stop_on_signal(_number, _frame):
    raise KeyboardInterrupt  # the one exception that unittest does not take for a failed test


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
        MODULES.append("newer_test")
    files = {path.stem for path in HERE.glob("*_test.py")} - {"newer_test"}
    unknown = files.symmetric_difference(MODULES) - {"newer_test"} | {
        wanted for wanted in arguments.only if not any(may_match(name, wanted) for name in MODULES)}
    if unknown:
        parser.error(f"no modules, or not in the list: {', '.join(sorted(unknown))}")
    if not arguments.schemux.is_file():
        parser.error(f"there is no {arguments.schemux}")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop_on_signal)

    lab = harness.Lab(arguments.schemux, arguments.smoke, arguments.keep)
    harness.Case.lab = lab
    result = Result(lab)
    result.startTestRun()
    began = time.monotonic()
    try:
        lab.open()
        run_modules(arguments, result)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
        result.failed += 1
    finally:
        lab.close()
    if result.left_out:
        print(f"  {result.left_out} tests are only in the full run")
    print(f"  {time.monotonic() - began:.0f} s")
    print(f"integration: {result.passed} passed, {result.failed} failed", flush=True)
    return 0 if result.failed == 0 and result.passed > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
