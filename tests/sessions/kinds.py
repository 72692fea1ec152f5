"""Kinds of session state: how each is made, and what a session looks like with and without it.

It must not know schemux, nor who looks.
"""

import collections

import place  # noqa: F401  (first: it makes the others known)
import wire

# `boss`: only a superuser may make it.
Kind = collections.namedtuple("Kind", "name sql boss", defaults=(False,))

KINDS = (
    Kind("setting", "SET work_mem = '13MB'"),
    Kind("set_config", "SELECT set_config('enable_seqscan', 'off', false)"),
    Kind("reported_setting", "SET TimeZone = 'Asia/Tokyo'"),
    Kind("custom_setting", "SET app.secret = 'mine'"),
    Kind("search_path", "SET search_path = shopping_lists"),
    Kind("client_encoding", "SET client_encoding = 'LATIN1'"),
    Kind("characteristics", "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY"),
    Kind("statement_timeout", "SET statement_timeout = '900ms'"),
    Kind("role", "SET ROLE app_reader"),
    Kind("session_authorization", "SET SESSION AUTHORIZATION app", True),
    Kind("temporary_table", "CREATE TEMP TABLE whose AS SELECT 'fake' AS name"),
    Kind("temporary_view", "CREATE TEMP VIEW left_behind AS SELECT 1 AS one"),
    Kind("temporary_sequence", "CREATE TEMP SEQUENCE left_behind"),
    Kind("temporary_function", "CREATE FUNCTION pg_temp.left_behind() RETURNS int LANGUAGE sql "
                               "AS 'SELECT 1'"),
    Kind("advisory_lock", "SELECT pg_advisory_lock(4711)"),
    Kind("shared_advisory_lock", "SELECT pg_advisory_lock_shared(47, 11)"),
    Kind("listen", "LISTEN left_behind"),
    Kind("hold_cursor", "DECLARE left_behind CURSOR WITH HOLD FOR SELECT 1"),
    Kind("prepare", "PREPARE left_behind AS SELECT 1"),
    Kind("sequence", "SELECT nextval('wire.numbers')"),
    Kind("seed", "SELECT setseed(0.5)"),
    Kind("module", "LOAD 'auto_explain'", True),
)
NOTHING = Kind("nothing", "SELECT 1")

# ---- ways ---------------------------------------------------------------------------------------

WAYS = {
    "plain": "{sql}",
    "dynamic": "DO $do$ BEGIN EXECUTE $sql${sql}$sql$; END $do$",
    "function": "SELECT wire.make_{name}()",
    "trigger": "INSERT INTO wire.touch_{name} VALUES (1)",
    # The function, in a statement of another transaction: by Bind, and by EXECUTE.
    "bound": "SELECT wire.make_{name}()",
    "executed": "SELECT wire.make_{name}()",
}
STATEMENT = "maker"
BEFOREHAND = """
CREATE FUNCTION wire.make_{name}() RETURNS void LANGUAGE plpgsql
    AS $body$ BEGIN EXECUTE $sql${sql}$sql$; END $body$;
CREATE FUNCTION wire.touched_{name}() RETURNS trigger LANGUAGE plpgsql
    AS $body$ BEGIN EXECUTE $sql${sql}$sql$; RETURN NULL; END $body$;
CREATE TABLE wire.touch_{name} (number int);
CREATE TRIGGER touched AFTER INSERT ON wire.touch_{name}
    FOR EACH STATEMENT EXECUTE FUNCTION wire.touched_{name}();
"""


def beforehand():
    """What the ways need in the database."""
    return "".join(BEFOREHAND.format(**kind._asdict()) for kind in (*KINDS, NOTHING))


class Bad(AssertionError):
    """A client was not told what it had to be."""


def done(client, sql, sqlstate=None):
    """A Query that must succeed, or fail as `sqlstate` says."""
    _expect(sql, client.ask(sql), sqlstate)


def _expect(what, messages, sqlstate=None):
    found = wire.errors_of(messages)
    if [one["C"] for one in found] != ([sqlstate] if sqlstate else []):
        raise Bad(f"{what}: {found}")


class Making:
    """One kind of state, to be made in one way: called with the client that makes it."""

    def __init__(self, kind, way):
        self._way = way
        self._sql = WAYS[way].format(**kind._asdict())

    def prepare(self, client):
        """What comes earlier, in a transaction of its own."""
        if self._way == "bound":
            client.send(wire.parse(STATEMENT, self._sql), wire.SYNC)
            _expect("Parse", client.read_ready())
        if self._way == "executed":
            done(client, f"PREPARE {STATEMENT} AS {self._sql}")

    def __call__(self, client):
        if self._way == "bound":
            client.send(wire.bind("", STATEMENT), wire.execute(), wire.SYNC)
            _expect("Bind", client.read_ready())
        else:
            done(client, f"EXECUTE {STATEMENT}" if self._way == "executed" else self._sql)


# ---- looking ------------------------------------------------------------------------------------

# plpgsql's own settings are there once it was used; what they are is not the client's doing. And
# the schema for temporary relations stays when all in it is gone: its number is not looked at.
LOOKS = {
    "settings": "SELECT name, setting FROM pg_settings WHERE name NOT LIKE 'plpgsql.%'",
    # A custom setting that is gone is '' for the rest of a session, not NULL (E13).
    "custom setting": "SELECT coalesce(current_setting('app.secret', true), '')",
    "role": "SELECT current_user, session_user, current_setting('role'), "
            "current_setting('is_superuser'), current_schemas(false)",
    "temporary relations": "SELECT relname, relkind FROM pg_class "
                           "WHERE relnamespace = pg_my_temp_schema()",
    "temporary functions": "SELECT proname FROM pg_proc WHERE pronamespace = pg_my_temp_schema()",
    "advisory locks": "SELECT classid, objid, objsubid, mode FROM pg_locks "
                      "WHERE locktype = 'advisory' AND pid = pg_backend_pid()",
    "channels": "SELECT pg_listening_channels()",
    "cursors": "SELECT name FROM pg_cursors WHERE name <> ''",
    # But for those of the pool's own, by their names (E4), and the one of a way.
    "prepared statements": "SELECT name FROM pg_prepared_statements "
                           f"WHERE name NOT LIKE 'sx\\_%' AND name <> '{STATEMENT}'",
    "currval": "SELECT currval('wire.numbers')",
    "lastval": "SELECT lastval()",
    "whose": "SELECT name FROM whose",
    "random numbers": "SELECT random()",
}
SEEDED = "SELECT random() FROM setseed(0.5)"


def snapshot(client, seeded):
    """All that a session can see of its state; `seeded`: what SEEDED answers."""
    seen = {}
    for name, sql in LOOKS.items():
        messages = client.ask(sql)
        found = [error["C"] for error in wire.errors_of(messages)]
        rows = [tuple(one.row) for one in messages if one.kind == "D"]
        seen[name] = (found, sorted(rows, key=repr), messages[-1].body)
        if name == "random numbers":
            seen[name] = (found, rows == seeded)
    seen["parameters"] = dict(client.parameters)
    return seen


def differences(wanted, seen):
    """What one has and the other has not, shortly."""
    out = []
    for name, there in wanted.items():
        here = seen[name]
        if there == here:
            continue
        if name == "settings" and there[0] == here[0]:
            there, here = dict(there[1]), dict(here[1])
        if isinstance(there, dict):
            out += [f"{name}: {key} is {here.get(key)}, not {there.get(key)}"
                    for key in sorted({*there, *here}) if there.get(key) != here.get(key)]
        else:
            out.append(f"{name}: {here}, not {there}")
    return out
