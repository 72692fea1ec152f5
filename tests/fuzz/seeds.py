#!/usr/bin/python3
"""Writes the hand-made seeds of the fuzz targets: valid conversations of every kind.

    python3 tests/fuzz/seeds.py [--only TARGET] [--out tests/fuzz/corpus]

What fuzzing found lies beside them; README.md tells how both are merged. A target's input format
is described at the top of its .cpp.
"""

import argparse
import base64
import hashlib
import hmac
import pathlib
import random
import struct

import session_seeds

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
 
      "CREATE TEMP TABLE t AS SELECT 1; DECLARE c CURSOR WITH HOLD FOR SELECT 1;"
    "LISTEN x; UNLISTEN *",
    "select pg_advisory_lock(1), set_config('a','b',false), setseed(0.5), currval('s'), lastval()",
    "BEGIN; SAVEPOINT a; ROLLBACK TO a; RELEASE a; COMMIT AND CHAIN; START TRANSACTION; ABORT",
    "COPY {{tables.x}} FROM STDIN WITH (FORMAT csv); copy (select 1) to stdout",
    "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END; select 3",
 
      "explain analyze select * from {{tables.x}}; vacuum {{tables.x}}; LOAD 'x'; call p();"
    "DISCARD ALL",
 
      "select 'now'::timestamp, date 'today', x::date from {{tables.t}} where a @> b and "
    "c->>'d' ~ 'e'",
    "select a.b.c[1:2], a||b, -1, +1, 1-+-1, a*-1, 1..10, .5, 1.e5, 1e+5, f(x => 1), a := 1",
    "select $1::int + @-1 - !!2 # 3 ^ 4 & 5 | `6",
    "insert into t values (1),(2) on conflict do nothing",
    "with x as (insert into {{tables.t}} values (1) returning *) select * from x for update",
    "select \"{{tables.x}}y\".\"a{{schema}}b\", U&\"<<tables.x>> z\", E'{{tables.x}}\\n', "
    "n'{{schema}}.a'"
    " /* a{{tables.y}}b */ -- {{schema}}c\n, $$a{{tables.x}}b$$",
    "'unterminated {{tables.x}}", "$x$ unterminated {{tables.x}}", "\"unterminated",
    "/* unterminated",
    "select 'é', {{tables.t}}, 'ü' from \"ö\"", "grant select on {{tables.t}} to public",
]


