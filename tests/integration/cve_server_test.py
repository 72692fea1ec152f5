"""Mistakes of other products with servers that are hostile, or not the server at all, one test
each. tests/CVES.md lists them all.
"""

import contextlib
import socket
import ssl
import struct
import threading
import unittest

import certificates
import fake_server
import harness
import hostile_server_test
import server
import wire
from fake_server import AUTH_OK, READY, authentication, cstr, message
from hostile_server_test import own_answer

# What a login may ask of us is done in this time, or refused.
QUICK_SECONDS = 5
SALT = b",s=c2FsdHNhbHRzYWx0c2FsdA==,i="


class HostileLogins(hostile_server_test.HostileCase):
    """The server asks for SCRAM, and then for too much."""

    password = "pool-secret"
    pool = {"max_connections": 4, "acquire_timeout": "1s", "connect_timeout": "10s",
            "audit_sample": 0}

    def setUp(self):
        self.holder = self.wire("orders")  # has a backend of its own, and is never in need of one
        self.holder.ask("BEGIN")
        self.resident = self.schemux.resident_bytes()
        self.before = self.desyncs()
        self.finals = []

    def challenge(self, answer):
        """A way of logging in: `answer` makes a challenge of our nonce."""
        def way(connection):
            body = connection.exchange(authentication(10, cstr("SCRAM-SHA-256") + b"\0"))
            nonce = body[body.index(b"r=") + 2:]
            self.finals.append(connection.exchange(authentication(11, answer(nonce))))
            raise fake_server.Gone
        return way

    def victim(self, way):
        """What a client is told that needs a backend whose login goes this way, however often it is
        tried. The holder gets its answers all the time."""
        met = []

        def seen(connection):
            try:
                way(connection)
            finally:
                met.append(connection)

        self.end_idle_backends()
        self.fake.login_ways.extend([seen] * 1000)
        for _ in range(20):
            client = self.raw()
            client.send(wire.startup({"user": "alice", "database": "users",
                                      "application_name": wire.nonce()}))
            asked = harness.Background(client.read_to_end)
            count, failed = 0, False
            while not asked.done():
                failed = bool(met)  # before the client is told
                text = f"SELECT 'meanwhile {count}'"
                self.assertEqual(self.holder.rows(text), own_answer(text))
                count += 1
            error, = wire.errors_of(asked.result())
            if failed:
                self.fake.login_ways.clear()
                return error
            # Behind failures there may be no attempt in the time that a client waits: once more.
        return self.fail("nobody met the way")

    def end_idle_backends(self):
        idle = [one for one in self.fake.open_connections() if not one.in_transaction]
        for one in idle:
            with contextlib.suppress(OSError):  # one whose login failed just now
                one.send(fake_server.BEHIND_FATAL)
        for one in idle:
            self.wait_until(one.ended.is_set)

    def serves(self):
        """Behind failures the server is tried less often than clients may wait here."""
        client = self.raw()
        client.send(wire.startup({"user": "alice", "database": "users"}))
        with contextlib.suppress(wire.Closed):
            client.finish_login()
            return not wire.sqlstates(client.ask("BEGIN")) and client.ask("COMMIT")
        return None

    def after(self):
        text = f"SELECT 'after {wire.nonce()}'"
        self.assertEqual(self.holder.rows(text), own_answer(text))
        self.holder.ask("COMMIT")
        self.wait_until(self.serves, "the next honest login")
        self.assertLess(self.schemux.resident_bytes() - self.resident, 16 << 20)
        self.check_aftermath(self.before, 0)

    def test_cve_2026_6669_iterations_that_the_server_chooses(self):
        """A server's number of iterations held the event loop for as long as it liked; here too
        many, or none, are refused at once, and nobody waits."""
        for number in (b"2147483647", b"4294971392", b"600001", b"0", b"-1", b"9" * 40):
            with self.subTest(number):
                used = self.schemux.cpu_seconds()
                error = self.victim(self.challenge(lambda nonce, n=number: b"r=" + nonce + b"x"
                                                   + SALT + n))
                self.assertEqual((error["S"], error["C"]), ("FATAL", "08006"))
                self.assertIn("the SCRAM iteration count is not acceptable", error["D"])
                self.assertLess(self.schemux.cpu_seconds() - used, QUICK_SECONDS)
        self.assertEqual(self.finals, [])  # nothing was proved to such a server
        self.after()

    def test_cve_2026_42198_most_iterations_hold_up_their_own_login_alone(self):
        """A driver's thread was busy for a server's iterations; here even the most that are taken
        are worked off beside the loop that serves everybody."""
        begun, worked = threading.Event(), threading.Event()

        def way(connection):
            body = connection.exchange(authentication(10, cstr("SCRAM-SHA-256") + b"\0"))
            nonce = body[body.index(b"r=") + 2:]
            begun.set()
            self.finals.append(connection.exchange(authentication(
                11, b"r=" + nonce + b"x" + SALT + b"600000")))
            worked.set()

        self.fake.login_ways.append(way)
        client = self.raw()
        client.send(wire.startup({"user": "alice", "database": "users",
                                  "application_name": wire.nonce()}))
        asked = harness.Background(client.finish_login)
        self.wait_until(begun.is_set, "the challenge")
        answers = 0
        while not worked.is_set():
            text = f"SELECT 'meanwhile {answers}'"
            self.assertEqual(self.holder.rows(text), own_answer(text))
            answers += 1
        # Had the loop worked them off itself, one answer at most would have come.
        self.assertGreater(answers, 3)
        self.fake.login_ways.clear()
        with contextlib.suppress(wire.Closed):
            asked.result()
        self.assertTrue(self.finals)
        self.after()

    @harness.full_only
    def test_cve_2026_6665_long_nonce_of_the_server(self):
        """A long nonce was written beyond the memory for its answer; here it fits, or the login
        fails."""
        for size in (100, 4000, 65_000, 1_000_000):
            with self.subTest(size):
                error = self.victim(self.challenge(
                    lambda nonce, n=size: b"r=" + nonce + b"x" * n + SALT + b"4096"))
                self.assertEqual((error["S"], error["C"]), ("FATAL", "08006"))
        for answer in (lambda nonce: b"r=x" + SALT + b"4096",
                       lambda nonce: b"r=" + nonce + SALT[:3] + b"A" * 100_000 + b",i=4096",
                       lambda nonce: b"r=" + b"," * 5000):
            self.assertEqual(self.victim(self.challenge(answer))["C"], "08006")
        self.after()

    @harness.full_only
    def test_cve_2026_6666_error_without_a_sqlstate_in_the_login(self):
        """An error without SQLSTATE was read where none was; here it is told as an error all the
        same."""
        for body in (b"SFATAL\0VFATAL\0Mno\0\0", b"\0", b"V\0C\0M\0\0", b"SFATAL\0C28P0\0\0",
                     b"x" * 5000 + b"\0\0"):
            with self.subTest(body[:30]):
                error = self.victim(lambda connection, b=body: (
                    connection.send(message("E", b)), connection.wait_for_the_end()))
                self.assertEqual(error["S"], "FATAL")
                self.assertEqual(len(error["C"]), 5)
        self.after()


