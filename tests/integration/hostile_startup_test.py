"""Connections that never become sessions: broken startup packets, slow logins, floods.

Where PostgreSQL has an answer, schemux gives the same, but for rows of core/EXCEPTIONS.md.
"""

import contextlib
import resource
import struct
import time
import unittest

import harness
import hostile
import server
import wire

CANCEL_CODE = 80877102
STARTUP_BYTES_MAX = 10_004
# Of one that has not logged in, kernel buffers aside: the coroutine with its buffer, a timer.
BYTES_PER_HALF_OPEN_MAX = 8 * 1024
# What the allocator may keep beyond that.
RESIDENT_SLACK = 16 << 20


def packet(body, length=None):
    return struct.pack("!I", len(body) + 4 if length is None else length) + body


def pairs(*texts):
    return b"".join(wire.cstr(text) for text in texts)


def broken_packets(database):
    """(name, bytes, row of core/EXCEPTIONS.md or None); `database` is where a login works."""
    three = struct.pack("!I", wire.PROTOCOL_3_0)
    user = pairs("user", "app")
    base = user + pairs("database", database)
    whole = packet(three + base + b"\0")

    def say(*texts):
        return packet(three + base + pairs(*texts) + b"\0")

    def version(major, minor, body=base + b"\0"):
        return packet(struct.pack("!HH", major, minor) + body)

    def padded(total):
        return say("options", " " * (total - len(say("options", ""))))

    cases = [(f"length {length}", packet(b"\0" * 12, length), None) for length in range(8)]
    cases += [(f"length {length:#x}", packet(three + base, length), None)
              for length in (10_005, 1 << 16, 1 << 24, (1 << 31) - 1, 1 << 31, (1 << 32) - 1)]
    cases += [(f"cut at {at}", whole[:at], None) for at in range(len(whole))]
    cases += [
        ("whole", whole, None),
        ("no body", packet(three), None),
        ("no parameters", packet(three + b"\0"), None),
        ("no user", packet(three + pairs("database", database) + b"\0"), None),
        ("empty user", packet(three + pairs("user", "", "database", database) + b"\0"), None),
        ("no terminator", packet(three + base), None),
        ("name without a value", packet(three + base + pairs("work_mem")), None),
        ("name without its end", packet(three + base + b"work_mem"), None),
        ("value without its end", packet(three + base + b"work_mem\x001MB"), None),
        ("trailing bytes", packet(three + base + b"\0abc"), None),
        ("trailing zero", packet(three + base + b"\0\0"), None),
        ("second list", packet(three + base + b"\0" + base + b"\0"), None),
        ("user twice", packet(three + pairs("user", "nobody") + base + b"\0"), None),
        ("database twice", packet(three + pairs("database", "nowhere") + base + b"\0"), None),
        ("setting twice", say("work_mem", "1MB", "work_mem", "7MB"), None),
        ("bad and good setting", say("work_mem", "x", "work_mem", "7MB"), "E34"),
        ("options twice", say("options", "-c work_mem=x", "options", "-c work_mem=7MB"), None),
        ("63 parameters", say(*(["application_name", "x"] * 60)), None),
        ("65 parameters", say(*(["application_name", "x"] * 65)), "E34"),
        ("10000 bytes", padded(10_000), None),
        ("10001 bytes", padded(10_001), "E8"),
        ("10004 bytes", padded(10_004), "E8"),
        ("10005 bytes", padded(10_005), None),
        ("invalid bytes", say("application_name", b"\xff\xfe"), "E34"),
        ("http", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", None),
        ("tls", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 200, None),
        ("typed query", wire.query("SELECT 1"), None),
        ("sync", wire.SYNC, None),
    ]
    newer = None if server.major() >= 18 else "E8"
    cases += [(f"protocol {major}.{minor}", version(major, minor), row) for major, minor, row in (
        (0, 0, None), (1, 0, "E9"), (2, 0, "E9"), (3, 1, newer), (3, 2, newer), (3, 9999, newer),
        (4, 0, None), (1234, 0, None), (1234, 5681, None), (65535, 65535, None))]
    cases += [(f"options {text[:40]!r}", say("options", text), row) for text, row in (
        ("-c=", "E34"), ("-c =", "E34"), ("-c", "E34"), ("-c x", "E34"), ("--=x", "E34"),
        ("--", "E34"), ("-", "E34"), ("--x", "E34"), ("-c work_mem=7MB", None), ("", None),
        ("  \t ", None), ("\\", "E34"), ("-c application_name=a\\", None), ("word", "E34"),
        ("-c work_mem=7MB -c", "E34"), ("-c role=postgres", None), ("-W 1", "E34"),
        ("-c session_authorization=postgres", None), ("--search-path=x", None),
        ("-c search_path=x -c=", "E34"), ("-c " + "a=" * 3000, None))]
    cases += [(f"replication {values!r}", say(*[text for value in values
                                                for text in ("replication", value)]), row)
              for values, row in (
                  *(([value], None) for value in (
                      "off", "of", "OFF", "false", "f", "no", "n", "0", "", "o", "00", "2", " off",
                      "offf", "nonsense", "DATABASE", "databas", b"\xff")),
                  *(([value], "E7") for value in (
                      "on", "ON", "true", "t", "yes", "y", "1", "database")),
                  (["nonsense", "off"], None), (["off", ""], None), (["database", "off"], None),
                  (["off", "database"], "E7"), (["database", "on"], "E7"))]
    cases += [
        ("replication without a user", packet(three + pairs("replication", "x") + b"\0"), None),
        ("replication and broken options", say("options", "-c work_mem=x", "replication", "x"),
         None),
        ("replication in a newer version", version(3, 9999, base + pairs("replication", "x")
                                                   + b"\0"), None),
        ("ssl", wire.SSL_REQUEST, None),
        ("gss", wire.GSS_REQUEST, None),
        ("ssl with a body", packet(wire.SSL_REQUEST[4:] + b"x"), "E8"),
        ("ssl, startup behind it", wire.SSL_REQUEST + whole, "E8"),
        ("gss, startup behind it", wire.GSS_REQUEST + whole, "E8"),
        ("cancel, no such key", wire.cancel_request(1 << 30, 77), None),
        ("cancel, zeros", wire.cancel_request(0, 0), None),
        ("cancel, short", packet(struct.pack("!II", CANCEL_CODE, 1)), None),
        ("cancel, shortest", packet(struct.pack("!I", CANCEL_CODE)), None),
        ("cancel, long", packet(struct.pack("!III", CANCEL_CODE, 1, 2) + b"x" * 999), None),
    ]
    return cases


# Requests that are sent one at a time, each with its answer awaited.
NEGOTIATIONS = (
    ("ssl, gss", [wire.SSL_REQUEST, wire.GSS_REQUEST]),
    ("gss, ssl", [wire.GSS_REQUEST, wire.SSL_REQUEST]),
    ("ssl twice", [wire.SSL_REQUEST, wire.SSL_REQUEST]),
    ("gss twice", [wire.GSS_REQUEST, wire.GSS_REQUEST]),
    ("ssl, gss, ssl", [wire.SSL_REQUEST, wire.GSS_REQUEST, wire.SSL_REQUEST]),
    ("gss, ssl, gss", [wire.GSS_REQUEST, wire.SSL_REQUEST, wire.GSS_REQUEST]),
)


def waits_for_more(data):
    """Whether a server that has read `data` expects more of the startup."""
    while len(data) >= 4:
        size, = struct.unpack_from("!I", data)
        if size < 8 or size > STARTUP_BYTES_MAX:
            return False
        asked = data[4:8] in (wire.SSL_REQUEST[4:], wire.GSS_REQUEST[4:])
        if len(data) < size or not asked:
            return len(data) < size
        data = data[size:]
    return True


def without_newest(outline):
    """Without the newest version that a server knows: schemux knows 3.2, whatever PostgreSQL does
    (E8)."""
    if outline is None:
        return None
    return tuple(one.split(": server supports 3.0 to ")[0] if isinstance(one, str) else one
                 for one in outline)


def answers(client, parts, byte_by_byte=False):
    """What a client hears that says `parts`, one after the other's answer, up to its welcome."""
    said = []
    with client, contextlib.suppress(wire.Closed, ConnectionError):
        for part in parts:
            if byte_by_byte:
                client.send_byte_by_byte(part)
            else:
                client.send(part)
            if part is parts[-1] and waits_for_more(part):
                client.socket.shutdown(1)
            if part[4:8] in (wire.SSL_REQUEST[4:], wire.GSS_REQUEST[4:]):
                said.append(client.read_exactly(1))
                if said[-1] != b"N":  # an error's type, or an encryption that we have not
                    return said
        kind = None
        while kind != "Z":
            message = client.read()
            kind = message.kind
            if kind != "K":
                said.append(without_newest(hostile.outline(message)))
    return [one for one in said if one is not None]


class BrokenStartup(harness.Case):
    config = {"pool": {"max_connections": 3}, "limits": {"login_timeout": "20s"}}

    def direct(self):
        """By its unix socket, where PostgreSQL has no encryption to offer either."""
        return wire.Wire(self.postgres.port, folder=self.postgres.folder)

    def test_packets_are_answered_as_by_postgresql(self):
        wrong = []
        documented = hostile.documented_rows()
        bystander = self.wire()
        through_schemux = {name: data for name, data, _ in broken_packets("users")}
        for name, data, row in broken_packets("app"):
            wanted = answers(self.direct(), [data])
            got = answers(self.raw(), [through_schemux[name]])
            if (got == wanted) != (row is None) or row not in documented | {None}:
                wrong.append(f"{name} ({row}):\n  PostgreSQL {wanted}\n  schemux    {got}")
        if wrong:
            self.fail("\n".join(wrong))
        self.assertEqual(bystander.rows("SELECT 'unharmed'"), [["unharmed"]])
        self.wait_until(lambda: self.schemux.metric("schemux_logins_in_progress") == 0)
        self.wait_for_idle_pool()

    def test_packets_that_come_byte_by_byte_are_answered_alike(self):
        cases = broken_packets("users")
        for name, data, _ in cases[::8] if self.lab.smoke else cases:
            if len(data) > 500 or name.startswith("length"):
                continue  # closed in the middle of what is sent: the rest may reset the answer
            with self.subTest(name):
                self.assertEqual(answers(self.raw(), [data], byte_by_byte=True),
                                 answers(self.raw(), [data]))

    def test_requests_for_encryption_are_answered_as_by_postgresql(self):
        for name, requests in NEGOTIATIONS:
            with self.subTest(name):
                wanted = answers(self.direct(), [
                    *requests, wire.startup({"user": "app", "database": "app"})])
                got = answers(self.raw(), [
                    *requests, wire.startup({"user": "app", "database": "users"})])
                self.assertEqual(got, wanted)

    def test_startup_behind_a_declined_request_is_read(self):
        """E8: in one segment with the request it is as good as behind its answer."""
        startup = wire.startup({"user": "app", "database": "users"})
        for request in (wire.SSL_REQUEST, wire.GSS_REQUEST):
            self.assertEqual(answers(self.raw(), [request + startup]),
                             [b"N", *answers(self.raw(), [startup])])

    def test_startup_packet_within_a_session_is_not_a_second_login(self):
        """CVE-2026-107350: its length is read as a message type."""
        victim = self.wire("orders", user="bob")
        client = self.wire("users")
        client.send(wire.startup({"user": "bob", "database": "orders"}))
        self.assertEqual(wire.sqlstates(client.read_to_end()), ["08P01"])
        client = self.wire("users")
        client.send(wire.cancel_request(victim.pid, victim.secret))
        self.assertEqual(wire.sqlstates(client.read_to_end()), ["08P01"])
        self.assertEqual(victim.rows("SELECT service FROM {{tables.who}}"), [["orders"]])

    def test_startup_setting_never_reaches_another_client(self):
        """CVE-2025-12819: a search_path from the startup packet is its own session's alone."""
        evil = self.wire("users", search_path="orders, pg_catalog")
        self.assertEqual(evil.rows("SELECT service FROM who"), [["orders"]])
        for _ in range(5):
            self.assertEqual(self.wire("users").rows("SELECT service FROM who"), [["users"]])


class SlowLogin(harness.Case):
    config = {"limits": {"login_timeout": "700ms"}}

    def test_byte_now_and_then_does_not_put_the_deadline_off(self):
        slow = self.raw()
        data = wire.startup({"user": "alice", "database": "users"})
        began = time.monotonic()
        logins = 0
        with contextlib.suppress(ConnectionError, wire.Closed):
            for byte in data:
                slow.send(bytes([byte]))
                self.assertEqual(self.wire().rows("SELECT 1"), [["1"]])
                logins += 1
                slow.socket.settimeout(0.2)
                with contextlib.suppress(TimeoutError):
                    slow.read_exactly(1)
            self.fail("the whole packet was taken")
        self.assertGreaterEqual(time.monotonic() - began, 0.6)
        self.assertGreater(logins, 1)

    def test_all_that_say_nothing_are_gone_after_the_deadline(self):
        silent = [self.raw() for _ in range(200)]
        for number, client in enumerate(silent):
            client.send(wire.startup({"user": "a", "database": "users"})[:number % 20])
        for client in silent:
            self.assertEqual(client.read_to_end(), [])
        self.wait_until(lambda: self.schemux.metric("schemux_logins_in_progress") == 0)
        self.assertEqual(self.wire().rows("SELECT 1"), [["1"]])


class HalfOpen(harness.Case):
    """Many connections that never log in; `limits.max_clients` bounds them with everybody."""

    own_schemux = False
    sockets = 5000
    limit = 4500

    def setUp(self):
        if self.lab.smoke:
            self.sockets, self.limit = 500, 450
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 20_000), hard))
        self.schemux = self.start_schemux(
            {"limits": {"max_clients": self.limit, "login_timeout": "1h"}})

    def count(self):
        return self.schemux.metric("schemux_logins_in_progress")

    def test_they_cost_little_and_nobody_else_anything(self):
        client = self.wire()
        half = wire.startup({"user": "alice", "database": "users"})[:20]
        self.wait_until(lambda: self.count() == 0)
        before, files = self.schemux.resident_bytes(), self.schemux.open_files()
        idle = []
        for number in range(self.limit - 1):
            idle.append(self.raw())
            if number % 2:
                idle[-1].send(half)
            if number % 500 == 0:
                self.assertEqual(client.rows("SELECT 1"), [["1"]])
        self.wait_until(lambda: self.count() == self.limit - 1)
        grown = self.schemux.resident_bytes() - before
        self.assertLess(grown, self.limit * BYTES_PER_HALF_OPEN_MAX + RESIDENT_SLACK)
        # Beyond the limit everybody is told why, and at once.
        for _ in range(self.sockets - self.limit):
            refused = self.raw()
            with contextlib.suppress(OSError):
                refused.send(half)
                refused.send(wire.startup({"user": "alice", "database": "users"})[20:])
            errors = wire.errors_of(refused.read_to_end())
            self.assertEqual([(one["S"], one["C"]) for one in errors], [("FATAL", "53300")])
        self.assertEqual(client.rows("SELECT 'unharmed'"), [["unharmed"]])
        for one in idle:
            one.close()
        self.wait_until(lambda: self.count() == 0, "the half-open connections to be forgotten")
        self.wait_until(lambda: self.schemux.open_files() <= files + 2, "their descriptors")
        self.assertEqual(self.wire().rows("SELECT 1"), [["1"]])


