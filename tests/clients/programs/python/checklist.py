"""What the Python programs of tests/clients share: the list of checks, run and told line by line.

Knows the environment that run.py sets. It must not know any driver.
"""

import contextlib
import os
import sys

HOST = os.environ["PGHOST"]
PORT = int(os.environ["PGPORT"])
USER = os.environ["PGUSER"]
SERVICE = os.environ["PGDATABASE"]
ROWS = 100_000
LARGE = 20 * 1024 * 1024
CONNECTIONS = 4
ROUNDS = 25


def equal(found, expected):
    if found != expected:
        raise AssertionError(f"{str(found)[:300]!r} in place of {str(expected)[:300]!r}")


@contextlib.contextmanager
def fails_with(sqlstate, state_of, errors):
    """The block must raise one of `errors` that carries `sqlstate`."""
    try:
        yield
    except errors as error:
        equal(state_of(error), sqlstate)
        return
    raise AssertionError(f"no error {sqlstate}")


def report(name, check):
    try:
        check()
    except Exception as error:  # each kind of failure is one line
        why = f"{type(error).__name__}: {error}".replace("\n", " | ")[:600]
        print(f"FAIL {name}: {why}", flush=True)
        return False
    print(f"ok {name}", flush=True)
    return True


def run(checks):
    """`checks`: a module's namespace; its functions check_<name> in their order."""
    good = [report(name.removeprefix("check_"), check)
            for name, check in list(checks.items()) if name.startswith("check_")]
    sys.exit(0 if all(good) else 1)
