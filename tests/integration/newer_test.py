"""What only a newer PostgreSQL has; run.py takes this module with --postgres, as
tests/newer_servers.sh does.
"""

import os
import subprocess

import harness
import server
import tls_test
import wire


def protocol_versions():
    """Of each that its libpq can be told to speak, the options."""
    if server.major() < 18:
        return ("",)  # libpq 17 knows no other than 3.0
    return tuple(f" min_protocol_version={low} max_protocol_version={high}"
                 for low, high in (("3.0", "3.0"), ("3.0", "latest"), ("3.2", "3.2"),
                                   ("3.2", "latest")))


class Newer(harness.Case):
    config = {"pool": {"max_connections": 2}}

    def psql(self, dsn, *commands, **environment):
        """The psql of that other system."""
        command = [*server.program("psql"), "-XAt", "-d", dsn]
        for one in commands:
            command += ["-c", one]
        return self.run_program(*command, env={**os.environ, "LC_ALL": "C.UTF-8", **environment})

    def version(self):
        return self.postgres.run("SHOW server_version_num")[0][0]

    def test_server_is_the_one_that_was_asked_for(self):
        major = int(self.version()) // 10000
        self.assertEqual(major, server.major())
        self.assertEqual(self.wire().rows("SHOW server_version_num"), [[self.version()]])

    def test_its_own_psql(self):
        finished = self.psql(self.schemux.dsn("orders"), "SELECT service FROM {{tables.who}}")
        self.assert_program(finished)
        self.assertEqual(finished.stdout, "orders\n")

    def test_its_psql_with_each_protocol_version(self):
        for options in protocol_versions():
            finished = self.psql(self.schemux.dsn("orders") + options,
                                 "SELECT service FROM {{tables.who}}", "SELECT 7")
            self.assert_program(finished)
            self.assertEqual(finished.stdout.split(), ["orders", "7"])

    def test_its_psql_logs_in_with_a_password_in_each_protocol_version(self):
        schemux = self.start_schemux({"auth": {
            "method": "scram-sha-256", "users": [{"name": "alice", "password": "a word"}]}})
        for options in protocol_versions():
            for password, status in (("a word", 0), ("another", 2)):
                finished = self.psql(schemux.dsn("users") + options, "SELECT 7",
                                     PGPASSWORD=password)
                self.assertEqual(finished.returncode, status, finished.stderr)

    def test_syntax_that_15_does_not_know(self):
        client = self.wire("orders")
        self.assertEqual(
            client.rows("SELECT 0x1F, 0o17, 0b11, 1_000, 1_0.2_5, service FROM {{tables.who}}"),
            [["31", "15", "3", "1000", "10.25", "orders"]])
        text = "SELECT 1_000, nothing FROM {{tables.who}} WHERE 0x1F = 31"
        error, = wire.errors_of(client.ask(text))
        self.assertEqual((error["C"], int(error["P"])), ("42703", text.index("nothing") + 1))
        with self.temporary_table("id int, name text", "orders") as table:
            merge = (f"MERGE INTO {{{{tables.{table}}}}} AS t USING {{{{tables.items}}}} AS i "
                     "ON t.id = i.id WHEN NOT MATCHED BY TARGET THEN INSERT VALUES (i.id, i.name) "
                     "RETURNING merge_action(), t.id")
            self.assertCountEqual(client.rows(merge), [["INSERT", str(n)] for n in range(1, 11)])
            client.send(wire.query(f"COPY {{{{tables.{table}}}}} FROM STDIN (ON_ERROR ignore)"))
            client.read_until("G")
            client.send(wire.copy_data(b"11\televen\nno\tnumber\n"), wire.COPY_DONE)
            messages = client.read_ready()
            self.assertEqual([one.text for one in messages if one.kind == "C"], ["COPY 1"])
            self.assertEqual(client.rows(f"SELECT count(*) FROM {table}"), [["11"]])

    def test_query_that_ends_a_batch_harms_nobody_else(self):
        """E48: behind an Execute without a Sync; PostgreSQL 18 fails what comes next there."""
        schemux = self.start_schemux({"pool": {"max_connections": 1}})
        first, other = self.wire(schemux=schemux), self.wire("orders", schemux=schemux)
        for _ in range(3):
            first.send(wire.parse("", "SELECT 1"), wire.bind(), wire.execute(),
                       wire.query("SELECT 2"), wire.SYNC)
            self.assertEqual([one.row for one in first.read_ready() if one.kind == "D"],
                             [["1"], ["2"]])
            self.assertEqual(first.read_ready()[-1].body, b"I")
            self.assertEqual(other.rows("SELECT service FROM {{tables.who}}"), [["orders"]])

    def test_cancel_by_its_libpq(self):
        """psql sends a CancelRequest on SIGINT, with the key that it was given."""
        dsn = self.schemux.dsn("orders")
        if server.major() >= 18:
            dsn += " min_protocol_version=3.2"
        program = subprocess.Popen(
            [*server.program("psql"), "-XAt", "-v", "VERBOSITY=verbose", "-d", dsn,
             "-c", "SELECT pg_sleep(60)"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.wait_until(lambda: self.postgres.run(
            "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' "
            "AND query = 'SELECT pg_sleep(60)'")[0][0] == 1)
        program.send_signal(2)
        _, errors = program.communicate(timeout=30)
        self.assertIn("57014", errors)

    def test_long_key_for_the_client_and_any_for_the_server(self):
        client = self.raw()
        client.login(version=wire.PROTOCOL_3_2)
        self.assertEqual(len(client.secret), 32)
        client.send(wire.query("SELECT pg_sleep(60)"))
        self.wait_until(lambda: self.schemux.metric("schemux_backend_connections", state="leased"))
        self.wait_until(lambda: self.postgres.run(
            "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' "
            "AND query = 'SELECT pg_sleep(60)'")[0][0] == 1)
        wire.send_cancel(self.schemux.port, client.pid, client.secret)
        self.assertEqual(wire.sqlstates(client.read_ready()), ["57014"])


class NewerTls(tls_test.TlsCase):
    """Its libpq over TLS."""

    mode = "require"

    def psql(self, password, **words):
        dsn = self.dsn(password=password, **words)
        return self.run_program(*server.program("psql"), "-XAt", "-d", dsn, "-c",
                                "SELECT service FROM {{tables.who}}",
                                env={**os.environ, "LC_ALL": "C.UTF-8"})

    def test_each_way_to_begin_with_it(self):
        verified = {"sslmode": "verify-full", "sslrootcert": self.authority.certificate}
        for words in ({"sslmode": "require"}, verified,
                      {**verified, "channel_binding": "require"},
                      {**verified, "sslnegotiation": "direct"},
                      {**verified, "sslnegotiation": "direct", "channel_binding": "require"},
                      {"require_auth": "scram-sha-256", "ssl_min_protocol_version": "TLSv1.3"}):
            finished = self.psql("alices word", **words)
            self.assert_program(finished)
            self.assertEqual(finished.stdout, "users\n", words)
            finished = self.psql("wrong", **words)
            self.assertIn("password authentication failed", finished.stderr, words)
