"""What only a newer PostgreSQL has; run.py takes this module with --postgres, as
tests/newer_servers.sh does.
"""

import os
import subprocess

import harness
import server
import wire


class Newer(harness.Case):
    config = {"pool": {"max_connections": 2}}

    def psql(self, dsn, *commands):
        """The psql of that other system."""
        command = ["chroot", str(server.POSTGRES_ROOT), str(server.POSTGRES_BIN / "psql"), "-XAt",
                   "-d", dsn]
        for one in commands:
            command += ["-c", one]
        return self.run_program(*command, env={**os.environ, "LC_ALL": "C.UTF-8"})

    def version(self):
        return self.postgres.run("SHOW server_version_num")[0][0]

    def test_server_is_the_one_that_was_asked_for(self):
        major = int(self.version()) // 10000
        self.assertEqual(str(major), server.POSTGRES_BIN.parent.name)
        self.assertEqual(self.wire().rows("SHOW server_version_num"), [[self.version()]])

    def test_its_own_psql(self):
        finished = self.psql(self.schemux.dsn("orders"), "SELECT service FROM {{tables.who}}")
        self.assert_program(finished)
        self.assertEqual(finished.stdout, "orders\n")

    def test_its_psql_with_each_protocol_version(self):
        if int(self.version()) < 180000:
            versions = ("",)  # libpq 17 knows no other than 3.0
        else:
            versions = tuple(f" min_protocol_version={low} max_protocol_version={high}"
                             for low, high in (("3.0", "3.0"), ("3.0", "latest"), ("3.2", "3.2"),
                                               ("3.2", "latest")))
        for options in versions:
            finished = self.psql(self.schemux.dsn("orders") + options,
                                 "SELECT service FROM {{tables.who}}", "SELECT 7")
            self.assert_program(finished)
            self.assertEqual(finished.stdout.split(), ["orders", "7"])

    def test_cancel_by_its_libpq(self):
        """psql sends a CancelRequest on SIGINT, with the key that it was given."""
        dsn = self.schemux.dsn("orders")
        if int(self.version()) >= 180000:
            dsn += " min_protocol_version=3.2"
        program = subprocess.Popen(
            ["chroot", str(server.POSTGRES_ROOT), str(server.POSTGRES_BIN / "psql"), "-XAt",
             "-v", "VERBOSITY=verbose", "-d", dsn, "-c", "SELECT pg_sleep(60)"],
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
