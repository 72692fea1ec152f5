"""The first bytes of a connection, as no driver would send them."""

import struct
import unittest

import harness
import server
import wire


class Startup(harness.Case):
    def refused(self, data):
        """What is told to a connection that is closed at once."""
        client = self.raw()
        client.send(data)
        messages = client.read_to_end()
        errors = wire.errors_of(messages)
        self.assertEqual(len(errors), 1, messages)
        return errors[0]

    def test_welcome_has_authentication_parameters_key_and_ready(self):
        client = self.raw()
        messages = client.login()
        self.assertEqual(messages[0].kind, "R")
        self.assertEqual(messages[0].body, b"\0\0\0\0")
        self.assertEqual([one.kind for one in messages[-2:]], ["K", "Z"])
        self.assertEqual(messages[-1].body, b"I")
        self.assertEqual(client.parameters["server_version"].split(".")[0], str(server.major()))

    def test_parameter_values_are_the_servers_canonical_ones(self):
        direct = wire.Wire(self.postgres.port)
        self.addCleanup(direct.close)
        asked = {"client_encoding": "'utf-8'", "DateStyle": "sql,dmy", "TimeZone": "europe/berlin",
                 "IntervalStyle": "ISO_8601", "application_name": "caller"}
        # PostgreSQL 18 tells search_path.
        direct.login("app", "app", search_path='"users", public', **asked)
        client = self.wire(**asked)
        self.assertEqual(client.parameters["client_encoding"], "UTF8")
        same = {name: value for name, value in direct.parameters.items()
                if name not in ("is_superuser", "session_authorization")}
        mine = {name: client.parameters.get(name) for name in same}
        self.assertEqual(mine, same)

    def test_startup_settings_hold_on_every_backend(self):
        client = self.wire(statement_timeout="12345", TimeZone="Asia/Tokyo")
        others = [self.wire("orders") for _ in range(5)]
        for other in others:
            other.rows("BEGIN; SELECT 1")
        for _ in range(3):
            for other in others:
                other.rows("COMMIT; SELECT 1")
            self.assertEqual(client.rows("SHOW statement_timeout"), [["12345ms"]])
            self.assertEqual(client.rows("SHOW TimeZone"), [["Asia/Tokyo"]])

    def test_options_parameter_is_understood(self):
        for options in ("-c work_mem=7MB", "-cwork_mem=7MB", "--work_mem=7MB", "--work-mem=7MB",
                        "-c  search_path=public -c work_mem=7MB"):
            with self.subTest(options):
                client = self.wire(options=options)
                self.assertEqual(client.rows("SHOW work_mem"), [["7MB"]])

    def test_options_may_escape_spaces(self):
        client = self.wire(options=r"-c application_name=a\ b\\c")
        self.assertEqual(client.rows("SHOW application_name"), [[r"a b\c"]])

    def test_invalid_setting_gets_the_servers_sqlstate(self):
        for name, value, sqlstate in (("work_mem", "lots", "22023"), ("TimeZone", "Mars", "22023"),
                                      ("client_encoding", "klingon", "22023"),
                                      ("no_such_setting", "1", "42704"),
                                      ("shared_buffers", "1GB", "55P02"),
                                      ("DateStyle", "x", "22023")):
            with self.subTest(name):
                error = self.refused(wire.startup({"user": "a", "database": "users", name: value}))
                self.assertEqual((error["S"], error["C"]), ("FATAL", sqlstate), error)
        self.assertEqual(self.wire().rows("SELECT 1"), [["1"]])

    def test_unknown_service_is_3d000_with_a_hint(self):
        error = self.refused(wire.startup({"user": "a", "database": "nobody"}))
        self.assertEqual(error["C"], "3D000")
        self.assertEqual(error["M"], 'database "nobody" does not exist')
        self.assertIn("service", error["H"])

    def test_database_defaults_to_the_user_name(self):
        client = self.raw()
        client.send(wire.startup({"user": "orders"}))
        client.finish_login()
        self.assertEqual(client.rows("SELECT service FROM who"), [["orders"]])

    def test_missing_user_is_28000(self):
        error = self.refused(wire.startup({"database": "users"}))
        self.assertEqual((error["S"], error["C"]), ("FATAL", "28000"))

    def test_encryption_requests_are_declined_and_the_startup_goes_on(self):
        client = self.raw()
        client.send(wire.GSS_REQUEST)
        self.assertEqual(client.read_exactly(1), b"N")
        client.send(wire.SSL_REQUEST)
        self.assertEqual(client.read_exactly(1), b"N")
        client.login()
        self.assertEqual(client.rows("SELECT 1"), [["1"]])

    def test_newer_minor_version_and_options_are_negotiated(self):
        for version, more in (((3 << 16) + 3, {}), (wire.PROTOCOL_3_0, {"_pq_.x": "1"}),
                              (wire.PROTOCOL_3_2, {"_pq_.x": "1"}),
                              ((3 << 16) + 9999, {"_pq_.x": "1", "_pq_.y": "2"})):
            with self.subTest(version=version, more=more):
                client = self.raw()
                messages = client.login(version=version, **more)
                said = [one for one in messages if one.kind == "v"]
                self.assertEqual(len(said), 1, messages)
                newest, count = struct.unpack_from("!II", said[0].body)
                self.assertEqual(newest, min(version, wire.PROTOCOL_3_2))
                self.assertEqual(count, len(more))
                self.assertEqual(said[0].body[8:], b"".join(wire.cstr(name) for name in more))
                self.assertEqual(client.rows("SELECT 1"), [["1"]])

    def test_key_is_long_from_protocol_3_2_on(self):
        for version, size in ((wire.PROTOCOL_3_0, 4), (wire.PROTOCOL_3_0 + 1, 4),
                              (wire.PROTOCOL_3_2, 32), (wire.PROTOCOL_3_0 + 9999, 32)):
            messages = self.raw().login(version=version)
            key, = [one.body for one in messages if one.kind == "K"]
            self.assertEqual(len(key) - 4, size, f"{version:x}")
            negotiated = [one for one in messages if one.kind == "v"]
            self.assertEqual(len(negotiated), 1 if version > wire.PROTOCOL_3_2 else 0)

    def test_other_major_versions_are_refused(self):
        for version in (2 << 16, 4 << 16):
            error = self.refused(wire.startup({"user": "a"}, version))
            self.assertEqual((error["S"], error["C"]), ("FATAL", "0A000"))

    def test_startup_byte_by_byte(self):
        client = self.raw()
        client.send_byte_by_byte(wire.SSL_REQUEST)
        self.assertEqual(client.read_exactly(1), b"N")
        client.send_byte_by_byte(wire.startup({"user": "alice", "database": "orders"}))
        client.finish_login()
        client.send_byte_by_byte(wire.query("SELECT service FROM {{tables.who}}"))
        self.assertEqual(wire.rows_of(client.read_ready()), [["orders"]])

    def test_query_in_the_same_packet_as_the_startup(self):
        client = self.raw()
        client.send(wire.startup({"user": "alice", "database": "orders"}),
                    wire.query("SELECT service FROM {{tables.who}}"), wire.TERMINATE)
        client.finish_login()
        self.assertEqual(wire.rows_of(client.read_ready()), [["orders"]])
        self.assertEqual(client.read_to_end(), [])

    def test_broken_packets_end_only_their_own_connection(self):
        bystander = self.wire()
        good = wire.startup({"user": "alice", "database": "users"})
        broken = {
            "empty": struct.pack("!I", 0), "shorter than its length": struct.pack("!I", 3),
            "length 4": struct.pack("!I", 4), "huge": struct.pack("!I", 0x7FFFFFFF) + b"x" * 64,
            "negative": struct.pack("!I", 0xFFFFFFFF) + b"x" * 64,
            "no terminator": struct.pack("!II", 8 + 7, wire.PROTOCOL_3_0) + b"user\0a\0",
            "trailing bytes": struct.pack("!I", len(good) + 3) + good[4:] + b"abc",
            "http": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "tls": b"\x16\x03\x01\x02\x00\x01" * 20,
            "cancel too short": struct.pack("!III", 12, 80877102, 1),
        }
        for name, data in broken.items():
            with self.subTest(name):
                client = self.raw()
                client.send(data)
                if name == "no terminator":
                    client.socket.shutdown(1)
                messages = []
                try:
                    messages = client.read_to_end()
                except (struct.error, UnicodeDecodeError, IndexError) as error:
                    self.fail(f"not a message: {error}")
                self.assertTrue(all(one.kind == "E" for one in messages), messages)
        self.assertEqual(bystander.rows("SELECT 1"), [["1"]])

    def test_connections_that_leave_early_are_forgotten(self):
        for data in (b"", wire.SSL_REQUEST[:3], wire.SSL_REQUEST,
                     wire.startup({"user": "alice", "database": "users"})[:9]):
            self.raw().send(data)
            client = self.raw()
            client.send(data)
            client.vanish()
        self.doCleanups()
        self.wait_until(lambda: self.schemux.metric("schemux_logins_in_progress") == 0,
                        "the logins to be forgotten")

    def test_keys_are_positive_and_random(self):
        clients = [self.wire() for _ in range(20)]
        self.assertTrue(all(0 < one.pid < 1 << 31 for one in clients))
        self.assertEqual(len({one.pid for one in clients}), 20)
        self.assertEqual(len({one.secret for one in clients}), 20)
        self.assertGreater(len({one.secret >> 24 for one in clients}), 5)

    def test_replication_is_refused_with_a_hint(self):
        """E7."""
        for value in ("true", "on", "yes", "1", "database"):
            error = self.refused(wire.startup({"user": "a", "database": "users",
                                               "replication": value}))
            self.assertEqual((error["S"], error["C"]), ("FATAL", "0A000"))
            self.assertEqual(error["M"], "replication connections are not supported")
            self.assertIn("directly", error["H"])

    def test_client_that_asks_for_no_replication_is_as_any_other(self):
        for value in ("false", "off", "no", "0"):
            client = self.wire("orders", replication=value)
            self.assertEqual(client.rows("SELECT service FROM {{tables.who}}"), [["orders"]])
            self.assertEqual(self.psycopg("users", replication=value).execute(
                "SELECT service FROM {{tables.who}}").fetchall(), [("users",)])

    def test_long_parameters_within_the_startup_limit(self):
        client = self.wire(application_name="x" * 6000)
        self.assertEqual(client.rows("SELECT length(current_setting('application_name'))"),
                         [["63"]])


