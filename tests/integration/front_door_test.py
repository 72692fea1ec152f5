"""Who has not logged in costs little and holds nobody else up: crowds of slow connections, too few
descriptors, floods of wrong passwords.
"""

import contextlib
import pathlib
import resource
import socket
import ssl
import statistics
import subprocess
import sys
import time
import unittest

import attacks
import auth_test
import crowds
import harness
import tls_test
import wire

LOGIN_SECONDS = 10
# What the login timeout may be late for a crowd, on a machine that is busy with other things.
LATE_SECONDS = 5
BYTES_PER_SOCKET_MAX = 10 * 1024
# OpenSSL's part of it; twice what it was found to be.
BYTES_PER_TLS_SOCKET_MAX = 96 * 1024


def raise_descriptors(wanted):
    """As many as are allowed; how many sockets of them may be a crowd."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(wanted + 1000, 20_000)), hard))
    return min(wanted, min(hard, 20_000) - 1000)


class Crowd(attacks.Attacked):
    """Clients that say a byte a second, while others log in."""

    limits = {"max_clients": 10_000, "login_timeout": f"{LOGIN_SECONDS}s"}
    config = {**attacks.Attacked.config, "limits": limits}

    def plain(self):
        return socket.create_connection(("127.0.0.1", self.schemux.port), timeout=30)

    def median_login(self, count=20):
        took = []
        for _ in range(count):
            began = time.perf_counter()
            self.log_in("bob", "orders").close()
            took.append(time.perf_counter() - began)
        return statistics.median(took)

    def crowd(self, connect, count, text, bytes_max):
        if raise_descriptors(count) < count:
            count = raise_descriptors(count)
            print(f"    only {count} sockets: there are no more descriptors")
        alone = self.median_login()
        self.wait_until(lambda: self.schemux.metric("schemux_logins_in_progress") == 0)
        before = self.schemux.resident_bytes()
        slow = crowds.Slow(connect, count, text)
        self.addCleanup(slow.end)
        self.assertEqual(slow.still_open(), count)
        among = self.median_login()
        grown = self.schemux.resident_bytes() - before
        there = self.schemux.metric("schemux_logins_in_progress")
        self.wait_until(lambda: slow.still_open() == 0, "the crowd to be gone",
                        seconds=LOGIN_SECONDS + 3 * LATE_SECONDS)
        longest = max(slow.lasted.values())
        print(f"    {count} sockets ({there:.0f} at once): {grown / count:.0f} bytes each, a login "
              f"takes {among * 1000:.1f} ms (alone {alone * 1000:.1f} ms), the last was gone after "
              f"{longest:.1f} s")
        self.assertGreater(there, count * 0.9)
        self.assertEqual(len(slow.lasted), count)
        self.assertLess(grown, count * bytes_max)
        self.assertLess(among, 0.1)
        self.assertLess(longest, LOGIN_SECONDS + LATE_SECONDS)
        self.unharmed(grown=count * bytes_max)


class SlowStartups(Crowd):
    own_schemux = False

    def setUp(self):
        # A new one has no memory left over from the crowd before.
        self.schemux = self.start_schemux(self.config)
        super().setUp()

    @harness.full_only
    def test_thousands_that_send_a_byte_a_second_of_a_startup_packet(self):
        packet = wire.startup({"user": "alice", "database": "users", "application_name": "x" * 99})
        self.crowd(self.plain, 5000, packet, BYTES_PER_SOCKET_MAX)

    @harness.full_only
    def test_thousands_that_send_a_byte_a_second_of_a_proof(self):
        def connect():
            client = self.plain()
            client.sendall(wire.startup({"user": "alice", "database": "users"}))
            return client

        self.crowd(connect, 5000, auth_test.initial_response(b"n,,n=,r=" + b"x" * 900),
                   BYTES_PER_SOCKET_MAX)


class SlowHandshakes(Crowd, tls_test.TlsCase):
    def log_in(self, user="alice", service="users", **more):
        client = self.raw()
        client.socket = self.context().wrap_socket(self.asked_socket(),
                                                   server_hostname="localhost")
        attacks.scram_login(client, user, service, f"{user}s word", **more)
        return client

    def hello(self):
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = self.context().wrap_bio(incoming, outgoing, server_hostname="localhost")
        with contextlib.suppress(ssl.SSLWantReadError):
            client.do_handshake()
        return outgoing.read()

    def asked(self):
        client = self.plain()
        client.sendall(wire.SSL_REQUEST)
        if client.recv(1) != b"S":
            raise AssertionError("no TLS is spoken here")
        return client

    @harness.full_only
    def test_thousand_that_send_a_byte_a_second_of_a_handshake(self):
        self.crowd(self.asked, 1000, self.hello(), BYTES_PER_TLS_SOCKET_MAX)


class FewDescriptors(harness.Case):
    """`ulimit -n 64`, and more clients than that."""

    own_schemux = False

    def connect_some(self, count):
        """Logins of which as many as there is room for get through."""
        welcomed, waiting = [], []
        for _ in range(count):
            client = self.raw()
            client.send(wire.startup({"user": "alice", "database": "users"}))
            waiting.append(client)
        self.wait_until(lambda: self.schemux.log_count("accept_failed") > 0)
        for client in waiting:
            client.socket.settimeout(3)  # only the first one that is not heard waits in vain
            try:
                client.finish_login()
            except (TimeoutError, wire.Closed):
                break
            welcomed.append(client)
            client.socket.settimeout(wire.ANSWER_SECONDS)
        return welcomed, waiting

    def test_more_clients_than_descriptors(self):
        self.schemux = self.start_schemux({"pool": {"max_connections": 2, "min_connections": 2}},
                                          start=False)
        self.schemux.open_files_max = 64
        self.schemux.start()
        self.wait_until(lambda: len(self.postgres.backends()) >= 2)
        first = self.wire()
        self.assertEqual(first.rows("SELECT 1"), [["1"]])
        welcomed, waiting = self.connect_some(200)
        self.assertGreater(len(welcomed), 10)
        self.assertLess(len(welcomed), 64)
        used, began = self.schemux.cpu_seconds(), time.monotonic()
        while time.monotonic() - began < 3:
            self.assertEqual(first.rows("SELECT 'alive'"), [["alive"]])
            time.sleep(0.1)  # what is measured is CPU time: a loop would burn all of it
        used = self.schemux.cpu_seconds() - used
        print(f"    {len(welcomed)} of 200 logged in; {used:.2f} s of CPU time in 3 s")
        self.assertLess(used, 0.5)
        for client in (*welcomed, *waiting):
            client.close()
        for _ in range(20):
            with wire.connect(self.schemux.port) as client:
                self.assertEqual(client.rows("SELECT 'again'"), [["again"]])
        self.assertEqual(first.rows("SELECT 'alive'"), [["alive"]])
        self.assertIsNone(self.schemux.process.poll())


class BadLogins(attacks.Attacked):
    """Wrong passwords and unknown users, at a pace, beside a client that works."""

    PER_SECOND = 200
    ROUNDS = 5
    QUERIES = 1500
    ATTEMPTS = 3

    def p99(self):
        took = []
        for _ in range(self.QUERIES):
            began = time.perf_counter()
            self.bystander.rows("SELECT 1")
            took.append(time.perf_counter() - began)
            time.sleep(0.001)  # an unrelated client is not busy all the time
        return crowds.percentile(took, 0.99)

    @contextlib.contextmanager
    def storm(self):
        """Yields a list that has how many there were a second, behind it."""
        with subprocess.Popen(
                [sys.executable, pathlib.Path(crowds.__file__), str(self.schemux.port),
                 str(self.PER_SECOND)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                text=True) as process:
            self.assertEqual(process.stdout.readline(), "begun\n")
            paces = []
            yield paces
            said, _ = process.communicate("over\n", timeout=30)
            count, seconds = said.split()
            paces.append(int(count) / float(seconds))

    def medians(self):
        """p99 without and beside the storm, each the median of some rounds."""
        quiet, loaded, paces = [], [], []
        for _ in range(self.ROUNDS):
            quiet.append(self.p99())
            with self.storm() as pace:
                loaded.append(self.p99())
            paces += pace
        before, beside = statistics.median(quiet), statistics.median(loaded)
        print(f"    p99 of SELECT 1: {before * 1000:.2f} ms, beside {min(paces):.0f} bad logins a "
              f"second {beside * 1000:.2f} ms")
        return before, beside, statistics.median(paces)

    @harness.full_only
    def test_unrelated_client_hardly_notices(self):
        """Other work on the machine may spoil an attempt; what we spoil it does in each."""
        for _ in range(self.ATTEMPTS):
            before, beside, pace = self.medians()
            if pace > self.PER_SECOND * 0.9 and beside < 1.5 * before + 0.001:
                break
        else:
            self.fail(f"p99 grew {self.ATTEMPTS} times by more than half and a millisecond, or "
                      "there were too few bad logins")
        self.unharmed()


if __name__ == "__main__":
    unittest.main()
