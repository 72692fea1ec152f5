"""A name in the dsn that comes to mean another server, as managed services move a primary. Names
are asked for anew with each connect; whoever waits meanwhile is served by the new one, and where
the primary is wanted the connections to the old one end. The names are libnss-wrapper's, a file
that the test changes.
"""

import os
import pathlib
import signal

import chaos_case
import failover_test
import server
import wire

NSS_WRAPPER = "libnss_wrapper.so"  # of the Debian package libnss-wrapper; the loader knows where
NAME = "primary.test"
OLD_ADDRESS, NEW_ADDRESS = "127.0.0.1", "127.0.0.2"


class Names(failover_test.Pair):
    """Both servers at one port, as names tell no ports, each with a proxy in front."""

    def start_in_front(self):
        self.hosts = pathlib.Path(self.lab.folder / f"hosts-{wire.nonce()}")
        self.means(OLD_ADDRESS)
        port = server.free_port()
        for postgres, address in ((self.old, OLD_ADDRESS), (self.new, NEW_ADDRESS)):
            proxy = chaos_case.chaos_proxy.ChaosProxy(port, postgres.port, address=address).start()
            self.addCleanup(proxy.stop)
        self.instance = self.lab.schemux(
            {"backend": {"dsn": f"host={NAME} port={port} dbname=app user=app "
                               "target_session_attrs=read-write"},
             "pool": {"max_connections": 3, "acquire_timeout": "60s"}},
            environment={"LD_PRELOAD": NSS_WRAPPER, "NSS_WRAPPER_HOSTS": str(self.hosts)})
        self.addCleanup(self.lab.forget, self.instance)

    def means(self, address):
        """The file is read again when its time, in seconds, is another."""
        stamp = self.hosts.stat().st_mtime + 2 if self.hosts.exists() else None
        self.hosts.write_text(f"{address} {NAME}\n")
        if stamp:
            os.utime(self.hosts, (stamp, stamp))

    def test_who_waits_is_served_by_the_server_that_has_the_name_now(self):
        clients = [self.wire(schemux=self.instance) for _ in range(5)]
        for client in clients:
            self.assertEqual(self.insert(client), [])
            self.assertEqual(self.port_of(client), self.old.port)
        self.follow()
        self.old.stop(signal.SIGQUIT)
        self.wait_until(lambda: self.instance.metric("schemux_backend_connections") == 0)
        for client in clients:
            client.send(wire.query("INSERT INTO {{tables.ledger}} VALUES ('y')"))
        self.wait_until(lambda: self.instance.metric("schemux_clients_waiting") == len(clients))
        self.promote()
        self.means(NEW_ADDRESS)
        for client in clients:
            self.assertEqual(wire.sqlstates(client.read_ready()), [])
            self.assertEqual(self.port_of(client), self.new.port)

    def test_the_connections_to_the_server_that_had_the_name_end(self):
        """Which still answers, and would take writes that nobody else sees."""
        clients = [self.wire(schemux=self.instance) for _ in range(3)]
        for client in clients:
            client.ask("BEGIN")
            self.assertEqual(self.port_of(client), self.old.port)
        for client in clients:
            client.ask("COMMIT")
        self.follow()
        self.promote()
        self.means(NEW_ADDRESS)
        gone = sorted(self.old.backends())[0]
        self.old.run("SELECT pg_terminate_backend(%s)", (gone,))
        self.wait_until(lambda: gone not in self.old.backends(), "the backend to end")
        for client in clients:
            client.ask("BEGIN")  # all at once, so that one of them needs a new connection
        for client in clients:
            client.ask("COMMIT")
        self.wait_until(lambda: not self.old.backends(), "the old server to be left")
        for client in clients:
            self.assertEqual(self.insert(client), [])
            self.assertEqual(self.port_of(client), self.new.port)
        self.assertEqual(self.instance.metric("schemux_primary_moves_total"), 1)


if __name__ == "__main__":
    import unittest
    unittest.main()
