"""What the log says of slow queries and of long leases, and that no value of a client's is in it.
What must be slow sleeps in PostgreSQL; what must not is never slow enough."""

import harness
import wire

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
CANARY = "canary_7731"
NUMBER = "773177317"


class LogCase(harness.Case):
    own_schemux = True

    def events(self, event, service, schemux=None):
        return [line for line in (schemux or self.schemux).log_lines()
                if line.get("event") == event and line["service"] == service]

    def one(self, event, service, schemux=None):
        self.wait_until(lambda: self.events(event, service, schemux), f"{event} of {service}")
        line, = self.events(event, service, schemux)
        return line

    def assert_no_value(self, schemux=None):
        text = (schemux or self.schemux).log.read_text(errors="replace")
        self.assertNotIn(CANARY, text)
        self.assertNotIn(NUMBER, text)


class SlowQuery(LogCase):
    config = {"log": {"format": "json", "level": "debug", "slow_query": "200ms", "long_lease": "0"},
              "services": [{"name": "users", "schema": "users"}, {"name": "traced"},
                           {"name": "prepared"}, {"name": "failed"}, {"name": "many"},
                           {"name": "psql"}, {"name": "tenant_*"},
                           {"name": "patient", "slow_query": "24h"}]}

    def test_a_query_is_told_without_its_constants(self):
        client = self.wire("users")
        client.ask(f"SELECT pg_sleep(0.3), '{CANARY}' FROM {{{{tables.none}}}}")
        client.ask(f"SELECT pg_sleep(0.3), '{CANARY}', {NUMBER} AS n  -- {CANARY}\nWHERE 1<2")
        line = self.one("slow_query", "users")
        self.assertEqual(line["text"], "SELECT pg_sleep(?), ?, … AS n WHERE ? < ?")
        self.assertEqual(line["level"], "warning")
        self.assertGreaterEqual(line["duration_s"], 0.29)
        self.assertGreaterEqual(line["wait_s"], 0)
        self.assertEqual(line["rows"], 1)
        self.assertEqual(line["sqlstate"], "")
        self.assertEqual(line["traceparent"], "")
        self.assertEqual(line["conn_id"], client.pid)
        self.assertRegex(line["fingerprint"], "^[0-9a-f]{16}$")
        self.assert_no_value()

    def test_the_trace_is_told(self):
        client = self.wire("traced")
        client.ask(f"SELECT pg_sleep(0.3) /*action='{CANARY}',traceparent='{TRACE}'*/")
        line = self.one("slow_query", "traced")
        self.assertEqual(line["traceparent"], TRACE)
        self.assertEqual(line["text"], "SELECT pg_sleep(?)")
        self.assert_no_value()

    def test_a_prepared_statement_is_told_without_its_parameters(self):
        connection = self.psycopg("prepared")
        connection.execute("SELECT pg_sleep(%s), %s::text, %s::int", (0.3, CANARY, int(NUMBER)),
                           prepare=True)
        line = self.one("slow_query", "prepared")
        self.assertEqual(line["text"], "SELECT pg_sleep($1), $2::text, $3::int")
        self.assertEqual(line["rows"], 1)
        self.assert_no_value()

    def test_an_error_has_its_sqlstate(self):
        client = self.wire("failed")
        client.ask(f"DO $$ BEGIN PERFORM pg_sleep(0.3); RAISE '{CANARY}'; END $$")
        line = self.one("slow_query", "failed")
        self.assertEqual((line["sqlstate"], line["text"], line["rows"]), ("P0001", "DO ?", 0))
        self.assert_no_value()

    def test_psql_and_a_tenant(self):
        for service in ("psql", "tenant_7"):
            dsn = self.schemux.dsn(service)
            self.assert_program(self.run_program(
                "psql", "-X", "-d", dsn, "-c", f"SELECT pg_sleep(.3) /* {CANARY} */"))
            line = self.one("slow_query", service)
            self.assertEqual(line["text"], "SELECT pg_sleep(?)")
        self.assert_no_value()

    def test_there_are_never_too_many(self):
        clients = [self.wire("many") for _ in range(5)]
        for _ in range(3):
            for client in clients:
                client.send(wire.query("SELECT pg_sleep(0.21)"))
            for client in clients:
                client.read_ready()
        self.assertLessEqual(len(self.events("slow_query", "many")), 10)

    def test_a_service_has_its_own_threshold(self):
        client = self.wire("patient")
        client.ask("SELECT pg_sleep(0.3)")
        client.close()
        self.wait_until(lambda: any(line.get("event") == "client_closed"
                                    and line.get("service") == "patient"
                                    for line in self.schemux.log_lines()), "the log")
        self.assertEqual(self.events("slow_query", "patient"), [])

    def test_a_reload_turns_it_on_for_clients_that_are_there(self):
        config = {"log": {"format": "json", "level": "debug"}, "services": [{"name": "users"}]}
        schemux = self.start_schemux(config)
        client = self.wire("users", schemux)
        client.ask("SELECT pg_sleep(0.3)")
        self.assertEqual(self.events("slow_query", "users", schemux), [])
        schemux.config["log"]["slow_query"] = "1ms"
        schemux.write_config()
        schemux.reload()
        # Each worker takes it over within a second.
        self.wait_until(lambda: client.ask("SELECT pg_sleep(0.05)") and
                        self.events("slow_query", "users", schemux), "a slow query")

    def test_texts_are_told_where_they_are_asked_for(self):
        for kind, expected in (("client", f"'{CANARY}', '{{{{tables.x}}}}' FROM {{{{tables.t}}}}"),
                               ("rewritten", f"'{CANARY}', '{{{{tables.x}}}}' FROM \"users\".t"),
                               ("none", None)):
            config = {"log": {"format": "json", "level": "debug", "slow_query": "100ms",
                              "slow_query_text": kind},
                      "services": [{"name": "users", "schema": "users"}]}
            schemux = self.start_schemux(config)
            client = self.wire("users", schemux)
            client.ask("CREATE TABLE IF NOT EXISTS {{tables.t}} (x int)")
            client.ask("INSERT INTO {{tables.t}} VALUES (1)")
            start = "SELECT pg_sleep(0.3), $1::text, "
            text = f"{start}'{CANARY}', '{{{{tables.x}}}}' FROM {{{{tables.t}}}} LIMIT 1"
            client.send(wire.parse("", text), wire.bind("", "", [NUMBER]), wire.execute(),
                        wire.SYNC)
            self.assertEqual(wire.sqlstates(client.read_ready()), [])
            line = self.one("slow_query", "users", schemux)
            self.assertEqual(line["text"], f"{start}{expected} LIMIT 1" if expected else "")
            self.assertNotIn(NUMBER, schemux.log.read_text(errors="replace"))
            client.ask("DROP TABLE {{tables.t}}")
            schemux.stop()


