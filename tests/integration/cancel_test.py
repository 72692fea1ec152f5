"""CancelRequests: they end what they are for, and never anything else."""

import contextlib
import random
import socket
import struct
import threading
import time

import harness
import wire

# Descriptors and bytes that may come and go for other reasons than cancels.
FILES_SLACK = 4
RESIDENT_SLACK = 24 << 20


class Cancel(harness.Case):
    config = {"pool": {"max_connections": 2, "acquire_timeout": "20s"}}

    def sleeping(self, count=1):
        self.wait_until(lambda: self.postgres.run(
            "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND usename = 'app' "
            "AND query LIKE '%pg_sleep(60)%'")[0][0] == count, f"{count} sleeping statements")

    def test_cancel_ends_the_statement_with_57014(self):
        client = self.wire()
        client.send(wire.query("SELECT pg_sleep(60)"))
        self.sleeping()
        wire.send_cancel(self.schemux.port, client.pid, client.secret)
        messages = client.read_ready()
        self.assertEqual(wire.sqlstates(messages), ["57014"])
        self.assertEqual(wire.kinds(messages), "TEZ")
        self.assertEqual(client.rows("SELECT 1"), [["1"]])

    def test_wrong_secret_or_pid_does_nothing(self):
        client = self.wire()
        client.send(wire.query("SELECT pg_sleep(60)"))
        self.sleeping()
        before = self.schemux.metric("schemux_backend_cancel_requests_total")
        for pid, secret in ((client.pid, client.secret ^ 1), (client.pid ^ 1, client.secret),
                            (client.pid, 0), (0, 0)):
            self.assertEqual(wire.send_cancel(self.schemux.port, pid, secret), b"")
        self.assertEqual(self.schemux.metric("schemux_backend_cancel_requests_total"), before)
        self.sleeping()
        wire.send_cancel(self.schemux.port, client.pid, client.secret)
        self.assertEqual(wire.sqlstates(client.read_ready()), ["57014"])

    def test_cancel_of_an_idle_client_hits_nobody(self):
        idle, busy = self.wire(), self.wire("orders")
        idle.rows("SELECT 1")
        busy.send(wire.query("SELECT pg_sleep(60)"))
        self.sleeping()
        for _ in range(20):
            wire.send_cancel(self.schemux.port, idle.pid, idle.secret)
        self.assertEqual(idle.rows("SELECT 'fine'"), [["fine"]])
        self.sleeping()
        wire.send_cancel(self.schemux.port, busy.pid, busy.secret)
        self.assertEqual(wire.sqlstates(busy.read_ready()), ["57014"])

    def test_cancel_of_a_waiting_client_answers_it_at_once(self):
        holders = [self.wire() for _ in range(2)]
        for holder in holders:
            holder.ask("BEGIN")
        waiter = self.wire()
        waiter.send(wire.query("SELECT 1"))
        self.wait_until(lambda: self.schemux.metric("schemux_clients_waiting") == 1)
        wire.send_cancel(self.schemux.port, waiter.pid, waiter.secret)
        self.assertEqual(wire.sqlstates(waiter.read_ready()), ["57014"])
        for holder in holders:
            self.assertEqual(holder.ask("COMMIT")[-1].body, b"I")
        self.assertEqual(waiter.rows("SELECT 1"), [["1"]])

    def test_cancels_whose_sender_is_gone_at_once(self):
        for _ in range(40):
            client = self.wire()
            client.send(wire.query("SELECT pg_sleep(60)"))
            self.sleeping()
            wire.send_cancel(self.schemux.port, client.pid, client.secret, linger=False)
            self.assertEqual(wire.sqlstates(client.read_ready()), ["57014"])
            client.close()

    def test_late_cancels_never_hit_the_next_client(self):
        """Short statements are cancelled when they may already be over, while a victim works on
        the same backends: it must never see 57014."""
        stop = threading.Event()
        victim = self.wire("orders")

        def work():
            count = 0
            while not stop.is_set():
                if victim.rows("SELECT service FROM who") != [["orders"]]:
                    raise AssertionError("a wrong answer")
                count += 1
            return count

        working = harness.Background(work)
        outcomes = set()
        for round_number in range(60 if self.lab.smoke else 200):
            client = self.wire("users")
            client.send(wire.query(f"SELECT pg_sleep({round_number % 4 / 1000})"))
            wire.send_cancel(self.schemux.port, client.pid, client.secret,
                             linger=round_number % 2 == 0)
            outcomes.add(tuple(wire.sqlstates(client.read_ready())))
            client.close()
        stop.set()
        self.assertGreater(working.result(), 0)
        self.assertLessEqual(outcomes, {(), ("57014",)})

    def test_closed_by_reset_without_a_word_more(self):
        client = self.wire()
        for _ in range(10):
            client.send(wire.query("SELECT pg_sleep(60)"))
            self.sleeping()
            request = wire.Wire(self.schemux.port)
            request.send(wire.cancel_request(client.pid, client.secret))
            request.vanish()
            self.assertEqual(wire.sqlstates(client.read_ready()), ["57014"])

    def test_bytes_behind_the_request_are_not_read(self):
        client = self.wire()
        for extra in (b"x", b"\0" * 2000, wire.cancel_request(1, 2) * 10):
            client.send(wire.query("SELECT pg_sleep(60)"))
            self.sleeping()
            with contextlib.closing(self.raw()) as request:
                request.send(wire.cancel_request(client.pid, client.secret) + extra)
                self.assertEqual(request.read_to_end(), [])
            self.assertEqual(wire.sqlstates(client.read_ready()), ["57014"])

    def test_request_byte_by_byte(self):
        client = self.wire()
        client.send(wire.query("SELECT pg_sleep(60)"))
        self.sleeping()
        with contextlib.closing(self.raw()) as request:
            request.send_byte_by_byte(wire.cancel_request(client.pid, client.secret))
            self.assertEqual(request.read_to_end(), [])
        self.assertEqual(wire.sqlstates(client.read_ready()), ["57014"])

    def test_keys_that_only_begin_or_end_like_the_right_one(self):
        client = self.wire()
        client.send(wire.query("SELECT pg_sleep(60)"))
        self.sleeping()
        before = self.schemux.metric("schemux_backend_cancel_requests_total")
        key = struct.pack("!I", client.secret)
        for wrong in (key + b"\0", key + key, b"\0" + key, key[:3], key[:1], b"",
                      key + b"x" * 252, key + b"x" * 253, key[:3] + bytes([key[3] ^ 128])):
            with contextlib.closing(self.raw()) as request:
                request.send(struct.pack("!III", 12 + len(wrong), 80877102, client.pid) + wrong)
                self.assertEqual(request.read_to_end(), [])
        self.assertEqual(self.schemux.metric("schemux_backend_cancel_requests_total"), before)
        wire.send_cancel(self.schemux.port, client.pid, client.secret)
        self.assertEqual(wire.sqlstates(client.read_ready()), ["57014"])

    def test_long_key_counts_as_a_whole(self):
        client = self.raw()
        client.login(version=wire.PROTOCOL_3_2)
        key = client.secret
        client.send(wire.query("SELECT pg_sleep(60)"))
        self.sleeping()
        before = self.schemux.metric("schemux_backend_cancel_requests_total")
        for wrong in (key[:4], key[:31], key[:31] + bytes([key[31] ^ 1]), key + b"\0", key[4:],
                      bytes([key[0] ^ 1]) + key[1:], b"\0" * 32):
            self.assertEqual(wire.send_cancel(self.schemux.port, client.pid, wrong), b"")
        self.assertEqual(self.schemux.metric("schemux_backend_cancel_requests_total"), before)
        wire.send_cancel(self.schemux.port, client.pid, key)
        self.assertEqual(wire.sqlstates(client.read_ready()), ["57014"])

    def test_in_a_transaction_only_the_running_statement_is_hit(self):
        client = self.wire()
        client.ask("BEGIN")
        wire.send_cancel(self.schemux.port, client.pid, client.secret)
        self.assertEqual(client.rows("SELECT 1"), [["1"]])
        client.send(wire.query("SELECT pg_sleep(60)"))
        self.sleeping()
        wire.send_cancel(self.schemux.port, client.pid, client.secret)
        messages = client.read_ready()
        self.assertEqual(wire.sqlstates(messages), ["57014"])
        self.assertEqual(messages[-1].body, b"E")
        wire.send_cancel(self.schemux.port, client.pid, client.secret)
        self.assertEqual(client.ask("ROLLBACK")[-1].body, b"I")

    def test_many_requests_for_one_statement_are_few_for_the_server(self):
        client = self.wire()
        before = self.schemux.metric("schemux_backend_cancel_requests_total")
        client.send(wire.query("SELECT pg_sleep(60)"))
        self.sleeping()
        requests = [self.raw() for _ in range(100)]
        for request in requests:
            request.send(wire.cancel_request(client.pid, client.secret))
        for request in requests:
            request.read_to_end()
        self.assertEqual(wire.sqlstates(client.read_ready()), ["57014"])
        self.assertEqual(client.rows("SELECT 1"), [["1"]])
        self.assertLess(self.schemux.metric("schemux_backend_cancel_requests_total") - before, 50)


