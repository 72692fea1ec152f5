"""PAUSE and RESUME, by signals and by the configuration: who is paused waits and loses nothing,
what comes free is closed, and PostgreSQL can be restarted behind the clients' backs."""

import signal

import harness
import wire


class Pause(harness.Case):
    config = {"pool": {"max_connections": 3, "min_connections": 1, "acquire_timeout": "1s"},
              "services": [{"name": "users", "schema": "users"},
                           {"name": "orders", "schema": "orders"}]}

    def setUp(self):
        self.instance = self.start_schemux(self.config)

    def pause(self):
        self.instance.signal(signal.SIGUSR1)
        self.wait_until(lambda: self.instance.log_count("paused") > 0)

    def resume(self):
        self.instance.signal(signal.SIGUSR2)
        self.wait_until(lambda: self.instance.log_count("resumed") > 0)

    def pause_service(self, service, paused):
        for one in self.instance.config["services"]:
            if one["name"] == service:
                one["pool"] = {"paused": paused}
        self.instance.write_config()
        self.instance.reload()

    def waiting(self, count):
        self.wait_until(lambda: self.instance.metric("schemux_clients_waiting") == count,
                        f"{count} waiting clients")

    def connections(self):
        return self.instance.metric("schemux_backend_connections")

    def test_clients_wait_beyond_their_time_and_are_served_then(self):
        busy, idle = self.wire("users", self.instance), self.wire("orders", self.instance)
        busy.ask("BEGIN")
        self.pause()
        # What runs goes on to its end; then its backend goes.
        self.assertEqual(busy.rows("SELECT service FROM {{tables.who}}"), [["users"]])
        self.assertGreater(self.connections(), 0)
        busy.ask("COMMIT")
        self.wait_until(lambda: self.connections() == 0, "the backends to be closed")
        busy.send(wire.query("SELECT service FROM {{tables.who}}"))
        idle.send(wire.query("SELECT service FROM {{tables.who}}"))
        self.waiting(2)
        self.postgres.run("SELECT pg_sleep(2.5)")  # longer than acquire_timeout, twice
        self.assertEqual(self.instance.metric("schemux_acquire_timeouts_total"), 0)
        self.assertEqual(self.connections(), 0)
        self.assertEqual(self.instance.get("/readyz")[0], 200)
        self.resume()
        self.assertEqual(wire.rows_of(busy.read_ready()), [["users"]])
        self.assertEqual(wire.rows_of(idle.read_ready()), [["orders"]])
        self.wait_until(lambda: self.connections() > 0)

    def test_postgres_is_restarted_in_a_pause_and_no_client_sees_it(self):
        clients = [self.wire(name, self.instance) for name in ("users", "orders")]
        for client in clients:
            client.send(wire.parse("mine", "SELECT service FROM {{tables.who}}"), wire.SYNC)
            self.assertEqual(wire.errors_of(client.read_ready()), [])
        self.pause()
        self.wait_until(lambda: self.connections() == 0, "the backends to be closed")
        self.postgres.stop(signal.SIGINT)
        for client in clients:
            client.send(wire.bind("", "mine"), wire.execute(), wire.SYNC)
        self.waiting(2)
        self.postgres.start()
        self.resume()
        for client, service in zip(clients, ("users", "orders"), strict=True):
            self.assertEqual(wire.rows_of(client.read_ready()), [[service]])
        self.assertEqual(self.instance.log_count("backend_connect_failed"), 0)

    def test_one_service_waits_and_the_others_do_not(self):
        users, orders = self.wire("users", self.instance), self.wire("orders", self.instance)
        self.pause_service("users", True)
        users.send(wire.query("SELECT service FROM {{tables.who}}"))
        self.waiting(1)
        for _ in range(20):
            self.assertEqual(orders.rows("SELECT service FROM {{tables.who}}"), [["orders"]])
        self.postgres.run("SELECT pg_sleep(1.5)")
        self.waiting(1)
        self.pause_service("users", False)
        self.assertEqual(wire.rows_of(users.read_ready()), [["users"]])

    def test_who_waits_can_cancel_and_go(self):
        first, second = self.wire("users", self.instance), self.wire("users", self.instance)
        self.pause()
        for client in (first, second):
            client.send(wire.query("SELECT 1"))
        self.waiting(2)
        wire.send_cancel(self.instance.port, first.pid, first.secret)
        self.assertEqual(wire.sqlstates(first.read_ready()), ["57014"])
        second.close()
        self.waiting(0)
        self.resume()
        self.assertEqual(first.rows("SELECT 1"), [["1"]])

    def test_a_signal_does_not_undo_what_the_configuration_says(self):
        self.instance.config["pool"]["paused"] = True
        self.instance.write_config()
        self.instance.reload()
        client = self.raw(self.instance)
        client.send(wire.startup({"user": "alice", "database": "users"}))
        self.pause()
        self.resume()
        self.waiting(1)
        self.instance.config["pool"]["paused"] = False
        self.instance.write_config()
        self.instance.reload()
        client.read_ready()
        self.assertEqual(client.rows("SELECT 1"), [["1"]])


if __name__ == "__main__":
    import unittest
    unittest.main()
