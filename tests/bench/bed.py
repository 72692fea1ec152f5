# The test bed of the benchmarks: a throwaway PostgreSQL, and processes in front of it, all on
# loopback TCP, none as root, nothing left behind.
# It knows how to start and to measure a process and how to load it; it must not know which proxies
# there are (proxies.py) nor what is compared with what.

import glob
import os
import platform
import pwd
import random
import re
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import time

POOL = 20
USER = "bench"
PLAIN = "bench"  # the database, and the service without a schema
PASSWORD = "a long word of the bench"  # clients have it; only who is told to asks for it
ROUTED = "app"  # the service with a schema
# Services with a schema each, and roles of those names for peers, which leave the path to a role.
SERVICES = ("service1", "service2", "service3")
ROWS = 100_000
START_SECONDS = 30
MAX_CONNECTIONS = 300  # of PostgreSQL, for all that are measured together


def fail(text):
    raise SystemExit(f"bench: {text}")


def free_port():
    """Below 32768: above it, an outgoing connection of another run may have the port."""
    for _ in range(200):
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    fail("no free port")


def version_key(path):
    """Of a path such as /usr/lib/postgresql/15/bin/postgres."""
    return [int(number) for number in re.findall(r"\d+", path)]


def postgres_bin():
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/postgres"), key=version_key)
    if found:
        return os.path.dirname(found[-1])
    on_path = shutil.which("postgres")
    return os.path.dirname(on_path) if on_path else fail("PostgreSQL's server is not installed")


def first_line(command):
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
        return (done.stdout + done.stderr).strip().splitlines()[0]
    except (OSError, IndexError, subprocess.TimeoutExpired):
        return "unknown"


class Process:
    """A child that is not root, and what it costs. With `root` it runs in a system of its own:
    chroot replaces itself with the program, so that the process is the program's all the same."""

    def __init__(self, bed, name, command, port, root=""):
        self.name = name
        self.port = port
        identity = bed.identity
        if root:
            owner = f"--userspec={bed.owner.pw_uid}:{bed.owner.pw_gid}"
            command, identity = ["chroot", owner, "--groups=", root, *command], {}
        log = open(os.path.join(bed.directory, name + ".log"), "w", encoding="utf-8")
        self.log = log.name
        with log:
            self.child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log,
                                          stderr=log, cwd=bed.directory, **identity)
        self.pid = self.child.pid

    def cpu_seconds(self):
        """User and system time of all threads; /proc/PID/task/*/schedstat has nanoseconds."""
        total = 0
        for path in glob.glob(f"/proc/{self.pid}/task/*/schedstat"):
            try:
                with open(path, encoding="ascii") as file:
                    total += int(file.read().split()[0])
            except OSError:
                continue  # a thread that has just ended
        return total / 1e9

    def user_share(self):
        """utime and stime in clock ticks: coarse, for the split only."""
        with open(f"/proc/{self.pid}/stat", encoding="ascii") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return int(fields[11]), int(fields[12])

    def rss_kib(self, field="VmRSS"):
        with open(f"/proc/{self.pid}/status", encoding="ascii") as file:
            return int(re.search(field + r":\s+(\d+)", file.read()).group(1))

    def forget_peak(self):
        """From now on peak_kib is the most since."""
        with open(f"/proc/{self.pid}/clear_refs", "w", encoding="ascii") as file:
            file.write("5")

    def peak_kib(self):
        return self.rss_kib("VmHWM")

    def tail(self):
        with open(self.log, encoding="utf-8", errors="replace") as file:
            return "".join(file.readlines()[-15:])

    def alive(self):
        return self.child.poll() is None

    def stop(self, how=signal.SIGTERM):
        if not self.alive():
            return
        self.child.send_signal(how)
        try:
            self.child.wait(10)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()