class FewDescriptors(harness.Case):
    """`ulimit -n 64`: the acceptor has to live with EMFILE."""

    own_schemux = False

    def setUp(self):
        self.schemux = self.start_schemux(
            {"pool": {"max_connections": 2, "min_connections": 2}}, start=False)
        self.schemux.open_files_max = 64
        self.schemux.start()
        self.wait_until(lambda: len(self.postgres.backends()) >= 2)

    def test_beyond_the_limit_nothing_breaks_and_nothing_spins(self):
        clients = [self.wire() for _ in range(5)]
        # At work before the descriptors are gone: UBSan needs one when it first sees a class.
        self.assertEqual([client.rows("SELECT 1") for client in clients], [[["1"]]] * 5)
        crowd = [self.raw() for _ in range(200)]
        self.wait_until(lambda: self.schemux.open_files() >= 63, "the descriptors to be used up")
        self.wait_until(lambda: self.schemux.log_count("accept_failed") > 0)
        used = self.schemux.cpu_seconds()
        began = time.monotonic()
        while time.monotonic() - began < 1:
            for client in clients:
                self.assertEqual(client.rows("SELECT 'alive'"), [["alive"]])
            time.sleep(0.1)  # what is measured is CPU time: a loop would burn all of it
        self.assertLess(self.schemux.cpu_seconds() - used, 0.4)
        self.assertLess(self.schemux.log_count("accept_failed"), 100)
        for one in crowd:
            one.close()
        self.assertEqual(self.wire().rows("SELECT 'again'"), [["again"]])
        self.assertEqual(clients[0].rows("SELECT 'alive'"), [["alive"]])
        self.assertEqual(self.schemux.get("/readyz")[0], 200)
        self.wait_until(lambda: self.schemux.metric("schemux_logins_in_progress") == 0)


