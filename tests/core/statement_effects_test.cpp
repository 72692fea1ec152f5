// What each kind of statement may leave behind, above all: that nothing with an effect passes as
// none, and that what drivers and applications send all day does.
#include "core/statement_effects.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

namespace schemux::core {
namespace {

struct Named {
    Effect effect;
    std::string_view name;
};

constexpr Named names[] = {
    {Effect::settings, "settings"},
    {Effect::role, "role"},
    {Effect::prepare, "prepare"},
    {Effect::temporary, "temporary"},
    {Effect::hold_cursor, "hold_cursor"},
    {Effect::listen, "listen"},
    {Effect::advisory_lock, "lock"},
    {Effect::sequence, "sequence"},
    {Effect::load, "load"},
    {Effect::opaque, "opaque"},
    {Effect::seed, "seed"},
    {Effect::release, "release"},
    {Effect::perhaps, "perhaps"},
};

// The bits and flags as words, in a fixed order: readable in a failure.
std::string described(const StatementEffects& effects) {
    std::string out;
    const auto word = [&out](bool set, std::string_view name) {
        if (!set) return;
        if (!out.empty()) out += ' ';
        out += name;
    };
    for (const Named& named : names)
        word(effects.has(named.effect), named.name);
    word(effects.begins_transaction, "+begin");
    word(effects.ends_transaction, "+end");
    word(effects.savepoint, "+savepoint");
    word(effects.copy, "+copy");
    return out;
}

std::string effects_of(std::string_view text) {
    return described(classify_effects(text, true));
}

struct Case {
    std::string_view text;
    std::string_view expected;
};

void check(const std::vector<Case>& cases) {
    for (const Case& one : cases)
        EXPECT_EQ(effects_of(one.text), one.expected) << one.text;
}

TEST(StatementEffects, OrdinaryQueriesLeaveNothing) {
    for (const std::string_view text : {
             "SELECT 1",
             "select id, name from users where id = $1 and active limit 10",
             "(SELECT 1) UNION ALL (SELECT 2)",
             "VALUES (1, 2), (3, 4)",
             "TABLE users",
             "SELECT count(*) FILTER (WHERE x > 1) OVER (PARTITION BY (a) ORDER BY (b)) FROM t",
             "WITH x (a, b) AS (SELECT 1, 2), y (c) AS MATERIALIZED (SELECT 3) SELECT * FROM x, y",
             "WITH RECURSIVE tree(n) AS (VALUES (1) UNION SELECT n+1 FROM tree) TABLE tree",
             "with a as not materialized (select now()) select * from a",
             "SELECT * FROM (VALUES (1,'a')) AS v(a, b)",
             "SELECT * FROM (VALUES (1,'a')) v(a, b)",
             "SELECT * FROM generate_series(1, 3) g(i) JOIN t u(a) USING (a)",
             "SELECT * FROM unnest($1::int[]) WITH ORDINALITY AS u(x, n)",
             "SELECT * FROM json_to_recordset($1) AS r(a int, b numeric(10,2))",
             "SELECT CAST(a AS varchar(10)), b::numeric(10, 2), c::geometry(Point, 4326) FROM t",
             "SELECT timestamp(3) '2001-01-01', interval '1 day', x::bit varying(3) FROM t",
             "SELECT coalesce(a, b), nullif(a, 1), greatest(1, 2), extract(year from d) FROM t",
             "SELECT a FROM t WHERE a IN (1, 2) AND NOT (b OR c) AND d = ANY ($1) AND EXISTS "
             "(SELECT 1)",
             "SELECT ARRAY[1, 2], ARRAY(SELECT 1), ROW(1, 2), (1, 2), a[1] FROM t",
             "SELECT a, count(*) FROM t GROUP BY (a) HAVING count(*) > 1 ORDER BY (a)",
             "SELECT a FROM t GROUP BY GROUPING SETS ((a), ()), CUBE (a), ROLLUP (a)",
             "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY x) FROM t",
             "SELECT string_agg(a, ',' ORDER BY b) FROM t",
             "SELECT pg_catalog.lower(a), \"upper\"(b), PG_CATALOG.\"length\"(c) FROM t",
             "SELECT * FROM t TABLESAMPLE system (10) REPEATABLE (3)",
             "SELECT DISTINCT ON (a) a, b FROM t",
             "SELECT a OPERATOR(pg_catalog.=) 'x' FROM t",
             "SELECT * FROM t FOR UPDATE OF t SKIP LOCKED",
             "SELECT random(), gen_random_uuid(), now(), current_timestamp(3), pg_sleep(1)",
             "SELECT pg_advisory_xact_lock(1), pg_try_advisory_xact_lock(2)",
             "SELECT set_config('search_path', $1, true)",
             "SELECT set_config('request.claims', format('%s', coalesce($1, $2)), TRUE)",
             "SELECT * FROM information_schema._pg_expandarray(i)",
             "SELECT 'set_config(', $$nextval('x')$$ /* setval('a') */ -- SET x = 1",
             "DELETE FROM users WHERE id IN (SELECT 1) RETURNING *",
             "UPDATE users SET (a, b) = (1, 2), c = lower(d) WHERE id = 1",
             "SHOW transaction isolation level",
             "EXPLAIN (ANALYZE, FORMAT json) SELECT now()",
             "EXPLAIN ANALYZE VERBOSE SELECT 1",
             "FETCH 10 FROM c",
             "MOVE ALL IN c",
             "CLOSE c",
             "DECLARE c NO SCROLL CURSOR FOR SELECT 1",
             "DECLARE c CURSOR WITHOUT HOLD FOR SELECT 1",
             "NOTIFY ch, 'x'",
             "",
             " ; ;",
         })
        EXPECT_EQ(effects_of(text), "") << text;
}

TEST(StatementEffects, PlainDefinitionsLeaveNothing) {
    for (const std::string_view text : {
             "CREATE TABLE t (id serial PRIMARY KEY, a int DEFAULT f(1) REFERENCES u (id), CHECK "
             "(g(a)))",
             "CREATE UNLOGGED TABLE IF NOT EXISTS t (a varchar(10)) WITH (fillfactor = 70)",
             "CREATE TABLE t (a int, b int GENERATED ALWAYS AS (f(a)) STORED)",
             "CREATE TABLE p PARTITION OF t FOR VALUES FROM (1) TO (10)",
             "CREATE TABLE t AS SELECT lower(a) FROM u",
             "CREATE MATERIALIZED VIEW v AS SELECT count(*) FROM u",
             "CREATE OR REPLACE VIEW v AS SELECT f(a) FROM u",
             "CREATE UNIQUE INDEX CONCURRENTLY i ON t USING gin (f(a) gin_trgm_ops)",
             "CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM "
             "set_config('a','b',false); END $$",
             "CREATE OR REPLACE PROCEDURE p() BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; "
             "SELECT g(); END",
             "CREATE TRIGGER t BEFORE INSERT ON u EXECUTE FUNCTION f()",
             "CREATE TYPE e AS ENUM ('a')",
             "CREATE SCHEMA s AUTHORIZATION r",
             "CREATE ROLE r LOGIN",
             "CREATE SEQUENCE s",
             "CREATE RULE r AS ON INSERT TO t DO ALSO (SELECT f(); SELECT g())",
             "ALTER TABLE t ADD COLUMN a varchar(10) DEFAULT 'x' NOT NULL",
             "ALTER TABLE t ADD COLUMN g geometry(Point, 4326), ADD PRIMARY KEY (a), ADD UNIQUE "
             "(b)",
             "ALTER TABLE t ADD CONSTRAINT k FOREIGN KEY (a) REFERENCES u (id) ON DELETE CASCADE",
             "ALTER TABLE t ALTER COLUMN g TYPE vector(3) USING lower(g)",
             "ALTER TABLE t ADD EXCLUDE USING gist (r WITH &&), SET (fillfactor = 70)",
             "ALTER SEQUENCE s RESTART WITH 1",
             "ALTER ROLE r SET search_path = a",
             "DROP TABLE IF EXISTS t CASCADE",
             "GRANT SELECT (a, b) ON t TO r",
             "REVOKE ALL ON FUNCTION f(int) FROM r",
             "VACUUM (FULL, ANALYZE) t (a, b)",
             "ANALYZE t",
             "TRUNCATE a, b RESTART IDENTITY CASCADE",
             "COMMENT ON FUNCTION f(int) IS 'x'",
             "REINDEX TABLE t",
             "LOCK TABLE t IN SHARE MODE",
             "REFRESH MATERIALIZED VIEW v",
             "CLUSTER t USING i",
             "CHECKPOINT",
             "SECURITY LABEL ON TABLE t IS 'x'",
         })
        EXPECT_EQ(effects_of(text), "") << text;
}

TEST(StatementEffects, TransactionControlIsFlaggedAndLeavesNothing) {
    check({
        {"BEGIN", "+begin"},
        {"begin transaction isolation level serializable", "+begin"},
        {"START TRANSACTION READ ONLY", "+begin"},
        {"COMMIT", "+end"},
        {"END WORK", "+end"},
        {"ROLLBACK", "+end"},
        {"ABORT", "+end"},
        {"COMMIT AND CHAIN", "+begin +end"},
        {"ROLLBACK AND NO CHAIN", "+end"},
        {"ROLLBACK TO SAVEPOINT a", "+savepoint"},
        {"ROLLBACK WORK TO a", "+savepoint"},
        {"SAVEPOINT a", "+savepoint"},
        {"RELEASE SAVEPOINT a", "+savepoint"},
        {"PREPARE TRANSACTION 'x'", "+end"},
        {"COMMIT PREPARED 'x'", ""},
        {"ROLLBACK PREPARED 'x'", ""},
        {"SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", ""},
        {"SET CONSTRAINTS ALL DEFERRED", ""},
        {"BEGIN;SELECT 1", "+begin"},
    });
}

TEST(StatementEffects, SettingsAndRoles) {
    check({
        {"SET search_path TO a, public", "settings"},
        {"set extra_float_digits = 3", "settings"},
        {"SET SESSION statement_timeout = 0", "settings"},
        {"SET TIME ZONE 'UTC'", "settings"},
        {"SET NAMES 'utf8'", "settings"},
        {"SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", "settings"},
        {"SET LOCAL search_path = a", ""},
        {"SET LOCAL ROLE r", ""},
        {"SET LOCAL TIME ZONE 'UTC'", ""},
        {"SET LOCAL Standard_Conforming_Strings = off", ""},
        {"SET LOCAL \"standard_conforming_strings\" = off", ""},
        {"SET LOCAL U&\"standard\\005fconforming_strings\" = off", "opaque"},
        {"SET LOCAL NAMES 'SJIS'", ""},
        {"SET LOCAL client_encoding = 'SJIS'", ""},
        {"SELECT set_config('STANDARD_conforming_strings', 'off', true)", ""},
        {"SELECT set_config('client_encoding', 'SJIS', true)", ""},
        {"SET ROLE r", "role"},
        {"SET SESSION ROLE r", "role"},
        {"SET role = 'r'", "role"},
        {"SET \"role\" TO r", "role"},
        {"SET SESSION AUTHORIZATION r", "role"},
        {"SET SESSION SESSION AUTHORIZATION r", "role"},
        {"SET session_authorization = r", "role"},
        {"SET SEED TO 0.5", "settings seed"},
        {"SET LOCAL seed = 0.5", "seed"},
        {"RESET ALL", "settings"},
        {"RESET search_path", "settings"},
        {"RESET ROLE", "role"},
        {"RESET SESSION AUTHORIZATION", "role"},
        {"SELECT set_config('a.b', 'c', false)", "settings"},
        {"SELECT set_config('a.b', 'c', $1)", "settings"},
        {"SELECT set_config('a.b', 'c', true or false)", "settings"},
        {"SELECT pg_catalog.set_config('search_path', '', false)", "settings"},
        {"SELECT pg_catalog . \"set_config\" ('search_path', '', false)", "settings"},
        {"SELECT SET_CONFIG('Role', 'r', false)", "role"},
        {"SELECT set_config($1, $2, false)", "settings role perhaps"},
        {"SELECT set_config($1, $2, true)", "perhaps"},
        {"SELECT setseed(0.5)", "seed"},
        {"SELECT 1 FROM t WHERE set_config('a.b','c',false) IS NULL", "settings"},
        {"SELECT DISTINCT ON (a) set_config('a.b','c',false) FROM t", "settings"},
    });
}

TEST(StatementEffects, WhatStaysInTheBackend) {
    check({
        {"PREPARE p AS SELECT 1", "prepare"},
        {"PREPARE p (int) AS INSERT INTO t VALUES ($1)", "prepare sequence"},
        {"EXECUTE p (1, lower('x'))", "prepare"},
        {"EXECUTE p (f(1))", "prepare opaque"},
        {"DEALLOCATE ALL", "prepare"},
        {"DEALLOCATE _pg3_0", "prepare"},
        {"EXPLAIN EXECUTE p", "prepare"},
        {"CREATE TABLE t AS EXECUTE p", "prepare"},
        {"CREATE TEMP TABLE t (a int)", "temporary"},
        {"CREATE LOCAL TEMPORARY TABLE t AS SELECT f()", "temporary opaque"},
        {"CREATE OR REPLACE TEMP VIEW v AS SELECT 1", "temporary"},
        {"CREATE TEMPORARY SEQUENCE s", "temporary"},
        {"CREATE TEMP TABLE t (a int) ON COMMIT DROP", "perhaps"},
        {"CREATE TEMP TABLE t ON COMMIT DROP AS SELECT f()", "opaque perhaps"},
        {"CREATE TEMP TABLE t (a int) ON COMMIT DELETE ROWS", "temporary"},
        {"CREATE TEMP TABLE drop (commit int)", "temporary"},
        {"CREATE TABLE pg_temp.t (a int)", "temporary"},
        {"CREATE TABLE \"pg_temp\".t (a int)", "temporary"},
        {"DROP TABLE pg_temp_3.t", "temporary"},
        {"SELECT * INTO TEMP t FROM u", "temporary"},
        {"SELECT * INTO TEMPORARY TABLE t FROM u", "temporary"},
        {"SELECT * INTO LOCAL TEMP t FROM u", "temporary"},
        {"DECLARE c CURSOR WITH HOLD FOR SELECT 1", "hold_cursor"},
        {"DECLARE \"_django_curs_1\" NO SCROLL CURSOR WITH HOLD FOR SELECT f()",
         "hold_cursor opaque"},
        {"LISTEN ch", "listen"},
        {"UNLISTEN *", "release"},
        {"SELECT pg_advisory_lock(1)", "lock"},
        {"SELECT pg_try_advisory_lock_shared(1, 2)", "lock"},
        {"SELECT pg_advisory_unlock_all()", "release"},
        {"LOAD 'auto_explain'", "load"},
    });
}

TEST(StatementEffects, Sequences) {
    check({
        {"SELECT nextval('s')", "sequence"},
        {"SELECT currval('s'), lastval()", "sequence"},
        {"SELECT setval('s', 1)", "sequence"},
        {"SELECT ('s'::regclass).nextval", "sequence"},
        {"SELECT $1.nextval", "sequence"},
        {"INSERT INTO t (a, b) VALUES (1, 2) ON CONFLICT (a) DO UPDATE SET (a, b) = (1, 2)",
         "sequence"},
        {"INSERT INTO s.t AS x (a) SELECT 1", "sequence"},
        {"INSERT INTO t DEFAULT VALUES RETURNING id", "sequence"},
        {"WITH x AS (INSERT INTO t (a) VALUES (1) RETURNING a) SELECT * FROM x", "sequence"},
        {"MERGE INTO t USING u ON t.a = u.a WHEN NOT MATCHED THEN INSERT (a) VALUES (u.a)",
         "sequence"},
        {"UPDATE t SET a = DEFAULT", "sequence"},
        {"UPDATE t SET a = 1", ""},
        {"COPY t (a, b) FROM STDIN WITH (FORMAT csv)", "sequence +copy"},
        {"COPY t (a, b) TO STDOUT WITH (FORMAT csv, FORCE_QUOTE (a))", "+copy"},
        {"COPY (SELECT a FROM t) TO STDOUT", "+copy"},
        {"COPY (SELECT f(a) FROM t) TO STDOUT", "opaque +copy"},
        {"ALTER TABLE t ADD COLUMN id bigserial", "sequence"},
        {"ALTER TABLE t ADD COLUMN id int GENERATED BY DEFAULT AS IDENTITY (START 1)", "sequence"},
        {"ALTER TABLE t ADD COLUMN id int DEFAULT nextval('s')", "sequence"},
    });
}

TEST(StatementEffects, WhatIsNotKnownIsOpaque) {
    for (const std::string_view text : {
             "DO $$ BEGIN END $$",
             "CALL p()",
             "DISCARD ALL",
             "DISCARD TEMP",
             "CLOSE ALL",
             "FROBNICATE x",
             "SELECT f()",
             "SELECT a, f(b) FROM t",
             "SELECT * FROM f(1)",
             "SELECT * FROM t, f(1) x(a)",
             "SELECT * FROM t CROSS JOIN LATERAL f(t.a)",
             "SELECT app.lower(a) FROM t",
             "SELECT \"LOWER\"(a) FROM t",
             "SELECT db.pg_catalog.lower(a) FROM t",
             "SELECT (r).f FROM t",
             "SELECT DISTINCT ON (a) f(a) FROM t",
             "SELECT DISTINCT ON ((a), lower(b)) f(a) FROM t",
             "SELECT CASE WHEN a THEN f(b) END FROM t",
             "SELECT 1 WHERE a BETWEEN f(1) AND g(2)",
             "SELECT a FROM t ORDER BY f(a)",
             "SELECT * FROM x WITH ORDINALITY AS o(a), f(b)",
             "WITH a AS (SELECT 1) SELECT f(1), g(2)",
             "WITH a AS (SELECT f(1)) SELECT 1",
             "EXPLAIN SELECT f()",
             "CREATE TABLE t AS SELECT f()",
             "CREATE MATERIALIZED VIEW v AS SELECT f()",
             "CREATE TABLE p PARTITION OF t FOR VALUES FROM (f(1)) TO (10)",
             "CREATE EXTENSION hstore",
             "ALTER TABLE t ADD COLUMN a int DEFAULT f()",
             "ALTER TABLE t ADD CHECK (f(a))",
             "ALTER TABLE t ALTER a TYPE int USING f(a)",
             "UPDATE t SET a = f(1)",
             "DELETE FROM t WHERE f(a)",
             "SELECT query_to_xml('SELECT 1', true, false, '')",
             "SELECT lo_create(0)",
             "SELECT dblink('x', 'y')",
             "SELECT * FROM U&\"pg\\005ftemp\".x",
             "SELECT 'unterminated",
             "VALUES (1, f(2))",
             "SELECT set(1)",
             "SELECT materialized(1)",
             "SELECT filter(1), over(2)",
             "SELECT NOT materialwhat(1)",
         })
        EXPECT_TRUE(classify_effects(text, true).has(Effect::opaque)) << text;
}

TEST(StatementEffects, EveryStatementOfATextCounts) {
    check({
        {"SELECT 1; SET x = 1", "settings"},
        {"SELECT 1;;SET ROLE r;", "role"},
        {"SELECT pg_advisory_unlock_all();\nCLOSE ALL;\nUNLISTEN *;\nRESET ALL;",
         "settings opaque release"},
        {"CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; END; SET x = 1", "settings"},
        {"BEGIN; SELECT CASE WHEN true THEN 1 END; COMMIT", "+begin +end"},
        {"SELECT 1) ; SET x = 1", "settings"},
        {"SELECT $$ ; $$; LISTEN x", "listen"},
    });
}

TEST(StatementEffects, WhatDriversSend) {
    check({
        // psycopg2 reset, asyncpg, Django, Rails, JDBC, Sequelize, ODBC, SQLAlchemy, libpq tools
        {"ABORT", "+end"},
        {"SET SESSION AUTHORIZATION DEFAULT", "role"},
        {"SET client_min_messages TO warning;SET TIME ZONE INTERVAL '+00:00' HOUR TO MINUTE;",
         "settings"},
        {"SET DateStyle = 'ISO';SET extra_float_digits = 2;show transaction_isolation", "settings"},
        {"select pg_catalog.version()", ""},
        {"select current_schema()", ""},
        {"SELECT t.oid, typarray FROM pg_type t JOIN pg_namespace ns ON typnamespace = ns.oid "
         "WHERE typname = 'hstore'",
         ""},
        {"SELECT c.relname, CASE WHEN c.relispartition THEN 'p' WHEN c.relkind IN ('m', 'v') THEN "
         "'v' ELSE 't' END FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_namespace n ON n.oid "
         "= c.relnamespace WHERE c.relkind IN ('f', 'm', 'p', 'r', 'v') AND n.nspname NOT IN "
         "('pg_catalog', 'pg_toast') AND pg_catalog.pg_table_is_visible(c.oid)",
         ""},
        {"SELECT a.attname, format_type(a.atttypid, a.atttypmod), pg_get_expr(d.adbin, d.adrelid), "
         "a.attnotnull, col_description(a.attrelid, a.attnum) AS comment FROM pg_attribute a LEFT "
         "JOIN pg_attrdef d ON a.attrelid = d.adrelid WHERE a.attrelid = '\"users\"'::regclass "
         "AND a.attnum > 0 ORDER BY a.attnum",
         ""},
        {"INSERT INTO \"users\" (\"name\", \"at\") VALUES ('a', '2020-01-01'::timestamptz) "
         "RETURNING \"users\".\"id\"",
         "sequence"},
        {"SELECT \"users\".* FROM \"users\" WHERE \"users\".\"id\" = $1 LIMIT $2", ""},
        {"UPDATE \"users\" SET \"name\" = 'x' WHERE \"users\".\"id\" = 1", ""},
        {"SELECT 1 AS one FROM \"users\" WHERE UPPER(\"users\".\"name\"::text) LIKE UPPER('x') "
         "LIMIT 1",
         ""},
        {"/* DBD::Pg ping test v3.16.0 */", ""},
        {"BEGIN;SELECT 1", "+begin"},
        {"DEALLOCATE pdo_stmt_00000001", "prepare"},
    });
}

TEST(StatementEffects, LiteralsThatFreezeAtParseAreFlagged) {
    const auto frozen = [](std::string_view text, bool conforming = true) {
        return classify_effects(text, conforming).frozen_literal;
    };
    EXPECT_TRUE(frozen("SELECT 'now'::timestamptz"));
    EXPECT_TRUE(frozen("SELECT date 'Today'"));
    EXPECT_TRUE(frozen("SELECT ' TOMORROW 12:00'::timestamp"));
    EXPECT_TRUE(frozen("SELECT $$yesterday$$::date"));
    EXPECT_TRUE(frozen("SELECT time 'allballs'"));
    EXPECT_TRUE(frozen("SELECT N'now'::date"));
    EXPECT_TRUE(frozen("SELECT E'\\x6eow'::date"));
    EXPECT_TRUE(frozen("SELECT U&'\\006eow'::date"));
    EXPECT_TRUE(frozen("SELECT 'no'\n'w'::date"));
    EXPECT_TRUE(frozen("SELECT '\\156ow'::date", false));
    EXPECT_FALSE(frozen("SELECT '\\156ow'::date", true));
    EXPECT_FALSE(frozen("SELECT now(), today FROM yesterday"));
    EXPECT_FALSE(frozen("SELECT 'epoch', 'infinity', 'no', 'ow' -- 'now'"));
}

TEST(StatementEffects, OneStatementIsToldFromSeveral) {
    EXPECT_TRUE(classify_effects("SELECT 1;", true).single_statement);
    EXPECT_TRUE(classify_effects(" ; SELECT ';' ;;", true).single_statement);
    EXPECT_FALSE(classify_effects("SELECT 1; SELECT 2", true).single_statement);
    EXPECT_FALSE(classify_effects(";", true).single_statement);
    EXPECT_TRUE(classify_effects("CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; "
                                 "END;",
                                 true)
                    .single_statement);
}

TEST(StatementEffects, BackslashesFollowTheSetting) {
    const std::string_view text = "SELECT 'a\\'; SET x = 1 --'";
    EXPECT_TRUE(classify_effects(text, true).has(Effect::settings));
    EXPECT_TRUE(classify_effects(text, false).none());
}

TEST(StatementEffects, DeepNestingIsOpaqueAndEnds) {
    const std::string deep =
        "SELECT " + std::string(100'000, '(') + "1" + std::string(100'000, ')');
    EXPECT_TRUE(classify_effects(deep, true).has(Effect::opaque));
    std::string explains;
    for (int count = 0; count < 10'000; ++count)
        explains += "EXPLAIN ";
    EXPECT_EQ(effects_of(explains + "SET x = 1"), "settings");
}

TEST(StatementEffects, LocalSettingsAreSaidWithoutBeingAReasonForAReset) {
    for (const char* text : {"SET LOCAL work_mem = 1", "SET LOCAL app.user = 'x'",
                             "SELECT set_config('array_nulls', 'off', true)",
                             "SELECT pg_catalog.set_config($1, $2, true)"}) {
        EXPECT_TRUE(classify_effects(text, true).sets_locally) << text;
    }
    for (const char* text : {"SELECT set_config('app.user', 'x', true)", "SELECT 'SET LOCAL a = 1'",
                             "SHOW work_mem", "SET TRANSACTION READ ONLY"}) {
        EXPECT_FALSE(classify_effects(text, true).sets_locally) << text;
    }
}

TEST(StatementEffects, SettingsThatTextsAreReadByAreSaid) {
    for (const char* text :
         {"SET LOCAL Standard_Conforming_Strings = off", "SET NAMES 'SJIS'", "RESET ALL",
          "SET LOCAL \"standard_conforming_strings\" = off", "SET LOCAL client_encoding = 'SJIS'",
          "SELECT set_config('STANDARD_conforming_strings', 'off', true)",
          "SELECT set_config('client_encoding', 'SJIS', false)", "SELECT set_config($1, $2, true)",
          "SELECT set_config('client_' || $1, $2, true)", "UPDATE pg_settings SET setting = 'off'",
          "reset standard_conforming_strings"}) {
        EXPECT_TRUE(classify_effects(text, true).changes_reading) << text;
        EXPECT_TRUE(classify_effects(text, true).changes_meaning) << text;
    }
    for (const char* text : {"SET work_mem = 1", "SET DateStyle = German", "SET ROLE x",
                             "SELECT set_config('app.x', $1, false)"}) {
        EXPECT_FALSE(classify_effects(text, true).changes_reading) << text;
    }
}

TEST(StatementEffects, SettingsThatTextsAreAnalysedByAreSaid) {
    for (const char* text : {"SET DateStyle = German", "SET TIME ZONE 'UTC'",
                             "SET LOCAL search_path = a", "SET ROLE x", "SET xmloption = document",
                             "SET SCHEMA 'a'", "SET SESSION AUTHORIZATION DEFAULT"}) {
        EXPECT_TRUE(classify_effects(text, true).changes_meaning) << text;
    }
    for (const char* text :
         {"SET statement_timeout = 1", "SET LOCAL Work_Mem = 1", "SET enable_seqscan = off",
          "SET app.tenant = '7'", "SELECT set_config('application_name', 'x', false)"}) {
        EXPECT_FALSE(classify_effects(text, true).changes_meaning) << text;
    }
}

TEST(StatementEffects, LiteralsAreSaid) {
    for (const char* text : {"SELECT ''", "SELECT E'a'", "SELECT $a$b$a$", "SELECT U&'a'"})
        EXPECT_TRUE(classify_effects(text, true).literal) << text;
    for (const char* text : {"SELECT 1", "SELECT $1 AS \"a'b\" -- '", "SELECT x'1' /* '' */"})
        EXPECT_FALSE(classify_effects(text, true).literal) << text;
}

}  // namespace
}  // namespace schemux::core
