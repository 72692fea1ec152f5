"""What the scripts run on: one PostgreSQL, and for each lane three databases that are the same down
to their object ids, one asked directly, two through a schemux each.

It must not know scripts, nor what is right.
"""

import pathlib
import signal
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "integration"))

import server  # noqa: E402  (found through the path above)
import wire  # noqa: E402

# "even": what is written for a template there has as many characters as the template.
SERVICES = {"wire": "wire", "short": "Sp", "long": "shopping_lists", "even": "shopping"}
SCHEMAS = tuple(SERVICES.values())
SEARCH_PATHS = {service: f'"{schema}", public' for service, schema in SERVICES.items()}

SETUP_SQL = """
CREATE SCHEMA "{schema}";
SET search_path = "{schema}";
CREATE TABLE items (id int PRIMARY KEY, name text NOT NULL, price numeric(8, 2), made date);
INSERT INTO items SELECT n, 'item ' || n, n * 1.5, date '2024-02-27' + n
    FROM generate_series(1, 20) AS n;
CREATE TABLE loaded (number int, body text);
CREATE TABLE checked (number int CHECK (number > 0), body text);
CREATE FUNCTION shout(what text) RETURNS text LANGUAGE plpgsql
    AS $$ BEGIN RAISE NOTICE 'heard %', what; RETURN upper(what); END $$;
CREATE FUNCTION fail(what text) RETURNS int LANGUAGE plpgsql
    AS $$ BEGIN RAISE EXCEPTION 'no %', what USING ERRCODE = 'P0099', HINT = 'none'; END $$;
CREATE PROCEDURE do_commit() LANGUAGE plpgsql
    AS $$ BEGIN INSERT INTO loaded VALUES (77, 'kept'); COMMIT; END $$;
ANALYZE items;
"""

STATEMENT_BUDGET = 4
ENDPOINTS = {
    "one": {"max_connections": 1},
    "three": {"max_connections": 3, "min_connections": 3, "rotate_backends": True,
              "statements_per_backend": STATEMENT_BUDGET},
}


class Endpoint:
    """One way to a database; `connect` logs in."""

    def __init__(self, name, port, direct_database=None):
        self.name = name
        self.port = port
        self.database = direct_database

    @property
    def direct(self):
        return self.database is not None

    def connect(self, service, startup):
        """A connection and the messages of its welcome."""
        client = wire.Wire(self.port)
        parameters = {"user": "app", **startup}
        if self.direct:
            parameters.setdefault("search_path", SEARCH_PATHS[service])
        try:
            welcome = client.login(self.database or service, **parameters)
        except BaseException:
            client.close()
            raise
        return client, welcome


class Bed:
    """`lanes` of (direct, one, three); each may be used by a process of its own."""

    def __init__(self, binary, lanes):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="schemux-wire-"))
        self.folder.chmod(0o755)
        self.postgres = server.Postgres(self.folder / "postgres")
        self.binary = pathlib.Path(binary).resolve()
        self.running = []
        self.lanes = []
        self._count = lanes

    def open(self):
        self.postgres.create()
        self.postgres.start()
        self.postgres.run("CREATE ROLE app LOGIN", dbname="postgres")
        self.postgres.run("CREATE DATABASE base OWNER app", dbname="postgres")
        with self.postgres.connect("base", user="app") as connection:
            for schema in SCHEMAS:
                connection.execute(SETUP_SQL.format(schema=schema))
        for number in range(self._count):
            self.lanes.append(self._lane(number))

    def _lane(self, number):
        endpoints = []
        for name in ("direct", *ENDPOINTS):
            database = f"{name}_{number}"
            self.postgres.run(f"CREATE DATABASE {database} TEMPLATE base OWNER app",
                              dbname="postgres")
            if name == "direct":
                endpoints.append(Endpoint(name, self.postgres.port, database))
                continue
            instance = server.Schemux(self.binary, self.folder / f"schemux_{database}",
                                      self.postgres, {
                "backend": {"dsn": self.postgres.dsn(dbname=database)},
                "pool": ENDPOINTS[name],
                "services": [{"name": service, "schema": schema, "allow_schemas": ["wire"]}
                             for service, schema in SERVICES.items()],
                "log": {"format": "json", "level": "info"},
            })
            self.running.append(instance)
            instance.start()
            endpoints.append(Endpoint(name, instance.port))
        return endpoints

    def first_new_oid(self):
        """Objects made from now on have ids that differ between the databases."""
        rows = self.postgres.run("SELECT max(oid)::bigint FROM (SELECT oid FROM pg_class UNION "
                                 "SELECT oid FROM pg_type) AS objects", dbname="base")
        return rows[0][0] + 1

    def faults(self):
        """What is wrong with schemux beside its answers."""
        found = []
        for instance in self.running:
            if instance.process.poll() is not None:
                found.append(f"schemux ended:\n{server.tail(instance.log)}")
                continue
            if instance.metric("schemux_desync_total") != 0:
                found.append(f"backends were out of step:\n{server.tail(instance.log)}")
            if instance.log_count("audit_finding"):
                found.append(f"state that nobody saw come:\n{server.tail(instance.log)}")
            report = server.sanitizer_report(instance.log)
            if report:
                found.append(report)
        return found

    def close(self):
        for instance in self.running:
            instance.dispose()
        self.postgres.stop(signal.SIGQUIT)
        server.remove_folder(self.folder)
