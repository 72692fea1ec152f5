"""State that no text shows: a trigger makes it, on a backend that another client gets next. With
`state: strict` each lease ends in a reset; with `verify` an audit finds it and the backend goes;
with `fast` the sampler does so now and then. And settings of an application, which PostgreSQL
never forgets."""

import harness
import server
import wire

# What a trigger does for each word that is written to the table; and how the next client would see
# it, if it does: rows that a fresh session has not.
HIDDEN = {
    "setting": ("PERFORM set_config('work_mem', '13MB', false)",
                "SELECT setting FROM pg_settings WHERE name = 'work_mem' AND source = 'session'"),
    "search_path": ("PERFORM set_config('search_path', 'nowhere', false)",
                    "SELECT 1 WHERE current_setting('search_path') = 'nowhere'"),
    "role": ("PERFORM set_config('role', 'app_reader', false)",
             "SELECT 1 WHERE current_user = 'app_reader'"),
    "advisory_lock": ("PERFORM pg_advisory_lock(4712)",
                      "SELECT 1 FROM pg_locks WHERE locktype = 'advisory'"),
    "temp_table": ("CREATE TEMP TABLE hidden (n int)",
                   "SELECT 1 FROM pg_class WHERE relname = 'hidden'"),
    "listen": ("LISTEN hidden", "SELECT * FROM pg_listening_channels()"),
    "statement": ("PREPARE hidden AS SELECT 1",
                  "SELECT 1 FROM pg_prepared_statements WHERE name = 'hidden'"),
    "hold_cursor": ("DECLARE hidden CURSOR WITH HOLD FOR SELECT 1",
                    "SELECT 1 FROM pg_cursors WHERE name = 'hidden'"),
}
BRANCHES = "".join(f"IF NEW.what = '{name}' THEN EXECUTE $do$DO $in$ BEGIN {body}; END $in$$do$; "
                   f"END IF; " for name, (body, _) in HIDDEN.items())
SETUP = f"""
CREATE TABLE users.hides (what text);
CREATE FUNCTION users.hide() RETURNS trigger LANGUAGE plpgsql AS
$f$ BEGIN {BRANCHES} RETURN NEW; END $f$;
CREATE TRIGGER hide AFTER INSERT ON users.hides FOR EACH ROW EXECUTE FUNCTION users.hide();
ALTER TABLE users.hides OWNER TO app;
GRANT INSERT ON users.hides TO app;
"""
# PL/pgSQL takes them for cursors of its own.
IMPOSSIBLE = {"hold_cursor"}


class _Hidden:
    """One backend, no pins: the next client is on it, unless it was closed."""

    state = ""
    sample = 0

    @classmethod
    def setUpClass(cls):
        cls.config = {"pool": {"max_connections": 1, "audit_sample": cls.sample}, "services": [
            {"name": "users", "schema": "users", "state": cls.state},
            {"name": "orders", "schema": "orders"}, {"name": "legacy"}]}
        super().setUpClass()
        cls.postgres.run("DROP TABLE IF EXISTS users.hides; DROP FUNCTION IF EXISTS users.hide();"
                         + SETUP)

    def findings(self):
        return {dict(labels)["kind"]: value for (name, labels), value in
                self.schemux.metrics().items() if name == "schemux_audit_findings_total" and value}

    def hide(self, name):
        """The backend behind it, as a stranger finds it."""
        before = self.wire().rows("SELECT pg_backend_pid()")[0][0]
        client = self.wire()
        text = f"INSERT INTO {{{{tables.hides}}}} VALUES ('{name}')"
        self.assertEqual(wire.errors_of(client.ask(text)), [], name)
        stranger = self.wire("orders")
        seen = stranger.rows(HIDDEN[name][1])
        return seen, stranger.rows("SELECT pg_backend_pid()")[0][0] == before


class Strict(_Hidden, harness.Case):
    state = "strict"

    def test_is_reset(self):
        for name in HIDDEN.keys() - IMPOSSIBLE:
            with self.subTest(name):
                self.assertEqual(self.hide(name), ([], True))
        self.assertEqual(self.findings(), {})

    def test_prepared_statements_of_clients_go_on(self):
        client = self.wire()
        client.send(wire.parse("s", "SELECT service FROM who"), wire.SYNC)
        client.read_ready()
        for _ in range(5):
            client.send(wire.bind("", "s"), wire.execute(), wire.SYNC)
            self.assertEqual(wire.rows_of(client.read_ready()), [["users"]])
            self.assertEqual(self.wire("orders").rows(
                "SELECT count(*) FROM pg_prepared_statements"), [["0"]])


