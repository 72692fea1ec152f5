"""Some 700 variants of the red team's attacks: ways to set something (b's role, b's search_path) in
text, dynamic SQL or objects made for it, ways to read, and what is around them, each spelled anew.

The seed is fixed, so that a variant's number is its name. What comes of one follows from its family
alone: a role that cannot be set fails the statement, which is the end of a transaction and else
nothing to whom reads behind it.
"""

import dataclasses
import random

import red_team_probes
import red_team_spelling
from red_team_stage import Extended

SEED = 1977
SAFE = red_team_probes.SAFE
LEAKS_ON_SHARED = red_team_probes.LEAKS_ON_SHARED
LEAKS_ON_GUARDED = red_team_probes.LEAKS_ON_GUARDED
LEAKS_BUT_ON_STRICT = red_team_probes.LEAKS_BUT_ON_STRICT


@dataclasses.dataclass(frozen=True)
class Variant:
    number: int
    family: str
    hidden: bool
    program: tuple
    outcomes: tuple

    expected = red_team_probes.Probe.expected


class Ways:
    """Each method whose name begins with `set_` gives statements that set `name` to `value` for the
    session; those with `read_` give statements that show the table. `self.n` makes names unique.
    Prepared statements are not named in Unicode escapes, which schemux does not follow (E4), nor
    have their texts backslashes, for behind some settings such a PREPARE is not followed either."""

    def __init__(self, number, speller=red_team_spelling.Speller):
        self.speller = speller(random.Random(f"{SEED} {number}"))
        self.n = number

    def sql(self, template, *parts):
        return self.speller.sql(template, *parts)

    def call(self, name, value):
        """The expression that sets it."""
        schema = self.speller.dice.choice(("", "#pg_catalog . "))
        return self.sql(f"{schema}#set_config ( @0 , @1 , false )", self.speller.computed(name),
                        self.speller.computed(value))

    def plain(self, name, value):
        """The statement that sets it."""
        literal = (self.speller.dice.choice("'#") if value.isidentifier() else "'") + value
        if name == "role":
            return self.sql(self.speller.dice.choice((
                f"SET ROLE {literal}", f"SET SESSION ROLE {literal}", f"SET #role TO '{value}",
                f"SET #role = '{value}", f"SET SESSION #role TO '{value}")))
        return self.sql(self.speller.dice.choice((
            f"SET #{name} TO {literal}", f"SET SESSION #{name} = {literal}",
            f"SET SCHEMA '{value}" if name == "search_path" else f"SET #{name} = {literal}")))

    def function(self, name, value, kind="FUNCTION", returns="RETURNS int", language="plpgsql",
                 result="RETURN 1;", options=""):
        """Makes a.f<n>, which sets it when it is called."""
        call = self.call(name, value)
        body = (self.speller.dollar(f"SELECT {call}; SELECT 1") if language == "sql" else
                self.speller.body(f"PERFORM {call};", result))
        arguments = "()" if kind == "PROCEDURE" or returns != "RETURNS int" else "(x int = 1)"
        return (f"CREATE {kind} a.f{self.n}{arguments} {returns} LANGUAGE {language} {options} "
                f"AS {body}")

    # ---- set something: in text ------------------------------------------------------------

    def set_plain(self, name, value):
        return [self.plain(name, value)]

    def set_config(self, name, value):
        return [self.sql("SELECT @0", self.call(name, value))]

    def set_config_somewhere(self, name, value):
        """In all the places of a query where an expression may be."""
        call = self.call(name, value)
        return [self.sql(self.speller.dice.choice((
            "SELECT 1 WHERE @0 IS NOT NULL", "SELECT 1 ORDER BY @0", "VALUES ( @0 )",
            "WITH w AS MATERIALIZED ( SELECT @0 AS r ) SELECT * FROM w",
            "SELECT CASE WHEN @0 IS NULL THEN 1 END", "SELECT ( SELECT @0 )",
            "SELECT 1 LIMIT length ( @0 )", "SELECT 1 GROUP BY @0",
            "SELECT * FROM generate_series ( 1 , length ( @0 ) )", "SELECT * FROM @0 AS r",
            "SELECT 1 FROM ( VALUES ( 1 ) ) AS v ( x ) CROSS JOIN LATERAL ( SELECT @0 ) AS l",
            "SELECT count ( * ) FILTER ( WHERE @0 IS NOT NULL )",
            "SELECT 1 UNION ALL SELECT length ( @0 )", "SELECT 1 HAVING @0 IS NOT NULL")), call)]

    def set_by_parameters(self, name, value):
        at = self.speller.dice.randint(1, len(name) - 1)
        return [Extended(*self.speller.dice.choice((
            (self.sql("SELECT #set_config ( $1 , $2 , false )"), (name, value)),
            (self.sql("SELECT #set_config ( $1 || $2 , $3 , false )"),
             (name[:at], name[at:], value)),
            (self.sql("SELECT #set_config ( reverse ( $1 ) , $2 , false )"), (name[::-1], value)),
            (self.sql("SELECT #set_config ( x [ 1 ] , x [ 2 ] , false ) FROM "
                      "string_to_array ( $1 , '| ) AS x"), (f"{name}|{value}",)))))]

    def set_by_named_statement(self, name, value):
        return [Extended(self.plain(name, value), (), f"s{self.n}")]

    def set_by_prepare(self, name, value):
        call = self.sql("SELECT #set_config ( $1 , $2 , false )")
        return [f"PREPARE p{self.n} (text, text) AS {call}",
                self.sql(f"EXECUTE p{self.n} ( @0 , @1 )", self.speller.computed_in_place(name),
                         self.speller.computed_in_place(value))]

    def set_by_prepared_whole(self, name, value):
        return [f"PREPARE p{self.n} AS SELECT {self.call(name, value)}",
                self.sql(f"EXECUTE p{self.n}")]

    def set_by_explain(self, name, value):
        return [self.sql(self.speller.dice.choice((
            "EXPLAIN ANALYZE SELECT @0", "EXPLAIN ( ANALYZE , COSTS off ) SELECT @0",
            "EXPLAIN ( ANALYZE true ) SELECT 1 WHERE @0 IS NULL")), self.call(name, value))]

    def set_by_copy(self, name, value):
        return [self.sql(self.speller.dice.choice((
            "COPY ( SELECT @0 ) TO STDOUT", "COPY ( VALUES ( @0 ) ) TO STDOUT ( FORMAT csv )")),
            self.call(name, value))]

    def set_by_cursor(self, name, value):
        return [self.sql(f"DECLARE #c{self.n} CURSOR WITH HOLD FOR SELECT @0",
                         self.call(name, value)), self.sql(f"FETCH ALL FROM #c{self.n}")]

    def set_by_table_as(self, name, value):
        return [self.sql(f"CREATE TABLE #a . #t{self.n} AS SELECT @0 AS r", self.call(name, value))]

    # ---- … in dynamic SQL and objects ------------------------------------------------------

    def set_by_do(self, name, value):
        return [self.sql("DO @0", self.speller.body(f"PERFORM {self.call(name, value)};"))]

    def set_by_do_execute(self, name, value):
        statement = self.speller.computed(self.plain(name, value))
        return [self.sql("DO LANGUAGE #plpgsql @0", self.speller.body(f"EXECUTE {statement};"))]

    def set_by_do_in_do(self, name, value):
        inner = f"DO {self.speller.body(f'PERFORM {self.call(name, value)};')}"
        return [self.sql("DO @0", self.speller.body(f"EXECUTE {self.speller.computed(inner)};"))]

    def set_by_do_behind_an_error(self, name, value):
        return [self.sql("DO @0", self.speller.body(
            "PERFORM 1 / 0;", "EXCEPTION WHEN division_by_zero THEN",
            f"PERFORM {self.call(name, value)};"))]

    def set_by_function(self, name, value):
        return [self.function(name, value), self.sql(f"SELECT #a . #f{self.n} ( )")]

    def set_by_sql_function(self, name, value):
        return [self.function(name, value, language="sql"),
                self.sql(f"SELECT * FROM #a . #f{self.n} ( )")]

    def set_by_procedure(self, name, value):
        return [self.function(name, value, "PROCEDURE", "", result=""),
                self.sql(f"CALL #a . #f{self.n} ( )")]

    def set_by_view(self, name, value):
        return [f"CREATE VIEW a.v{self.n} AS SELECT {self.call(name, value)} AS r",
                self.sql(f"SELECT * FROM #a . #v{self.n}")]

    def set_by_trigger(self, name, value):
        return [f"CREATE TABLE a.t{self.n} (x int)",
                self.function(name, value, returns="RETURNS trigger", result="RETURN NULL;"),
                f"CREATE TRIGGER s AFTER INSERT ON a.t{self.n} EXECUTE FUNCTION a.f{self.n}()",
                self.sql(f"INSERT INTO #a . #t{self.n} VALUES ( 1 )")]

    def set_by_rule(self, name, value):
        return [f"CREATE TABLE a.t{self.n} (x int)",
                f"CREATE RULE r AS ON INSERT TO a.t{self.n} DO ALSO "
                f"SELECT {self.call(name, value)}",
                self.sql(f"INSERT INTO #a . #t{self.n} VALUES ( 1 )")]

    def set_by_default(self, name, value):
        call = self.call(name, value)
        while "SELECT" in call:  # a default may have no subquery
            call = self.call(name, value)
        return [f"CREATE TABLE a.t{self.n} (x int, y text DEFAULT {call})",
                self.sql(f"INSERT INTO #a . #t{self.n} VALUES ( 1 )")]

    def set_by_check(self, name, value):
        return [self.function(name, value),
                f"CREATE TABLE a.t{self.n} (x int CHECK (a.f{self.n}(x) = 1))",
                self.sql(f"INSERT INTO #a . #t{self.n} VALUES ( 1 )")]

    def set_by_domain(self, name, value):
        return [self.function(name, value),
                f"CREATE DOMAIN a.d{self.n} AS int CHECK (a.f{self.n}(VALUE) = 1)",
                self.sql(f"SELECT 1 :: #a . #d{self.n}")]

    def set_by_operator(self, name, value):
        sign = "@@" + "".join("#&~|@!?%^="[int(digit)] for digit in str(self.n)) + "@"
        return [self.function(name, value),
                f"CREATE OPERATOR a.{sign} (RIGHTARG = int, FUNCTION = a.f{self.n})",
                self.sql("SELECT OPERATOR ( #a . @0 ) 1", sign)]

    def set_by_cast(self, name, value):
        return [f"CREATE TYPE a.y{self.n} AS (x int)",
                f"CREATE FUNCTION a.f{self.n}(a.y{self.n}) RETURNS int LANGUAGE plpgsql AS "
                + self.speller.body(f"PERFORM {self.call(name, value)};", "RETURN 1;"),
                f"CREATE CAST (a.y{self.n} AS int) WITH FUNCTION a.f{self.n}(a.y{self.n})",
                self.sql(f"SELECT ROW ( 1 ) :: #a . #y{self.n} :: int")]

    def set_by_aggregate(self, name, value):
        return [f"CREATE FUNCTION a.f{self.n}(int, int) RETURNS int LANGUAGE plpgsql AS "
                + self.speller.body(f"PERFORM {self.call(name, value)};", "RETURN 1;"),
                f"CREATE AGGREGATE a.g{self.n} (int) (SFUNC = a.f{self.n}, STYPE = int)",
                self.sql(f"SELECT #a . #g{self.n} ( x ) FROM generate_series ( 1 , 2 ) AS x")]

    def set_by_index(self, name, value):
        return [self.function(name, value, options="IMMUTABLE"),
                f"CREATE TABLE a.t{self.n} (x int)",
                f"CREATE INDEX ON a.t{self.n} (a.f{self.n}(x))",
                self.sql(f"INSERT INTO #a . #t{self.n} VALUES ( 1 )")]

    def set_by_policy(self, name, value):
        return [self.function(name, value), f"CREATE TABLE a.t{self.n} AS SELECT 1 AS x",
                f"CREATE POLICY p ON a.t{self.n} USING (a.f{self.n}(x) = 1)",
                f"ALTER TABLE a.t{self.n} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY",
                self.sql(f"SELECT * FROM #a . #t{self.n}")]

    # ---- read ------------------------------------------------------------------------------

    def read_plain(self, table):
        return [self.sql(self.speller.dice.choice((
            f"SELECT #body FROM {table}", f"SELECT * FROM {table}", f"TABLE {table}",
            f"SELECT x FROM {table} AS x", f"SELECT #string_agg ( #body , ', ) FROM {table}",
            f"SELECT ( SELECT #body FROM {table} LIMIT 1 )", f"SELECT #body FROM ONLY {table}",
            f"WITH w AS ( SELECT * FROM {table} ) SELECT #to_json ( w ) FROM w",
            f"SELECT #upper ( 'x ) , l . * FROM {table} AS l WHERE true OFFSET 0")))]

    def read_by_copy(self, table):
        return [self.sql(self.speller.dice.choice((
            f"COPY {table} TO STDOUT", f"COPY ( SELECT #body FROM {table} ) TO STDOUT",
            f"COPY ( TABLE {table} ) TO STDOUT ( FORMAT csv )",
            f"COPY ( SELECT * FROM {table} ) TO STDOUT ( FORMAT binary )")))]

    def read_by_cursor(self, table):
        return [self.sql(f"DECLARE #r{self.n} CURSOR WITH HOLD FOR SELECT #body FROM {table}"),
                self.sql(f"FETCH ALL FROM #r{self.n}"), self.sql(f"CLOSE #r{self.n}")]

    def read_by_extended(self, table):
        return [Extended(self.sql(f"SELECT #body FROM {table} WHERE $1 :: int = 1"), ("1",),
                         self.speller.dice.choice(("", f"r{self.n}")))]

    def read_by_prepare(self, table):
        text = self.sql(f"SELECT body FROM {table.replace('#', '')}")
        return [f"PREPARE r{self.n} AS {text}",
                self.sql(f"EXECUTE r{self.n}")]

    def read_by_xml(self, table):
        statement = self.speller.computed(self.sql(f"SELECT #body FROM {table}"))
        return [self.sql("SELECT #query_to_xml ( @0 , false , false , @1 )", statement, "''")]

    def read_by_error(self, table):
        return [self.sql(f"SELECT #body :: #int4 FROM {table}")]

    def read_by_notice(self, table):
        return [self.sql("DO @0", self.speller.body(
            f"RAISE NOTICE '%', (SELECT min(body) FROM {self.sql(table)});"))]

    def read_by_dynamic_error(self, table):
        statement = self.speller.computed(self.sql(f"SELECT #body :: #int4 FROM {table}"))
        return [self.sql("DO @0", self.speller.body(f"EXECUTE {statement};"))]