class CancelWhenFull(harness.Case):
    """Every place for a client is taken: cancels are heard all the same, as by PostgreSQL."""

    config = {"limits": {"max_clients": 3}, "pool": {"max_connections": 1}}

    def wait_for_sleep(self):
        """A cancel that comes before its statement has begun hits nothing, as in PostgreSQL."""
        self.wait_until(lambda: self.postgres.run(
            "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND usename = 'app' "
            "AND query LIKE '%pg_sleep(60)%'")[0][0] == 1)

    def test_cancel_is_heard_when_no_client_has_room(self):
        # Whoever asked whether schemux is up has left.
        self.wait_until(lambda: self.schemux.metric("schemux_client_connections")
                        + self.schemux.metric("schemux_logins_in_progress") == 0)
        clients = [self.wire() for _ in range(3)]
        refused = self.raw()
        refused.send(wire.startup({"user": "alice", "database": "users"}))
        self.assertEqual(wire.sqlstates(refused.read_to_end()), ["53300"])
        for _ in range(5):
            for client in clients:
                client.send(wire.query("SELECT pg_sleep(60)"))
            self.wait_until(lambda: self.schemux.metric("schemux_clients_waiting") == 2)
            for client in random.sample(clients, 3):
                self.wait_for_sleep()
                wire.send_cancel(self.schemux.port, client.pid, client.secret)
                self.assertEqual(wire.sqlstates(client.read_ready()), ["57014"])
        # Silent ones beyond the limit are few, and not for long.
        silent = [self.raw() for _ in range(100)]
        half = wire.cancel_request(clients[0].pid, clients[0].secret)[:9]
        for one in silent[:64]:
            with contextlib.suppress(OSError):
                one.send(half)
        for one in silent:
            one.read_to_end()
        clients[1].send(wire.query("SELECT pg_sleep(60)"))
        self.wait_for_sleep()
        wire.send_cancel(self.schemux.port, clients[1].pid, clients[1].secret)
        self.assertEqual(wire.sqlstates(clients[1].read_ready()), ["57014"])


