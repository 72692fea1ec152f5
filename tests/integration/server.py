"""Starts and stops the processes that the tests talk to: one PostgreSQL, and schemux itself.

Knows process ids, folders, ports, logs and metrics. It must not know what any test is about.
"""

import contextlib
import ctypes
import json
import os
import pathlib
import pwd
import random
import re
import resource
import shutil
import signal
import socket
import subprocess
import time
import urllib.request

import psycopg

POSTGRES_BIN = pathlib.Path("/usr/lib/postgresql/15/bin")
# A folder with another system, in which another PostgreSQL is installed: `use_root`.
POSTGRES_ROOT = None
START_SECONDS = 30
STOP_SECONDS = 30
LOG_TAIL_LINES = 25
# Above it the kernel takes ports for outgoing connections, and could take ours between two starts.
EPHEMERAL_PORTS_BEGIN = 32768
PR_SET_PDEATHSIG = 1

_given_ports = set()
_libc = ctypes.CDLL(None, use_errno=True)


class ServerError(Exception):
    """A process did not start, or did not end."""


def free_port():
    """A loopback port below the ephemeral range that nobody listens on."""
    for _ in range(1000):
        port = random.randrange(10000, EPHEMERAL_PORTS_BEGIN)
        if port in _given_ports:
            continue
        with contextlib.closing(socket.socket()) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _given_ports.add(port)
        return port
    raise ServerError("no free port below the ephemeral range")


def wait_until(condition, seconds=20, what="the condition"):
    """Polls until `condition()` is true and returns its value; an AssertionError if it stays false.
    The bound only ends a test that has already failed."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds} s in vain for {what}")
        time.sleep(0.02)


def use_root(root, version):
    """PostgreSQL `version` as installed in `root`, where the folder for temporary files is the same
    one as here (tests/newer_servers.sh sees to that)."""
    global POSTGRES_BIN, POSTGRES_ROOT
    POSTGRES_BIN = pathlib.Path(f"/usr/lib/postgresql/{version}/bin")
    POSTGRES_ROOT = pathlib.Path(root)


def major():
    """That PostgreSQL's version."""
    return int(POSTGRES_BIN.parent.name)


def program(name):
    """The words that begin a command line of one of that PostgreSQL's own programs."""
    return [*(["chroot", POSTGRES_ROOT] if POSTGRES_ROOT else []), POSTGRES_BIN / name]


def _postgres_user():
    """uid and gid of who PostgreSQL runs as; None when we are not root."""
    if os.geteuid() != 0:
        return None
    if POSTGRES_ROOT is None:
        found = pwd.getpwnam("postgres")
        return found.pw_uid, found.pw_gid
    for line in (POSTGRES_ROOT / "etc/passwd").read_text().splitlines():
        fields = line.split(":")
        if fields[0] == "postgres":
            return int(fields[2]), int(fields[3])
    raise ServerError(f"no user postgres in {POSTGRES_ROOT}")


def child_setup(death_signal, user=None, open_files_max=None):
    """What a child does before it runs: become `user`, and die when this process does."""

    def prepare():
        os.setsid()
        if user is not None:
            if POSTGRES_ROOT is not None:
                folder = os.getcwd()
                os.chroot(POSTGRES_ROOT)
                os.chdir(folder)
            uid, gid = user
            os.setgroups([])
            os.setgid(gid)
            os.setuid(uid)
        if open_files_max is not None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (open_files_max, open_files_max))
        _libc.prctl(PR_SET_PDEATHSIG, death_signal)

    return prepare


def tail(path, lines=LOG_TAIL_LINES):
    try:
        text = pathlib.Path(path).read_text(errors="replace")
    except OSError as error:
        return f"(no log: {error})"
    return "\n".join(text.splitlines()[-lines:])


_SANITIZER_MARKS = ("WARNING: ThreadSanitizer", "ERROR: AddressSanitizer",
                    "ERROR: LeakSanitizer", "runtime error: ")
_SANITIZER_LINES = 80


def sanitizer_report(path):
    """What a sanitizer of the process under test wrote into its log; empty: nothing."""
    if not pathlib.Path(path).exists():
        return ""
    lines = pathlib.Path(path).read_text(errors="replace").splitlines()
    for number, line in enumerate(lines):
        if any(mark in line for mark in _SANITIZER_MARKS):
            return "\n".join(lines[number:number + _SANITIZER_LINES])
    return ""