SETS = tuple(name for name in vars(Ways) if name.startswith("set_"))
READS = tuple(name for name in vars(Ways) if name.startswith("read_"))
# What sets something is in an object that may be older than the session.
HIDDEN = tuple(f"set_by_{kind}" for kind in (
    "view", "trigger", "rule", "default", "check", "domain", "operator", "cast", "index", "policy"))
QUALIFIED, BARE = "#b . #t", "#t"
# Ways back to the login's own rights, from which any role of its own is near.
LEAVES = ("RESET ROLE", "SET ROLE NONE", "RESET SESSION AUTHORIZATION", "RESET #role",
          "SET SESSION AUTHORIZATION DEFAULT", "RESET ALL", "SET #role TO DEFAULT")
CONTEXTS = ("alone", "transaction", "savepoint", "message")


def around(context, ways, program):
    """The program in the context; None where it has no place."""
    if context == "alone":
        return tuple(program)
    if context == "message":
        simple = all(isinstance(statement, str) for statement in program)
        return (";".join(program),) if simple else None
    end = ways.sql(ways.speller.dice.choice(("COMMIT", "END", "ROLLBACK", "COMMIT WORK")))
    begin = ways.sql(ways.speller.dice.choice(("BEGIN", "START TRANSACTION", "BEGIN WORK")))
    if context == "transaction":
        return (begin, *program, end)
    return (begin, ways.sql("SAVEPOINT #s"), "SELECT 1 / 0", ways.sql("ROLLBACK TO #s"), *program,
            end)