class HalfARequest(harness.Case):
    config = {"limits": {"max_clients": 200, "login_timeout": "500ms"}}

    def test_half_a_request_is_closed_after_login_timeout(self):
        client = self.wire()
        files = self.schemux.open_files()
        requests = [self.raw() for _ in range(100)]
        for number, request in enumerate(requests):
            request.send(wire.cancel_request(client.pid, client.secret)[:number % 16])
        for request in requests:
            self.assertEqual(request.read_to_end(), [])
        self.wait_until(lambda: self.schemux.open_files() <= files + FILES_SLACK)
        self.assertEqual(client.rows("SELECT 1"), [["1"]])


class Deaf:
    """Passes connections on to PostgreSQL, except CancelRequests, which it takes and never answers
    until `hear()`: then each is passed on, and its connection ends when PostgreSQL closes it."""

    def __init__(self, port):
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=200)
        self.port = self._listener.getsockname()[1]
        self.cancels = []
        self._sockets = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._sockets.append(client)
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        with contextlib.suppress(OSError):
            first = client.recv(65536)
            if first[4:8] == struct.pack("!I", 80877102):
                self.cancels.append((client, first))
                return
            there = socket.create_connection(("127.0.0.1", self._to))
            self._sockets.append(there)
            there.sendall(first)
            threading.Thread(target=self._copy, args=(there, client), daemon=True).start()
            self._copy(client, there)

    @staticmethod
    def _copy(source, target):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def hear(self):
        """Passes the cancels on that were held back."""
        held, self.cancels = self.cancels, []
        for client, request in held:
            with contextlib.closing(socket.create_connection(("127.0.0.1", self._to))) as there:
                there.sendall(request)
                there.recv(1)
            client.close()

    def close(self):
        self._listener.close()
        for one in self._sockets:
            # A thread that still reads it would keep the connection open behind a mere close.
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


