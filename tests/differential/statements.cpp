#include "tests/differential/statements.h"

namespace schemux::differential {

namespace {

constexpr std::string_view texts[] = {
    "SELECT 1",
    "select id, name from {{tables.users}} where id = $1",
    "SELECT * FROM <<tables.orders>> o JOIN {{tables.users}} u ON o.user_id=u.id",
    "SELECT {{schema}}.total($1), {{schema}} FROM {{tables.other.stock}};",
    "SELECT '{{tables.x}}', \"{{tables.x}}\" /* {{tables.x}} */ -- {{tables.x}}\nFROM t",
    "SELECT nextval('{{tables.users}}_id_seq'::regclass)",
    "INSERT INTO {{tables.users}} (name, born) VALUES ('O''Brien', DATE '1970-01-01'), ('x', NULL)",
    "INSERT INTO t VALUES (E'a\\nb\\'c\\\\', U&'d\\0061t\\+000061', B'0101', X'1FF', N'n')",
    "INSERT INTO t AS a VALUES (1) ON CONFLICT (id) DO UPDATE SET n = a.n + excluded.n RETURNING *",
    "UPDATE {{tables.stock}} SET amount = amount - $2, at = now() WHERE id = $1 AND amount >= $2",
    "DELETE FROM <<tables.log>> USING x WHERE x.id <> log.id AND x.a !~* '^\\d+$'",
    "MERGE INTO t USING s ON t.i = s.i WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN DO NOTHING",
    "WITH RECURSIVE r(n) AS (VALUES (1) UNION ALL SELECT n+1 FROM r WHERE n<100) SELECT sum(n) "
    "FROM r",
    "SELECT a.b[1:2], a.c[$1][2], ARRAY[1,2,3] || ARRAY[[4]], (ROW(1,'x')).f1 FROM a",
    "SELECT j->'a'->>'b', j#>'{a,b}', j#>>'{a}', j@>'{\"x\": 1}', j<@'{}', j?'k', j?|array['a'], "
    "j?&x",
    "SELECT 1.5, .5, 1., 1e10, 1.5e-10, .1E+3, 1..2, 12345678901234567890, 0",
    "SELECT -1 - -2 + +3 * 4 / 5 % 6 ^ 2, |/ 25.0, ||/ 27, @ -5, 5 !=- 3, 2<<3, 16>>2, ~1, 5&3, "
    "5|3, 5#3",
    "SELECT a<=b, a>=b, a<>b, a!=b, a=>b, a:=b, a::int, a@-b, a*-b, a<=-b, a-/* c */b, a+--c\nb",
    "SELECT 'one'\n'two'\n\t 'three', E'a'  \n'\\'b'",
    "SELECT 'one' -- first\n'two' -- second\r\n  'three'",
    "SELECT b'01'\n'10', x'AF' -- hex\n'00', n'a'\n'b', u&'a'\n'\\0062' UESCAPE '\\'",
    "SELECT U&\"d!0061t!+000061\" UESCAPE '!', u&'\\0441\\043B' , U&\"a\"\"b\"",
    "SELECT $$it's$$, $a$ $$ $b$ $a$, $_x1$ \n$_x1$, $\xc3\xa9t\xc3\xa9$ $$ $\xc3\xa9t\xc3\xa9$, "
    "$A$ $a$ $A$",
    "SELECT \"Quoted\"\"Name\", \"a'b\", \"$$\", \"--\", \"/*\" FROM \"My Schema\".\"T\"",
    "SELECT caf\xc3\xa9, \xe2\x82\xac_1, a$b, _x, x1 FROM \xe6\x97\xa5\xe6\x9c\xac",
    "/* outer /* inner */ still */ SELECT /**/ 1 /***/ + /* ' \" $$ -- */ 2 -- end",
    "-- first line ' \" $$ /*\nSELECT 1; -- second\r\nSELECT 2;\r-- third\rSELECT 3",
    "SELECT 'a' /* no */ 'b'",
    "SELECT\f1\v+\t2\r\n;",
    "SELECT '\\', '\\\\', 'a\\''",
    "SELECT 'back\\slash', E'oct\\101 hex\\x41 uni\\u0041 \\U00000041 tab\\t'",
    "select u&x, e, n, b, x, u, E 'a', N 'a', B\"x\", U & 'a' from t",
    "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE; SAVEPOINT a; ROLLBACK TO a; COMMIT",
    "SET search_path = \"app\", public; SET LOCAL work_mem TO '64MB'; RESET ALL; SHOW \"TimeZone\"",
    "SET standard_conforming_strings = off; SELECT 'a\\'b'",
    "PREPARE p (int, text) AS SELECT $1, $2; EXECUTE p(1, 'x'); DEALLOCATE p",
    "DECLARE c SCROLL CURSOR WITH HOLD FOR SELECT 1; FETCH FORWARD 10 FROM c; CLOSE c",
    "COPY {{tables.users}} (id, name) FROM STDIN WITH (FORMAT csv, DELIMITER E'\\t', NULL '')",
    "COPY (SELECT * FROM t) TO STDOUT (FORMAT binary)",
    "LISTEN ch; NOTIFY ch, 'payload'; UNLISTEN *",
    "EXPLAIN (ANALYZE, BUFFERS, FORMAT json) SELECT * FROM t ORDER BY a DESC NULLS LAST LIMIT 10 "
    "OFFSET $1",
    "VACUUM (VERBOSE, ANALYZE) t; ANALYZE; REINDEX INDEX CONCURRENTLY i; CHECKPOINT",
    "LOCK TABLE t IN SHARE ROW EXCLUSIVE MODE NOWAIT",
    "GRANT SELECT, INSERT (a, b) ON t TO PUBLIC WITH GRANT OPTION; REVOKE ALL ON SCHEMA s FROM r "
    "CASCADE",
    "CREATE TABLE IF NOT EXISTS {{tables.users}} (id bigserial PRIMARY KEY, n text DEFAULT 'a' NOT "
    "NULL,"
    " CHECK (n ~ '^[a-z]{2,}$'), UNIQUE (n), parent int REFERENCES {{tables.users}} ON DELETE "
    "CASCADE)",
    "CREATE TABLE p (a int, b date) PARTITION BY RANGE (b)",
    "CREATE TABLE p1 PARTITION OF p FOR VALUES FROM ('2020-01-01') TO (MAXVALUE)",
    "CREATE UNIQUE INDEX CONCURRENTLY ON {{tables.users}} USING btree (lower(name) "
    "text_pattern_ops) WHERE x",
    "CREATE VIEW v WITH (security_barrier) AS SELECT * FROM t WITH LOCAL CHECK OPTION",
    "CREATE MATERIALIZED VIEW {{tables.sums}} AS SELECT a, count(*) FILTER (WHERE b) FROM "
    "<<tables.t>> GROUP BY 1",
    "CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE DOMAIN d AS text CHECK (VALUE <> '')",
    "CREATE OPERATOR === (LEFTARG = int, RIGHTARG = int, FUNCTION = eq, COMMUTATOR = ===)",
    "CREATE OPERATOR CLASS c FOR TYPE t USING gist AS OPERATOR 1 <<, OPERATOR 2 &<, FUNCTION 1 "
    "f(int)",
    "CREATE SEQUENCE s INCREMENT BY -1 MINVALUE -9223372036854775808 START WITH 1 CACHE 20",
    "CREATE TRIGGER t BEFORE UPDATE OF a ON {{tables.x}} FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM "
    "NEW.*)"
    " EXECUTE FUNCTION {{schema}}.f('{{tables.x}}')",
    "CREATE RULE r AS ON INSERT TO t DO INSTEAD (SELECT 1; SELECT 2);",
    "CREATE POLICY p ON t USING (tenant = current_setting('app.tenant', true)::int)",
    "CREATE EXTENSION IF NOT EXISTS \"uuid-ossp\" SCHEMA {{schema}}; DROP EXTENSION x",
    "CREATE SCHEMA IF NOT EXISTS {{schema}}; DROP SCHEMA {{schema}} CASCADE",
    "ALTER TABLE {{tables.x}} ADD COLUMN y int GENERATED ALWAYS AS (a*2) STORED, DROP z, ALTER w "
    "TYPE text USING w::text",
    "ALTER TABLE {{tables.x}}_old RENAME TO x; ALTER INDEX {{tables.x}}_pkey RENAME TO \"X\"",
    "COMMENT ON TABLE {{tables.x}} IS 'it''s {{tables.x}}'; COMMENT ON COLUMN a.b IS NULL",
    "CREATE FUNCTION f(a int, OUT b text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT a::text "
    "|| '$' $$",
    "CREATE OR REPLACE FUNCTION {{schema}}.f() RETURNS trigger AS $body$\nBEGIN\n"
    "  INSERT INTO {{tables.log}} VALUES (NEW.id, 'it''s');\n  RETURN NEW; -- "
    "{{tables.x}}\nEND\n$body$ LANGUAGE plpgsql",
    "CREATE FUNCTION f() RETURNS int LANGUAGE sql RETURN 1 + 1",
    "CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1; SELECT 2; END",
    "CREATE FUNCTION f() RETURNS text LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'f'",
    "CREATE PROCEDURE p(INOUT x int DEFAULT 1) LANGUAGE plpgsql AS $p$ DECLARE r record; BEGIN\n"
    "<<outer>> FOR r IN SELECT * FROM <<tables.t>> LOOP x := x + r.n; EXIT outer WHEN x > 1; END "
    "LOOP outer;\n"
    "EXECUTE format($q$ SELECT %I FROM {{tables.t}} $q$, 'a') INTO x; END $p$; CALL p(1)",
    "DO $$ BEGIN FOR i IN 1..10 LOOP PERFORM {{schema}}.g(i); RAISE NOTICE 'i is %', i; END LOOP; "
    "END $$",
    "DO LANGUAGE plpgsql $x$ BEGIN EXECUTE 'CREATE TABLE {{tables.x}}()'; END $x$;",
    "DO $a$ BEGIN EXECUTE $b$ DO $c$ BEGIN PERFORM 1 FROM {{tables.x}}; END $c$ $b$; END $a$",
    "DO E'BEGIN RAISE NOTICE \\'x\\'; END'",
    "SELECT CASE WHEN a THEN 1 ELSE 2 END, COALESCE(a, b), NULLIF(a, ''), GREATEST(1,2), CAST(a AS "
    "numeric(10,2))",
    "SELECT EXTRACT(year FROM ts), ts AT TIME ZONE 'UTC', INTERVAL '1 day 2:03' DAY TO MINUTE, "
    "TIMESTAMP 'now'",
    "SELECT a LIKE '10!%%' ESCAPE '!', a SIMILAR TO '(a|b)%', a ILIKE ANY (ARRAY['x%']), a IS NOT "
    "NULL, NOT b",
    "SELECT rank() OVER (PARTITION BY a ORDER BY b ROWS BETWEEN 1 PRECEDING AND UNBOUNDED "
    "FOLLOWING) FROM t WINDOW w AS ()",
    "SELECT * FROM generate_series(1, 10) WITH ORDINALITY AS g(n, o), LATERAL (SELECT n) x "
    "TABLESAMPLE system(1)",
    "SELECT a OPERATOR(pg_catalog.+) b, count(DISTINCT x), string_agg(y, ', ' ORDER BY y) FROM t "
    "GROUP BY GROUPING SETS ((a),())",
    "SELECT make_interval(days => 10), f(VARIADIC ARRAY[1]), f(a := 1), x COLLATE \"C\" FROM t FOR "
    "UPDATE SKIP LOCKED",
    "SELECT point '(1,2)' <-> point '(3,4)', box '((0,0),(1,1))' && box '((0,0),(2,2))', "
    "'{1,2}'::int[] @> '{1}'",
    "SELECT to_tsvector('a') @@ to_tsquery('a & !b | c <-> d'), 'a' || 'b' || $1 || $23",
    "VALUES (1, 'a'), (2, 'b') ORDER BY 1; TABLE t; SELECT",
    "SELECT pg_advisory_unlock_all(); CLOSE ALL; UNLISTEN *; RESET ALL; DISCARD ALL;",
    "SELECT 1;;; ;\n\n;SELECT $1$$x$$, 1a, 0x1F, 1_000, 1e, $1x, 5E+, 1.e5x",
    "SELECT {{tables.unknown",
    "SELECT {{ tables.x }}, {{nothing}}, {x}, {{{tables.x}}}, <<<tables.x>>>, << tables.x >>",
};

}  // namespace

std::span<const std::string_view> statements() {
    return texts;
}

}  // namespace schemux::differential
