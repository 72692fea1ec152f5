"""What every test of this suite builds on: the shared PostgreSQL, and a schemux per test class.

A test is a method of a Case and is named for the behaviour that it checks. No sleep decides a
test: waits are polls with a bound (server.wait_until).
"""

import contextlib
import functools
import pathlib
import signal
import subprocess
import tempfile
import threading
import unittest

import psycopg

import server
import wire

DATA_SQL = """
CREATE ROLE app LOGIN;
CREATE ROLE secret_app LOGIN PASSWORD 'pool secret';
CREATE ROLE clear_app LOGIN PASSWORD 'pool secret';
SET password_encryption = 'md5';
CREATE ROLE md5_app LOGIN PASSWORD 'pool secret';
RESET password_encryption;
CREATE ROLE app_reader;
GRANT app_reader TO app;
"""

# One table of each name in every schema, so that a wrong schema shows in the answer.
SCHEMA_SQL = """
CREATE TABLE {schema}.who (service text NOT NULL);
INSERT INTO {schema}.who VALUES ('{service}');
CREATE TABLE {schema}.items (id serial PRIMARY KEY, name text NOT NULL);
INSERT INTO {schema}.items (name) SELECT '{service} item ' || n FROM generate_series(1, 10) AS n;
CREATE TABLE {schema}.ledger (nonce text NOT NULL, service text DEFAULT '{service}');
CREATE TABLE {schema}.loaded (number int, body text);
CREATE FUNCTION {schema}.whose() RETURNS text LANGUAGE sql AS $$ SELECT '{service}' $$;
CREATE FUNCTION {schema}.change_setting(name text, value text) RETURNS void LANGUAGE plpgsql
    AS $$ BEGIN PERFORM set_config(name, value, false); END $$;
"""

# An unsigned gauge that was lowered once too often is beyond this.
BELOW_ZERO = 2.0 ** 62

SERVICES = {"users": "users", "orders": "orders", "legacy": "public"}
# No test of a driver has more clients at once.
SESSION_CONNECTIONS = 45


class Lab:
    """What one run of the suite shares."""

    def __init__(self, binary, smoke=False, keep=False):
        self.binary = pathlib.Path(binary).resolve()
        self.smoke = smoke
        self.keep = keep
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="schemux-integration-"))
        self.folder.chmod(0o755)
        self.postgres = server.Postgres(self.folder / "postgres")
        self.running = []
        self.started = 0

    def open(self):
        self.postgres.create()
        self.postgres.start()
        self.postgres.run(DATA_SQL, dbname="postgres")
        self.postgres.run("CREATE DATABASE app OWNER app", dbname="postgres")
        self.postgres.run("ALTER SCHEMA public OWNER TO app")
        with self.postgres.connect(user="app") as connection:
            for service, schema in SERVICES.items():
                if schema != "public":
                    connection.execute(f"CREATE SCHEMA {schema}")
                connection.execute(SCHEMA_SQL.format(schema=schema, service=service))

    def schemux(self, changes=None, start=True, name="schemux", environment=None):
        self.started += 1
        instance = server.Schemux(self.binary, self.folder / f"{name}-{self.started}",
                                  self.postgres, changes)
        instance.environment = environment or {}
        self.running.append(instance)
        if start:
            instance.start()
        return instance

    def log_tail(self):
        """Of the instances that matter now."""
        return "\n".join(f"--- {one.log}\n{server.tail(one.log)}" for one in self.running)

    def forget(self, instance):
        instance.dispose()
        if instance in self.running:
            self.running.remove(instance)
        report = server.sanitizer_report(instance.log)
        if report:
            raise AssertionError(f"a sanitizer found something:\n{report}")

    def close(self):
        for instance in list(self.running):
            self.forget(instance)
        self.postgres.stop(signal.SIGQUIT)
        if self.keep:
            print(f"kept: {self.folder}")
        else:
            server.remove_folder(self.folder)


