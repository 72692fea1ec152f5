"""The red team's 12 side effects: what service `a` can do to `b`, to the pool's login, or learn,
without reading b.t. Each is a function that makes the attempt and says what came of it.

`own`: it is done to what belongs to the attacker's service alone. What even `strict` leaves are the
names that a database has for all: catalog, channels, advisory locks, large objects, disk. Numbers
go on from those of red_team_probes.py; from 53 on are some that the first table did not have.
"""

import red_team_probes
import red_team_stage
import wire

LEAKS = ("leak", "leak", "leak")
READ, SAFE = red_team_probes.READ, red_team_probes.SAFE
LEAKS_BUT_ON_STRICT = red_team_probes.LEAKS_BUT_ON_STRICT
OWN_ON_STRICT = ("leak", "leak", "own")
LOGIN_AGAIN = "SET ROLE NONE"  # at `guarded`: the rights of the login, which all services share


def backend_of(client):
    """Its pid; in a transaction, so that it stays the client's."""
    client.rows("BEGIN")
    return client.rows("SELECT pg_backend_pid()")[0][0]


def sees_sql(case, *before):
    mark = wire.nonce()
    victim, attacker = case.connect("b"), case.connect("a")
    backend_of(victim)
    victim.rows(f"SELECT '{mark}'")
    told = case.run_program(attacker, [*before, "SELECT query FROM pg_stat_activity"])
    return "leak" if case.tells(told, mark) else "safe"


def sees_sql_as_the_login(case):
    return sees_sql(case, LOGIN_AGAIN)


def terminates(case):
    victim, attacker = case.connect("b"), case.connect("a")
    pid = backend_of(victim)
    told = case.run_program(attacker, [LOGIN_AGAIN, f"SELECT pg_terminate_backend({pid}, 5000)"])
    try:
        alive = victim.rows("SELECT 1") == [["1"]]
    except (wire.Closed, OSError, AssertionError):
        alive = False
    case.assertEqual(alive, ["t"] not in [one.row for one in told if one.kind == "D"])
    return "safe" if alive else "leak"


def cancels(case):
    victim, attacker = case.connect("b"), case.connect("a")
    pid = backend_of(victim)
    victim.send(wire.query("SELECT pg_sleep(0.5)"))
    case.wait_until(lambda: case.run_as_admin(
        "SELECT 1 FROM pg_stat_activity WHERE pid = %s AND wait_event = 'PgSleep'", (pid,)),
        "b's statement to run")
    case.run_program(attacker, [LOGIN_AGAIN, f"SELECT pg_cancel_backend({pid})"])
    return "leak" if wire.sqlstates(victim.read_ready()) == ["57014"] else "safe"


def whose(case, changed):
    """The outcome, from the names of the roles that were changed."""
    if not changed:
        return "safe"
    own = {case.level.session_user("a")} - {case.level.session_user("b")}
    return "own" if set(changed) <= own else "leak"


def changes_password(case):
    attempts = [f"ALTER ROLE {role} PASSWORD 'mine now'"
                for role in ("SESSION_USER", case.level.session_user("b"), "svc_b")]
    case.run_program(case.connect("a"), [LOGIN_AGAIN, *attempts])
    changed = case.run_as_admin(
        "SELECT rolname FROM pg_authid WHERE rolpassword IS NOT NULL AND rolname = ANY(%s)",
        (list(red_team_stage.ROLES),))
    return whose(case, [name for name, in changed])


def poisons_the_login(case):
    """The next backends of that login begin with what was set; not so with what schemux sets."""
    attempts = [f"ALTER ROLE {role} SET {setting}"
                for role in ("SESSION_USER", case.level.session_user("b"), "svc_b")
                for setting in ("work_mem = '13MB'", "search_path = b, a", "role = svc_b",
                                "standard_conforming_strings = off")]
    case.run_program(case.connect("a"), [LOGIN_AGAIN, *attempts])
    changed = case.run_as_admin("SELECT DISTINCT rolname FROM pg_db_role_setting "
                                "JOIN pg_roles ON pg_roles.oid = setrole")
    case.end_backends()
    for service in ("a", "b"):
        case.assert_is_itself(case.connect(service), service, "a poisoned login")
    return whose(case, [name for name, in changed])


def notifies(case):
    victim, attacker = case.connect("b"), case.connect("a")
    victim.rows("LISTEN jobs_of_b")
    mark = wire.nonce()
    case.run_program(attacker, [f"NOTIFY jobs_of_b, '{mark}'"])
    told = victim.ask("SELECT 1") + victim.ask("SELECT 1")
    return "leak" if case.tells(told, mark) else "safe"