class CancelsUnanswered(harness.Case):
    """PostgreSQL takes CancelRequests and is silent."""

    own_schemux = False

    def setUp(self):
        self.deaf = Deaf(self.postgres.port)
        self.addCleanup(self.deaf.close)
        dsn = f"host=127.0.0.1 port={self.deaf.port} dbname=app user=app"
        self.schemux = self.start_schemux(
            {"backend": {"dsn": dsn}, "pool": {"max_connections": 1, "acquire_timeout": "20s"}})

    def begin_sleeping(self, client, seconds):
        """A cancel that overtakes its statement is another test."""
        nonce = wire.nonce()
        client.send(wire.query(f"SELECT pg_sleep({seconds}), '{nonce}'"))
        self.wait_until(lambda: self.postgres.run(
            "SELECT 1 FROM pg_stat_activity WHERE usename = 'app' AND query LIKE %s",
            (f"%{nonce}%",)), "it to run")

    def test_backend_waits_for_the_end_of_its_cancel_before_its_next_client(self):
        client, other = self.wire(), self.wire("orders")
        pid = client.rows("SELECT pg_backend_pid()")
        self.begin_sleeping(client, 1.5)
        wire.send_cancel(self.schemux.port, client.pid, client.secret)
        self.wait_until(lambda: self.deaf.cancels, "the cancel to be sent")
        self.assertEqual(wire.sqlstates(client.read_ready()), [])
        # The victim, without whom a late cancel would hit nobody.
        other.send(wire.query("SELECT pg_backend_pid(), pg_sleep(0.5)"))
        self.wait_until(lambda: self.schemux.metric("schemux_clients_waiting") == 1)
        self.deaf.hear()
        row, = wire.rows_of(other.read_ready())
        self.assertEqual([[row[0]]], pid, "the same backend")

    def test_own_next_statement_waits_too(self):
        client = self.wire()
        client.ask("BEGIN")
        self.begin_sleeping(client, 1.5)
        wire.send_cancel(self.schemux.port, client.pid, client.secret)
        self.wait_until(lambda: self.deaf.cancels, "the cancel to be sent")
        self.assertEqual(wire.sqlstates(client.read_ready()), [])
        nonce = wire.nonce()
        client.send(wire.query(f"SELECT '{nonce}', pg_sleep(0.3)"))
        active = f"SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%{nonce}%' " \
                 "AND usename = 'app'"
        self.assertEqual(self.postgres.run(active), [(0,)])
        self.deaf.hear()
        self.assertEqual(wire.rows_of(client.read_ready()), [[nonce, ""]])

    def test_cancel_that_is_never_answered_costs_its_backend_and_nobody_else(self):
        client, other = self.wire(), self.wire("orders")
        pid = client.rows("SELECT pg_backend_pid()")
        files = self.schemux.open_files()
        self.begin_sleeping(client, 1.5)
        for _ in range(50):
            wire.send_cancel(self.schemux.port, client.pid, client.secret)
        self.assertEqual(wire.sqlstates(client.read_ready()), [])
        self.assertLessEqual(len(self.deaf.cancels), 1)
        self.assertLessEqual(self.schemux.open_files(), files + FILES_SLACK)
        # Its backend is closed when time is up; another takes its place.
        row, = other.rows("SELECT pg_backend_pid()")
        self.assertNotEqual([row], pid)
        self.deaf.hear()
        self.assertEqual(other.rows("SELECT 'unharmed'"), [["unharmed"]])