class Verify(_Hidden, harness.Case):
    state = "verify"
    may_find = True

    def test_is_found_and_the_backend_goes(self):
        for name in HIDDEN.keys() - IMPOSSIBLE:
            with self.subTest(name):
                before = self.findings()
                # PostgreSQL 18 tells of its changes: it travels, and is nobody else's.
                told = name == "search_path" and server.major() >= 18
                self.assertEqual(self.hide(name), ([], told))
                kind = "setting" if name == "search_path" else name
                found = {one for one, count in self.findings().items()
                         if count > before.get(one, 0)}
                self.assertEqual(found, set() if told else {kind})
        self.wait_until(lambda: self.schemux.log_count("audit_finding") >= 5, "the log")
        lines = [line for line in self.schemux.log_lines() if line["event"] == "audit_finding"]
        self.assertEqual({line["service"] for line in lines}, {"users"})

    def test_finds_nothing_in_what_is_known(self):
        before = self.findings()
        # Behind an error all settings are asked for; a timeout may be 0 since the client says so.
        one = self.wire()
        one.send(wire.query("SET statement_timeout = 0"), wire.query("SELECT 1/0"))
        self.assertEqual(wire.errors_of(one.read_ready()), [])
        self.assertEqual(wire.sqlstates(one.read_ready()), ["22012"])
        self.wire().rows("SELECT 1")
        self.assertEqual(self.findings(), before)
        client = self.wire(TimeZone="Asia/Tokyo", options="-c work_mem=4096 -c app.x=7 "
                                                          "-c statement_timeout=5000")
        pid = client.rows("SELECT pg_backend_pid()")
        for text in ("SET work_mem = '8192kB'", "SET ROLE app_reader", "RESET ROLE",
                     "SET search_path = orders, users", "SET DateStyle = 'german'",
                     "SET statement_timeout = '1min'", "SET app.y = 'é'", "SELECT 1",
                     "BEGIN; SET LOCAL work_mem = '3MB'; COMMIT", "DISCARD ALL"):
            self.assertEqual(wire.errors_of(client.ask(text)), [], text)
            client.send(wire.parse("", "SELECT $1::int"), wire.bind("", "", ["7"]),
                        wire.execute(), wire.SYNC)
            self.assertEqual(wire.rows_of(client.read_ready()), [["7"]])
            self.assertEqual(self.findings(), before, text)
        self.assertEqual(client.rows("SELECT pg_backend_pid()"), pid)


class Fast(_Hidden, harness.Case):
    state = "fast"
    sample = 3
    may_find = True

    def test_the_sampler_finds_it_now_and_then(self):
        audits = self.schemux.metric("schemux_audits_total")
        for _ in range(30):
            self.wire().rows("SELECT 1")
        self.assertGreaterEqual(self.schemux.metric("schemux_audits_total"), audits + 5)
        found = 0
        for _ in range(20):
            _, same = self.hide("advisory_lock")
            found += not same
        self.assertGreater(found, 0)
        self.assertGreater(self.findings()["advisory_lock"], 0)


class Placeholders(harness.Case):
    config = {"pool": {"max_connections": 1}, "services": [
        {"name": "users", "schema": "users", "placeholder": "close_backend"},
        {"name": "orders", "schema": "orders"}, {"name": "legacy"}]}

    def test_backend_that_knows_a_setting_of_an_application_goes(self):
        unknown = "SELECT current_setting('tenant.id', true)"
        for text in ("BEGIN; SET LOCAL tenant.id = '7'; COMMIT",
                     "SELECT set_config('tenant.id', '7', true)", "SET tenant.id = '7'"):
            with self.subTest(text):
                client = self.wire()
                self.assertEqual(wire.errors_of(client.ask(text)), [])
                self.assertEqual(self.wire("orders").rows(unknown), [[None]])
                client.close()
        keeper = self.wire(options="-c tenant.id=8")
        self.assertEqual(keeper.rows(unknown), [["8"]])
        self.assertEqual(self.wire("orders").rows(unknown), [[None]])
        pid = self.wire().rows("SELECT pg_backend_pid()")
        self.wire().ask("BEGIN; SET LOCAL work_mem = '3MB'; COMMIT")
        self.assertEqual(self.wire().rows("SELECT pg_backend_pid()"), pid)