class Memory(harness.Case):
    config = {"pool": {"max_connections": 4}}

    def test_headers_that_claim_a_gigabyte_take_no_memory(self):
        before = self.schemux.resident_bytes()
        crowd = []
        for number in range(100 if self.lab.smoke else 500):
            client = self.wire(schemux=self.schemux)
            kind = "QPBd"[number % 4]
            client.send(hostile.raw_message(ord(kind), b"", (1 << 30) - 2))
            crowd.append(client)
        self.assertEqual(self.wire("orders").rows("SELECT 1"), [["1"]])
        # A session and its socket; a gigabyte each would not fit at all.
        self.assertLess(self.schemux.resident_bytes() - before, len(crowd) * 32_768 + (16 << 20))
        for one in crowd:
            one.close()
        self.wait_for_idle_pool()

    def test_giant_message_that_comes_slowly_streams(self):
        size = 16 << 20 if self.lab.smoke else 128 << 20
        client, other = self.wire(), self.wire("orders")
        client.send(wire.parse("", "SELECT length($1::text)"), wire.FLUSH)
        client.read_until("1")
        before = most = self.schemux.resident_bytes()
        body = b"\0\0" + struct.pack("!HHI", 0, 1, size)
        client.send(b"B", struct.pack("!I", 4 + len(body) + size + 2), body)
        chunk = b"y" * (1 << 20)
        for _ in range(size // len(chunk)):
            client.send(chunk)
            most = max(most, self.schemux.resident_bytes())
        self.assertEqual(other.rows("SELECT 'unharmed'"), [["unharmed"]])
        client.send(struct.pack("!H", 0), wire.execute(), wire.SYNC)
        self.assertEqual(wire.rows_of(client.read_ready()), [[str(size)]])
        self.assertLess(most - before, 8 << 20)

    def test_many_that_hold_the_longest_query_back(self):
        """Each may make schemux hold `limits.max_query_bytes` (1 MiB), once, and no more."""
        before = self.schemux.resident_bytes()
        crowd = [self.wire() for _ in range(20)]
        for client in crowd:
            client.send(b"Q", struct.pack("!I", 1 << 20), b"x" * ((1 << 20) - 100))
        self.wait_until(lambda: self.schemux.metric("schemux_client_received_bytes_total")
                        >= 20 * ((1 << 20) - 100))
        self.assertLess(self.schemux.resident_bytes() - before, 20 * (2 << 20) + (16 << 20))
        for one in crowd:
            one.close()
        self.wait_until(lambda: self.schemux.metric("schemux_client_connections") == 0)
        self.assertEqual(self.wire().rows("SELECT 1"), [["1"]])


if __name__ == "__main__":
    unittest.main()