def listens(case):
    victim, attacker = case.connect("b"), case.connect("a")
    mark = wire.nonce()
    attacker.rows("LISTEN jobs_of_b")
    victim.rows(f"NOTIFY jobs_of_b, '{mark}'")
    return "leak" if case.tells(case.run_program(attacker, ["SELECT 1"] * 2), mark) else "safe"


def squats_on_advisory_lock(case):
    victim, attacker = case.connect("b"), case.connect("a")
    case.run_program(attacker, ["SELECT pg_try_advisory_lock(4711)"])
    return "safe" if victim.rows("SELECT pg_try_advisory_lock(4711)") == [["t"]] else "leak"


def lists_tables(case):
    name = f"plans_{wire.nonce()}"
    victim, attacker = case.connect("b"), case.connect("a")
    victim.rows(f"CREATE TABLE b.{name} ()")
    told = case.run_program(attacker, ["SELECT relname FROM pg_class"])
    victim.rows(f"DROP TABLE b.{name}")
    return "leak" if case.tells(told, name) else "safe"


def reads_source(case):
    return case.outcome(["SELECT prosrc FROM pg_proc"])


def makes_temporary_table(case):
    """On the disk of everybody."""
    told = case.run_program(case.connect("a"), [
        "CREATE TEMP TABLE filling AS SELECT n FROM generate_series(1, 10) AS n"])
    return "safe" if wire.errors_of(told) else "leak"


def takes_large_object(case):
    """Its number is then b's no more."""
    victim, attacker = case.connect("b"), case.connect("a")
    case.run_program(attacker, ["SELECT lo_create(4711)"])
    case.addCleanup(case.run_as_admin, "SELECT lo_unlink(4711)")
    return "leak" if wire.sqlstates(victim.ask("SELECT lo_create(4711)")) == ["23505"] else "safe"


def reads_large_object(case):
    mark = wire.nonce()
    victim, attacker = case.connect("b"), case.connect("a")
    number = victim.rows(f"SELECT lo_from_bytea(0, '{mark}')")[0][0]
    case.addCleanup(case.run_as_admin, f"SELECT lo_unlink({number})")
    told = case.run_program(attacker, [f"SELECT convert_from(lo_get({number}), 'UTF8')",
                                       f"SELECT data FROM pg_largeobject WHERE loid = {number}"])
    return "leak" if case.tells(told, mark) else "safe"


def reads_statistics(case):
    """Most common values, as ANALYZE finds them in a table of b's."""
    case.run_as_admin("CREATE TABLE b.often AS SELECT body FROM b.t, generate_series(1, 9); "
                      "ALTER TABLE b.often OWNER TO svc_b; GRANT ALL ON b.often TO red_shared; "
                      "ANALYZE b.often")
    case.addCleanup(case.run_as_admin, "DROP TABLE b.often")
    return case.outcome(["SELECT most_common_vals, histogram_bounds FROM pg_stats",
                         "SELECT stavalues1 FROM pg_statistic"])


def sees_locks(case):
    """Which tables somebody works on."""
    victim, attacker = case.connect("b"), case.connect("a")
    pid = backend_of(victim)
    victim.rows("SELECT body FROM t")
    told = case.run_program(attacker, [
        f"SELECT 'found' FROM pg_locks WHERE pid = {pid} AND relation IS NOT NULL"])
    return "leak" if [one for one in told if one.kind == "D"] else "safe"


def writes(case, *before):
    """Rows in b's table that b did not write."""
    case.run_program(case.connect("a"), [*before, "INSERT INTO b.t VALUES ('planted')", "COMMIT"])
    planted = case.run_as_admin("DELETE FROM b.t WHERE body = 'planted' RETURNING 1")
    return "leak" if planted else "safe"


def writes_as_b(case):
    return writes(case, "BEGIN", "SET LOCAL ROLE svc_b")


def reads_sizes(case):
    """How large b's tables are, and how much is done to them."""
    told = case.run_program(case.connect("a"), [
        "SELECT 'found' FROM pg_stat_all_tables WHERE schemaname = 'b' AND relname = 't' "
        "AND pg_relation_size(relid) > 0"])
    return "leak" if case.tells(told, "found") else "safe"


def reads_sequence(case):
    victim, attacker = case.connect("b"), case.connect("a")
    victim.rows("SELECT setval('numbers', 47114711)")
    told = case.run_program(attacker, ["SELECT last_value FROM pg_sequences",
                                       "SELECT last_value FROM b.numbers"])
    return "leak" if case.tells(told, "47114711") else "safe"