class Bed:
    """`with Bed() as bed:` PostgreSQL runs inside, and all that the `start_` methods began."""

    def __init__(self):
        self.identity = {}
        self.owner = None
        if os.geteuid() == 0:
            for name in ("postgres", "nobody"):
                try:
                    self.owner = pwd.getpwnam(name)
                    break
                except KeyError:
                    continue
            else:
                fail("running as root, and there is no user postgres or nobody to run servers as")
            self.identity = {"user": self.owner.pw_uid, "group": self.owner.pw_gid,
                             "extra_groups": []}
        self.bin = postgres_bin()
        self.processes = []
        self.roots = []  # systems that processes run in
        self.directory = None
        # A proxy of 5,000 clients has a descriptor for each.
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))

    def __enter__(self):
        self.directory = tempfile.mkdtemp(prefix="schemux-bench-")
        self.own(self.directory)
        try:
            self.start_postgres()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for process in reversed(self.processes):
            process.stop(signal.SIGINT if process.name == "postgres" else signal.SIGTERM)
        for root in ("", *self.roots):
            shutil.rmtree(root + self.directory, ignore_errors=True)

    def own(self, path):
        if self.owner:
            os.chown(path, self.owner.pw_uid, self.owner.pw_gid)

    def write(self, name, text, root=""):
        """The file's path, as who runs in `root` sees it."""
        if root and root not in self.roots:
            os.mkdir(root + self.directory, 0o700)
            self.own(root + self.directory)
            self.roots.append(root)
        path = os.path.join(self.directory, name)
        with open(root + path, "w", encoding="utf-8") as file:
            file.write(text)
        self.own(root + path)
        return path

    def adopt_program(self, path, name):
        """A copy that the servers' user may run, and that a rebuild does not change."""
        copy = os.path.join(self.directory, name)
        shutil.copyfile(path, copy)
        os.chmod(copy, 0o755)
        return copy

    def start(self, name, command, port, database=PLAIN, root=""):
        process = Process(self, name, command, port, root)
        self.processes.append(process)
        deadline = time.monotonic() + START_SECONDS
        while not self.answers(port, database):
            if not process.alive() or time.monotonic() > deadline:
                fail(f"{name} did not start:\n{process.tail()}")
            time.sleep(0.05)
        return process

    def answers(self, port, database):
        asked = subprocess.run([self.program("psql"), "-XqAt", "-c", "SELECT 1",
                                self.conninfo(port, database)], capture_output=True, check=False,
                               env={**os.environ, "PGPASSWORD": PASSWORD})
        return asked.returncode == 0

    def program(self, name):
        return os.path.join(self.bin, name)

    def conninfo(self, port, database):
        return (f"host=127.0.0.1 port={port} user={USER} dbname={database} sslmode=disable "
                "gssencmode=disable connect_timeout=5")

    # ---- PostgreSQL ----------------------------------------------------------------------------

    def start_postgres(self):
        data = os.path.join(self.directory, "data")
        subprocess.run([self.program("initdb"), "-D", data, "-U", USER, "-A", "trust", "-E", "UTF8",
                        "--no-locale", "--no-sync"], check=True, stdout=subprocess.DEVNULL,
                       cwd=self.directory, **self.identity)
        settings = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off",
                    "listen_addresses": "127.0.0.1", "max_connections": MAX_CONNECTIONS,
                    "unix_socket_directories": self.directory, "autovacuum": "off",
                    "shared_buffers": "128MB", "max_wal_size": "1GB"}
        self.postgres_port = free_port()
        command = [self.program("postgres"), "-D", data, "-p", str(self.postgres_port)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        self.start("postgres", command, self.postgres_port, "postgres")
        self.sql("postgres", f"CREATE DATABASE {PLAIN}")
        subprocess.run([self.program("pgbench"), "-i", "-q", "-s", str(ROWS // 100_000),
                        "-h", "127.0.0.1", "-p", str(self.postgres_port), "-U", USER, PLAIN],
                       check=True, capture_output=True)
        for schema in (ROUTED, *SERVICES):
            table = f"{schema}.accounts"
            self.sql(PLAIN, f"CREATE SCHEMA {schema};"
                     f"CREATE TABLE {table} AS SELECT aid, abalance FROM pgbench_accounts;"
                     f"ALTER TABLE {table} ADD PRIMARY KEY (aid); ANALYZE {table}")
        for role in SERVICES:
            self.sql(PLAIN, f"CREATE ROLE {role} LOGIN; ALTER ROLE {role} SET search_path = {role};"
                     f"GRANT USAGE ON SCHEMA {role} TO {role};"
                     f"GRANT SELECT ON {role}.accounts TO {role}")

    def sql(self, database, text):
        subprocess.run([self.program("psql"), "-Xq", "-v", "ON_ERROR_STOP=1", "-c", text,
                        self.conninfo(self.postgres_port, database)], check=True)

    # ---- the load ------------------------------------------------------------------------------

    def pgbench(self, port, database, arguments, clients, seconds, log_prefix=None, sampling=None,
                environment=None):
        command = [self.program("pgbench"), "-n", "-h", "127.0.0.1", "-p", str(port), "-U", USER,
                   "-c", str(clients), "-T", str(seconds), *arguments]
        if log_prefix:
            command += ["-l", "--log-prefix", log_prefix]
        if sampling:
            command += ["--sampling-rate", str(sampling)]
        environment = {**os.environ, "PGSSLMODE": "disable", "PGGSSENCMODE": "disable",
                       "PGPASSWORD": PASSWORD, **(environment or {})}
        return subprocess.Popen([*command, database], stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True, cwd=self.directory,
                                env=environment)

    def machine(self, programs):
        """One line for the head of a table: what the figures were taken on."""
        model = "unknown CPU"
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            found = re.search(r"model name\s*:\s*(.+)", file.read())
            model = found.group(1) if found else platform.machine()
        parts = [model, f"{os.cpu_count()} CPUs", f"Linux {platform.release()}",
                 first_line([self.program("postgres"), "--version"])]
        return "; ".join(parts + [first_line(command) for command in programs])
