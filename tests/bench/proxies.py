# The proxies that the benchmarks compare: schemux, the peers, and floors, the least that a
# user-space hop can cost. What each is configured with, how it is started, and the options of the
# command line that choose them.
# It knows proxies; it must not know what they are measured with.

import functools
import os
import pathlib
import shutil
import subprocess
import sys

import bed as testbed
import peers

NEWEST = "newest"
# Floors by kind: forwarders have a backend for each client, pools have as many as the others.
FLOORS = {"fwd_epoll": "forwarder", "fwd_uring": "forwarder",
          "minipool": "minipool", "minipool_uring": "minipool"}
SPARE_CONNECTIONS = 30  # of PostgreSQL: the superuser's, and those that are about to end


class Program:
    """A peer's, and the system that it runs in: "" is this one."""

    def __init__(self, path, root=""):
        self.path = path
        self.root = root

    def version_command(self):
        return [*(["chroot", self.root] if self.root else []), self.path, "--version"]


class System:
    """One of those that are compared. `launch`, given a process's name, a pool's size and whether
    clients need a password, gives a process."""

    def __init__(self, name, kind, launch, version=""):
        self.name = name
        self.kind = kind
        self.launch = launch
        self.version = version
        self.processes = {}

    def process(self, pool=testbed.POOL, password=False):
        key = pool, password
        if key not in self.processes:
            name = "_".join([self.name, str(pool), *(["password"] if password else [])])
            self.processes[key] = self.launch(name, pool, password)
        return self.processes[key]

    def stop_others(self, pool=testbed.POOL, password=False):
        """Their connections are wanted elsewhere."""
        for key in [key for key in self.processes if key != (pool, password)]:
            self.processes.pop(key).stop()


# ---- what each is started with: none writes a line for each client ------------------------------

def certificate(bed, root=""):
    """Files of a certificate and of its key, an RSA one, as most have."""
    made = bed.directory + "/bench-certificate"
    if not os.path.exists(made):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
                        "-subj", "/CN=localhost", "-keyout", made + ".key", "-out", made],
                       check=True, capture_output=True)
    return [bed.write("bench." + end, pathlib.Path(made + suffix).read_text(encoding="ascii"), root)
            for end, suffix in (("crt", ""), ("key", ".key"))]


def start_schemux(bed, path, settings, name, pool, password):
    port = testbed.free_port()
    crt, key = certificate(bed)
    services = "".join(f"  - {{ name: {service}, schema: {service} }}\n"
                       for service in (testbed.ROUTED, *testbed.SERVICES))
    auth = f"""auth:
  method: scram-sha-256
  users:
    - {{ name: {testbed.USER}, password: "{testbed.PASSWORD}" }}""" if password else """\
auth: { method: trust }"""
    config = bed.write(name + ".yaml", f"""\
listen:
  - {{ address: 127.0.0.1, port: {port}, tls: {{ mode: prefer, certificate: {crt}, key: {key} }} }}
http: {{ address: 127.0.0.1, port: {testbed.free_port()} }}
backend:
  dsn: "{bed.conninfo(bed.postgres_port, testbed.PLAIN)}"
pool: {{ max_connections: {pool}, mode: transaction }}
log: {{ level: warning }}
{auth}
{settings}services:
  - {{ name: {testbed.PLAIN} }}
{services}""")
    program = bed.adopt_program(path, name + ".bin")
    return bed.start(name, [program, "serve", "--config", config], port)