def sees_application_name(case):
    """PostgreSQL keeps another role's SQL from those who look, but not this."""
    victim, attacker = case.connect("b"), case.connect("a")
    mark = wire.nonce()
    victim.rows(f"SET application_name = '{mark}'")
    backend_of(victim)
    told = case.run_program(attacker, ["SELECT application_name FROM pg_stat_activity"])
    return "leak" if case.tells(told, mark) else "safe"


def leaves_by(program, *startups):
    """Ways that begin with the startup packet, or end outside of the database."""
    def attempt(case):
        found = set()
        for startup in startups or ({},):
            try:
                attacker = case.connect("a", **startup)
            except (wire.Closed, OSError):
                found.add("safe")
                continue
            found.add(case.outcome(program, attacker))
        return "leak" if "leak" in found else "safe"
    return attempt


OUTSIDE = ("COPY b.t TO PROGRAM 'cat'", "COPY a.t FROM PROGRAM 'id'", "COPY b.t TO '/dev/null'",
           "SELECT pg_ls_dir('.')", "SELECT lo_export(1, '/dev/null')",
           "ALTER SYSTEM SET fsync = off", "CREATE EXTENSION postgres_fdw",
           "CREATE EXTENSION file_fdw", "LOAD 'dblink'",
           "CREATE FUNCTION a.c() RETURNS int LANGUAGE c AS 'dblink'", "SELECT pg_reload_conf()",
           "CREATE SUBSCRIPTION s CONNECTION 'dbname=red_team user=svc_b' PUBLICATION p",
           "REASSIGN OWNED BY svc_b TO CURRENT_USER", "ALTER TABLE b.t OWNER TO CURRENT_USER",
           "ALTER DEFAULT PRIVILEGES FOR ROLE svc_b GRANT ALL ON TABLES TO svc_a",
           "CREATE ROLE svc_c IN ROLE svc_b", "ALTER ROLE CURRENT_USER SUPERUSER")


def effect(number, title, attempt, outcomes, note=""):
    return red_team_probes.Probe(number, title, attempt, outcomes, note)


EFFECTS = (
    effect(41, "SQL in pg_stat_activity", sees_sql, ("leak", "safe", "safe"), "see 53"),
    effect(42, "pg_terminate_backend", terminates, LEAKS_BUT_ON_STRICT),
    effect(43, "pg_cancel_backend", cancels, LEAKS_BUT_ON_STRICT),
    effect(44, "password of the login", changes_password, OWN_ON_STRICT),
    effect(45, "settings of the login", poisons_the_login, OWN_ON_STRICT),
    effect(46, "NOTIFY on a channel of b's", notifies, LEAKS),
    effect(47, "squatting on an advisory lock", squats_on_advisory_lock, LEAKS),
    effect(48, "list of b's tables", lists_tables, LEAKS),
    effect(49, "source of b's functions", reads_source, LEAKS),
    effect(50, "temporary table", makes_temporary_table, LEAKS),
    effect(51, "number of a large object", takes_large_object, LEAKS),
    effect(52, "LISTEN on a channel of b's", listens, LEAKS),
    effect(53, "SQL in pg_stat_activity, as the login", sees_sql_as_the_login,
           LEAKS_BUT_ON_STRICT, "where 41 at guarded ends: the login may see what is its own"),
    effect(54, "content of a large object", reads_large_object, ("leak", "safe", "safe")),
    effect(55, "statistics of b's table", reads_statistics, ("leak", "safe", "safe")),
    effect(56, "locks on b's tables", sees_locks, LEAKS),
    effect(57, "INSERT into b's table", writes, ("leak", "safe", "safe")),
    effect(58, "INSERT as b's role", writes_as_b, ("safe", "leak", "safe"), "on shared: see 57"),
    effect(59, "size of b's table", reads_sizes, LEAKS),
    effect(60, "numbers of b's sequence", reads_sequence, ("leak", "safe", "safe")),
    effect(61, "application_name of b's clients", sees_application_name, LEAKS),
    effect(62, "ways out of the database", leaves_by(OUTSIDE), SAFE),
    effect(63, "role in the startup packet", leaves_by(
        (READ,), {"role": "svc_b"}, {"options": "-c role=svc_b"}, {"ROLE": "svc_b"},
        {"options": "--role=svc_b"}), SAFE, "schemux lets a client begin with no role but its "
           "service's; PostgreSQL would let the login (guarded)"),
    effect(64, "search_path in the startup packet", leaves_by(
        ("SELECT body FROM t",), {"search_path": "b"}, {"options": "-c search_path=b"}),
        ("leak", "safe", "safe")),
    effect(65, "session_authorization in the startup packet", leaves_by(
        (READ,), {"session_authorization": "svc_b"}, {"options": "-c session_authorization=svc_b"}),
        SAFE),
)
