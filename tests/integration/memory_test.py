"""The ceiling of the process: clients that keep much here are refused, then ended, and those that
keep little go on; the process stays below it."""

import harness
import wire

MIB = 1 << 20
TEXT = 512 * 1024


class Ceiling(harness.Case):
    config = {"pool": {"max_connections": 2, "statement_memory_per_backend": "4GiB"},
              "limits": {"max_query_bytes": "2MiB"}}

    def setUp(self):
        self.instance = self.start_schemux(self.config)
        self.small = self.wire(schemux=self.instance)
        self.small.ask("SELECT 1")
        self.limit = self.instance.resident_bytes() + 160 * MIB
        self.set_limit(self.limit)

    def set_limit(self, limit):
        self.instance.config["limits"]["memory"] = limit
        self.instance.write_config()
        self.instance.reload()

    def prepare(self, client, number):
        """A named statement with half a megabyte of text; the SQLSTATEs of its errors."""
        text = f"SELECT {number} /* {'x' * TEXT} */"
        client.send(wire.parse(f"s{number}", text), wire.SYNC)
        return wire.sqlstates(client.read_ready())

    def short(self):
        return self.instance.metric("schemux_memory_short") == 1

    def test_large_texts_are_refused_before_the_ceiling_and_small_ones_go_on(self):
        greedy = [self.wire(schemux=self.instance) for _ in range(4)]
        found = set()
        for number in range(400):
            found.update(self.prepare(greedy[number % 4], number))
            if found:
                break
            self.assertLess(self.instance.resident_bytes(), self.limit)
        self.assertEqual(found, {"53200"})
        self.assertTrue(self.short())
        self.assertLess(self.instance.resident_bytes(), self.limit)
        # A text of this kind is refused, one of the usual size is not.
        error, = wire.errors_of(self.small.ask(f"SELECT '{'y' * TEXT}'"))
        self.assertEqual((error["C"], error["M"]), ("53200", "out of memory"))
        self.assertIn("limits.memory", error["D"])
        self.assertEqual(self.small.rows("SELECT service FROM {{tables.who}}"), [["users"]])
        self.small.send(wire.parse("mine", "SELECT 2"), wire.bind("", "mine"), wire.execute(),
                        wire.SYNC)
        self.assertEqual(wire.rows_of(self.small.read_ready()), [["2"]])
        stranger = self.raw(self.instance)
        stranger.send(wire.startup({"user": "alice", "database": "users"}))
        error, = wire.errors_of(stranger.read_to_end())
        self.assertEqual((error["S"], error["C"]), ("FATAL", "53200"))
        # A cancel is heard all the same.
        self.small.send(wire.query("SELECT pg_sleep(60)"))
        self.wait_until(lambda: self.postgres.run(
            "SELECT 1 FROM pg_stat_activity WHERE state = 'active' "
            "AND query = 'SELECT pg_sleep(60)'"))
        wire.send_cancel(self.instance.port, self.small.pid, self.small.secret)
        self.assertEqual(wire.sqlstates(self.small.read_ready()), ["57014"])
        # What the greedy one kept comes back when it goes.
        for client in greedy:
            client.close()
        self.wait_until(lambda: not self.short(), "memory to come back")
        self.assertEqual(self.wire(schemux=self.instance).rows("SELECT 1"), [["1"]])

    def test_who_takes_the_most_is_ended(self):
        greedy = self.wire(schemux=self.instance)
        for number in range(40):
            self.assertEqual(self.prepare(greedy, number), [])
        # As if somebody else had taken the rest.
        self.set_limit(self.instance.resident_bytes())
        error, = wire.errors_of(greedy.read_to_end())
        self.assertEqual((error["S"], error["C"]), ("FATAL", "53200"))
        self.wait_until(lambda: self.instance.log_count("client_shed") >= 1)
        self.assertEqual(self.instance.metric("schemux_clients_shed_total"), 1)
        self.set_limit(0)
        self.assertEqual(self.small.rows("SELECT 1"), [["1"]])


if __name__ == "__main__":
    import unittest
    unittest.main()