class Case(unittest.TestCase):
    """A test class with one schemux, `self.schemux`, configured by `config`."""

    lab = None
    config = {}
    environment = {}
    own_schemux = True
    honest_server = True
    may_find = False  # audits find state that nobody saw come
    longMessage = True
    maxDiff = 2000

    @classmethod
    def setUpClass(cls):
        cls.schemux = cls.lab.schemux(
            cls.config, name=cls.__name__, environment=cls.environment) if cls.own_schemux else None
        cls.postgres = cls.lab.postgres

    @classmethod
    def tearDownClass(cls):
        if cls.schemux is None:
            return
        schemux = cls.schemux
        try:
            metrics = schemux.metrics()
            status = schemux.stop()
            desyncs = metrics["schemux_desync_total", frozenset()]
            if cls.honest_server and desyncs != 0:
                raise AssertionError("a backend answered what nobody had asked")
            found = {tuple(labels): value for (name, labels), value in metrics.items()
                     if name == "schemux_audit_findings_total" and value}
            if found and not cls.may_find:
                raise AssertionError(f"state that nobody saw come: {found}")
            below_zero = [name for name, value in metrics.items() if value > BELOW_ZERO]
            if below_zero:
                raise AssertionError(f"gauges that fell below zero: {below_zero}")
            if status != 0:
                raise AssertionError(f"schemux ended with status {status}")
        finally:
            cls.lab.forget(schemux)

    # ---- clients ---------------------------------------------------------------------------

    def start_schemux(self, changes=None, start=True):
        """Another schemux for this test alone."""
        instance = self.lab.schemux(changes, start=start, name=self._testMethodName[:40])
        self.addCleanup(self.lab.forget, instance)
        return instance

    def wire(self, service="users", schemux=None, **startup):
        client = wire.connect((schemux or self.schemux).port, service, **startup)
        self.addCleanup(client.close)
        return client

    def raw(self, schemux=None):
        """A connection that has said nothing yet."""
        client = wire.Wire((schemux or self.schemux).port)
        self.addCleanup(client.close)
        return client

    def psycopg(self, service="users", schemux=None, autocommit=True, **more):
        instance = schemux or self.schemux
        connection = psycopg.connect(instance.dsn(service), autocommit=autocommit, **more)
        self.addCleanup(connection.close)
        return connection

    def run_program(self, *command, seconds=120, **more):
        """Runs a client program; its completed process."""
        return subprocess.run([str(part) for part in command], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              timeout=seconds, check=False, **more)

    def assert_program(self, finished):
        self.assertEqual(finished.returncode, 0,
                         f"\nstdout: {finished.stdout[-3000:]}\nstderr: {finished.stderr[-3000:]}")

    def assert_cancelled(self, connection, postgres):
        """A statement that runs is ended by a cancel of its client's, who lives on."""
        mark = wire.nonce()
        runs = "SELECT 1 FROM pg_stat_activity WHERE state = 'active' AND query LIKE %s"

        def cancel():
            self.wait_until(lambda: postgres.run(runs, (f"%{mark}%",)), "it to run")
            connection.cancel()

        cancelling = Background(cancel)
        with self.assertRaises(psycopg.errors.QueryCanceled):
            connection.execute(f"SELECT pg_sleep(60), '{mark}'")
        cancelling.result()
        self.assertEqual(connection.execute("SELECT 1").fetchone(), (1,))

    def wait_until(self, condition, what="the condition", seconds=20):
        return server.wait_until(condition, seconds, what)

    def wait_for_idle_pool(self, schemux=None):
        """Until no backend is leased, reset, or being closed."""
        instance = schemux or self.schemux

        def at_rest():
            metrics = instance.metrics()
            return all(value == 0 for (name, labels), value in metrics.items()
                       if name == "schemux_backend_connections" and ("state", "idle") not in labels)

        self.wait_until(at_rest, "the pool to be idle")

    @contextlib.contextmanager
    def temporary_table(self, definition, *schemas):
        """A table of this test's own, made past schemux and dropped afterwards."""
        name = f"t_{wire.nonce()}"
        with self.postgres.connect_as_owner() as connection:
            # A client that still has it open is an error of the test, not a reason to hang.
            connection.execute("SET lock_timeout = '10s'")
            for schema in schemas or ("users",):
                connection.execute(f"CREATE TABLE {schema}.{name} ({definition})")
            try:
                yield name
            finally:
                for schema in schemas or ("users",):
                    connection.execute(f"DROP TABLE {schema}.{name}")


def in_session_mode(case):
    """The tests of `case` once more, in session mode; the pool has a backend for every client."""
    config = server.merged(case.config, {"pool": {"mode": "session",
                                                  "max_connections": SESSION_CONNECTIONS}})
    return type(f"{case.__name__}InSessionMode", (case,),
                {"config": config, "__module__": case.__module__})


class Watchdog:
    """Ends a test that hangs: without its schemux every client gets an error."""

    def __init__(self, lab, seconds):
        self._lab = lab
        self._seconds = seconds
        self._timer = None

    def start(self, name):
        def bite():
            print(f"\n{name} takes more than {self._seconds} s: ending its schemux", flush=True)
            for instance in list(self._lab.running):
                instance.dispose()

        self._timer = threading.Timer(self._seconds, bite)
        self._timer.daemon = True
        self._timer.start()

    def stop(self):
        if self._timer is not None:
            self._timer.cancel()


def full_only(method):
    """Not in the smoke run; run.py says how many were left out."""
    method.full_only = True
    return method


class Background:
    """Runs a function in a thread; `result()` gives its value or raises what it raised."""

    def __init__(self, function, *arguments):
        self._value = self._error = None
        self._thread = threading.Thread(
            target=self._run, args=(functools.partial(function, *arguments),), daemon=True)
        self._thread.start()

    def _run(self, function):
        try:
            self._value = function()
        except BaseException as error:  # handed to whoever asks for the result
            self._error = error

    def done(self):
        return not self._thread.is_alive()

    def result(self, seconds=60):
        self._thread.join(seconds)
        if self._thread.is_alive():
            raise AssertionError(f"still running after {seconds} s")
        if self._error is not None:
            raise self._error
        return self._value
