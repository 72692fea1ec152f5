"""Clients that do not read their answers: with `pool.client_stall_timeout` they are ended, with
their work, and their backend serves the next one. One that reads, however slowly, is not.
"""

import json
import socket
import time

import harness
import wire

ROWS = 100_000
BIG_RESULT = f"SELECT n, repeat('x', 1000) FROM generate_series(1, {ROWS}) AS n"
# From the end of its patience until the next client is served; most of it is the server's work.
GRACE_SECONDS = 5
# Of a client: little at a time, so that it is the reading that makes room.
RECEIVE_BUFFER = 64 * 1024
STALLS = "schemux_client_stall_timeouts_total"


class Stall(harness.Case):
    config = {"pool": {"max_connections": 1, "client_stall_timeout": "2s",
                       "acquire_timeout": "20s"}}
    patience = 2

    def setUp(self):
        super().setUp()
        self.watcher = self.wire("orders")
        self.pid = self.watcher.rows("SELECT pg_backend_pid()")
        self.before = self.schemux.metric(STALLS)

    def stalls(self):
        return self.schemux.metric(STALLS) - self.before

    def slow_client(self):
        client = self.wire()
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        return client

    def assert_next_is_served(self, began):
        """… by the same backend, and not before the client's time was over."""
        self.assertEqual(self.watcher.rows("SELECT pg_backend_pid()"), self.pid)
        took = time.monotonic() - began
        self.assertGreater(took, self.patience)
        self.assertLess(took, self.patience + 1 + GRACE_SECONDS)
        self.assertEqual(self.watcher.rows("SELECT service FROM who"), [["orders"]])
        self.assertEqual(self.stalls(), 1)

    def assert_cut_off(self, client):
        messages = client.read_to_end()
        self.assertNotIn("C", wire.kinds(messages))
        self.assertLess(len(messages), ROWS)

    def test_client_that_never_reads_is_ended_and_its_work_rolled_back(self):
        with self.temporary_table("n int") as table:
            client = self.slow_client()
            client.ask("BEGIN")
            client.ask(f"INSERT INTO {table} VALUES (1)")
            began = time.monotonic()
            client.send(wire.query(BIG_RESULT))
            self.assert_next_is_served(began)
            self.assert_cut_off(client)
            self.assertEqual(self.postgres.run(f"SELECT * FROM users.{table}"), [])

    def test_client_that_stops_in_the_middle_of_copy_out_is_ended(self):
        client = self.slow_client()
        began = time.monotonic()
        client.send(wire.query(f"COPY ({BIG_RESULT}) TO STDOUT"))
        client.read_exactly(10_000)
        self.assert_next_is_served(began)
        client.read_exactly(1)  # what it had is still there
        with self.assertRaises(wire.Closed):
            client.read_exactly(ROWS * 1000)

    def test_it_is_told_in_the_log(self):
        client = self.slow_client()
        client.send(wire.query(BIG_RESULT))
        self.wait_until(lambda: self.stalls() == 1, "the client to be ended")

        def told():
            events = [json.loads(line) for line in self.schemux.log.read_text().splitlines()
                      if line.startswith("{")]
            return [one for one in events if one.get("reason") == "client_stalled"]

        self.wait_until(told, "the log to say so")
        self.assertEqual(told()[-1]["event"], "client_closed")
        self.assertEqual(told()[-1]["service"], "users")

    def test_client_that_reads_slowly_is_not_ended(self):
        client = self.slow_client()
        client.send(wire.query(BIG_RESULT))
        end = time.monotonic() + 4 * self.patience
        while time.monotonic() < end:
            client.socket.settimeout(wire.ANSWER_SECONDS)
            client._buffer += client.socket.recv(5_000)
            time.sleep(0.05)  # its pace; the result would last it for half an hour
        messages = client.read_ready()
        self.assertEqual(wire.kinds(messages), "T" + "D" * ROWS + "CZ")
        self.assertEqual(self.stalls(), 0)

    def test_client_that_waits_for_its_answer_is_not_ended(self):
        client = self.wire()
        seconds = 2 * self.patience + 1
        self.assertEqual(client.rows(f"SELECT 1 FROM pg_sleep({seconds})"), [["1"]])
        self.assertEqual(self.stalls(), 0)


class StallWithoutBackend(harness.Case):
    """Its answers are all there, and its backend serves others long since."""

    config = {"pool": {"max_connections": 1, "client_stall_timeout": "2s",
                       "acquire_timeout": "1s"}}
    small_result = "SELECT repeat('x', 7000)"  # one send of the server's, one read of ours

    def test_client_that_does_not_read_is_ended_though_it_holds_no_backend(self):
        client, watcher = self.wire(), self.wire("orders")
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        began = time.monotonic()
        while self.schemux.metric(STALLS) == 0:
            self.assertLess(time.monotonic() - began, 60, "the client was never ended")
            for _ in range(50):
                try:
                    client.socket.sendall(wire.query(self.small_result))
                except ConnectionError:
                    break
                # Fails when the backend is held for longer than acquire_timeout.
                self.assertEqual(watcher.rows("SELECT 1"), [["1"]])
        self.wait_until(lambda: self.schemux.metric("schemux_client_connections") == 1)


class Patient(harness.Case):
    config = {"pool": {"max_connections": 1}}

    def test_without_the_setting_a_client_may_take_its_time(self):
        client = self.wire()
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        client.send(wire.query(BIG_RESULT))
        time.sleep(3)  # longer than the shortest setting; nothing is expected to happen
        self.assertEqual(wire.kinds(client.read_ready()), "T" + "D" * ROWS + "CZ")
        self.assertEqual(self.schemux.metric(STALLS), 0)