class LongLease(LogCase):
    config = {"log": {"format": "json", "level": "debug", "long_lease": "300ms"},
              "services": [{"name": "idle"}, {"name": "active"}, {"name": "pinned"},
                           {"name": "session", "pool": {"mode": "session"}}]}

    def test_who_leaves_a_transaction_open_is_told(self):
        client = self.wire("idle")
        client.ask(f"BEGIN; SELECT '{CANARY}'")
        line = self.one("lease_held", "idle")
        self.assertEqual(line["state"], "idle_in_transaction")
        self.assertEqual(line["text"], "BEGIN; SELECT ?")
        self.assertEqual(line["conn_id"], client.pid)
        self.assertGreaterEqual(line["held_s"], 0.3)
        client.ask("COMMIT")
        client.ask("SELECT 1")
        client.ask("BEGIN")
        self.wait_until(lambda: len(self.events("lease_held", "idle")) == 2, "the next lease")
        self.assert_no_value()

    def test_who_works_for_long_is_told(self):
        client = self.wire("active")
        client.send(wire.query(f"SELECT pg_sleep(3), {NUMBER}"))
        line = self.one("lease_held", "active")
        self.assertEqual((line["state"], line["text"]), ("active", "SELECT pg_sleep(?), ?"))
        client.read_ready()
        self.assert_no_value()

    def test_who_is_pinned_is_told_why(self):
        client = self.wire("pinned")
        client.ask("CREATE TEMP TABLE t (x int)")
        line = self.one("lease_held", "pinned")
        self.assertEqual((line["state"], line["pinned"]), ("pinned", "temp_table"))

    def test_in_session_mode_an_idle_client_is_no_news(self):
        client = self.wire("session")
        client.ask("SELECT 1")
        other = self.wire("session")
        other.ask("BEGIN")
        line = self.one("lease_held", "session")
        self.assertEqual(line["conn_id"], other.pid)
