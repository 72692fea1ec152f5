"""Connections to PostgreSQL that break, one at a time, at every byte of a statement and its answer,
or of which nothing is heard any more: who is under way is told so once and nothing is run again;
who has sent nothing yet notices nothing; and the slot comes free. Behind support/chaos_proxy.py.
"""

import pathlib
import signal
import time

import chaos_case
import chaos_proxy
import harness
import wire

FATAL_08006 = [("FATAL", "08006")]
# Behind the end of its time: 5 s in which it is cancelled each second, 10 s in which its end is
# waited for, and what a loaded machine takes.
SLOT_SECONDS_MAX = 25


def spoken(messages):
    return [(one["S"], one["C"]) for one in wire.errors_of(messages)]


class Severed(chaos_case.UnderChaos):

    def setUp(self):
        super().setUp()
        self.relay = self.proxy()
        self.postgres.run("DROP SEQUENCE IF EXISTS users.runs; CREATE SEQUENCE users.runs; "
                          "GRANT ALL ON users.runs TO app")

    def runs(self):
        """How often nextval() has run: what a sequence gives is not rolled back."""
        last, called = self.postgres.run("SELECT last_value, is_called FROM users.runs")[0]
        return last if called else 0

    def ways_to_ask(self):
        """What is sent ahead, and the messages that are answered when the connection breaks."""
        text = "SELECT nextval('users.runs'), repeat('x', 20)"
        yield "simple", [], [wire.query(text)]
        yield "extended", [], [wire.parse("", text), wire.bind(), wire.describe("P"),
                               wire.execute(), wire.SYNC]
        yield "prepared", [wire.parse("mine", text) + wire.SYNC], [
            wire.bind("", "mine"), wire.execute(), wire.SYNC]
        yield "in a transaction", [wire.query("BEGIN")], [wire.query(text)]
        yield "a pipeline", [], [wire.query("SELECT 1"), wire.query(text)]

    def answer_size(self, instance, ahead, asked):
        """Bytes that the server says to it."""
        client = self.wire("users", instance)
        for one in ahead:
            client.send(one)
            client.read_ready()
        client.send(*asked)
        messages = client.read_ready()
        if len(asked) == 2:
            messages += client.read_ready()
        self.assertEqual(wire.errors_of(messages), [])
        client.close()
        return sum(len(one.body) + 5 for one in messages)

    def test_answer_that_is_cut_at_every_byte_is_never_asked_for_again(self):
        instance = self.behind(self.relay, max_connections=1, audit_sample=0)
        step = 7 if self.lab.smoke else 1
        for name, ahead, asked in self.ways_to_ask():
            size = self.answer_size(instance, ahead, asked)
            for cut in range(0, size, step):
                with self.subTest(name, cut=cut):
                    before = self.runs()
                    client = self.client_with(instance, ahead)
                    self.assertEqual(self.relay.reset_after(cut, chaos_proxy.TO_CLIENT), 1)
                    client.send(*asked)
                    self.assert_end(client)
                    # Nothing may still be running there when the next one is counted.
                    self.wait_until(lambda: not self.postgres.backends(), "the server to notice")
                    # Of a pipeline the server may hear of the end before it comes to the second.
                    least = before if name == "a pipeline" else before + 1
                    self.assertIn(self.runs(), range(least, before + 2))
            print(f"    {name}: cut at each of {size} bytes")

    def test_request_that_is_cut_at_every_byte_is_never_sent_again(self):
        instance = self.behind(self.relay, max_connections=1, audit_sample=0)
        for name, ahead, asked in self.ways_to_ask():
            size = sum(map(len, asked))
            for cut in range(0, size, 17 if self.lab.smoke else 5):
                with self.subTest(name, cut=cut):
                    before = self.runs()
                    client = self.client_with(instance, ahead)
                    self.relay.reset_after(cut, chaos_proxy.TO_SERVER)
                    client.send(*asked)
                    self.assert_end(client)
                    self.wait_until(lambda: not self.postgres.backends() or self.rests(instance))
                    self.assertLessEqual(self.runs(), before + 1)

    def client_with(self, instance, ahead):
        """With its backend's connection made and, of what it sends ahead, the answers read."""
        client = self.wire("users", instance)
        client.rows("SELECT 1")
        for one in ahead:
            client.send(one)
            self.assertEqual(wire.errors_of(client.read_ready()), [])
        return client

    def rests(self, instance):
        return all(value == 0 for (name, labels), value in instance.metrics().items()
                   if name == "schemux_backend_connections" and ("state", "idle") not in labels)

    def assert_end(self, client):
        """08006 once, unless a message of the server's was told in part: nothing can come then."""
        client.socket.settimeout(20)
        data = bytearray()
        try:
            while more := client.socket.recv(65536):
                data += more
        except ConnectionError:
            pass
        messages, at = [], 0
        while len(data) - at >= 5 and len(data) - at > int.from_bytes(data[at + 1:at + 5], "big"):
            size = int.from_bytes(data[at + 1:at + 5], "big")
            messages.append(wire.Message(chr(data[at]), bytes(data[at + 5:at + 1 + size])))
            at += 1 + size
        expected = [] if at < len(data) else FATAL_08006
        self.assertEqual(spoken(messages), expected, f"{messages}, and {bytes(data[at:])}")
        client.close()

    # ---- idle ones --------------------------------------------------------------------------

    def test_idle_backend_that_dies_is_replaced_without_a_word(self):
        instance = self.behind(self.relay, max_connections=2, audit_sample=0)
        clients = [self.wire(service, instance) for service in ("users", "orders")]
        for way in (chaos_proxy.RESET, chaos_proxy.FIN, chaos_proxy.HALF_TO_CLIENT,
                    chaos_proxy.HALF_TO_SERVER):
            for client in clients:
                client.rows("SELECT 1")
            self.wait_for_idle_pool(instance)
            self.assertGreater(self.relay.end(way), 0)
            self.wait_until(lambda: instance.metric("schemux_backend_connections") == 0)
            for client, service in zip(clients, ("users", "orders"), strict=True):
                self.assertEqual(client.rows("SELECT service FROM who"), [[service]], way)
        self.assert_at_rest_of(instance, clients)

    def test_idle_backend_whose_end_comes_behind_the_next_question(self):
        """While schemux sleeps, the question comes first and then the end of the backend that would
        get it. One that has rested is looked at before anything is sent."""
        instance = self.behind(self.relay, max_connections=1, audit_sample=0)
        client = self.wire("users", instance)
        for way in (chaos_proxy.RESET, chaos_proxy.FIN):
            before = self.runs()
            client.rows("SELECT 1")
            self.wait_for_idle_pool(instance)
            rested = time.monotonic()
            self.wait_until(lambda since=rested: time.monotonic() - since > 1.3, "it to rest")
            self.put_to_sleep(instance)
            try:
                client.send(wire.query("SELECT nextval('users.runs'), 'served'"))
                self.assertEqual(self.relay.end(way), 1)
            finally:
                instance.signal(signal.SIGCONT)
            self.assertEqual(wire.rows_of(client.read_ready()), [[str(before + 1), "served"]], way)
        self.assert_at_rest_of(instance, [client])

    def test_busy_backend_whose_end_comes_behind_the_next_question(self):
        """One that has just served somebody is not looked at: an end, perhaps, but not twice."""
        instance = self.behind(self.relay, max_connections=1, audit_sample=0)
        ends = {}
        for way in (chaos_proxy.RESET, chaos_proxy.FIN):
            before = self.runs()
            client = self.wire("users", instance)
            client.rows("SELECT 1")
            self.put_to_sleep(instance)
            try:
                client.send(wire.query("SELECT nextval('users.runs')"))
                self.assertEqual(self.relay.end(way), 1)
            finally:
                instance.signal(signal.SIGCONT)
            kind = client.read_until("ZE")
            ends[way] = spoken(kind) or wire.rows_of(kind)
            self.assertIn(ends[way], (FATAL_08006, [[str(before + 1)]]))
            self.assertIn(self.runs() - before, (0, 1))
            client.close()
        print(f"    the end comes behind the question: {ends}")

    def put_to_sleep(self, instance):
        """It does nothing more when this comes back."""
        instance.signal(signal.SIGSTOP)
        stat = pathlib.Path(f"/proc/{instance.process.pid}/stat")
        self.wait_until(lambda: stat.read_text().rsplit(")", 1)[1].split()[0] == "T", "its stop")

    def assert_at_rest_of(self, instance, clients):
        for client in clients:
            client.close()
        self.wait_for_idle_pool(instance)

    # ---- of which nothing is heard ----------------------------------------------------------

    def silent(self, instance, service="users"):
        """A client whose statement's answer never comes."""
        client = self.wire(service, instance)
        client.rows("SELECT 1")
        self.assertEqual(self.relay.end(chaos_proxy.DROP), 1)
        client.send(wire.query("SELECT nextval('users.runs')"))
        return client

    def slot_comes_free(self, instance, since):
        """The only one there is: the next client has it."""
        self.assertEqual(self.wire("orders", instance).rows("SELECT service FROM who"),
                         [["orders"]])
        took = time.monotonic() - since
        self.assertLess(took, SLOT_SECONDS_MAX)
        return took

    @harness.full_only
    def test_silence_ends_with_the_time_of_a_transaction(self):
        instance = self.behind(self.relay, max_connections=1, audit_sample=0,
                               transaction_timeout="1s")
        began = time.monotonic()
        client = self.silent(instance)
        self.assertEqual(spoken(client.read_to_end()), [("FATAL", "25P04")])
        told = time.monotonic()
        self.assertLess(told - began, 5)
        took = self.slot_comes_free(instance, told)
        print(f"    silence: told after {told - began:.1f} s, its slot served after {took:.1f} s")
        self.assertEqual(self.runs(), 0)

    @harness.full_only
    def test_silence_ends_with_the_client(self):
        instance = self.behind(self.relay, max_connections=1, audit_sample=0)
        client = self.silent(instance)
        client.close()
        took = self.slot_comes_free(instance, time.monotonic())
        print(f"    silence: the client goes, its slot served after {took:.1f} s")
        self.assertEqual(self.runs(), 0)

    def test_late_query_is_not_cancelled_ten_times_a_second(self):
        """Each request is a connection to PostgreSQL, and a query is late once."""
        instance = self.behind(self.relay, max_connections=1, audit_sample=0, query_timeout="200ms")
        self.silent(instance)
        self.wait_until(lambda: self.relay.cancels > 0, "the first request")
        began = time.monotonic()
        self.wait_until(lambda: time.monotonic() - began > 3, "the time to pass")
        asked, counted = self.relay.cancels, instance.metric("schemux_query_timeouts_total")
        print(f"    one late query, 3 s: {asked} requests to cancel it, counted {counted:.0f}")
        self.assertLessEqual(asked, 6)

    @harness.full_only
    def test_silence_ends_with_the_time_of_a_query(self):
        instance = self.behind(self.relay, max_connections=1, audit_sample=0,
                               query_timeout="1s")
        began = time.monotonic()
        client = self.silent(instance)
        client.socket.settimeout(SLOT_SECONDS_MAX)
        try:
            messages = client.read_until("ZE")
        except TimeoutError:
            times = instance.metric("schemux_query_timeouts_total")
            self.fail(f"told nothing in {SLOT_SECONDS_MAX} s, cancelled {times:.0f} times")
        print(f"    silence: told {spoken(messages)} after {time.monotonic() - began:.1f} s")
        self.assertEqual(self.runs(), 0)

    @harness.full_only
    def test_silence_of_an_idle_backend_is_not_the_next_clients(self):
        """Its settings must be changed first, so that nothing of the client's was sent: another
        backend serves it, in the time that it waits for one by default."""
        instance = self.behind(self.relay, workers=1, max_connections=2, audit_sample=0,
                               acquire_timeout="10s")
        client, other = self.wire("orders", instance), self.wire("users", instance)
        for one in (client, other):
            one.rows("SELECT 1")
        self.assertEqual(self.relay.end(chaos_proxy.DROP), 1)
        began = time.monotonic()
        messages = client.ask("SELECT service FROM who")
        print(f"    an idle backend is silent: {wire.errors_of(messages) or 'served'} after "
              f"{time.monotonic() - began:.1f} s, open: "
              f"{instance.metric('schemux_backend_connections'):.0f} of 2")
        self.assertEqual(wire.rows_of(messages), [["orders"]])
