"""The red team's 40 attempts of service `a` to read b.t, as data: statements, and what comes of
them on each level of isolation. red_team_effects.py has the 12 side effects.

Expected is what was measured, exactly: a level that holds more, or less, than is said here fails
the test until the table says so. Numbers are those of the table this began with (columns A/B are
`shared`, C1 is `guarded`, D is `strict`).
"""

import dataclasses

from red_team_stage import Extended

READ = "SELECT body FROM b.t"
LEAKS_ON_SHARED = ("leak", "safe", "safe")  # only `strict` and `guarded` keep b's table from a
LEAKS_BUT_ON_STRICT = ("leak", "leak", "safe")
# On `shared` the role cannot be set, and the failed statement takes the read with it: there the
# plain read (01) is the leak.
LEAKS_ON_GUARDED = ("safe", "leak", "safe")
SAFE = ("safe", "safe", "safe")


@dataclasses.dataclass(frozen=True)
class Probe:
    number: int
    title: str
    program: tuple
    outcomes: tuple  # on shared, guarded, strict
    note: str = ""
    hidden: bool = False  # no text shows that something is set

    def expected(self, level):
        return dict(zip(("shared", "guarded", "strict"), self.outcomes, strict=True))[level.name]


def plpgsql(kind, name, body, returns="", options=""):
    return (f"CREATE OR REPLACE {kind} a.{name}() {returns} LANGUAGE plpgsql {options} "
            f"AS $body$ BEGIN {body} END $body$")


ROLE_TO_B = "PERFORM set_config('role', 'svc_b', false);"
LOCAL_ROLE_AND_READ = ("PERFORM set_config('role', 'svc_b', true); "
                       "RETURN (SELECT body FROM b.t LIMIT 1);")