class HostileAnswers(hostile_server_test.HostileCase):
    def ask(self, way):
        client = self.wire("users")
        client.send(wire.query(f"SELECT 'misbehave:{way}'"))
        return client

    def test_cve_2026_6666_error_without_a_sqlstate_later(self):
        """The same in answer to a query, in an upkeep of ours, and from a backend at rest."""
        before = self.desyncs()
        for way in ("error_without_sqlstate", "error_without_fields", "error_with_odd_fields"):
            client = self.ask(way)
            expected = fake_server.PASSING_WAYS[way]
            self.assertEqual(client.read_exactly(len(expected)), expected)
            self.assertEqual(client.rows("SELECT 'on'"), own_answer("SELECT 'on'"))
            client.close()
        self.check_aftermath(before, 0)
        text = f"SELECT 'rests {wire.nonce()}'"
        client = self.wire("orders")
        client.rows(text)
        self.wait_for_idle_pool()
        backend = self.fake.one_with(text)
        backend.send(message("E", b"SERROR\0VERROR\0Mhm\0\0"))
        self.wait_until(backend.ended.is_set, "the backend to be closed")
        self.assertEqual(client.rows("SELECT 'on'"), own_answer("SELECT 'on'"))
        client.close()
        self.check_aftermath(before, 1)

    def test_pgdog_backend_out_of_step_is_used_no_more(self):
        """A backend whose answers were a place off was used on; here it is closed, and its client
        is told that its answer is lost."""
        before = self.desyncs()
        ways = ("ready_twice", "answer_twice", "x_ready_early", "error_after_ready")
        for way in ways:
            client = self.ask(way)
            self.expect_08006(client.read_to_end())
        self.check_aftermath(before, len(ways))