class Admission(harness.Case):
    config = {"limits": {"max_clients": 3, "login_timeout": "300ms"},
              "auth": {"method": "trust", "users": [{"name": "alice"}, {"name": "bob"}]},
              "services": [{"name": "users", "schema": "users", "users": ["alice"]},
                           {"name": "orders", "schema": "orders"}]}

    def test_one_client_too_many_is_53300_until_one_leaves(self):
        # Whoever asked whether schemux is up has left.
        self.wait_until(lambda: self.schemux.metric("schemux_client_connections")
                        + self.schemux.metric("schemux_logins_in_progress") == 0)
        clients = [self.wire() for _ in range(3)]
        fourth = self.raw()
        fourth.send(wire.startup({"user": "alice", "database": "users"}))
        errors = wire.errors_of(fourth.read_to_end())
        self.assertEqual([(one["S"], one["C"]) for one in errors], [("FATAL", "53300")])
        self.assertEqual(clients[0].rows("SELECT 1"), [["1"]])
        clients[1].send(wire.TERMINATE)
        self.wait_until(lambda: self.schemux.metric("schemux_client_connections") == 2)
        self.assertEqual(self.wire().rows("SELECT 1"), [["1"]])

    def test_silent_connection_is_closed_after_login_timeout(self):
        client = self.raw()
        self.assertEqual(client.read_to_end(), [])

    def test_unknown_user_and_forbidden_service(self):
        for user, service, sqlstate in (("mallory", "users", "28000"), ("bob", "users", "42501")):
            client = self.raw()
            client.send(wire.startup({"user": user, "database": service}))
            self.assertEqual(wire.sqlstates(client.read_to_end()), [sqlstate])
        self.assertEqual(self.wire("orders", user="bob").rows("SELECT 1"), [["1"]])


if __name__ == "__main__":
    unittest.main()