def sql():
    for number, statement in enumerate(SQL):
        yield bytes([0, 0x11]) + statement.encode()
        options = number % 3 | (number // 3 % 3) << 2
        yield bytes([options, number % 6 | (number % 4) << 4]) + statement.encode()
        if "{{" in statement or "<<" in statement:
            # Templates in every literal, name and comment; the schema with a quote in it.
            yield bytes([2 << 2, 0x11]) + statement.encode()
            yield bytes([2 << 2, 0x21]) + statement.encode()


# --- startup_packet ------------------------------------------------------------------------------
def packet(body):
    return struct.pack(">I", len(body) + 4) + body


def startup(minor=0, **parameters):
    body = struct.pack(">HH", 3, minor)
    for name, value in parameters.items():
        body += text(name.replace("__", ".")) + text(value)
    return packet(body + b"\0")


SSL = packet(struct.pack(">HH", 1234, 5679))
GSS = packet(struct.pack(">HH", 1234, 5680))
OPTIONS = ["-c a=b", "-ca=b --work-mem=1MB -c  search_path=a\\ b", "-c", "-d", "--x", "-c =1",
           "-c a=\\\\ -c A=2", "", " \t-c x=y\v"]


def startup_packet():
    plain = startup(user="ann", database="users")
    talks = [plain, SSL + plain, GSS + SSL + plain, SSL + SSL, startup(database="x"),
             packet(struct.pack(">HHI", 1234, 5678, 4242) + b"1234"),
             packet(struct.pack(">HHI", 1234, 5678, 4242) + b"x" * 32),
             startup(2, user="a", _pq___x="1"), startup(user="a", replication="database"),
             startup(user="a", replication="off", application_name="b", TimeZone="UTC"),
             packet(struct.pack(">HH", 2, 0) + bytes(290)), packet(struct.pack(">HH", 4, 0)),
             b"GET / HTTP/1.1\r\n\r\n", struct.pack(">I", 10001), struct.pack(">I", 7), b"",
             startup(**{f"p{n}": "v" for n in range(70)}, user="a"), plain + message("Q", b"x\0")]
    talks += [startup(user="a", options=value) for value in OPTIONS]
    for number, talk in enumerate(talks):
        yield bytes([2 * (number % 90)]) + talk
    yield b"\x01" + b"\xff\xff".join([SSL[4:], plain[4:]])
    yield b"\x05" + GSS[4:] + b"\xff\xff" + startup(user="u", options="-c a=b")[4:]
    for value in OPTIONS:
        yield b"\x00" + value.encode()


# --- scram ---------------------------------------------------------------------------------------
def scram():
    account = b"\x00\x06pencil\x0f" + b"0123456789abcdef"
    for password, mock in ((0, 0), (255, 0), (0, 255)):
        yield b"\x00abcd" + account + bytes([password, mock]) + bytes(8)
    for place in range(4):  # the message that is changed on its way
        for how in (b"\x50\x05x", b"\x90\x09", b"\xb0\x04\x04,x=y", b"\xe0\x06n,,n=,"):
            yield b"\x00abcd" + account + b"\0\0" + bytes(place) + how + bytes(8)
    firsts = [b"r=+server,s=c2FsdA==,i=2", b"r=+x,s=c2FsdA==,i=600000", b"r=+x,s=,i=1", b"m=x,r=+x",
              b"r=other,s=c2FsdA==,i=4096", b"r=+x,s=c2FsdA==,i=0", b"r=+x,s=c2FsdA==,i=1,x=y",
              b"e=unknown-user", b""]
    for first in firsts:
        yield b"\x01abcd" + first + b"\nv=" + b"A" * 43 + b"="
    yield b"\x01abcd" + firsts[0] + b"\ne=invalid-proof"
    for first in (b"n,,n=,r=abc", b"y,,n=u,r=abc,x=y", b"p=tls-unique,,n=,r=a", b"n,a=x,n=,r=a",
                  b"n,,m=x,n=,r=a", b"n,,n=,r=", b"n,,r=a"):
        for final in (b"c=biws,r=+,p=" + b"A" * 43 + b"=", b"c=eSws,r=+,x=y,p=" + b"A" * 43 + b"=",
                      b"c=biws,r=+"):
            yield b"\x02abcd" + first + b"\n" + final
    key = b"A" * 43 + b"="
    for value in (b"SCRAM-SHA-256$4096:c2FsdA==$" + key + b":" + key, b"4096", b"600000", b"600001",
                  b"c2FsdA==", b"c2FsdB==", b"A===", b"QUJD", b""):
        yield b"\x03abcd" + value


# --- config --------------------------------------------------------------------------------------
CONFIGS = [
    "backend: { dsn: host=db }\nauth: { method: trust }\nservices: [ { name: a } ]\n",
    """listen:
  - { address: "::1", port: 7001 }
  - { unix_socket_dir: run, port: 7002 }
http: { address: 127.0.0.2, port: 7003 }
backend: { dsn: "postgresql://u:${SECRET}@h/d", password_file: pw }
pool: { max_connections: 7, min_connections: 2, mode: transaction, acquire_timeout: 1500ms,
        connect_timeout: 2s, idle_timeout: 90s, lifetime: 2h }
auth: { method: trust, users: [ { name: alice }, { name: "b b" } ] }
services:
  - name: one
    schema: First
    users: [ alice ]
    search_path: [ First, public ]
    allow_schemas: [ other ]
    templates: { braces: false, angles: true }
    literals: all
  - { name: "two $${x}", schema: two, search_path: [] }
workers: ${NUMBER}
log: { format: json, level: debug }
limits: { max_query_bytes: 65537, max_clients: 100, login_timeout: 1s }
drain_timeout: 1s
""",
    "backend:\n  dsn: 'host=a password=x'\n  dsn: twice\nservices:\n  - {}\n  -\nunknown: 1\n",
    "a: &x 1\nb: *x\n<<: {}\n!!int c: 3\n", "---\na: 1\n---\nb: 2\n", "- 1\n- 2\n", "x", "",
    "services: [[[[[[[[[[[[[[[[[[", "backend: {dsn: ${MISSING}}\npool: {lifetime: ${EMPTY}}\n",
    "pool:\n  lifetime: 1000000000000000h\n  idle_timeout: 5124095576030431s\n"
    "limits:\n  max_query_bytes: 18446744073709551617\n  max_clients: 17179869184\n",
    "pool:\n  max_connections: 010\n  acquire_timeout: 10\n  mode: session\n\tx: y\n",
    "services:\n  - name: tenant_*\n    schema: pg_x\n  - name: a\n  - name: a\n",
    # Rows of services_query.
    "t_1|t_1|[\"ann\"]|{\"work_mem\": \"4MB\"}|3|t\nt_2|||||\nt_1|x|||many|f\napp|a||||\n*|||||\n",
    "listen: [ { address: 0.0.0.0 }, { address: ::, port: 0 }, { port: 1 } ]\nauth: {}",
    "{\"backend\": {\"dsn\": \"host=\\u00e9\"}, 'services': [{name: \"\\x07\"}]} # c\r\n",
]


def config():
    for number, value in enumerate(CONFIGS):
        yield b"\x00" + value.encode()
        if number > 1:
            yield b"\x01" + value.encode()
    yield b"\x01"
    for dsn in ("host=a dbname='x y' user=\\'u password=p", "postgres://a:b@c:1,d/e?f=g", "=",
                "a = b"):
        yield b"\x00" + dsn.encode()


# --- streams -------------------------------------------------------------------------------------
def query(value):
    return message("Q", text(value))


def parse(name, value):
    return message("P", text(name) + text(value) + b"\0\0")


def bind(portal, name, value=b"v"):
    return message("B", text(portal) + text(name) + b"\0\0\0\1" +
                   struct.pack(">I", len(value)) + value + b"\0\0")


def execute(portal="", rows=0):
    return message("E", text(portal) + struct.pack(">I", rows))


SYNC = message("S")
FRONTEND = [
    query("select 1"), query("begin") + query("select {{tables.t}}") + query("commit"),
    parse("s1", "select $1") + bind("", "s1") + message("D", b"P\0") + execute() + SYNC,
    parse("", "select boom") + bind("", "") + execute() + SYNC + query("select 2"),
    parse("s1", "select three") + SYNC + bind("p", "s1") + execute("p", 1) + execute("p", 2) + SYNC,
    query("copy t from stdin") + message("d", b"1\n") + message("c") + query("select 1"),
    parse("", "copy t from stdin") + bind("", "") + execute() + SYNC + message("d", b"x") +
    message("f", b"no\0") + SYNC, query("copy t to stdout") + message("X"),
    message("D", b"Ss1\0") + message("C", b"Ss1\0") + message("C", b"Pp\0") + message("H") + SYNC,
    message("F", b"\0\0\0\1") + SYNC + message("p", b"x\0"), query("{{x}}") + query("<<tables.t>>"),
    parse("s1", "select 1") + parse("s1", "select 1") + SYNC + query("deallocate s1") + SYNC,
    query("deallocate all") + parse("s1", "select 1") + message("C", b"Ss1\0") + SYNC,
    query("select '" + "x" * 100 + "'") + query("set a to 1; select 1"), message("Q", b"no zero"),
    b"Q\x7f\xff\xff\xff", b"S\0\0\0\x05x", b"\0\0\0\0\0", query("") + query(";") +
    message("X") + SYNC,
]


def compact(stream):
    """As the targets frame messages: type, length byte, body. Only for well-formed streams."""
    out = b""
    while stream:
        length = struct.unpack(">I", stream[1:5])[0]
        body = stream[5:length + 1][:255]
        out += stream[:1] + bytes([len(body)]) + body
        stream = stream[length + 1:]
    return out


def frontend_stream():
    for number, stream in enumerate(FRONTEND):
        yield bytes([2, number % 16, 0, number]) + stream
        if number < 15:
            yield bytes([1, 0, 0, number]) + compact(stream)


def error(kind, severity, code, extra=b""):
    return message(kind, b"S" + text(severity) + b"V" + text(severity) + b"C" + text(code) +
                   b"Mwords\0" + extra + b"\0")


def ready(status=b"I"):
    return message("Z", status)


def scram_login():
    """The exchange of tests/support/backend_script.h, computed here."""
    salt, first_bare = b"0123456789abcdef", b"n=,r=clientnonce"
    first = b"r=clientnonceservernonce,s=" + base64.b64encode(salt) + b",i=2"
    salted = hashlib.pbkdf2_hmac("sha256", b"pencil", salt, 2)
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    final = b"c=biws,r=clientnonceservernonce"
    signature = hmac.digest(server_key, b",".join([first_bare, first, final]), "sha256")
    return [authentication(10, b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0"),
            authentication(11, first), authentication(12, b"v=" + base64.b64encode(signature))]


def authentication(method, data=b""):
    return message("R", struct.pack(">I", method) + data)


def backend_stream():
    tail = (message("S", b"server_version\00015.20\0") + message("K", b"\0\0\x12\x34" + b"1234") +
            ready())
    scram = scram_login()
    passed = authentication(0) + tail
    logins = [passed, b"".join(scram) + passed, b"".join(scram[:2]) + passed,
              authentication(3) + passed, authentication(5, b"salt"), authentication(7),
              error("E", "FATAL", "57P03"), error("N", "NOTICE", "00000") + passed, b"Efork failed",
              message("v", b"\0\3\0\0\0\0\0\0") + passed, passed + b"x",
              message("S", b"a\0b\0") * 3 + passed, authentication(10, b"OTHER\0\0")]
    for number, login in enumerate(logins):
        for circumstances in (0, 2, 5):
            yield bytes([0, circumstances, number]) + login
        if login[-1:] != b"d" and login[-1:] != b"x":
            yield bytes([0x81, 0, number]) + compact(login)
    row = message("T", b"\0\1a\0" + bytes(18)) + message("D", b"\0\1\0\0\0\0011")
    done = message("C", b"SELECT 1\0")
    fields = b"Ddetail\0Hhint\0P8\0Wcontext\0sschema\0tt\0Ffile.c\0L1\0Rroutine\0"
    answers = [row + done + ready(), error("E", "ERROR", "42P01", b"P8\0") + ready(),
               error("E", "ERROR", "42P01", fields) + ready(),
               message("C", b"BEGIN\0") + ready(b"T") + row + done + ready(b"T"),
               message("1") + message("2") + message("n") + done + ready(),
               message("G", b"\0\0\0") + message("C", b"COPY 1\0") + ready(),
               message("1") + message("2") + message("G", b"\0\0\0") + error("E", "ERROR",
               "57014") + ready(), message("V", b"\xff\xff\xff\xff") + ready() +
               error("E", "ERROR", "26000") + ready(), message("C", b"DEALLOCATE ALL\0") +
               ready() + message("1") +
               error("E", "ERROR", "34000") + ready(), error("E", "FATAL", "57P01"), ready(), row,
               message("N", b"Mx\0P8\0\0") + message("A", b"\0\0\0\1a\0b\0") + row + done + ready(),
               message("S", b"client_encoding\0SJIS\0") + message("I") + ready(), message("s"),
               message("E", b"x" * 70), message("W", b"\0\0\0"), b"D\0\0\0\0", b"T\0\1\0\0abc",
               message("C", b"SET\0") + ready(), message("C", b"RESET\0") + ready(b"E")]
    for number, stream in enumerate(answers):
        for conversation in range(8):
            if (number + conversation) % 4 == 0 or number == conversation:
                yield bytes([1, conversation, number]) + stream
        yield bytes([2, number, number]) + stream
    # Upkeep of each kind that is done, and that is refused.
    for circumstances in range(4):
        for number, stream in enumerate([done, error("E", "ERROR", "42501")]):
            yield bytes([2, circumstances, number]) + stream + ready()


# --- relay_session -------------------------------------------------------------------------------
def relay_session():
    """Steps that favour whole batches, so that much happens in few bytes."""
    chance = random.Random(1)
    for number in range(150):
        steps = [number % 96, chance.choice([0, 1, 2, 3]), chance.choice([0, 0, 0x1b]), number % 3]
        for _ in range(chance.randrange(4, 30)):
            kind = chance.randrange(16)
            client = chance.randrange(4)
            opcode = chance.choice([0, 0, 1, 12, 10, 4, 6, 8, 14 if number % 3 else 10])
            steps += [opcode | kind << 4, client]
            if opcode in (0, 1, 12):
                steps += [chance.randrange(3), chance.randrange(50), chance.randrange(3)]
            elif opcode in (4, 6, 8):
                steps.append(chance.choice([255, 255, 6, 20]))
        yield bytes(steps)
    yield from session_seeds.all_seeds()


# --- login_files ---------------------------------------------------------------------------------
def login_files():
    for text in (
            b"# TYPE\nlocal   all  postgres  peer\nlocal all all peer map=m\n"
            b"host all all 127.0.0.1/32 scram-sha-256\nhost replication all ::1/128 md5\n",
            b'hostssl users,"a b" ann,"all" 10.0.0.0 255.0.0.0 cert clientcert=verify-full\n',
            b"host sameuser all \\\n all reject # no\nhostnossl all +g samehost trust\n",
            b'local "x', b"hostgssenc all all all ldap\nlocal @f /r md5\n"):
        yield b"\0" + text
    for text in (b'"ann" "pencil"\n; x\n"b ""c""" "SCRAM-SHA-256$4096:a$b:c" "more"\n"ann" ""\n',
                 b'"ann', b"ann pencil"):
        yield b"\1" + text
    signature = b"\r\n\r\n\0\r\nQUIT\n"
    for header in (signature + b"\x21\x11\0\x0c" + bytes(range(12)) + b"more",
                   signature + b"\x21\x21\0\x24" + bytes(36), signature + b"\x20\0\0\0",
                   signature + b"\x21\x11\0\x0f" + bytes(12) + b"\4\0\0", signature[:7],
                   b"PROXY TCP4"):
        yield b"\2" + header


TARGETS = {"frontend_stream": frontend_stream, "backend_stream": backend_stream,
           "startup_packet": startup_packet, "scram": scram, "sql": sql, "config": config,
           "relay_session": relay_session, "login_files": login_files}


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
