"""Several hosts in the dsn: a primary and its standby, of which the one takes the other's place.
Clients wait meanwhile, and are served by the new primary; the old one is used no more."""

import signal

import harness
import server
import wire


class Pair(harness.Case):
    own_schemux = False
    attrs = "primary"

    def setUp(self):
        self.old = server.Postgres(self.lab.folder / f"primary-{wire.nonce()}")
        self.old.create()
        self.old.start()
        self.addCleanup(self.old.stop, signal.SIGQUIT)
        for sql in ("CREATE ROLE app LOGIN", "CREATE DATABASE app OWNER app"):
            self.old.run(sql, dbname="postgres")
        self.old.run("CREATE SCHEMA users AUTHORIZATION app; "
                     "CREATE TABLE users.ledger (nonce text); "
                     "GRANT ALL ON users.ledger TO app")
        self.new = server.Postgres(self.lab.folder / f"standby-{wire.nonce()}")
        self.new.create_standby(self.old)
        self.new.start()
        self.addCleanup(self.new.stop, signal.SIGQUIT)
        self.start_in_front()

    def start_in_front(self):
        # The standby first: it answers, and is not what is looked for.
        ports = f"{self.new.port},{self.old.port}"
        self.instance = self.start_schemux({
            "backend": {"dsn": f"host=127.0.0.1,127.0.0.1 port={ports} dbname=app user=app "
                               f"target_session_attrs={self.attrs}"},
            "pool": {"max_connections": 3, "acquire_timeout": "60s"}})

    def follow(self):
        """Until the standby has all that the primary has."""
        self.wait_until(lambda: self.old.run(
            "SELECT replay_lsn = pg_current_wal_lsn() FROM pg_stat_replication") == [(True,)])

    def promote(self):
        self.new.run("SELECT pg_promote()")

    def insert(self, client):
        """The SQLSTATEs of its errors."""
        return wire.sqlstates(client.ask("INSERT INTO {{tables.ledger}} VALUES ('x')"))

    def port_of(self, client):
        return int(client.rows("SELECT inet_server_port()")[0][0])


class Failover(Pair):
    def test_who_waits_is_served_by_the_new_primary(self):
        clients = [self.wire(schemux=self.instance) for _ in range(5)]
        for client in clients:
            self.assertEqual(self.port_of(client), self.old.port)
            self.assertEqual(self.insert(client), [])
        self.follow()
        self.old.stop(signal.SIGQUIT)
        self.wait_until(lambda: self.instance.metric("schemux_backend_connections") == 0)
        for client in clients:
            client.send(wire.query("INSERT INTO {{tables.ledger}} VALUES ('y')"))
        self.wait_until(lambda: self.instance.metric("schemux_clients_waiting") == len(clients))
        self.promote()
        for client in clients:
            self.assertEqual(wire.sqlstates(client.read_ready()), [])
            self.assertEqual(self.port_of(client), self.new.port)
        self.assertEqual(self.new.run("SELECT nonce, count(*) FROM users.ledger GROUP BY 1 "
                                      "ORDER BY 1"), [("x", 5), ("y", 5)])
        self.assertEqual(self.instance.metric("schemux_primary_moves_total"), 1)


class ReadOnly(Pair):
    """The primary is made read-only and keeps its connections, as managed services do it."""

    attrs = "read-write"

    def test_a_write_that_is_refused_finds_the_new_primary(self):
        clients = [self.wire(schemux=self.instance) for _ in range(3)]
        for client in clients:
            client.ask("BEGIN")
            self.assertEqual(self.port_of(client), self.old.port)
        for client in clients:
            client.ask("COMMIT")
        self.follow()
        self.old.run("ALTER SYSTEM SET default_transaction_read_only = on")
        self.old.run("SELECT pg_reload_conf()")
        self.promote()
        refused = 0

        def written():
            nonlocal refused
            found = self.insert(clients[0])
            refused += found == ["25006"]
            self.assertIn(found, ([], ["25006"]))
            return not found

        self.wait_until(written, "a write to be taken")
        self.assertGreater(refused, 0)
        for client in clients:
            self.assertEqual(self.insert(client), [])
            self.assertEqual(self.port_of(client), self.new.port)
        self.wait_until(lambda: not self.old.backends(), "the old primary to be left")
        self.assertEqual(self.instance.log_count("primary_lost"), 1)

    def test_a_clients_own_read_only_transaction_moves_nothing(self):
        client = self.wire(schemux=self.instance)
        pid = int(client.rows("SELECT pg_backend_pid()")[0][0])
        client.ask("BEGIN READ ONLY")
        self.assertEqual(self.insert(client), ["25006"])
        client.ask("ROLLBACK")
        self.wait_until(lambda: self.instance.metric("schemux_primary_checks_total") == 1)
        self.assertEqual(self.insert(client), [])
        self.assertIn(pid, self.old.backends())
        self.assertEqual(self.instance.metric("schemux_primary_moves_total"), 0)


if __name__ == "__main__":
    import unittest
    unittest.main()