class Postgres:
    """A PostgreSQL cluster in a folder of its own; never run as root."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.data = self.folder / "data"
        self.log = self.folder / "postgres.log"
        self.port = free_port()
        self.process = None
        self.user = _postgres_user()

    def create(self):
        self.folder.mkdir()
        if self.user is not None:
            os.chown(self.folder, *self.user)
        made = subprocess.run(
            [POSTGRES_BIN / "initdb", "-D", self.data, "-U", "postgres", "-A", "trust",
             "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"],
            cwd=self.folder, preexec_fn=child_setup(signal.SIGKILL, self.user),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if made.returncode != 0:
            raise ServerError(f"initdb failed: {made.stdout}")
        (self.data / "pg_hba.conf").write_text(
            "local all all trust\n"
            "host all secret_app,svc_users,svc_wrong 127.0.0.1/32 scram-sha-256\n"
            "host all md5_app 127.0.0.1/32 md5\n"
            "host all cr_ann,cr_bob,cr_cat,client 127.0.0.1/32 scram-sha-256\n"
            "host all clear_app,cr_dan 127.0.0.1/32 password\n"
            "host all all 127.0.0.1/32 trust\n"
            "host replication postgres 127.0.0.1/32 trust\n")

    def create_standby(self, primary):
        """A copy of `primary`, which follows it until it is promoted."""
        self.folder.mkdir()
        if self.user is not None:
            os.chown(self.folder, *self.user)
        made = subprocess.run(
            [POSTGRES_BIN / "pg_basebackup", "-D", self.data, "-R", "-X", "stream", "-c", "fast",
             "--no-sync", "-h", "127.0.0.1", "-p", str(primary.port), "-U", "postgres"],
            cwd=self.folder, preexec_fn=child_setup(signal.SIGKILL, self.user),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if made.returncode != 0:
            raise ServerError(f"pg_basebackup failed: {made.stdout}")

    def start(self):
        settings = {
            "listen_addresses": "127.0.0.1", "port": self.port,
            "unix_socket_directories": self.folder, "fsync": "off", "max_connections": 100,
            "shared_buffers": "64MB", "log_min_messages": "warning", "timezone": "UTC",
            "full_page_writes": "off", "max_prepared_transactions": 0,
        }
        command = [POSTGRES_BIN / "postgres", "-D", self.data]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                preexec_fn=child_setup(signal.SIGQUIT, self.user))

        def answers():
            if self.process.poll() is not None:
                raise ServerError(f"PostgreSQL ended at its start:\n{tail(self.log)}")
            try:
                self.connect("postgres").close()
            except psycopg.OperationalError:
                return False
            return True

        wait_until(answers, START_SECONDS, "PostgreSQL to answer")

    def stop(self, how=signal.SIGINT):
        """SIGINT is PostgreSQL's fast shutdown, SIGQUIT the immediate one."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.send_signal(how)
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.send_signal(signal.SIGQUIT)
                self.process.wait(STOP_SECONDS)
        self.process = None

    def connect(self, dbname="app", user="postgres", **more):
        """A direct connection, past schemux."""
        return psycopg.connect(host="127.0.0.1", port=self.port, dbname=dbname, user=user,
                               autocommit=True, connect_timeout=10, **more)

    def connect_as_owner(self):
        """Makes what the role `app` owns, but does not count as one of its connections."""
        connection = self.connect()
        connection.execute("SET ROLE app")
        return connection

    def run(self, sql, parameters=None, dbname="app"):
        """Runs one text directly as the superuser; its rows, if it has any."""
        with self.connect(dbname) as connection:
            cursor = connection.execute(sql, parameters)
            return cursor.fetchall() if cursor.description else []

    def dsn(self, user="app", dbname="app"):
        return f"host=127.0.0.1 port={self.port} dbname={dbname} user={user}"

    def backends(self, user="app"):
        """pids of the connections that `user` has now."""
        rows = self.run("SELECT pid FROM pg_stat_activity WHERE usename = %s", (user,))
        return [pid for pid, in rows]


_METRIC = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def parse_metrics(text):
    """Prometheus' text format as {(name, frozenset of label pairs): value}."""
    metrics = {}
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        found = _METRIC.match(line)
        if not found:
            raise AssertionError(f"not a metric line: {line!r}")
        name, labels, value = found.groups()
        metrics[name, frozenset(_LABEL.findall(labels or ""))] = float(value)
    return metrics


