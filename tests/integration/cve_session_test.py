"""Mistakes of other products with what clients send that have logged in, one test each: lengths
that lie, texts that are built to be misread. tests/CVES.md lists them all.
"""

import contextlib
import re
import struct
import unittest

import attacks
import wire
from attacks import claimed

TRUST = {"method": "trust"}
LONG_SCHEMA = "s" * 63


class Messages(attacks.Attacked):
    """Lengths that lie, and texts that are built to break what reads them."""

    config = {"auth": TRUST, "pool": {"max_connections": 3}, "services": [
        {"name": "users", "schema": "users"}, {"name": "orders", "schema": "orders"},
        {"name": "legacy"}, {"name": "long", "schema": LONG_SCHEMA}]}

    def smuggle(self, kind, start=b""):
        """Messages that claim to be enormous, with other messages where their content would be."""
        name, sql = self.canary()
        hidden = wire.query(sql) + wire.parse("", sql) + wire.bind() + wire.execute() + wire.SYNC
        for length in (0, 1, 2, 3, 0x40000000, *attacks.HUGE[1:]):
            client = self.log_in()
            with contextlib.suppress(ConnectionError):  # closed in the middle of what is sent
                client.send(claimed(kind, length, start + hidden * 50))
            self.refused(client, "08P01")
        self.assert_not_run(name)
        self.unharmed()

    def test_cve_2024_27304_bind_of_four_gigabytes(self):
        """The length of a long message wrapped, and its content was read as messages; here such a
        length ends the client, and none of its content is one."""
        self.smuggle("B", b"\0\0" + struct.pack("!HHI", 0, 1, 0xfffffff0))
        self.smuggle("P", b"\0")

    def test_cve_2024_32655_query_of_four_gigabytes(self):
        """The same of a Query, and of a value inside of a Bind whose own length is right."""
        self.smuggle("Q", b"SELECT '")
        name, sql = self.canary()
        for length in (0xfffffffe, 0x80000000, 0x7fffffff, 1000):
            client = self.log_in()
            value = b"\0\0" + struct.pack("!HHI", 0, 1, length) + wire.query(sql)
            client.send(wire.parse("", "SELECT $1::text"), wire.message("B", value),
                        wire.execute(), wire.SYNC)
            self.assertEqual(wire.sqlstates(client.read_ready()), ["08P01"])
            self.assertEqual(client.rows("SELECT 'mine'"), [["mine"]])
        self.assert_not_run(name)
        self.unharmed()

    def test_cve_2024_27304_rewriting_that_makes_a_message_longer(self):
        """Our own writing has the same duty: a text that grows sixfold is one message still."""
        self.postgres.run(f"CREATE SCHEMA {LONG_SCHEMA} AUTHORIZATION app")
        self.addCleanup(self.postgres.run, f"DROP SCHEMA {LONG_SCHEMA} CASCADE")
        self.postgres.run(f"CREATE FUNCTION {LONG_SCHEMA}.f(int) RETURNS int "
                          "LANGUAGE sql AS 'SELECT $1 + 1'")
        client = self.log_in(service="long")
        for calls in (1, 100, 4000):
            text = "SELECT " + "+\n".join(["{{schema}}.f(1)"] * calls)
            mark = wire.nonce()
            client.send(wire.query(text), wire.parse("", text), wire.bind(), wire.execute(),
                        wire.SYNC, wire.query(f"SELECT '{mark}'"))
            for expected in (str(2 * calls), str(2 * calls), mark):
                self.assertEqual(wire.rows_of(client.read_ready()), [[expected]])
        self.unharmed()

    def test_cve_2026_6477_function_result_of_any_size(self):
        """The answer of a function call was written into memory of a fixed size; here it passes."""
        oid, = self.postgres.run("SELECT 'pg_catalog.repeat(text,int)'::regprocedure::oid::int")[0]
        client = self.log_in()
        for size in (1, 8191, 8192, 70_000, 9_000_000):
            call = struct.pack("!IHHHI", oid, 1, 0, 2, 1) + b"x"
            count = str(size).encode()
            client.send(wire.message("F", call + struct.pack("!I", len(count)) + count
                                     + struct.pack("!H", 0)))
            result, = [one for one in client.read_ready() if one.kind == "V"]
            self.assertEqual(result.body, struct.pack("!I", size) + b"x" * size)
        self.unharmed()

    def nested(self, depth):
        """(name, text) of what a reader that calls itself would not survive."""
        yield "parentheses", "SELECT " + "(" * depth + "1" + ")" * depth
        yield "open parentheses", "SELECT " + "(" * depth
        yield "brackets", "SELECT " + "ARRAY[" * (depth // 6) + "1" + "]" * (depth // 6)
        # PostgreSQL itself takes seconds for more of these.
        yield "comments", "/*" * 10_000 + "*/" * 10_000 + "SELEC"
        yield "open comments", "SELECT 1 " + "/*" * 10_000
        yield "cases", "SELECT " + "CASE WHEN " * (depth // 10)
        yield "selects", "SELECT * FROM (" * (depth // 15)
        yield "minus signs", "SELECT " + "- " * (depth // 2) + "1"
        yield "quotes", "SELECT " + "'" * (depth + 1)
        yield "dollars", "".join(f"$a{n}$ SELECT " for n in range(depth // 20))
        bodies = range(depth // 40)
        yield "bodies", ("".join(f"DO $b{n}$ BEGIN EXECUTE " for n in bodies)
                         + "".join(f" $b{n}$ " for n in reversed(bodies)))
        yield "functions", "".join(f"CREATE FUNCTION f() RETURNS int AS $c{n}$ "
                                   for n in bodies)
        yield "begins", "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC " + "BEGIN; " * (depth // 8)
        yield "braces", "SELECT " + "{{" * (depth // 2)
        yield "angles", "SELECT " + "<<tables." * (depth // 10)

    def test_pgdog_deep_nesting(self):
        """Deep nesting was too much for the stack of what read the text; here PostgreSQL says of it
        what it says of it directly."""
        client, direct = self.log_in(), wire.Wire(self.postgres.port)
        self.addCleanup(direct.close)
        direct.login("app", "app")
        begin = "SELECT 1 FROM {{tables.who}}; "  # so that the text is looked through
        for name, text in self.nested(200_000):
            with self.subTest(name):
                got = wire.sqlstates(client.ask(begin + text))
                if "{{" in text or "<<" in text:
                    # What is no template is told before PostgreSQL sees it.
                    self.assertEqual(got, ["42601"])
                else:
                    self.assertEqual(got, wire.sqlstates(
                        direct.ask('SELECT 1 FROM "users".who; ' + text)))
                self.assertEqual(len(got), 1)
                client.send(wire.parse("", text + " {{schema}}"), wire.SYNC)
                self.assertEqual(len(wire.sqlstates(client.read_ready())), 1)
        self.unharmed(grown=48 << 20)


class Templates(attacks.Attacked):
    """A template is one thing between two others, and its name is a name."""

    config = {**Messages.config, "services": Messages.config["services"][:3]}
    # What a template, @, may be glued to.
    glued = ("7-@", "7 -@-1", "7 -@-1\n, 8", "7 --@", "-@", "1@", "1.@", "a@", "U&@", "u&@", "E@",
             "'x'@", '"a"@', '@"a"', "@'a'", "@@", "$1@", "$@$ 1 $@$", "$a@$ 1", "/@*", "@*/ 1",
             "8 /@*2/*", "/*@*/ 1", "1 /@/ 1", "::@", "1::@", "1 <@> 1", "1 |@| 1", "{@}", "@1",
             "a.@", "!@", "@--1\n", "\u00e9@", "0x@", "1e@", ":@:1", "3 <@=4", "3 !@=4",
             "2 ~@* 3", "(@)", "@()", "@abs(1)", "1,@abs(-1)", "'a'\n@", "@whose()", "(@whose())",
             "1 FROM @", "1 FROM(@)", "1 FROM @,@ b", "whose FROM @whose() ORDER BY 1")

    def outcome(self, client, text):
        messages = client.ask(text)
        return wire.sqlstates(messages) or [one.row for one in messages if one.kind == "D"]

    def test_cve_2024_1597_template_is_a_token_of_its_own(self):
        """`-$1` became a comment when a value with a minus sign was put there; here a template's
        expansion joins nothing beside it, or the text is refused."""
        direct = wire.Wire(self.postgres.port)
        self.addCleanup(direct.close)
        direct.login("app", "app")
        expansions = {"users": (("{{tables.who}}", '"users".who'), ("{{schema}}", '"users"'),
                                ("{{schema}}.", '"users" . ')),
                      "legacy": (("{{tables.who}}", "who"), ("{{schema}}", "public"),
                                 ("{{schema}}.", " "))}
        wrong, same = [], 0
        for service, pairs in expansions.items():
            client = self.log_in(service=service)
            direct.ask(f"SET search_path = {service if service == 'users' else 'public'}")
            for text in self.glued:
                for template, expansion in pairs:
                    got = self.outcome(client, "SELECT " + text.replace("@", template))
                    # In comments and dollar quotes there is nothing to expand.
                    quoted = "/*" in text or "--@" in text
                    apart = template if quoted else f" {expansion} "
                    suffixed = template if quoted else f" {expansion}"  # it makes the name longer
                    wanted = self.outcome(direct, "SELECT " + re.sub(
                        r"@(?=\w)", suffixed, re.sub(r"@(?!\w)", apart, text)))
                    if got not in (wanted, ["42601"]):
                        wrong.append((service, text, template, got, wanted))
                    same += got == wanted != ["42601"]
        self.assertEqual(wrong, [])
        self.assertGreater(same, 30)
        self.unharmed()

    def names(self, sql):
        """What somebody might put where a template's name is."""
        for quote in (b'"', b"'", b"\\'", b'\\"', b"\xc0'", b'\xc0"', b"\xff'", b"\xe5\\'",
                      b"\x81'", b"\0'", b"}}\"", b"$$", b"/*", b"--\n"):
            yield b"who" + quote + b"; " + sql + b"; --"
            yield b"who" + quote
        yield b"who; " + sql
        yield b"who\x00"
        yield b"\xc0\xaf"
        yield b"wh\xef\xbc\xafo"
        yield b'who" WHERE true; ' + sql + b' --'

    def hostile_names(self, **startup):
        name, sql = self.canary()
        client = self.log_in(**startup)
        for text in self.names(sql.encode()):
            for template in (b"{{tables.%s}}", b"{{tables.%s.who}}", b"<<tables.%s>>", b"{{%s}}"):
                whole = b"SELECT * FROM " + template % text
                client.send(wire.message("Q", whole.replace(b"\0", b"\1") + b"\0"))
                self.assertEqual(len(wire.sqlstates(client.read_ready())), 1, whole)
                client.send(wire.message("P", b"\0" + whole.replace(b"\0", b"\1") + b"\0\0\0"),
                            wire.SYNC)
                self.assertEqual(len(wire.sqlstates(client.read_ready())), 1, whole)
        self.assertEqual(client.rows("SELECT service FROM users.who"), [["users"]])
        self.assert_not_run(name)
        self.unharmed()

    def test_cve_2025_1094_quotes_and_broken_characters_in_a_name(self):
        """A broken character ate the quote behind it; here a template's name has letters, digits
        and underscores alone, and anything else is an error."""
        self.hostile_names()

    def test_cve_2006_2313_encodings_whose_characters_hold_quotes(self):
        """The same under encodings of the client's in which a character may end like ASCII."""
        for encoding in ("SJIS", "BIG5", "GBK", "UHC", "GB18030", "LATIN1", "SQL_ASCII"):
            with self.subTest(encoding):
                self.hostile_names(client_encoding=encoding)

    def test_cve_2025_1094_settings_of_the_startup_packet(self):
        """We put the client's settings on its backends by SQL of our own: whatever bytes they have,
        they are values."""
        name, sql = self.canary()
        sql = sql.encode()
        values = [quote + b"); " + sql + b"; --" for quote in (
            b"'", b"\\'", b"''", b"\\\\'", b"\xc0'", b"\xc0\\'", b"\xe5'", b"\x81'", b"\x81\\'",
            b"$$", b"E'", b"\xff'", b'"', b"\n'", b"\\047")]
        for encoding in ("UTF8", "SJIS", "GBK", "BIG5", "LATIN1", "SQL_ASCII"):
            for strings in ("on", "off"):
                for value in values:
                    client = self.raw()
                    client.send(wire.startup({
                        "user": "alice", "database": "users", "client_encoding": encoding,
                        "standard_conforming_strings": strings, "application_name": value,
                        "evil.value": value}))
                    with contextlib.suppress(wire.Closed):
                        client.finish_login()
                        client.ask("SELECT 1")
                    client.close()
        self.assert_not_run(name)
        self.unharmed()


if __name__ == "__main__":
    unittest.main()