def service_pool(pool):
    """The entries of a peer have a pool each: together as many backends as there are elsewhere."""
    return -(-pool // len(testbed.SERVICES))


def start_pgbouncer(bed, program, name, pool, password):
    port = testbed.free_port()
    crt, key = certificate(bed, program.root)
    word = testbed.PASSWORD if password else ""
    users = bed.write(name + ".users", "".join(f'"{user}" "{word}"\n' for user in
                                               (testbed.USER, *testbed.SERVICES)), program.root)
    host = f"host=127.0.0.1 port={bed.postgres_port}"
    services = "".join(f"{service} = {host} dbname={testbed.PLAIN} user={service} "
                       f"pool_size={service_pool(pool)}\n" for service in testbed.SERVICES)
    config = bed.write(name + ".ini", f"""\
[databases]
{services}* = {host}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = {"scram-sha-256" if password else "trust"}
auth_file = {users}
pool_mode = transaction
default_pool_size = {pool}
max_client_conn = 10000
ignore_startup_parameters = extra_float_digits
server_tls_sslmode = disable
client_tls_sslmode = allow
client_tls_cert_file = {crt}
client_tls_key_file = {key}
client_tls_ca_file = {crt}
log_connections = 0
log_disconnections = 0
""", program.root)
    return bed.start(name, [program.path, config], port, root=program.root)


def odyssey_route(database, pool, password, storage=""):
    auth = (f'authentication "scram-sha-256"\n        password "{testbed.PASSWORD}"' if password
            else 'authentication "none"')
    return f"""\
database {database} {{
    user default {{
        {auth}
        storage "postgres"
        {storage}
        pool "transaction"
        pool_size {pool}
        pool_timeout 0
        pool_discard no
        pool_cancel yes
        pool_rollback yes
        pool_reserve_prepared_statement yes
    }}
}}
"""


def start_odyssey(bed, program, name, pool, password):
    port = testbed.free_port()
    crt, key = certificate(bed, program.root)
    routes = [odyssey_route("default", pool, password)]
    routes += [odyssey_route(f'"{service}"', service_pool(pool), password,
                             f'storage_user "{service}"\n        storage_db "{testbed.PLAIN}"')
               for service in testbed.SERVICES]
    config = bed.write(name + ".conf", f"""\
daemonize no
log_format "%p %t %l [%i %s] (%c) %m\\n"
log_to_stdout yes
log_config no
log_session no
log_query no
log_stats no
workers 1
resolvers 1
client_max 10000
listen {{
    host "127.0.0.1"
    port {port}
    backlog 1024
    tls "allow"
    tls_cert_file "{crt}"
    tls_key_file "{key}"
}}
storage "postgres" {{
    type "remote"
    host "127.0.0.1"
    port {bed.postgres_port}
}}
{"".join(routes)}""", program.root)
    return bed.start(name, [program.path, config], port, root=program.root)


def start_floor(bed, kind, path, name, pool, password):
    assert not password, "floors ask for none"
    port = testbed.free_port()
    command = [bed.adopt_program(path, name + ".bin"), str(port), str(bed.postgres_port)]
    if kind == "minipool":
        command += [str(pool), testbed.USER, testbed.PLAIN]
    return bed.start(name, command, port)


# ---- which there are ----------------------------------------------------------------------------

def add_options(parser):
    parser.add_argument("--schemux", action="append", required=True, metavar="[NAME=]PATH",
                        help="again, to compare builds")
    parser.add_argument("--workers", default="", metavar="1,2,4",
                        help="a schemux with each number of workers")
    parser.add_argument("--engines", default="", metavar="epoll,io_uring",
                        help="a schemux with each io_engine")
    parser.add_argument("--peers", default=peers.FOLDER, metavar="DIR",
                        help="where the newest peers are unpacked; '': do not")
    parser.add_argument("--pgbouncer", default=NEWEST, metavar="PATH",
                        help="instead of the newest; '' leaves it out")
    parser.add_argument("--odyssey", default=NEWEST, metavar="PATH",
                        help="instead of the newest; '' leaves it out")
    parser.add_argument("--floors", metavar="DIR", help="with " + ", ".join(FLOORS) + ": *.c")


def start_systems(bed, options):
    """The proxies to compare, and the commands that tell their versions."""
    systems, versions = [], []
    for given in options.schemux:
        name, _, path = given.rpartition("=")
        if not os.path.isfile(path):
            testbed.fail(f"no such program: {path}")
        versions.append([path, "version"])
        for suffix, settings in variants(options):
            launch = functools.partial(start_schemux, bed, path, settings)
            systems.append(System((name or "schemux") + suffix, "schemux", launch))
    for name, program in find_peers(options).items():
        start = start_pgbouncer if name == "pgbouncer" else start_odyssey
        versions.append(program.version_command())
        systems.append(System(name, name, functools.partial(start, bed, program),
                              testbed.first_line(versions[-1])))
    for name, path in build_floors(options.floors, bed.directory).items():
        launch = functools.partial(start_floor, bed, FLOORS[name], path)
        systems.append(System(name, FLOORS[name], launch))
    for system in systems:
        system.process()  # who does not start does so before anything is measured
    return systems, versions


def variants(options):
    """(what to add to the name, settings) for each schemux that was asked for."""
    workers = [(f"-w{number}", f"workers: {number}\n") for number in names(options.workers)]
    engines = [(f"-{engine}", f"io_engine: {engine}\n") for engine in names(options.engines)]
    return [(first + second, one + two) for first, one in workers or [("", "")]
            for second, two in engines or [("", "")]]


def names(text):
    return [name for name in text.split(",") if name]


def find_peers(options):
    """name -> Program; why one is missing is told."""
    root = ""
    if options.peers and NEWEST in (options.pgbouncer, options.odyssey):
        try:
            root = peers.make(options.peers)
        except peers.Unavailable as reason:
            print(f"bench: no newer peers: {reason}; this system's are taken", file=sys.stderr)
    found = {}
    for name in peers.PROGRAMS:
        given = getattr(options, name)
        if given == NEWEST and root:
            found[name] = Program(peers.PROGRAMS[name], root)
        elif given:
            path = find_program(name if given == NEWEST else given)
            if path:
                found[name] = Program(path)
            elif given != NEWEST:
                testbed.fail(f"no such program: {given}")
            else:
                print(f"bench: no {name} here: it is left out", file=sys.stderr)
    return found


def find_program(name):
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")


def build_floors(directory, into):
    """Compiles the reference programs that are there; returns name -> path."""
    built = {}
    if directory and not os.path.isdir(directory):
        testbed.fail(f"no such folder of floors: {directory}")
    for name in FLOORS if directory else ():
        source = os.path.join(directory, name + ".c")
        if not os.path.exists(source):
            continue
        library = ["-luring"] if name.endswith("_uring") else []
        program = os.path.join(into, name)
        done = subprocess.run(["cc", "-O2", "-w", "-o", program, source, *library],
                              capture_output=True, text=True, check=False)
        if done.returncode == 0:
            built[name] = program
        else:
            print(f"bench: {name} is left out: it needs liburing" if library else
                  f"bench: {name} is left out: {done.stderr.strip()}", file=sys.stderr)
    return built


def room_for_forwarders(systems):
    """How many clients may have a backend each while the others keep their pools."""
    pools = sum(len(system.processes) for system in systems if system.kind != "forwarder")
    return testbed.MAX_CONNECTIONS - SPARE_CONNECTIONS - pools * testbed.POOL
