"""Protocol 3.2 and its long cancel keys towards the server: PostgreSQL 18 speaks it, an older one
negotiates down to 3.0, and what is none may refuse. Clients' side: startup_test, cancel_test.
"""

import contextlib
import os
import socket
import struct
import threading

import fake_server
import harness
import server
import wire

SLEEP = "SELECT pg_sleep(60)"


class Talk:
    """What one connection said, both ways."""

    def __init__(self):
        self.client = bytearray()
        self.server = bytearray()

    @property
    def version(self):
        return struct.unpack_from("!I", self.client, 4)[0]

    def welcome(self):
        """The server's messages up to its first ReadyForQuery."""
        messages, at = [], 0
        while not messages or messages[-1].kind != "Z":
            size, = struct.unpack_from("!I", self.server, at + 1)
            messages.append(wire.Message(chr(self.server[at]),
                                         bytes(self.server[at + 5:at + 1 + size])))
            at += 1 + size
        return messages


class Listener:
    """Passes connections on to PostgreSQL and notes what is said."""

    def __init__(self, port):
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.port = self._listener.getsockname()[1]
        self.talks = []
        self._sockets = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                there = socket.create_connection(("127.0.0.1", self._to))
                self._sockets += [client, there]
                talk = Talk()
                self.talks.append(talk)
                for source, target, noted in ((client, there, talk.client),
                                              (there, client, talk.server)):
                    threading.Thread(target=self._copy, args=(source, target, noted),
                                     daemon=True).start()

    @staticmethod
    def _copy(source, target, noted):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                noted += data
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def close(self):
        self._listener.close()
        for one in self._sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


class RealServer(harness.Case):
    own_schemux = False

    def setUp(self):
        self.listener = Listener(self.postgres.port)
        self.addCleanup(self.listener.close)
        dsn = f"host=127.0.0.1 port={self.listener.port} dbname=app user=app"
        self.schemux = self.start_schemux({"backend": {"dsn": dsn}, "pool": {"max_connections": 1}})

    def test_server_is_asked_for_3_2_and_its_key_is_kept_whole(self):
        client = self.wire()
        client.send(wire.query(SLEEP))
        self.wait_until(lambda: self.postgres.run(
            "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND usename = 'app' "
            f"AND query = '{SLEEP}'")[0][0] == 1)
        wire.send_cancel(self.schemux.port, client.pid, client.secret)
        self.assertEqual(wire.sqlstates(client.read_ready()), ["57014"])
        self.assertEqual(client.rows("SELECT 1"), [["1"]])
        backend, cancel = self.listener.talks
        self.assertEqual(backend.version, wire.PROTOCOL_3_2)
        welcome = backend.welcome()
        key, = [one.body for one in welcome if one.kind == "K"]
        negotiated = [one.body for one in welcome if one.kind == "v"]
        if server.major() >= 18:
            self.assertEqual((len(key) - 4, negotiated), (32, []))
        else:
            self.assertEqual((len(key) - 4, negotiated),
                             (4, [struct.pack("!II", wire.PROTOCOL_3_0, 0)]))
        pid, = struct.unpack_from("!I", key)
        self.assertEqual(bytes(cancel.client), wire.cancel_request(pid, key[4:]))


class OtherServer(harness.Case):
    own_schemux = False

    def begin(self):
        self.fake = fake_server.FakeServer()
        self.addCleanup(self.fake.close)
        self.schemux = self.start_schemux({"backend": {"dsn": self.fake.dsn()},
                                           "pool": {"max_connections": 2}})

    def use_two_backends(self):
        holder = self.wire()
        holder.ask("BEGIN")
        self.assertEqual(self.wire().rows("SELECT 'second'"), [["SELECT 'second'"]])
        holder.ask("COMMIT")

    def test_server_that_refuses_3_2_gets_3_0_from_then_on(self):
        for sqlstate in ("0A000", "08P01"):
            with self.subTest(sqlstate):
                self.begin()
                self.fake.refusal = fake_server.error(sqlstate, "no such version", "FATAL")
                self.use_two_backends()
                self.assertEqual(self.fake.versions,
                                 [wire.PROTOCOL_3_2, wire.PROTOCOL_3_0, wire.PROTOCOL_3_0])
                self.assertEqual(self.schemux.log_count("server_speaks_protocol_3_0"), 1)

    def test_server_that_closes_on_3_2_gets_3_0_at_once(self):
        self.begin()
        self.fake.refusal = b""
        self.use_two_backends()
        self.assertEqual(self.fake.versions, [wire.PROTOCOL_3_2, wire.PROTOCOL_3_0] * 2)
        self.assertEqual(self.schemux.log_count("backend_connect_failed"), 0)

    def test_other_refusals_are_no_matter_of_the_version(self):
        self.begin()
        self.fake.refusal = fake_server.error("28000", "not you", "FATAL")
        client = self.raw()
        client.send(wire.startup({"user": "alice", "database": "users"}))
        self.assertEqual(wire.sqlstates(client.read_to_end()), ["28000"])
        self.assertEqual(set(self.fake.versions), {wire.PROTOCOL_3_2})

    def test_reload_asks_for_3_2_again(self):
        self.begin()
        self.fake.refusal = fake_server.error("0A000", "no such version", "FATAL")
        self.wire()
        self.fake.refusal = None
        self.schemux.config["backend"]["dsn"] = self.fake.dsn(application_name="other")
        self.schemux.write_config()
        self.schemux.reload()
        client = self.wire()
        # The backend that there is serves until it is found to be of the old configuration.
        self.wait_until(lambda: client.ask("SELECT 1")
                        and self.fake.versions[-1] == wire.PROTOCOL_3_2)

    def test_cancel_carries_a_key_of_any_length(self):
        for size in (4, 5, 255, 256):
            with self.subTest(size):
                self.begin()
                self.fake.key = os.urandom(size)
                client = self.wire()
                client.send(wire.query("misbehave:silence"))
                self.wait_until(lambda: [one for one in self.fake.open_connections()
                                         if one.last_text == b"misbehave:silence"])
                wire.send_cancel(self.schemux.port, client.pid, client.secret)
                self.wait_until(lambda: self.fake.cancels)
                self.assertEqual(self.fake.cancels[0][4:], self.fake.key)
