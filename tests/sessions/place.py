"""What session programs run on: as the wire tests, with a pool that has a backend for every client
of a program and never gives a client the same one twice in a row.

It must not know programs, nor what is right.
"""

import pathlib
import sys

import psycopg

HERE = pathlib.Path(__file__).resolve().parent
for _folder in ("wire", "integration"):
    sys.path.insert(0, str(HERE.parent / _folder))

import bed  # noqa: E402  (found through the paths above)
import server  # noqa: E402
from features import OTHER_ROLE  # noqa: E402

# Services of the wire tests' bed whose schemas the programs use.
SERVICES = ("wire", "even")
CLIENTS_MAX = 4
POOL = {"max_connections": CLIENTS_MAX + 1, "min_connections": CLIENTS_MAX + 1,
        "rotate_backends": True, "statements_per_backend": bed.STATEMENT_BUDGET,
        "pin_budget": CLIENTS_MAX, "audit_sample": 3}

SETUP_SQL = """
SET search_path = "{schema}";
CREATE TABLE whose (name text);
INSERT INTO whose VALUES ('{schema}');
CREATE TABLE notes (number int, body text);
CREATE SEQUENCE numbers;
CREATE SEQUENCE letters INCREMENT 7;
GRANT ALL ON SCHEMA "{schema}" TO {role};
GRANT ALL ON ALL TABLES IN SCHEMA "{schema}" TO {role};
GRANT ALL ON ALL SEQUENCES IN SCHEMA "{schema}" TO {role};
"""

FORGET_SQL = """
DELETE FROM {schema}.notes;
SELECT setval('{schema}.numbers', 1, false), setval('{schema}.letters', 1, false);
"""


# `pinning`: in transaction mode, where a client keeps a backend for what cannot travel; in
# `transaction` it has that until the transaction ends.
# `sharing`: as pinning, with one session that listens for all.
MODES = ("transaction", "pinning", "sharing", "session")
PINS = {feature: "pin" for feature in ("temp_table", "advisory_lock", "hold_cursor", "listen",
                                       "seed", "load")}
SHARES = {**PINS, "listen": "share"}
ALLOW = dict.fromkeys(PINS, "allow")


def services(features):
    """As in the configuration, with these session_features."""
    return [{"name": name, "schema": bed.SERVICES[name], "session_features": features,
             "pin_budget": CLIENTS_MAX} for name in SERVICES]


class Place(bed.Bed):
    """Lanes of ways to the same data: PostgreSQL itself as `direct` and, to know what programs are
    worth, as `again`; schemux in each of MODES."""

    def _lane(self, number):
        if number == 0:
            self.postgres.run(f"CREATE ROLE {OTHER_ROLE}; GRANT {OTHER_ROLE} TO app",
                              dbname="postgres")
            with self.postgres.connect("base", user="app") as connection:
                for schema in bed.SCHEMAS:
                    connection.execute(SETUP_SQL.format(schema=schema, role=OTHER_ROLE))
        databases = {name: f"{name}_{number}" for name in ("direct", "pooled")}
        for database in databases.values():
            self.postgres.run(f"CREATE DATABASE {database} TEMPLATE base OWNER app",
                              dbname="postgres")
        port = self.postgres.port
        ways = {"direct": bed.Endpoint("direct", port, databases["direct"]),
                "again": bed.Endpoint("again", port, databases["pooled"])}
        for mode in MODES:
            pool = {**POOL, "mode": "session" if mode == "session" else "transaction"}
            if mode != "transaction":
                del pool["min_connections"]  # PostgreSQL has so many connections
            instance = self.schemux(f"{mode}_{number}", {
                "backend": {"dsn": self.postgres.dsn(dbname=databases["pooled"])}, "pool": pool,
                "services": services({"pinning": PINS, "sharing": SHARES}.get(mode, ALLOW))})
            ways[mode] = bed.Endpoint(mode, instance.port)
        return ways, list(databases.values())

    def schemux(self, name, changes):
        instance = server.Schemux(self.binary, self.folder / name, self.postgres, {
            "services": services({}),
            "log": {"format": "json", "level": "info"},
            **changes,
        })
        self.running.append(instance)
        return instance.start()


class Controls:
    """Connections past schemux, one a database of a lane, that make a program's beginning the same
    each time."""

    def __init__(self, port, databases):
        self._connections = [psycopg.connect(host="127.0.0.1", port=port, dbname=database,
                                             user="app", autocommit=True) for database in databases]
        self._sql = "".join(FORGET_SQL.format(schema=bed.SERVICES[name]) for name in SERVICES)

    def forget(self):
        for connection in self._connections:
            connection.execute(self._sql)

    def close(self):
        for connection in self._connections:
            connection.close()
