"""The log as a whole: a client's events share its conn_id, who comes and goes is told with a reason
and an age, and a file that is rotated loses no line.
"""

import harness
import wire


class Connections(harness.Case):
    config = {"pool": {"max_connections": 1},
              "services": [{"name": "users"},
                           {"name": "brief", "pool": {"idle_in_transaction_timeout": "100ms"}}]}

    def told_of(self, client):
        return [line for line in self.schemux.log_lines() if line.get("conn_id") == client.pid]

    def closed(self, client):
        self.wait_until(lambda: any(line["event"] == "client_closed"
                                    for line in self.told_of(client)), "its end")
        return self.told_of(client)[-1]

    def test_a_clients_events_share_the_pid_that_its_driver_knows(self):
        client = self.wire(user="alice")
        client.ask("CREATE TEMP TABLE kept (n int)")
        client.send(wire.TERMINATE)
        last = self.closed(client)
        self.assertEqual([line["event"] for line in self.told_of(client)],
                         ["client_opened", "client_pinned", "client_closed"])
        first = self.told_of(client)[0]
        self.assertEqual((first["user"], first["address"], first["level"]),
                         ("alice", "127.0.0.1", "debug"))
        self.assertEqual({line["service"] for line in self.told_of(client)}, {"users"})
        self.assertEqual((last["reason"], last["level"]), ("client_terminated", "debug"))

    def test_an_end_has_its_reason_and_an_age(self):
        gone, idle = self.wire(), self.wire("brief")
        idle.ask("BEGIN")
        last = self.closed(idle)
        self.assertEqual((last["reason"], last["level"]), ("idle_in_transaction_timeout", "info"))
        self.assertGreaterEqual(last["age_s"], 0.1)
        gone.vanish()
        last = self.closed(gone)
        self.assertEqual((last["reason"], last["level"]), ("client_disconnected", "info"))
        self.assertGreaterEqual(last["age_s"], 0)

    def test_backends_too(self):
        pid = self.wire().rows("SELECT pg_backend_pid()")[0][0]
        self.postgres.run("SELECT pg_terminate_backend(%s)", (int(pid),))

        def told():
            return [line for line in self.schemux.log_lines()
                    if line.get("backend_pid") == int(pid)]

        self.wait_until(lambda: len(told()) == 2, "its end")
        self.assertEqual([line["event"] for line in told()], ["backend_opened", "backend_closed"])
        self.assertEqual(told()[-1]["reason"], "server_closed")
        self.assertGreaterEqual(told()[-1]["age_s"], 0)