def read(ways, table=QUALIFIED):
    return getattr(ways, ways.speller.dice.choice(READS))(table)


def set_and_read(setter, name, value, table=QUALIFIED):
    return lambda ways: getattr(ways, setter)(name, value) + read(ways, table)


def leave_and_read(leave):
    return lambda ways: [ways.sql(leave), ways.plain("role", "svc_b"), *read(ways)]


def authorize_and_read(ways):
    return [ways.speller.dice.choice((
        ways.sql("SET SESSION AUTHORIZATION #svc_b"), ways.sql("SET SESSION AUTHORIZATION 'svc_b"),
        f"SELECT {ways.call('session_authorization', 'svc_b')}",
        ways.sql("SET #session_authorization TO 'svc_b"))), *read(ways)]


def read_in_a_function(options):
    """Its role lasts as long as the function."""
    def program(ways):
        sets = "" if "SET" in options else f"PERFORM {ways.call('role', 'svc_b')};"
        body = ways.speller.body(sets, "RETURN (SELECT min(body) FROM b.t);")
        return [f"CREATE FUNCTION a.f{ways.n}() RETURNS text LANGUAGE plpgsql "
                f"{ways.sql(options) if options else ''} AS {body}",
                ways.sql(f"SELECT #a . #f{ways.n} ( )")]
    return program


