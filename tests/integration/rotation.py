"""Clients whose backend changes under them, beside a direct connection that says what is right.

A pool of two backends, of which a stranger always holds one: the client gets the other one, and
each `turn` changes which that is. It must not know what the clients do.
"""

import wire

POOL = {"pool": {"max_connections": 2, "acquire_timeout": "20s"}}

# What the clients set under names of their own, which PostgreSQL does not list.
CUSTOM = ("app.x", "app.y", "app.z", "app.n", "app.e", "app.u", "app.started", "app.long")
# One that somebody has set on the backend is '' and not NULL (core/EXCEPTIONS.md, E13); PL/pgSQL's
# are there as soon as somebody has used it on that backend.
SETTINGS = ("SELECT name, setting FROM pg_settings "
            "WHERE strpos(name, '.') = 0 OR setting IS DISTINCT FROM boot_val UNION ALL "
            "SELECT name, coalesce(current_setting(name, true), '') "
            f"FROM unnest('{{{','.join(CUSTOM)}}}'::text[]) AS name ORDER BY 1")
WHO = "SELECT current_user, session_user, current_schema(), current_schemas(false)"


def search_path(service):
    """What the service sets, as a startup parameter of a direct connection."""
    return {} if service == "legacy" else {"search_path": f'"{service}", public'}


def different(found, expected):
    """Of two lists what only one of them has; the lists themselves if only their order differs."""
    if found == expected:
        return [], []
    parts = ([one for one in found if one not in expected],
             [one for one in expected if one not in found])
    return parts if any(parts) else (found, expected)


class Rotation:
    """The strangers. They look at each backend that they get, and must find it as new."""

    def __init__(self, case, schemux=None, user="app", service="orders"):
        self.case = case
        self.schemux = schemux or case.schemux
        self.user = user
        self.pids = set()
        direct = self.direct(**search_path(service))
        self._fresh = [direct.rows(sql) for sql in (SETTINGS, WHO)]
        direct.close()
        self._holder, self._other = [case.wire(service, self.schemux) for _ in range(2)]
        self._hold(self._holder)

    def direct(self, **startup):
        client = wire.Wire(self.case.postgres.port)
        self.case.addCleanup(client.close)
        client.login("app", self.user, **startup)
        return client

    def _hold(self, stranger):
        stranger.rows("BEGIN")
        self.pids.add(stranger.rows("SELECT pg_backend_pid()")[0][0])
        return [stranger.rows(sql) for sql in (SETTINGS, WHO)]

    def turn(self):
        """The backend that was free is not, and the other way round."""
        seen = self._hold(self._other)
        self._holder.rows("COMMIT")
        self._holder, self._other = self._other, self._holder
        for found, fresh in zip(seen, self._fresh):
            self.case.assertEqual(*different(found, fresh), "the next client on the backend")

    def assert_no_backend_was_closed(self):
        self.case.assertEqual(len(self.pids), 2, "backends of the pool, ever")


class Twin:
    """One client through schemux and one directly; both are sent the same and answer the same.
    Before all that begins outside a transaction, the client's backend changes."""

    def __init__(self, rotation, service="users", direct=None, **startup):
        self.case = rotation.case
        self.rotation = rotation
        self.client = self.case.wire(service, rotation.schemux, **startup)
        self.direct = rotation.direct(**(search_path(service) if direct is None else direct),
                                      **startup)
        self.idle = True
        told = dict(self.client.parameters), dict(self.direct.parameters)
        for parameters in told:
            parameters.pop("session_authorization", None)
        self.case.assertEqual(*told, "ParameterStatus of the welcome")

    def send(self, *parts, readies=1):
        """Messages of schemux's answer, which are those of PostgreSQL's."""
        if self.idle:
            self.rotation.turn()
        answers = []
        for one in (self.direct, self.client):
            one.send(*parts)
            answers.append([message for _ in range(readies) for message in one.read_ready()])
        expected, found = [[(one.kind, one.body) for one in answer] for answer in answers]
        self.case.assertEqual(*different(found, expected), b"".join(parts)[:2000])
        self.idle = found[-1][1] == b"I"
        return answers[1]

    def ask(self, sql):
        return self.send(wire.query(sql))

    def rows(self, sql):
        return wire.rows_of(self.ask(sql))

    def run(self, sql, parameters=(), name=""):
        """In the extended protocol."""
        return self.send(wire.parse(name, sql), wire.describe("S", name),
                         wire.bind("", name, parameters), wire.execute(), wire.SYNC)

    def look(self):
        """All settings and roles, on both."""
        self.ask(SETTINGS)
        self.ask(WHO)

    def play(self, *steps):
        """Each step is a simple query; behind it all settings are compared."""
        for sql in steps:
            failed = self.ask(sql)[-1].body == b"E"
            if not failed:
                self.look()
        if not self.idle:
            self.ask("ROLLBACK")
        self.look()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for one in (self.client, self.direct):
            one.close()