ESCAPES = (
    Probe(1, "qualified name", (READ,), LEAKS_ON_SHARED),
    Probe(2, "SET search_path", ("SET search_path = b", "SELECT body FROM t"), LEAKS_ON_SHARED),
    Probe(3, "set_config of search_path",
          ("SELECT set_config('search_path', 'b', false)", "SELECT body FROM t"), LEAKS_ON_SHARED),
    Probe(4, "RESET ROLE", ("RESET ROLE", "SET ROLE svc_b", READ), LEAKS_BUT_ON_STRICT,
          "RESET ROLE alone gives the login, or the role that the session began with: neither may "
          "read b.t; the login may become svc_b"),
    Probe(5, "SET ROLE NONE", ("SET ROLE NONE", "SET ROLE svc_b", READ), LEAKS_BUT_ON_STRICT),
    Probe(6, "SET ROLE", ("SET ROLE svc_b", READ), LEAKS_BUT_ON_STRICT),
    Probe(7, "SET LOCAL ROLE", ("BEGIN", "SET LOCAL ROLE svc_b", READ, "COMMIT"), LEAKS_ON_GUARDED),
    Probe(8, "set_config of role", ("SELECT set_config('role', 'svc_b', false)", READ),
          LEAKS_BUT_ON_STRICT),
    Probe(9, "set_config with a name that is a parameter",
          (Extended("SELECT set_config($1 || $2, $3, false)", ("ro", "le", "svc_b")), READ),
          LEAKS_BUT_ON_STRICT),
    Probe(10, "DO with dynamic SET", ("DO $$ BEGIN EXECUTE 'SET ROLE svc_b'; END $$", READ),
          LEAKS_BUT_ON_STRICT),
    Probe(11, "DO with dynamic RESET",
          ("DO $$ BEGIN EXECUTE 'RE' || 'SET RO' || 'LE'; EXECUTE 'SET RO' || 'LE svc_b'; END $$",
           READ), LEAKS_BUT_ON_STRICT),
    Probe(12, "SET of a name in Unicode escapes", (r"""SET U&"r\006fle" TO 'svc_b'""", READ),
          LEAKS_BUT_ON_STRICT),
    Probe(13, "SET of a quoted name", ("SET \"role\" = 'svc_b'", READ), LEAKS_BUT_ON_STRICT),
    Probe(14, "UPDATE pg_settings",
          ("UPDATE pg_settings SET setting = 'svc_b' WHERE name = 'role'", READ), LEAKS_ON_SHARED,
          "role is not among the rows of pg_settings"),
    Probe(15, "SET SESSION AUTHORIZATION", ("SET SESSION AUTHORIZATION svc_b", READ),
          LEAKS_ON_SHARED),
    Probe(16, "RESET SESSION AUTHORIZATION",
          ("RESET SESSION AUTHORIZATION", "SET ROLE svc_b", READ), LEAKS_BUT_ON_STRICT),
    Probe(17, "SET SESSION AUTHORIZATION DEFAULT",
          ("SET SESSION AUTHORIZATION DEFAULT", "SET ROLE svc_b", READ), LEAKS_BUT_ON_STRICT),
    Probe(18, "set_config of session_authorization",
          ("SELECT set_config('session_authorization', 'svc_b', false)", READ), LEAKS_ON_SHARED),
    Probe(19, "DISCARD ALL", ("DISCARD ALL", "SET ROLE svc_b", READ), LEAKS_BUT_ON_STRICT),
    Probe(20, "RESET ALL", ("RESET ALL", "SET ROLE svc_b", READ), LEAKS_BUT_ON_STRICT),
    Probe(21, "function with a SET clause",
          ("CREATE OR REPLACE FUNCTION a.f21() RETURNS text LANGUAGE sql SET role = 'svc_b' "
           "AS 'SELECT body FROM b.t'", "SELECT a.f21()"), LEAKS_ON_GUARDED),
    Probe(22, "function that sets the role for itself",
          (plpgsql("FUNCTION", "f22", LOCAL_ROLE_AND_READ, "RETURNS text"), "SELECT a.f22()"),
          LEAKS_ON_GUARDED),
    Probe(23, "SECURITY DEFINER function that sets the role",
          (plpgsql("FUNCTION", "f23", LOCAL_ROLE_AND_READ, "RETURNS text", "SECURITY DEFINER"),
           "SELECT a.f23()"), SAFE, "PostgreSQL allows no other role in there"),
    Probe(24, "RESET ROLE and SET LOCAL ROLE",
          ("BEGIN", "RESET ROLE", "SET LOCAL ROLE svc_b", READ, "ROLLBACK"), LEAKS_ON_GUARDED),
    Probe(25, "view that calls set_config",
          ("CREATE OR REPLACE VIEW a.v25 AS SELECT set_config('role', 'svc_b', false) AS r",
           "SELECT r FROM a.v25", READ), LEAKS_BUT_ON_STRICT, hidden=True),
    Probe(26, "trigger that calls set_config",
          ("CREATE TABLE IF NOT EXISTS a.t26 (x int)",
           plpgsql("FUNCTION", "f26", f"{ROLE_TO_B} RETURN NULL;", "RETURNS trigger"),
           "CREATE OR REPLACE TRIGGER springs AFTER INSERT ON a.t26 FOR EACH ROW "
           "EXECUTE FUNCTION a.f26()", "INSERT INTO a.t26 VALUES (1)", READ),
          LEAKS_BUT_ON_STRICT, hidden=True),
    Probe(27, "several statements in one message",
          (f"BEGIN; SET LOCAL ROLE svc_b; {READ}; COMMIT",), LEAKS_ON_GUARDED),
    Probe(28, "reset_user", ("SELECT reset_user()", "SET ROLE svc_b", READ), LEAKS_BUT_ON_STRICT,
          "the function is set_user's, which is not here; what leaks is the SET ROLE behind it"),
    Probe(29, "set_user", ("SELECT set_user('svc_b')", READ), LEAKS_ON_SHARED, "as in 28"),
    Probe(30, "reset_user with a token", ("SELECT reset_user('token')", READ), LEAKS_ON_SHARED,
          "as in 28"),
    Probe(31, "set_session_auth", ("SELECT set_session_auth('svc_b')", READ), LEAKS_ON_SHARED,
          "as in 28"),
    Probe(32, "dblink to itself",
          ("CREATE EXTENSION dblink", "SELECT * FROM dblink('dbname=red_team user=svc_b', "
           f"'{READ}') AS t (body text)"), SAFE, "only a superuser makes the extension"),
    Probe(33, "GRANT of b's role to oneself",
          ("GRANT svc_b TO CURRENT_USER", "SET ROLE svc_b", READ), LEAKS_BUT_ON_STRICT,
          "the GRANT is refused; what leaks is the SET ROLE behind it"),
    Probe(34, "COPY TO STDOUT", ("COPY b.t TO STDOUT",), LEAKS_ON_SHARED),
    Probe(35, "ALTER ROLE of oneself",
          ("ALTER ROLE CURRENT_USER SET role = 'svc_b'", "RESET ROLE", READ), LEAKS_ON_SHARED),
    Probe(36, "EXPLAIN ANALYZE of set_config",
          ("EXPLAIN ANALYZE SELECT set_config('role', 'svc_b', false)", READ), LEAKS_BUT_ON_STRICT),
    Probe(37, "behind a savepoint",
          ("BEGIN", "SAVEPOINT s", "SET ROLE svc_b", "RELEASE s", READ, "COMMIT"),
          LEAKS_ON_GUARDED),
    Probe(38, "cursor WITH HOLD",
          ("DECLARE c CURSOR WITH HOLD FOR SELECT set_config('role', 'svc_b', false)",
           "FETCH ALL c", READ), LEAKS_BUT_ON_STRICT),
    Probe(39, "CALL of a procedure",
          (plpgsql("PROCEDURE", "p39", ROLE_TO_B), "CALL a.p39()", READ), LEAKS_BUT_ON_STRICT),
    Probe(40, "files of the server",
          ("SELECT pg_read_file('PG_VERSION')", "SELECT lo_import('/etc/passwd')", READ),
          LEAKS_ON_SHARED, "what leaks is the plain read"),
)
