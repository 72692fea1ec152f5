"""What session programs can do, by feature, and the settings and statements that they do it with.

It must not know schemux, but for this: what differs today (core/EXCEPTIONS.md, E2, E3, E13,
E41) is in the features that `AGREED` does not name, and goes there when it has become true.
"""

import collections

SETTINGS = {
    "work_mem": ("1MB", "7MB", "640kB"),
    "TimeZone": ("Asia/Tokyo", "Europe/Berlin", "America/St_Johns", "<+03>-03"),
    "DateStyle": ("ISO, DMY", "German", "SQL, DMY", "SQL", "Postgres", "YMD"),
    "IntervalStyle": ("iso_8601", "sql_standard", "postgres_verbose"),
    "extra_float_digits": ("0", "-5", "3"),
    "bytea_output": ("escape", "hex"),
    "application_name": ("first", "the second", "it's"),
    "statement_timeout": ("0", "65s", "1h"),
    "lock_timeout": ("10s", "1min"),
    "standard_conforming_strings": ("off", "on"),
    "client_encoding": ("LATIN1", "UTF8", "WIN1252"),
    "search_path": ("shopping", "wire, public", "nowhere, \"Sp\"", "shopping_lists"),
    "default_text_search_config": ("pg_catalog.german", "pg_catalog.simple"),
    "default_transaction_isolation": ("repeatable read", "read committed"),
    "client_min_messages": ("error", "warning", "notice"),
    "enable_seqscan": ("off", "on"),
    "jit": ("off", "on"),
    "app.user": ("alice", "bob", "o'neill"),
    "app.tenant": ("7", "8"),
}
CUSTOM = ("app.user", "app.tenant")
OTHER_ROLE = "understudy"  # which the user may be
# Those under which a text means something else; taken more often.
MEANING = ("TimeZone", "DateStyle", "IntervalStyle", "standard_conforming_strings", "search_path")
# Seen in what statements answer, and not only by asking for the setting.
EFFECTS = (
    "SELECT timestamptz '2024-02-03 04:05:06.789+00', date '2024-02-03'",
    "SELECT '03/04/2024'::date",
    "SELECT interval '1 day 02:03:04', interval '-1 year 2 mons'",
    "SELECT 0.1::float8 + 0.2::float8, 1e20::float4",
    "SELECT decode('00ff41', 'hex')",
    "SELECT 'a\\\\b', length('a\\\\b')",
    "SELECT chr(228) || 'x'",
    "SELECT to_tsvector('the dogs are running')",
    "SELECT name FROM whose",
    "SELECT count(*) FROM items",
    "SELECT pg_client_encoding()",
)
BROKEN = ("SELECT 1/0", "SELECT nothing", "SELEC 1", "SELECT 'x'::int", "FETCH nowhere",
          "SET LOCAL work_mem = 'much'", "SET LOCAL nothing = 1", "SELECT fail('luck')",
          "EXECUTE nobody", "SELECT * FROM missing")
LOCKS_SEEN = ("SELECT objid, mode, pid = pg_backend_pid() AS mine FROM pg_locks "
              "WHERE locktype = 'advisory' AND database = "
              "(SELECT oid FROM pg_database WHERE datname = current_database()) ORDER BY 1, 2, 3")
CHANNELS_SEEN = "SELECT channel FROM pg_listening_channels() AS channel ORDER BY 1"
CURSORS_SEEN = "SELECT name, is_holdable FROM pg_cursors WHERE name <> '' ORDER BY 1"
TEMPORARY_SEEN = ("SELECT relname, relkind FROM pg_class WHERE relpersistence = 't' "
                  "AND relnamespace = pg_my_temp_schema() ORDER BY 1")

FEATURES = {
    "local": "SET LOCAL and its kin, and what settings do",
    "undone": "SET and RESET in a transaction that is rolled back",
    "startup": "settings in the startup packet, logging in again",
    "transactions": "savepoints, rollback, errors, chains",
    "prepared": "statements prepared by the protocol and in SQL, portals",
    "cursors": "cursors of a transaction",
    "briefly": "locks, temporary tables, sequences within one transaction",
    "hidden": "DO blocks and functions that do such things locally",
    "frozen": "literals that a prepared statement reads under a setting of its time",
    "settings": "SET and set_config beyond the transaction",
    "resets": "RESET, RESET ALL, TO DEFAULT",
    "roles": "SET ROLE and its kin, a role in the startup packet",
    # In transaction mode not yet like a direct connection:
    "custom": "whether a custom setting is there at all (E13)",
    "temp": "temporary tables, views and sequences that stay (E2)",
    "locks": "session advisory locks (E2)",
    "hold": "cursors WITH HOLD (E2)",
    "sequences": "currval and lastval in a later transaction (E3)",
    "seed": "setseed and random (E2)",
    "listen": "LISTEN and what is heard (E2, E19)",
    "channels": "pg_listening_channels() in a transaction (E2, E67)",
    "discard": "DISCARD and the resets that drivers send (E2, E12, E41)",
}
_EVERYWHERE = ("local", "undone", "startup", "transactions", "prepared", "cursors", "briefly",
               "hidden", "frozen")
_FOR_GOOD = ("settings", "resets", "roles")
# By the mode of the pool; `none` is PostgreSQL itself.
AGREED = {
    "transaction": (*_EVERYWHERE, *_FOR_GOOD),
    "pinning": (*_EVERYWHERE, *_FOR_GOOD, "temp", "locks", "hold", "seed", "listen", "channels"),
    "sharing": (*_EVERYWHERE, *_FOR_GOOD, "temp", "locks", "hold", "seed", "listen"),
    "session": (*_EVERYWHERE, *_FOR_GOOD, "temp", "locks", "hold", "sequences", "seed", "listen",
                "channels"),
    "none": tuple(FEATURES),
}
# PostgreSQL itself reads the literals of a prepared statement again when somebody makes the first
# temporary relation of a backend, or the search_path is another one.
NEVER_WITH = {"frozen": "temp"}

Step = collections.namedtuple("Step", "feature weight when act")
STEPS = []


def step(feature, weight, when="idle open"):
    """Registers a step; `when`: the states of the client's transaction that it fits."""

    def register(act):
        STEPS.append(Step(feature, weight, when.split(), act))
        return act

    return register
