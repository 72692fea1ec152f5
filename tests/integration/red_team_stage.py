"""The stage of the red team: two services with a secret each in one database, on one of three
levels of isolation, and what a hostile client of service `a` is told when it runs a program.

A program that is told `b`'s secret, in rows, COPY, an error or a notice, has leaked it: the secret
is new for each stage, and no program knows it. Nothing here knows a single attack.
"""

import dataclasses

import harness
import isolation_test
import wire

DATABASE = "red_team"
SERVICES = ("a", "b")
# The levels that are tested through schemux. Others are tested on PostgreSQL itself, with the roles
# and settings that schemux is to use: what the level cannot hold there, no proxy can make it hold.
THROUGH_SCHEMUX = {"shared", "guarded", "strict"}

ROLES = {"svc_a": "", "svc_b": "", "red_shared": "", "red_guarded": "NOINHERIT", "red_strict": ""}
ROLES_SQL = "".join(f"CREATE ROLE {name} LOGIN {options}; " for name, options in ROLES.items()) + (
    "GRANT svc_a, svc_b TO red_guarded")
DROP_ROLES_SQL = "DROP ROLE IF EXISTS " + ", ".join(ROLES)
SCHEMA_SQL = """
CREATE SCHEMA {name} AUTHORIZATION svc_{name};
SET ROLE svc_{name};
CREATE TABLE {name}.t (body text NOT NULL);
INSERT INTO {name}.t VALUES ('{secret}');
CREATE SEQUENCE {name}.numbers;
CREATE TYPE {name}.mood AS ENUM ('good', 'bad');
CREATE FUNCTION {name}.plans() RETURNS text LANGUAGE sql AS $$ SELECT 'plans {secret}' $$;
GRANT ALL ON SCHEMA {name} TO red_shared;
GRANT ALL ON ALL TABLES IN SCHEMA {name} TO red_shared;
GRANT ALL ON ALL SEQUENCES IN SCHEMA {name} TO red_shared;
RESET ROLE;
"""
# What an attack may have done to the roles, which are the cluster's.
MEND_SQL = "".join(f"ALTER ROLE {name} RESET ALL; ALTER ROLE {name} PASSWORD NULL; "
                   for name in ROLES)
WHO = ("SELECT current_user, session_user, pg_catalog.current_setting('search_path'), "
       "(SELECT pg_catalog.string_agg(body, ',') FROM t), pg_catalog.pg_backend_pid()")
OWN_LOCKS = f"{isolation_test.LOCKS} AND pid = pg_backend_pid()"
LEFT_BEHIND = (isolation_test.SETTINGS_DIFFER, isolation_test.STATEMENTS, isolation_test.CURSORS,
               OWN_LOCKS, isolation_test.CHANNELS, isolation_test.TEMPORARY)


@dataclasses.dataclass(frozen=True)
class Level:
    """Who logs in for a service, and whose rights its statements have."""

    name: str
    login: str  # with {} for the service
    role: str = ""

    @property
    def through_schemux(self):
        return self.name in THROUGH_SCHEMUX

    def session_user(self, service):
        return self.login.format(service)

    def current_user(self, service):
        return (self.role or self.login).format(service)

    def service(self, name):
        if self.name == "shared":
            return {"name": name, "schema": name}
        return {"name": name, "schema": name, "isolation": self.name, "role": f"svc_{name}"}

    def config(self, postgres, connections, **service):
        """schemux' own; at `strict` the dsn's user is nobody's, and has no rights. Without audits
        by chance, which would mend what is passed on every now and then."""
        login = "red_strict" if self.name == "strict" else self.login
        return {"backend": {"dsn": postgres.dsn(login, DATABASE)},
                "services": [{**self.service(name), **service} for name in SERVICES],
                "pool": {"max_connections": connections, "acquire_timeout": "20s",
                         "audit_sample": 0}}

    def startup(self, service):
        """The startup packet's parameters for PostgreSQL itself."""
        role = {"role": self.role.format(service)} if self.role else {}
        return {"search_path": f'"{service}", public', **role}


SHARED = Level("shared", "red_shared")
GUARDED = Level("guarded", "red_guarded", "svc_{}")
STRICT = Level("strict", "svc_{}")


@dataclasses.dataclass(frozen=True)
class Extended:
    """A statement of the extended protocol, with its parameters; a name keeps it prepared."""

    sql: str
    parameters: tuple = ()
    name: str = ""

    def messages(self):
        return (wire.parse(self.name, self.sql) + wire.bind("", self.name, self.parameters)
                + wire.describe("P") + wire.execute() + wire.SYNC)


