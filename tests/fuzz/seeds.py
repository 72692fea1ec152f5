#!/usr/bin/python3
"""Writes the hand-made seeds of the fuzz targets: valid conversations of every kind.

    python3 tests/fuzz/seeds.py [--only TARGET] [--out tests/fuzz/corpus]

What fuzzing found lies beside them; README.md tells how both are merged. A target's input format
is described at the top of its .cpp.
"""

import argparse
import hashlib
import pathlib
import struct

HERE = pathlib.Path(__file__).resolve().parent

# --- PostgreSQL's messages -----------------------------------------------------------------------


def message(kind, body=b""):
    return kind.encode() + struct.pack(">I", len(body) + 4) + body


def text(value):
    return (value.encode() if isinstance(value, str) else value) + b"\0"


# --- sql -----------------------------------------------------------------------------------------
SQL = [
    "SELECT 1", "", ";", "select * from {{tables.users}} where id = $1",
    "INSERT INTO <<tables.users>>(a,b) VALUES (1,'x') RETURNING {{tables.users}}.id",
    "select nextval('{{tables.users}}_id_seq')", "select {{schema}}.f(1), '{{schema}}.t'::regclass",
    "select * from {{tables.other.t}} join {{tables.Shared_1.u}} using (id)",
    "select * from {{tables.secret.t}}", "select {{nothing}}", "select {{tables.}}", "{{schema}}",
    "a=<<tables.x>>", "1<<tables.x>>1", "1<<<tables.x>>", "{{tables.a}}{{tables.b}}",
    "{{tables.a}}_x1, {{tables.a}}1.5, {{tables.a}}1e5",
    "select E'\\'{{tables.x}}\\'' , '\\' , {{tables.y}} --'\n",
    "select U&'\\0041' , U&\"x\" , N'n', B'01', X'ff', 'a'\n 'b'",
    "u&{{tables.x}}", "select '' , \"a\"\"b\", $1, $tag$ x $tag$, $$ {{tables.x}} $$",
    "/* a /* {{tables.x}} */ b */ select 1 -- {{tables.y}}",
    "CREATE FUNCTION f() RETURNS int AS $$ select 1 from {{tables.x}} $$ LANGUAGE sql",
    "create or replace procedure p() language plpgsql as $b$ begin execute $q$ select 1 from "
    "{{tables.x}} $q$; end $b$",
    "DO $$ begin perform 1 from <<tables.x>>; perform {{schema}}.g('{{tables.y}}'); end $$",
    "DO $a$ $b$ $c$ $d$ $e$ $f$ $g$ $h$ $i$ {{tables.x}} $i$ $h$ $g$ $f$ $e$ $d$ $c$ $b$ $a$",
    "SET search_path TO x; RESET ALL; SET LOCAL a = 1; SHOW a", "set session authorization x",
    "PREPARE p AS SELECT 1; EXECUTE p; DEALLOCATE p; DEALLOCATE ALL", "deallocate prepare \"P\"",
 
      "CREATE TEMP TABLE t AS SELECT 1; DECLARE c CURSOR WITH HOLD FOR SELECT 1; LISTEN x; UNLISTEN *",
    "select pg_advisory_lock(1), set_config('a','b',false), setseed(0.5), currval('s'), lastval()",
    "BEGIN; SAVEPOINT a; ROLLBACK TO a; RELEASE a; COMMIT AND CHAIN; START TRANSACTION; ABORT",
    "COPY {{tables.x}} FROM STDIN WITH (FORMAT csv); copy (select 1) to stdout",
    "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END; select 3",
 
      "explain analyze select * from {{tables.x}}; vacuum {{tables.x}}; LOAD 'x'; call p(); DISCARD ALL",
 
      "select 'now'::timestamp, date 'today', x::date from {{tables.t}} where a @> b and c->>'d' ~ 'e'",
    "select a.b.c[1:2], a||b, -1, +1, 1-+-1, a*-1, 1..10, .5, 1.e5, 1e+5, f(x => 1), a := 1",
    "select $1::int + @-1 - !!2 # 3 ^ 4 & 5 | `6",
    "insert into t values (1),(2) on conflict do nothing",
    "with x as (insert into {{tables.t}} values (1) returning *) select * from x for update",
    "'unterminated {{tables.x}}", "$x$ unterminated {{tables.x}}", "\"unterminated",
    "/* unterminated",
    "select 'é', {{tables.t}}, 'ü' from \"ö\"", "grant select on {{tables.t}} to public",
]


def sql():
    for number, statement in enumerate(SQL):
        yield bytes([0, 0x11]) + statement.encode()
        options = number % 3 | (number // 3 % 3) << 2
        yield bytes([options, number % 6 | (number % 4) << 4]) + statement.encode()


TARGETS = {"sql": sql}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=sorted(TARGETS), metavar="TARGET")
    parser.add_argument("--out", type=pathlib.Path, default=HERE / "corpus", metavar="DIR")
    arguments = parser.parse_args()
    for name, make in TARGETS.items():
        if arguments.only not in (None, name):
            continue
        folder = arguments.out / name
        folder.mkdir(parents=True, exist_ok=True)
        seeds = set(make())
        for seed in seeds:
            # As libFuzzer names them, so that a merge finds them again.
            (folder / hashlib.sha1(seed).hexdigest()).write_bytes(seed)
        print(f"{name}: {len(seeds)} seeds")


if __name__ == "__main__":
    main()
