"""How many clients there may be: of a user, of a service, from an address. Who is one too many gets
PostgreSQL's error, and only after it has proved who it is where the limit is of a name."""

import harness
import wire


class Limits(harness.Case):
    config = {
        "limits": {"max_clients_per_user": 3},
        "auth": {"method": "trust", "users": [
            {"name": "alice"}, {"name": "bob", "max_clients": 1}, {"name": "carol"}]},
        "services": [{"name": "users", "schema": "users", "max_clients": 2},
                     {"name": "orders", "schema": "orders"}]}

    def tearDown(self):
        self.doCleanups()
        self.wait_until(lambda: self.schemux.metric("schemux_client_connections") == 0)

    def refusal(self, user, service, schemux=None):
        client = self.raw(schemux)
        client.send(wire.startup({"user": user, "database": service}))
        error, = wire.errors_of(client.read_to_end())
        self.assertEqual((error["S"], error["C"]), ("FATAL", "53300"))
        return error

    def leave(self, client):
        """Goes, and waits until that is known."""
        before = self.schemux.metric("schemux_client_connections")
        client.send(wire.TERMINATE)
        self.wait_until(lambda: self.schemux.metric("schemux_client_connections") < before)

    def test_clients_of_a_user(self):
        clients = [self.wire("orders", user="alice") for _ in range(3)]
        error = self.refusal("alice", "orders")
        self.assertEqual(error["M"], 'too many connections for role "alice"')
        self.assertIn("max_clients_per_user", error["H"])
        other = self.wire("orders", user="bob")
        self.assertEqual(self.refusal("bob", "orders")["M"], 'too many connections for role "bob"')
        self.leave(clients[1])
        self.assertEqual(self.wire("orders", user="alice").rows("SELECT 1"), [["1"]])
        self.assertEqual(other.rows("SELECT 1"), [["1"]])

    def test_clients_of_a_service(self):
        clients = [self.wire("users", user=user) for user in ("alice", "carol")]
        error = self.refusal("carol", "users")
        self.assertEqual(error["M"], 'too many connections for database "users"')
        self.assertIn("services[].max_clients", error["H"])
        # Who was refused counts nowhere: carol may have two more elsewhere.
        for _ in range(2):
            self.assertEqual(self.wire("orders", user="carol").rows("SELECT 1"), [["1"]])
        self.leave(clients[0])
        self.assertEqual(self.wire("users", user="alice").rows("SELECT 1"), [["1"]])

    def test_clients_from_an_address(self):
        schemux = self.start_schemux({"limits": {"max_clients_per_address": 2}})
        self.wait_until(lambda: schemux.metric("schemux_logins_in_progress") == 0)
        clients = [self.wire(schemux=schemux) for _ in range(2)]
        error = self.refusal("alice", "users", schemux)
        self.assertEqual(error["M"], "too many connections from this address")
        # A cancel is heard all the same.
        clients[0].send(wire.query("SELECT pg_sleep(60)"))
        self.wait_until(lambda: self.postgres.run(
            "SELECT 1 FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(60)' "
            "AND state = 'active'"))
        wire.send_cancel(schemux.port, clients[0].pid, clients[0].secret)
        self.assertEqual(wire.sqlstates(clients[0].read_ready()), ["57014"])
        clients[1].send(wire.TERMINATE)
        self.wait_until(lambda: schemux.metric("schemux_client_connections") == 1)
        self.assertEqual(self.wire(schemux=schemux).rows("SELECT 1"), [["1"]])

    def test_a_limit_that_a_reload_sets_counts_who_is_there(self):
        schemux = self.start_schemux({"limits": {"max_clients_per_user": 0},
                                      "services": [{"name": "orders", "schema": "orders"}]})
        clients = [self.wire("orders", schemux) for _ in range(2)]
        schemux.config["services"][0]["max_clients"] = 2
        schemux.write_config()
        schemux.reload()
        self.assertIn("orders", self.refusal("alice", "orders", schemux)["M"])
        self.assertEqual(clients[0].rows("SELECT 1"), [["1"]])


if __name__ == "__main__":
    import unittest
    unittest.main()