def families(context):
    """name, program of some Ways, outcomes, how many."""
    on_role = LEAKS_BUT_ON_STRICT if context == "alone" else LEAKS_ON_GUARDED
    for setter in SETS:
        yield f"role {setter}", set_and_read(setter, "role", "svc_b"), on_role, 3
        yield (f"path {setter}", set_and_read(setter, "search_path", "b", BARE), LEAKS_ON_SHARED, 2)
    for reader in READS:
        yield reader, lambda ways, way=reader: getattr(ways, way)(QUALIFIED), LEAKS_ON_SHARED, 3
    for leave in LEAVES:
        yield leave, leave_and_read(leave), on_role, 2
    if context == "alone":
        yield "DISCARD ALL", leave_and_read("DISCARD ALL"), on_role, 3
    yield "authorization", authorize_and_read, LEAKS_ON_SHARED if context == "alone" else SAFE, 6
    yield "role in a function", read_in_a_function(""), LEAKS_ON_GUARDED, 3
    yield "role of a function", read_in_a_function("SET #role TO 'svc_b"), LEAKS_ON_GUARDED, 3
    yield "definer", read_in_a_function("SECURITY DEFINER"), SAFE, 3


def variants():
    """All of them, the same ones each time."""
    found = []
    for context in CONTEXTS:
        for family, program, outcomes, times in families(context):
            for _ in range(times):
                ways = Ways(len(found))
                whole = around(context, ways, program(ways))
                if whole is not None:
                    found.append(Variant(len(found), f"{family} ({context})",
                                         family.split()[-1] in HIDDEN, whole, outcomes))
    return tuple(found)


VARIANTS = variants()