class RacingCancels(harness.Case):
    """Several clients, one backend, and a cancel at any moment. A client knows whether it has asked
    for one: a 57014 without a request, or with one whose connection had ended before the statement
    was sent, is somebody else's or a late one."""

    config = {"pool": {"max_connections": 1, "acquire_timeout": "60s"}}
    clients = 6

    def race(self, number, cancels):
        """One client; how often it was hit, and what must not have been."""
        dice = random.Random(number)
        client = wire.connect(self.schemux.port, ("users", "orders")[number % 2])
        hits, wrong, request = 0, [], None
        with contextlib.closing(client):
            for _ in range(cancels):
                if request is not None and dice.random() < 0.7:
                    request.read_to_end()
                    request.close()
                    request = None
                pinned = dice.random() < 0.3
                if pinned:
                    pinned = not wire.sqlstates(client.ask("BEGIN"))
                nonce = wire.nonce()
                sleep = dice.choice((0, 0, 0.0005, 0.002))
                client.send(wire.query(f"SELECT '{nonce}', pg_sleep({sleep})"))
                cancel = wire.Wire(self.schemux.port)
                if dice.random() < 0.8:
                    time.sleep(dice.random() * 0.003)
                cancel.send(wire.cancel_request(client.pid, client.secret))
                answer = client.read_ready()
                if request is not None:
                    request.read_to_end()
                    request.close()
                request = cancel
                hits += self.judge(answer, nonce, True, wrong)
                while pinned and client.ask("ROLLBACK")[-1].body != b"I":
                    pass  # hit itself
                if dice.random() < 0.5:
                    request.read_to_end()
                    request.close()
                    request, nonce = None, wire.nonce()
                    client.send(wire.query(f"SELECT '{nonce}', pg_sleep(0.0005)"))
                    self.judge(client.read_ready(), nonce, False, wrong)
            if request is not None:
                request.close()
        return hits, wrong

    @staticmethod
    def judge(answer, nonce, asked, wrong):
        """1 when it was hit; what is not right is added to `wrong`."""
        states = wire.sqlstates(answer)
        rows = [one.row[0] for one in answer if one.kind == "D"]
        if states == ["57014"] and asked:
            return 1
        if states or rows != [nonce]:
            wrong.append((states, rows, nonce))
        return 0

    def victim(self, stop):
        client = wire.connect(self.schemux.port, "legacy")
        wrong, count = [], 0
        with contextlib.closing(client):
            while not stop.is_set():
                nonce = wire.nonce()
                client.send(wire.query(f"SELECT '{nonce}', pg_sleep(0.0005)"))
                self.judge(client.read_ready(), nonce, False, wrong)
                count += 1
        return count, wrong

    def test_no_cancel_hits_what_it_was_not_for(self):
        cancels = 500 if self.lab.smoke else 10_000
        warm = [self.wire(service) for service in ("users", "orders", "legacy")]
        for client in warm:
            client.rows("SELECT 1")
            client.close()
        pid = self.postgres.backends()
        files, threads = self.schemux.open_files(), self.threads()
        resident = self.schemux.resident_bytes()
        stop = threading.Event()
        victim = harness.Background(self.victim, stop)
        began = time.monotonic()
        racing = [harness.Background(self.race, number, cancels // self.clients + 1)
                  for number in range(self.clients)]
        results = [one.result(150) for one in racing]
        stop.set()
        lasted = time.monotonic() - began
        served, wrong = victim.result()
        self.assertEqual(wrong, [], "the victim was hit")
        for _, mistakes in results:
            self.assertEqual(mistakes, [])
        hits = sum(hit for hit, _ in results)
        print(f"    {cancels} cancels in {lasted:.1f} s: {hits} hits, victim served {served} times")
        self.assertGreater(hits, cancels // 50)
        self.assertGreater(served, 10)
        self.assertEqual(self.postgres.backends(), pid, "no backend was lost")
        self.wait_until(lambda: self.schemux.open_files() <= files + FILES_SLACK)
        self.assertEqual(self.threads(), threads)
        self.assertLess(self.schemux.resident_bytes() - resident, RESIDENT_SLACK)

    def threads(self):
        status = open(f"/proc/{self.schemux.process.pid}/status", encoding="ascii").read()
        return int(status.split("Threads:")[1].split()[0])
