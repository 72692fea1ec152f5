"""The server breaks the protocol (fake_server.py): the client that has it is told so with SQLSTATE
08006, the backend connection is closed and counted, everybody else goes on with right answers."""

import contextlib
import os
import select
import threading
import time

import fake_server
import harness
import wire

ALL_SERVICES = ("users", "orders", "legacy")
# What may be kept of a flood: a few reads, and what the allocator rounds up.
RSS_GROWTH_MAX = 24 << 20


def memory_of(process, field="VmHWM"):
    with open(f"/proc/{process.pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) << 10 for line in status if line.startswith(field))


def cpu_seconds(process):
    with open(f"/proc/{process.pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def own_answer(text):
    """What the server says to `text`, as a client sees its rows."""
    return [[text]]


class Bystanders:
    """Clients of every service that ask all the time and check that each answer is their own."""

    def __init__(self, port):
        self._port = port
        self._over = threading.Event()
        self.answers = dict.fromkeys(ALL_SERVICES, 0)
        self._running = [harness.Background(self._work, service) for service in ALL_SERVICES]

    def _work(self, service):
        client = wire.connect(self._port, service)
        try:
            while not self._over.is_set():
                text = f"SELECT '{service} {self.answers[service]}'"
                if self.answers[service] % 2:
                    rows = client.rows(text)
                else:
                    client.send(wire.parse("", text), wire.bind(), wire.execute(), wire.SYNC)
                    rows = wire.rows_of(client.read_ready())
                if rows != own_answer(text):
                    raise AssertionError(f"asked {text}, got {rows}")
                self.answers[service] += 1
        finally:
            client.close()

    def go_on(self):
        """Until each of them has got ten more right answers, or one has failed."""
        before = dict(self.answers)

        def went_on():
            for one in self._running:
                if one.done():
                    one.result()
            return all(self.answers[name] >= count + 10 for name, count in before.items())

        harness.server.wait_until(went_on, what="right answers for the bystanders")

    def end(self):
        self._over.set()
        for one in self._running:
            one.result()


class HostileCase(harness.Case):
    """One fake server and one schemux for the class."""

    honest_server = False
    password = None
    more_config = {}
    # Nothing that a fake server does not know is asked of it.
    pool = {"max_connections": 8, "acquire_timeout": "10s", "connect_timeout": "1s",
            "audit_sample": 0}

    @classmethod
    def setUpClass(cls):
        cls.fake = fake_server.FakeServer(cls.password)
        dsn = cls.fake.dsn(**({"password": cls.password} if cls.password else {}))
        cls.config = {"backend": {"dsn": dsn}, "pool": cls.pool, **cls.more_config}
        super().setUpClass()

    @classmethod
    def tearDownClass(cls):
        try:
            super().tearDownClass()
        finally:
            cls.fake.close()

    def desyncs(self):
        return self.schemux.metric("schemux_desync_total")

    def check_aftermath(self, desyncs_before, desyncs):
        """Counted, alive, every slot back, no connection to the server more than the pool has."""
        self.wait_until(lambda: self.desyncs() == desyncs_before + desyncs, "the desync counter")
        self.assertIsNone(self.schemux.process.poll())
        for service in ALL_SERVICES:
            client = self.wire(service)
            text = f"SELECT 'after {service} {wire.nonce()}'"
            self.assertEqual(client.rows(text), own_answer(text))
            client.close()
        self.wait_for_idle_pool()
        self.wait_until(
            lambda: len(self.fake.open_connections())
            == self.schemux.metric("schemux_backend_connections"), "every slot to come back")

    def expect_08006(self, messages):
        last = messages[-1]
        self.assertEqual(last.kind, "E", messages)
        self.assertEqual((last.error["S"], last.error["C"]), ("FATAL", "08006"))


class Leased(HostileCase):
    """While a client has the backend; bystanders work before, meanwhile and afterwards."""

    def setUp(self):
        self.bystanders = Bystanders(self.schemux.port)
        self.addCleanup(self.bystanders.end)
        self.bystanders.go_on()
        self.before = self.desyncs()

    def ask(self, way, extended=False):
        """A client that meets the way; what it got, and whether it was closed."""
        client = self.wire("users")
        text = f"SELECT 'misbehave:{way}'"
        if extended:
            client.send(wire.parse("", text), wire.bind(), wire.execute(), wire.SYNC)
        else:
            client.send(wire.query(text))
        return client, text

    def finish(self, desyncs):
        self.bystanders.go_on()
        self.bystanders.end()
        self.check_aftermath(self.before, desyncs)

    def poisoned(self, way, extended=False):
        client, text = self.ask(way, extended)
        self.expect_08006(client.read_to_end())
        self.wait_until(lambda: not [one for one in self.fake.open_connections()
                                     if one.last_text == text.encode()],
                        "the connection to the server to be closed")
        self.finish(1)

    def fatal(self, way):
        client, _ = self.ask(way)
        errors = wire.errors_of(client.read_to_end())
        self.assertEqual([(one["S"], one["C"]) for one in errors], [("FATAL", "57P01")])
        self.finish(0)

    def closing(self, way):
        client, _ = self.ask(way)
        if way == "close_in_a_row":
            # Half a row has been passed on: nothing can be said inside it.
            row = fake_server.CLOSING_WAYS[way][0]
            self.assertEqual(client.read_exactly(len(row)), row)
            self.assertEqual(client.read_to_end(), [])
        else:
            self.expect_08006(client.read_to_end())
        self.finish(0)

    def passing(self, way):
        client, _ = self.ask(way)
        expected = fake_server.PASSING_WAYS[way]
        self.assertEqual(client.read_exactly(len(expected)), expected)
        self.assertEqual(client.rows("SELECT 'still here'"), own_answer("SELECT 'still here'"))
        client.close()
        self.finish(0)

    def test_server_that_never_answers_loses_its_client_only(self):
        client, _ = self.ask("silence")
        self.bystanders.go_on()
        client.close()
        self.finish(0)


def add_ways(case, check, ways, smoke=(), **more):
    """A test for each way; all but those in `smoke` in the full run only."""
    for way in ways:
        def test(self, way=way):
            check(self, way, **more)

        test.__name__ = f"test_{way}"
        setattr(case, test.__name__, test if way in smoke else harness.full_only(test))


add_ways(Leased, Leased.poisoned, fake_server.QUERY_WAYS,
         smoke=("unknown_type", "length_4g", "ready_at_once", "ready_twice", "copy_in_amid_rows",
                "unterminated_error", "many_parameters", "authentication_ok_late"))
add_ways(Leased, Leased.poisoned, fake_server.EXTENDED_WAYS, smoke=("x_ready_early",),
         extended=True)
add_ways(Leased, Leased.fatal, fake_server.FATAL_WAYS, smoke=("fatal_and_stay",))
add_ways(Leased, Leased.closing, fake_server.CLOSING_WAYS, smoke=("close_in_a_row",))
add_ways(Leased, Leased.passing, fake_server.PASSING_WAYS, smoke=("error_without_fields",))


class Floods(HostileCase):
    """More than fits, to a client that does not read: memory stays bounded, others go on."""

    def flooding(self, text):
        """The connection that floods in answer to `text`, when it has begun."""

        def found():
            return [one for one in self.fake.open_connections()
                    if one.last_text == text.encode() and one.sent > 1 << 20]

        return self.wait_until(found, "the flood to begin")[0]

    def flood(self, way, kind):
        bystanders = Bystanders(self.schemux.port)
        self.addCleanup(bystanders.end)
        bystanders.go_on()
        before, desyncs = memory_of(self.schemux.process), self.desyncs()
        client = self.wire("users")
        text = f"SELECT 'misbehave:{way}'"
        client.send(wire.query(text))
        source = self.flooding(text)
        for _ in range(20):
            bystanders.go_on()
        self.assertLess(source.sent, fake_server.FLOOD_BYTES, "nothing held it back")
        messages = client.read_ready()
        self.assertEqual({one.kind for one in messages}, {kind, "T", "D", "C", "Z"})
        self.assertGreaterEqual(sum(len(one.body) for one in messages),
                                fake_server.FLOOD_BYTES * 9 // 10)
        self.assertLess(memory_of(self.schemux.process) - before, RSS_GROWTH_MAX)
        client.close()
        bystanders.go_on()
        bystanders.end()
        self.check_aftermath(desyncs, 0)

    @harness.full_only
    def test_notices(self):
        self.flood("flood_of_notices", "N")

    @harness.full_only
    def test_parameters(self):
        self.flood("flood_of_parameters", "S")

    def test_client_that_goes_away_from_a_flood(self):
        before, desyncs = memory_of(self.schemux.process), self.desyncs()
        client = self.wire("users")
        text = "SELECT 'misbehave:flood_of_notices', 'gone'"
        client.send(wire.query(text))
        self.flooding(text)
        client.vanish()
        self.check_aftermath(desyncs, 0)
        self.assertLess(memory_of(self.schemux.process) - before, RSS_GROWTH_MAX)


class Resting(HostileCase):
    """A backend that nobody has sends what nobody asked for: the next client gets another one."""

    def rest(self, data, desyncs):
        before = self.desyncs()
        client = self.wire("users")
        text = f"SELECT 'own {wire.nonce()}'"
        self.assertEqual(client.rows(text), own_answer(text))
        self.wait_for_idle_pool()
        backend = self.fake.one_with(text)
        backend.send(data)
        self.wait_until(backend.ended.is_set, "the connection to the server to be closed")
        text = f"SELECT 'own {wire.nonce()}'"
        self.assertEqual(client.rows(text), own_answer(text))
        client.close()
        self.check_aftermath(before, desyncs)

    def test_answers_that_nobody_asked_for(self):
        for data in (fake_server.READY, fake_server.ANSWER, fake_server.data_row(b"secret"),
                     fake_server.error("XX000", "hm"), fake_server.message("?"),
                     fake_server.AUTH_OK, fake_server.header("N", 0xffffffff),
                     fake_server.header("S", 3), fake_server.message("S", b"half"),
                     fake_server.HTTP, fake_server.QUERY_WAYS["many_parameters"]):
            with self.subTest(data=data[:20]):
                self.rest(data, 1)

    def test_goodbye_is_no_desync(self):
        self.rest(fake_server.BEHIND_FATAL, 0)

    @harness.full_only
    def test_flood_of_notices_is_read_and_forgotten(self):
        client = self.wire("users")
        text = f"SELECT 'own {wire.nonce()}'"
        client.rows(text)
        before = memory_of(self.schemux.process)
        backend = self.fake.one_with(text)
        piece = fake_server.notice("x" * 1000) * 64
        for _ in range(256):
            backend.send(piece)
        self.assertEqual(client.rows(text), own_answer(text))
        self.assertLess(memory_of(self.schemux.process) - before, RSS_GROWTH_MAX)


class Logins(HostileCase):
    """The login to the server: who needs it is told, who has a backend does not notice."""

    def try_login(self, way):
        # The holder's login is an honest one, which ends the backing off after the last way.
        idle = self.fake.open_connections()
        for one in idle:
            one.send(fake_server.BEHIND_FATAL)
        for one in idle:
            self.wait_until(one.ended.is_set)
        holder = self.wire("orders")
        holder.ask("BEGIN")
        before = self.desyncs()
        self.fake.login_ways.append(way)
        # Its settings are its own: it needs a backend to be welcomed.
        victim = self.raw()
        victim.send(wire.startup({"user": "alice", "database": "users", "application_name": way}))
        try:
            victim.finish_login()
            told = None
        except wire.Closed as closed:
            told, = wire.errors_of(closed.messages)
        text = "SELECT 'in its transaction'"
        self.assertEqual(holder.rows(text), own_answer(text))
        holder.ask("COMMIT")
        holder.close()
        victim.close()
        self.assertFalse(self.fake.login_ways, "nobody met the way")
        self.check_aftermath(before, 0)
        return told

    def test_client_is_told_or_served_by_the_next_connection(self):
        for way in fake_server.LOGIN_WAYS:
            with self.subTest(way=way):
                told = self.try_login(way)
                # An error of the server's own is told; a broken login is worth another try.
                if told is not None:
                    self.assertEqual((told["S"], told["C"]), ("FATAL", "08006"))

    def test_server_that_closes_is_tried_again(self):
        for way in ("l_close", "l_close_after_ok"):
            with self.subTest(way=way):
                self.assertIsNone(self.try_login(way))

    @harness.full_only
    def test_server_that_never_speaks(self):
        began, cpu = time.monotonic(), cpu_seconds(self.schemux.process)
        self.assertIsNone(self.try_login("l_silence"))
        self.assertLess(cpu_seconds(self.schemux.process) - cpu, (time.monotonic() - began) / 2)

    @harness.full_only
    def test_server_that_never_ends(self):
        before = memory_of(self.schemux.process)
        self.assertIsNone(self.try_login("l_flood_of_notices"))
        self.assertLess(memory_of(self.schemux.process) - before, RSS_GROWTH_MAX)


class Scram(HostileCase):
    password = "pool-secret"

    def test_honest_login_works_and_answers_are_own(self):
        for service in ALL_SERVICES:
            text = f"SELECT 'own {service}'"
            self.assertEqual(self.wire(service).rows(text), own_answer(text))

    def test_iteration_bomb_costs_nothing(self):
        client = self.wire("users")
        client.ask("BEGIN")  # holds the only backend
        cpu = cpu_seconds(self.schemux.process)
        self.fake.login_ways.append("l_iterations")
        other = self.wire("users")
        self.assertEqual(other.rows("SELECT 1"), own_answer("SELECT 1"))
        self.assertLess(cpu_seconds(self.schemux.process) - cpu, 1)
        self.assertEqual(other.rows("SELECT 2"), own_answer("SELECT 2"))


class Unread(HostileCase):
    """A backend that has answered everything, but not read everything, goes to nobody."""

    pool = {"max_connections": 1, "acquire_timeout": "30s", "audit_sample": 0}
    more_config = {"workers": 2}

    def test_backend_with_unsent_bytes_does_not_move_to_another_worker(self):
        client = self.wire("users")
        waiters = [self.wire(service) for service in ALL_SERVICES * 2]
        client.send(wire.query("COPY misbehave:copy_unread"))
        client.read_until("G")
        asked = [f"SELECT 'waiter {number}'" for number in range(len(waiters))]
        running = [harness.Background(waiter.rows, text)
                   for waiter, text in zip(waiters, asked, strict=True)]
        self.wait_until(
            lambda: self.schemux.metric("schemux_clients_waiting") == len(waiters))
        client.socket.setblocking(False)
        # Rows without a body: wherever the sending stops, no message is half on its way.
        row = wire.copy_data(b"")
        rows, sent = row * 100_000, 0
        while select.select([], [client.socket], [], 0.5)[1]:
            with contextlib.suppress(BlockingIOError):
                sent += client.socket.send(rows[sent % len(row):])
        client.socket.setblocking(True)
        self.fake.may_fail_copy.set()
        self.assertEqual(wire.sqlstates(client.read_ready()), ["22P04"])
        self.fake.may_read_on.set()
        for one, text in zip(running, asked, strict=True):
            self.assertEqual(one.result(), own_answer(text))
        self.assertIn("unsent", {line.get("reason") for line in self.schemux.log_lines()})
        client.close()
        self.check_aftermath(0, 0)


class Upkeep(HostileCase):
    """The answer to schemux's own query is broken: the client that waits for it is told."""

    def upkeep(self, way):
        before = self.desyncs()
        self.fake.upkeep_ways.append(way)
        # A label of its own: a backend must be given its settings first.
        victim = self.raw()
        victim.send(wire.startup({"user": "alice", "database": "users", "application_name": way}))
        try:
            victim.finish_login()
            told = None
        except wire.Closed as closed:
            told, = wire.errors_of(closed.messages)
        victim.close()
        self.assertFalse(self.fake.upkeep_ways, "nobody met the way")
        return before, told

    def test_client_is_told(self):
        for way in fake_server.UPKEEP_WAYS:
            with self.subTest(way=way):
                before, told = self.upkeep(way)
                goodbye = way == "u_fatal_then_ready"
                if goodbye:
                    self.assertIsNone(told, "another backend serves it as well")
                else:
                    self.assertEqual((told["S"], told["C"]), ("FATAL", "08006"))
                self.check_aftermath(before, 0 if goodbye else 1)

    def test_backend_that_closes_is_replaced(self):
        before, told = self.upkeep("u_close")
        self.assertIsNone(told)
        self.check_aftermath(before, 0)

    def test_server_that_always_closes_is_not_tried_for_ever(self):
        before = self.desyncs()
        self.fake.upkeep_ways.extend(["u_close"] * 1000)
        opened = self.schemux.metric("schemux_backend_connections_opened_total")
        victim = self.raw()
        victim.send(wire.startup({"user": "alice", "database": "users", "application_name": "v"}))
        told, = wire.errors_of(victim.read_to_end())
        self.assertEqual((told["S"], told["C"]), ("FATAL", "08006"))
        self.fake.upkeep_ways.clear()
        self.assertLess(self.schemux.metric("schemux_backend_connections_opened_total") - opened,
                        50)
        self.check_aftermath(before, 0)

    @harness.full_only
    def test_upkeep_that_is_never_answered_gives_its_slot_back(self):
        before = self.desyncs()
        client = self.wire("users")
        client.ask("BEGIN")
        backend, = [one for one in self.fake.open_connections() if one.in_transaction]
        self.fake.upkeep_ways.append("u_silence")
        began, cpu = time.monotonic(), cpu_seconds(self.schemux.process)
        client.close()  # its transaction must be rolled back
        self.wait_until(backend.ended.is_set, "the backend to be given up", seconds=60)
        self.assertLess(cpu_seconds(self.schemux.process) - cpu, (time.monotonic() - began) / 2)
        self.check_aftermath(before, 0)