class NotTheServer(harness.Case):
    """Somebody in between answers first, in clear, and passes the rest on to the server."""

    own_schemux = False

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.authority = certificates.Authority(cls.lab.folder / "ca-between")
        cls.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        cls.context.load_cert_chain(*map(str, cls.authority.sign("localhost", "between")))

    def serve(self, listener, injected):
        with contextlib.suppress(OSError):
            while True:
                peer, _ = listener.accept()
                threading.Thread(target=self.one, args=(peer, injected), daemon=True).start()

    def one(self, peer, injected):
        with contextlib.suppress(OSError):
            peer.settimeout(20)
            if peer.recv(8) != wire.SSL_REQUEST:
                return
            peer.sendall(b"S" + injected)
            inside = self.context.wrap_socket(peer, server_side=True)
            self.reached.append(inside.recv(1000))
            inside.sendall(AUTH_OK + message("K", struct.pack("!II", 1, 2)) + READY)
            while data := inside.recv(4096):
                self.reached.append(data)
                inside.sendall(fake_server.ANSWER + READY)

    def behind(self, injected, **words):
        """What a client is told of a server whose first answer has `injected` behind it."""
        self.reached = []
        listener = socket.create_server(("127.0.0.1", server.free_port()))
        self.addCleanup(listener.close)
        threading.Thread(target=self.serve, args=(listener, injected), daemon=True).start()
        dsn = f"host=127.0.0.1 port={listener.getsockname()[1]} dbname=app user=app " + " ".join(
            f"{name}={value}" for name, value in words.items())
        instance = self.start_schemux({
            "backend": {"dsn": dsn},
            "pool": {"acquire_timeout": "1s", "connect_timeout": "2s", "audit_sample": 0}})
        client = self.raw(instance)
        client.send(wire.startup({"user": "alice", "database": "users"}))
        if not injected:
            return client.read_until("ZE")[-1]
        messages = client.read_to_end()
        self.assertIsNone(instance.process.poll())
        self.assertFalse({"D", "Z", "K"} & {one.kind for one in messages}, messages)
        error, = wire.errors_of(messages)
        return error

    forged = AUTH_OK + message("K", struct.pack("!II", 1, 2)) + READY + fake_server.ANSWER + READY

    # What a false server would begin with, or only a byte of it.
    injections = (forged, message("E", b"SFATAL\0C28P01\0Mgive me more\0\0"), b"\0")

    def check(self, injections=injections, **words):
        for injected in injections:
            error = self.behind(injected, **words)
            self.assertEqual(error["C"], "08006")
            self.assertIn("unencrypted bytes in front of TLS", error["M"] + error.get("D", ""))
            self.assertEqual(self.reached, [])  # not even a startup packet came inside of TLS

    def test_cve_2021_43767_answers_in_front_of_tls(self):
        """False answers in clear, ahead of the server's handshake, were taken for its own; here
        they end the connection."""
        self.check(sslmode="prefer")
        self.check([self.forged], sslmode="require")

    def test_cve_2021_23222_answers_in_front_of_a_server_that_is_verified(self):
        """The same where the server's certificate is verified behind them, and is right."""
        self.check([self.forged], sslmode="verify-ca", sslrootcert=self.authority.certificate)

    def test_server_in_between_would_be_believed_without_injection(self):
        """It does speak TLS: what is refused by the others is what came ahead."""
        self.behind(b"", sslmode="verify-ca", sslrootcert=self.authority.certificate)
        self.assertIn(b"app\0", self.reached[0])


if __name__ == "__main__":
    unittest.main()
