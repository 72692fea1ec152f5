"""Mistakes of other products in front of the login and around it, one test each: the attack is made
on a running daemon. tests/CVES.md lists them all.
"""

import random
import struct
import unittest

import attacks
import auth_test
import wire
from attacks import begin_scram, claimed, scram_final


class BeforeTheLogin(attacks.Attacked):
    """Clients that have proved nothing, at a listener that asks for SCRAM."""

    def startup(self, user="alice", service="users", **more):
        return wire.startup({"user": user, "database": service, **more})

    def asked(self, **more):
        """A client that has been asked for its proof."""
        client = self.raw()
        client.send(self.startup(**more))
        self.assertEqual(client.read().kind, "R")
        return client

    def test_canary_and_login_work_where_they_may(self):
        """What the other tests say was not run, or not let in, would be."""
        name, sql = self.canary()
        self.assertEqual(wire.kinds(self.log_in().ask(sql)), "CZ")
        self.assertEqual(self.postgres.run("SELECT to_regclass(%s)::text", (f"public.{name}",)),
                         [(name,)])

    def test_cve_2026_107350_second_startup_in_the_middle_of_scram(self):
        """A second startup packet changed who logs in; here it is no SASL response."""
        name, sql = self.canary()
        other = self.startup("bob", "orders")
        rest = wire.query(sql)
        asked = self.asked()
        asked.send(other, rest)
        challenged = self.raw()
        challenge = begin_scram(challenged, "alice", "users")
        challenged.send(other, scram_final(challenge, "alices word"), rest)
        at_once = self.raw()
        at_once.send(self.startup(), other, rest)
        self.assertEqual(at_once.read().kind, "R")
        for client in (asked, challenged, at_once):
            self.assertEqual(self.refused(client, "08P01"),
                             "expected SASL response, got message type 0")
        cancelling = self.asked()
        cancelling.send(wire.cancel_request(self.bystander.pid, self.bystander.secret))
        self.refused(cancelling, "08P01")
        # Behind a login it is no message either.
        late = self.log_in()
        late.send(other, rest)
        self.refused(late, "08P01")
        self.assert_not_run(name)
        self.unharmed()

    def test_cve_2026_107349_options_with_an_empty_name(self):
        """`options=-c=` was read for ever; here each spelling of it is an error, at once."""
        for options in ("-c=", "-c =", "--=", "-c= -c work_mem=1MB", "-c work_mem=1MB -c=",
                        "-c", "--", "-", "-c=x", " \t-c=", "-c \\=", "\\", "-c=" * 3000):
            with self.subTest(options[:20]):
                client = self.raw()
                client.send(self.startup(options=options))
                self.refused(client, "42601", "22023", "42602", "42704", "08P01")
        self.not_busy()
        self.unharmed()

    def test_cve_2026_107348_lengths_that_overflow_a_growing_buffer(self):
        """A length near the largest number wrapped while a buffer grew; here it is refused."""
        for length in attacks.HUGE:
            for filling in (b"", b"\0" * 3000):
                first = self.raw()
                first.send(struct.pack("!I", length) + self.startup()[4:] + filling)
                self.assertEqual(first.read_to_end(), [])
                later = self.asked()
                later.send(claimed("p", length, filling))
                self.refused(later, "08P01", "28P01")
        self.not_busy()
        self.unharmed()

    def test_cve_2026_6668_header_of_five_bytes(self):
        """Five bytes, and the process was busy for ever; here they are refused, or wait."""
        waiting = []
        for kind in "pQXRS\0\xff":
            head = kind.encode("latin-1")
            for length in (0, 3, 4, 5, 1024, 1029, *attacks.HUGE):
                for client in (self.raw(), self.asked()):
                    client.send(head + struct.pack("!I", length))
                    waiting.append(client)
        self.assertEqual(self.bystander.rows("SELECT 'meanwhile'"), [["meanwhile"]])
        for client in waiting:
            client.socket.shutdown(1)
            messages = client.read_to_end()
            self.assertLessEqual({one.kind for one in messages}, {"E"})
        self.not_busy()
        self.unharmed()

    def client_finals(self, challenge, password):
        """(name, final): the right one with something missing, empty, doubled or out of place."""
        right = auth_test.client_final(password, attacks.FIRST, challenge)
        parts = dict(part.split(b"=", 1) for part in right.split(b","))
        for name in parts:
            yield f"no {name}", b",".join(n + b"=" + v for n, v in parts.items() if n != name)
            yield f"empty {name}", b",".join(
                n + b"=" + (b"" if n == name else v) for n, v in parts.items())
            yield f"bare {name}", b",".join(
                n if n == name else n + b"=" + v for n, v in parts.items())
        yield "only p", b"p=" + parts[b"p"]
        yield "p first", b"p=" + parts[b"p"] + b"," + right[:right.index(b",p=")]
        yield "commas", b",,,"
        yield "equals signs", b"=,=,="
        yield "c twice", b"c=biws," + right
        yield "text behind p", right + b",x"
        yield "short p", right[:-8]
        yield "p twice", right + b",p=" + parts[b"p"]

    def final_answer(self, port, user, database, password, number):
        """What a server says to one of the finals: code and words, without the user's name."""
        with wire.Wire(port) as client:
            challenge = begin_scram(client, user, database)
            name, final = list(self.client_finals(challenge, password))[number]
            client.send(auth_test.response(final))
            messages = client.read_to_end()
        self.assertNotIn("Z", [one.kind for one in messages], name)
        return name, [(one["S"], one["C"], one["M"].replace(user, "U"))
                      for one in wire.errors_of(messages)]

    def test_cve_2026_19888_client_final_without_an_attribute(self):
        """A missing attribute was looked at all the same, and the process was gone; here the
        message is refused, in PostgreSQL's words."""
        sample = {"r": "x", "s": "AAAA", "i": "4096"}
        for number in range(len(list(self.client_finals(sample, "x")))):
            _, wanted = self.final_answer(self.postgres.port, "secret_app", "app", "pool secret",
                                          number)
            name, got = self.final_answer(self.schemux.port, "alice", "users", "alices word",
                                          number)
            self.assertEqual(len(got), 1, name)
            self.assertEqual(got, wanted, name)
        self.unharmed()

    def test_cve_2026_6664_length_that_wraps_inside_of_a_message(self):
        """`position + length` wrapped; here a length beyond the message is refused."""
        data = b"n,,n=,r=clientnonce"
        for length in (len(data) - 1, len(data) + 1, 0x7fffffff, 0x80000000, 0xfffffff0,
                       0xfffffffe, 0xffffffff):
            client = self.asked()
            body = wire.cstr(auth_test.MECHANISM) + struct.pack("!I", length) + data
            client.send(wire.message("p", body))
            self.refused(client, "08P01")
        first = self.raw()
        first.send(b"\xff" * 4 + self.startup()[4:])
        self.assertEqual(first.read_to_end(), [])
        for body in (auth_test.MECHANISM, auth_test.MECHANISM + b"\0\0\0", b"", b"\xff" * 4):
            client = self.asked()
            client.send(wire.message("p", body))
            self.refused(client, "08P01")
        self.unharmed()

    def test_cve_2025_12819_search_path_before_authentication(self):
        """A search_path was set for a query that ran ahead of the login; here no connection of the
        pool sees a setting of who has not logged in."""
        opened = self.schemux.metric("schemux_backend_connections_opened_total")
        switches = self.schemux.metric("schemux_label_switches_total")
        for user, word in (("alice", "wrong"), ("nobody", "alices word")):
            for setting in ({"search_path": "evil, pg_catalog"},
                            {"options": "-c search_path=evil"}, {"role": "postgres"}):
                client = self.raw()
                client.send(scram_final(begin_scram(client, user, "users", **setting), word))
                self.refused(client, "28P01")
        self.assertEqual(self.schemux.metric("schemux_backend_connections_opened_total"), opened)
        self.assertEqual(self.schemux.metric("schemux_label_switches_total"), switches)
        self.unharmed()

    def test_cve_2015_6817_unknown_user(self):
        """Who was unknown was logged in as somebody else; here nobody is, whatever the proof."""
        for user in ("nobody", "app", "postgres", "alice\x01", "ALICE", " alice"):
            for word in ("", "alices word", "bobs word", "wrong", user):
                client = self.raw()
                client.send(scram_final(begin_scram(client, user, "users"), word))
                self.assertEqual(self.refused(client, "28P01"),
                                 f'password authentication failed for user "{user}"')
        nameless = self.raw()
        nameless.send(self.startup(user=""))
        self.refused(nameless, "28000")
        self.unharmed()

    def test_cve_2015_4054_password_before_the_startup(self):
        """A password ahead of everything was for a user that there was none of; here it is no
        startup packet."""
        name, sql = self.canary()
        for password in (wire.message("p", b"secret\0"), wire.message("p"),
                         auth_test.initial_response(b"n,,n=,r=abc")):
            client = self.raw()
            client.send(password, self.startup(), wire.query(sql))
            self.assertEqual(client.read_to_end(), [])
            for request in (wire.SSL_REQUEST, wire.GSS_REQUEST):
                client = self.raw()
                client.send(request)
                self.assertEqual(client.read_exactly(1), b"N")
                client.send(password, self.startup(), wire.query(sql))
                self.assertEqual(client.read_to_end(), [])
        self.assert_not_run(name)
        self.unharmed()

    def test_cve_2012_4575_long_database_name(self):
        """A long name of a database ended the process; here it is one that nobody has, and its
        beginning is nobody's either."""
        for size in (63, 64, 65, 127, 128, 255, 256, 1024, 4096, 9900):
            for name in ("users" + "x" * (size - 5), "users" + " " * (size - 5)):
                client = self.raw()
                client.send(scram_final(begin_scram(client, "alice", name), "alices word"))
                self.assertEqual(self.refused(client, "3D000"), f'database "{name}" does not exist')
        longest = self.raw()
        longest.send(self.startup("alice", "x" * 10_001))
        self.assertEqual(longest.read_to_end(), [])
        user = self.raw()
        user.send(scram_final(begin_scram(user, "alice" * 1900, "users"), "alices word"))
        self.refused(user, "28P01")
        self.unharmed()

    def test_cve_2026_6667_there_is_no_console_to_end_clients_from(self):
        """Users of the console who may only look could end clients; here there is none, neither as
        a database nor over HTTP."""
        for console in ("pgbouncer", "schemux", "admin", "postgres"):
            client = self.raw()
            client.send(scram_final(begin_scram(client, "alice", console), "alices word"))
            self.refused(client, "3D000")
        for sql in ("KILL_CLIENT 1", "KILL users", "SHUTDOWN", "RELOAD", "PAUSE", "SHOW CLIENTS"):
            states = wire.sqlstates(self.log_in().ask(sql))
            self.assertIn(states, (["42601"], ["42704"]), sql)
        self.unharmed()

    def test_pgcat_swarm_of_garbage(self):
        """A crowd of connections, or bytes that are no message, ended the process; here each ends
        itself."""
        dice = random.Random(7)
        crowd = []
        for number in range(300):
            client = self.raw() if number % 3 else self.asked()
            client.send(dice.randbytes(dice.randrange(1, 400)))
            crowd.append(client)
            if number % 5 == 0:
                client.vanish()
        for number in range(100):
            client = self.log_in()
            client.send(dice.randbytes(dice.randrange(1, 400)))
            crowd.append(client)
        self.unharmed()
        for client in crowd:
            client.close()
        self.wait_until(lambda: self.schemux.metric("schemux_client_connections") <= 2,
                        "the crowd to be forgotten")
        self.unharmed()


if __name__ == "__main__":
    unittest.main()