class Stage(harness.Case):
    """One level, with a database of its own. Service `a` is who attacks."""

    own_schemux = False
    level = None  # no tests of this class itself
    connections = 1
    service = {}  # more of each service's configuration
    may_find = True  # `state: verify` finds what no text shows, which is what it is for

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.secrets = {name: f"secret of {name} {wire.nonce()}" for name in SERVICES}
        cls.tear_down_stage()
        cls.postgres.run(ROLES_SQL)
        cls.postgres.run(f"CREATE DATABASE {DATABASE}")
        for name in SERVICES:
            cls.run_as_admin(SCHEMA_SQL.format(name=name, secret=cls.secrets[name]))
        if cls.level.through_schemux:
            cls.schemux = cls.lab.schemux(
                cls.level.config(cls.postgres, cls.connections, **cls.service), name=cls.__name__)

    @classmethod
    def tearDownClass(cls):
        try:
            super().tearDownClass()
        finally:
            cls.tear_down_stage()

    @classmethod
    def tear_down_stage(cls):
        cls.postgres.run(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
        cls.postgres.run(DROP_ROLES_SQL)

    @classmethod
    def run_as_admin(cls, sql, parameters=None):
        return cls.postgres.run(sql, parameters, dbname=DATABASE)

    def mend(self):
        """Undoes what a program made of the cluster's roles and left in a's schema."""
        self.run_as_admin(MEND_SQL)

    def setUp(self):
        self.clients = []

    # ---- clients ---------------------------------------------------------------------------

    def connect(self, service, **startup):
        """A client of the service on this level: the one place that knows what it goes through."""
        if self.level.through_schemux:
            client = wire.connect(self.schemux.port, service, **startup)
        else:
            client = wire.Wire(self.postgres.port)
            self.addCleanup(client.close)
            client.login(DATABASE, self.level.session_user(service),
                         **{**self.level.startup(service), **startup})
        self.addCleanup(client.close)
        self.clients.append(client)
        return client

    def everybody_leaves(self):
        for client in self.clients:
            client.close()
        self.clients.clear()

    def run_program(self, client, program):
        """All that the client is told. Statements that fail do not end it, its own end does."""
        told = []
        for statement in program:
            try:
                client.send(statement.messages() if isinstance(statement, Extended)
                            else wire.query(statement))
                told += client.read_ready()
            except (wire.Closed, OSError) as closed:
                told += getattr(closed, "messages", [])
                break
        return told

    def tells(self, messages, what):
        """Whether it is in any of them, in whatever kind of message."""
        return any(what.encode() in one.body for one in messages)

    def outcome(self, program, client=None):
        """`leak` if a client of a's is told b's secret."""
        attacker = client or self.connect("a")
        told = self.run_program(attacker, program)
        if client is None:
            attacker.close()
        return "leak" if self.tells(told, self.secrets["b"]) else "safe"

    def end_backends(self):
        """The next ones log in anew."""
        end = ("SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
               "WHERE usename = ANY(%s) AND backend_type = 'client backend'")
        with self.postgres.connect(DATABASE) as connection:
            self.wait_until(lambda: not connection.execute(end, (list(ROLES),)).fetchall(),
                            "the backends to end")

    # ---- who comes next --------------------------------------------------------------------

    def who(self, service):
        return [self.level.current_user(service), self.level.session_user(service),
                f'"{service}", public', self.secrets[service]]

    def assert_is_itself(self, client, service, why=""):
        """Role, search_path and rows are the service's own; its backend's pid."""
        *who, pid = client.rows(WHO)[0]
        self.assertEqual(who, self.who(service), f"service {service} behind {why}")
        return pid

    def assert_next_is_clean(self, service, why=""):
        """A new client finds a backend as new; its pid."""
        client = self.connect(service)
        pid = self.assert_is_itself(client, service, why)
        for sql in LEFT_BEHIND:
            # Without schemux the session's own startup packet is all there is.
            self.assertEqual(client.rows(sql), [], f"service {service} behind {why}: {sql}")
        if self.level.through_schemux:
            self.assertEqual(client.rows("SELECT body FROM {{tables.t}}"),
                             [[self.secrets[service]]])
        client.send(wire.TERMINATE)
        client.close()
        return pid

    def assert_nothing_passed_on(self, why="", first="b"):
        """The next clients of both services, on the attacker's backend where they share one."""
        second = "a" if first == "b" else "b"
        pids = {self.assert_next_is_clean(service, why) for service in (first, second, first)}
        if self.level.through_schemux and self.connections == 1:
            self.assertEqual(len(pids), 1, why)