def merged(base, changes):
    """`base` with `changes` laid over it; sections are merged, everything else is replaced."""
    result = dict(base)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both else value
    return result


# All tests with another engine than the default one.
ENGINE = os.environ.get("SCHEMUX_IO_ENGINE")


class Schemux:
    """One `schemux serve` with a configuration of its own."""

    def __init__(self, binary, folder, postgres, changes=None):
        self.binary = str(binary)
        self.folder = pathlib.Path(folder)
        self.folder.mkdir()
        self.log = self.folder / "schemux.log"
        self.config_file = self.folder / "schemux.yaml"
        self.port = free_port()
        self.http_port = free_port()
        self.process = None
        self.environment = {}
        self.open_files_max = None
        self.config = merged({
            "listen": [{"address": "127.0.0.1", "port": self.port}],
            "http": {"address": "127.0.0.1", "port": self.http_port},
            "backend": {"dsn": postgres.dsn()},
            "pool": {"max_connections": 5, "audit_sample": 2},
            "auth": {"method": "trust"},
            "services": [{"name": "users", "schema": "users"},
                         {"name": "orders", "schema": "orders"}, {"name": "legacy"}],
            "log": {"format": "json", "level": "debug"},
        }, changes or {})
        if ENGINE and "io_engine" not in self.config:
            self.config["io_engine"] = ENGINE
        self.write_config()

    def write_config(self, text=None):
        """The configuration as JSON, which is YAML too; or `text` as it is."""
        self.config_file.write_text(text if text is not None else json.dumps(self.config, indent=1))

    def start(self, wait=True):
        # The servers of most tests know no TLS; a dsn that says otherwise wins.
        environment = {"PGSSLMODE": "disable", **os.environ, **self.environment}
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [self.binary, "serve", "--config", self.config_file], stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, env=environment,
                preexec_fn=child_setup(signal.SIGKILL, open_files_max=self.open_files_max))
        if wait:
            wait_until(self.is_up, START_SECONDS, "schemux to listen")
        return self

    def is_up(self):
        if self.process.poll() is not None:
            raise ServerError(f"schemux ended at its start:\n{tail(self.log)}")
        try:
            return self.get("/livez")[0] == 200
        except OSError:
            return False

    def signal(self, number):
        self.process.send_signal(number)

    def reload(self):
        """SIGHUP, and wait until it has been acted upon."""
        before = self.log_count("reloaded") + self.log_count("reload_failed")
        self.signal(signal.SIGHUP)
        wait_until(
            lambda: self.log_count("reloaded") + self.log_count("reload_failed") > before,
            what="the reload")

    def wait(self, seconds=STOP_SECONDS):
        """The exit status."""
        return self.process.wait(seconds)

    def stop(self):
        """SIGTERM; the exit status, or None if it had to be killed."""
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                return None
        return self.process.returncode

    def dispose(self):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def log_lines(self):
        """The events written so far, as dictionaries."""
        lines = self.log.read_text(errors="replace").splitlines()
        events = []
        for line in lines:
            with contextlib.suppress(ValueError):
                events.append(json.loads(line))
        return events

    def log_count(self, event):
        return sum(1 for line in self.log_lines() if line.get("event") == event)

    def cpu_seconds(self):
        """User and system time so far; asks the kernel, for when schemux cannot answer."""
        stat = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text()
        fields = stat.rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_bytes(self):
        pages = pathlib.Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def open_files(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def get(self, path):
        """HTTP status and body."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.http_port}{path}")
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def metrics(self):
        status, text = self.get("/metrics")
        if status != 200:
            raise AssertionError(f"/metrics answered {status}: {text}")
        return parse_metrics(text)

    def metric(self, name, **labels):
        """The value of one series; without labels, the sum over all series of that name."""
        wanted = set(labels.items())
        found = [value for (series, pairs), value in self.metrics().items()
                 if series == name and wanted <= pairs]
        if not found:
            raise AssertionError(f"no metric {name} {labels}")
        return sum(found)

    def dsn(self, service="users", user="alice", **more):
        parts = {"host": "127.0.0.1", "port": self.port, "dbname": service, "user": user,
                 "connect_timeout": 20, **more}
        return " ".join(f"{name}='{value}'" for name, value in parts.items())


def remove_folder(folder):
    shutil.rmtree(folder, ignore_errors=True)
