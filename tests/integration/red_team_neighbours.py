"""Two services on one backend: what one of them has in its session is of no use to the other, and
not seen by it. Each method is one kind of state.

It makes sense only where services share backends: red_team_test.py runs it through schemux, at
`shared` and `guarded`, with and without pins.
"""

import red_team_stage
import wire


class Neighbours(red_team_stage.Stage):
    """What pins a client does so until it goes: then the other service gets its backend."""

    pins = True
    # What comes of a's prepared statement that a view of b's drops, or replaces: with `state: fast`
    # an error, and b's rows in place of its own.
    unseen = (["26000"], [["planted", "1"]])
    statements_seen = 1

    def setUp(self):
        super().setUp()
        self.a, self.b = self.connect("a"), self.connect("b")
        self.pid = self.same_backend()

    def tearDown(self):
        self.assert_nothing_passed_on(self._testMethodName)

    def same_backend(self):
        """Both are themselves, on one backend."""
        pids = {self.assert_is_itself(client, service, self._testMethodName)
                for client, service in ((self.a, "a"), (self.b, "b"), (self.a, "a"))}
        self.assertEqual(len(pids), 1)
        return pids.pop()

    def a_runs(self, *texts):
        for text in texts:
            self.assertEqual(wire.errors_of(self.a.ask(text)), [], text)

    def a_keeps(self, *texts):
        """State that pins: a goes, if it does."""
        self.a_runs(*texts)
        if self.pins:
            self.a.vanish()

    def b_gets(self, rows, sql):
        """On the backend that a had."""
        self.assertEqual(self.b.rows("SELECT pg_backend_pid()"), [[self.pid]])
        self.assertEqual(self.b.rows(sql), rows, sql)

    def b_fails(self, sqlstate, *texts):
        for text in texts:
            self.assertEqual(wire.sqlstates(self.b.ask(text)), [sqlstate], text)

    def prepared(self, client, name, sql):
        client.send(wire.parse(name, sql), wire.SYNC)
        self.assertEqual(wire.errors_of(client.read_ready()), [])

    def executed(self, client, name):
        client.send(wire.bind("", name), wire.execute(), wire.SYNC)
        messages = client.read_ready()
        return wire.sqlstates(messages) or [one.row for one in messages if one.kind == "D"]

    # ---- statements and cursors ------------------------------------------------------------

    def test_statement_of_the_protocol(self):
        self.prepared(self.a, "s", "SELECT body FROM t")
        self.assertEqual(self.executed(self.b, "s"), ["26000"])
        self.b.send(wire.describe("S", "s"), wire.SYNC)
        self.assertEqual(wire.sqlstates(self.b.read_ready()), ["26000"])
        self.b.send(wire.close("S", "s"), wire.SYNC)
        self.b.read_ready()
        for _ in range(7):  # more often than PostgreSQL needs for a plan that it keeps
            self.assertEqual(self.executed(self.a, "s"), [[self.secrets["a"]]])

    def test_statement_of_the_same_name_and_text(self):
        for client in (self.a, self.b):
            self.prepared(client, "s", "SELECT body FROM t")
        for _ in range(7):
            self.assertEqual(self.executed(self.a, "s"), [[self.secrets["a"]]])
            self.assertEqual(self.executed(self.b, "s"), [[self.secrets["b"]]])

    def test_unnamed_statement(self):
        self.prepared(self.a, "", "SELECT body FROM t")
        self.assertEqual(self.executed(self.b, ""), ["26000"])

    def test_prepare(self):
        self.a_runs("PREPARE p AS SELECT body FROM t")
        self.b_fails("26000", "EXECUTE p", "DEALLOCATE p", "EXPLAIN EXECUTE p",
                     'EXECUTE "p"', "CREATE TEMP TABLE stolen AS EXECUTE p",
                     "DO $$ BEGIN EXECUTE 'EXECUTE p'; END $$")
        self.b_gets([], "DEALLOCATE ALL")
        self.assertEqual(self.a.rows("EXECUTE p"), [[self.secrets["a"]]])

    def test_name_of_a_statement_on_the_backend(self):
        """The one thing that is seen: names and texts of statements in pg_prepared_statements."""
        self.prepared(self.a, "s", "SELECT body, 'text of a' FROM t")
        self.executed(self.a, "s")
        names = [row[0] for row in self.b.rows(
            "SELECT name FROM pg_prepared_statements WHERE statement LIKE '%text of a%'")]
        self.assertEqual(len(names), self.statements_seen, "what is shown has changed")
        for name in names:
            self.assertEqual(self.executed(self.b, name), ["26000"])
            self.b_fails("26000", f'EXECUTE "{name}"', f'DEALLOCATE "{name}"')
            # Where no text shows the name there it is found; its rows are b's own.
            told = self.run_program(self.b, [
                f"DO $$ BEGIN EXECUTE 'EXECUTE \"{name}\"'; END $$",
                f"DO $$ DECLARE r record; BEGIN FOR r IN EXECUTE 'EXECUTE \"{name}\"' LOOP "
                "RAISE NOTICE '%', r; END LOOP; END $$"])
            self.assertFalse(self.tells(told, self.secrets["a"]), told)
        self.assertEqual(self.executed(self.a, "s"), [[self.secrets["a"], "text of a"]])

    def behind(self, body, attack):
        """What a's prepared statement gives when b has made an attack of the PL/pgSQL."""
        client = self.connect("a")
        self.prepared(client, "s", "SELECT body, 'text of a' FROM t")
        mine = [[self.secrets["a"], "text of a"]]
        self.assertEqual(self.executed(client, "s"), mine)
        block = f"DECLARE n text; BEGIN {body} RETURN 1; END"
        self.run_program(self.b, [f"CREATE OR REPLACE FUNCTION b.f() RETURNS int "
                                  f"LANGUAGE plpgsql AS $$ {block} $$",
                                  "CREATE OR REPLACE VIEW b.v AS SELECT b.f() AS x"])
        self.assertEqual(wire.errors_of(self.b.ask(attack.format(block))), [])
        found = self.executed(client, "s")
        client.close()
        self.assert_is_itself(self.b, "b", attack)
        return "own" if found == mine else found

    def attacks_on_statements(self):
        ours = "SELECT name FROM pg_prepared_statements WHERE statement LIKE '%text of a%'"
        plant = "EXECUTE format('PREPARE %I AS SELECT ''planted'', 1', n);"
        return ("EXECUTE 'DEALLOCATE ALL';",
                f"FOR n IN {ours} LOOP EXECUTE format('DEALLOCATE %I', n); {plant} END LOOP;")

    def test_statement_that_dynamic_sql_drops_or_replaces(self):
        for body in self.attacks_on_statements():
            for attack in ("SELECT b.f()", "SELECT * FROM b.f() AS x", "DO $x$ BEGIN EXECUTE "
                           "'SELECT b.f()'; END $x$"):
                self.assertEqual(self.behind(body, attack), "own", f"{attack} of {body}")

    def test_statement_that_a_view_drops_or_replaces(self):
        """No text shows it: E66. What was replaced would stay so for every client of a's."""
        self.addCleanup(self.end_backends)
        found = tuple(self.behind(body, "SELECT x FROM b.v")
                      for body in self.attacks_on_statements())
        self.assertEqual(found, self.unseen)

    def test_cursor_with_hold(self):
        self.a_keeps("DECLARE c CURSOR WITH HOLD FOR SELECT body FROM t")
        self.b_fails("34000", "FETCH c", "CLOSE c", "MOVE c")
        self.b_gets([], "SELECT name FROM pg_cursors WHERE name <> ''")

    def test_portal(self):
        self.a.send(wire.parse("", "SELECT body FROM t"), wire.bind("p"), wire.SYNC)
        self.a.read_ready()
        self.b.send(wire.execute("p"), wire.SYNC)
        self.assertEqual(wire.sqlstates(self.b.read_ready()), ["34000"])

    # ---- objects and numbers of the session ------------------------------------------------

    def test_temporary_table(self):
        self.a_keeps("CREATE TEMP TABLE t AS SELECT 'false' AS body",
                     "CREATE TEMP VIEW seen AS SELECT * FROM t",
                     "CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
                     "CREATE TEMP SEQUENCE numbers")
        self.b_gets([[self.secrets["b"]]], "SELECT body FROM t")
        self.b_fails("42P01", "SELECT * FROM seen", "SELECT * FROM pg_temp.t")
        self.b_gets([[None, None, None]], "SELECT to_regclass('pg_temp.t'), "
                    "to_regproc('pg_temp.f'), to_regclass('pg_temp.numbers')")

    def test_numbers_of_a_sequence(self):
        self.a_runs("SELECT nextval('numbers')", "SELECT setval('numbers', 4711)")
        self.b_fails("55000", "SELECT lastval()", "SELECT currval('numbers')")
        theirs = wire.sqlstates(self.b.ask("SELECT currval('a.numbers')"))
        self.assertEqual(theirs, ["55000" if self.level.name == "shared" else "42501"])
        self.b_gets([["1"]], "SELECT setval('numbers', 1)")

    def test_seed(self):
        drawn = "SELECT string_agg(random()::text, ' ') FROM generate_series(1, 3)"
        self.a_runs("SELECT setseed(0.5)")
        expected = self.run_as_admin("SELECT setseed(0.5); " + drawn)
        if self.pins:
            self.a.vanish()
        self.assertNotEqual(self.b.rows(drawn), [[expected[0][0]]])

    # ---- settings --------------------------------------------------------------------------

    def test_settings(self):
        own = {"work_mem": "13MB", "TimeZone": "Asia/Tokyo", "DateStyle": "SQL, DMY",
               "statement_timeout": "11min", "default_transaction_read_only": "on",
               "standard_conforming_strings": "off", "transform_null_equals": "on",
               "application_name": "a's own", "client_encoding": "LATIN1",
               "default_transaction_isolation": "serializable", "row_security": "off",
               "search_path": "b, a", "lock_timeout": "12min", "app.tenant": "a's tenant"}
        names = [name for name in own if name not in ("app.tenant", "search_path")]
        shown = "SELECT " + ", ".join(f"current_setting('{name}')" for name in names)
        before = self.b.rows(shown)
        for name, value in own.items():
            self.a_runs(f"""SELECT set_config('{name}', $x${value}$x$, false)""")
        for _ in range(3):
            self.assertEqual(self.a.rows(shown), [[own[name] for name in names]])
            self.b_gets(before, shown)
            self.b_gets([[""]], "SELECT coalesce(current_setting('app.tenant', true), '')")
            self.assert_is_itself(self.b, "b", "settings of a's")
        self.a_runs("RESET ALL")
        self.same_backend()

    def test_settings_of_the_startup_packet(self):
        self.a.close()
        self.a = wire.connect(self.schemux.port, "a", application_name="jobs of a",
                              work_mem="13MB", options="-c app.tenant=a")
        self.addCleanup(self.a.close)
        shown = ("SELECT current_setting('application_name'), current_setting('work_mem'), "
                 "coalesce(current_setting('app.tenant', true), '')")
        for _ in range(3):
            self.assertEqual(self.a.rows(shown), [["jobs of a", "13MB", "a"]])
            self.b_gets([["", "4MB", ""]], shown)
            self.b_gets([[""]], "SELECT application_name FROM pg_stat_activity "
                        "WHERE pid = pg_backend_pid()")

    def test_role_and_search_path_of_an_open_session(self):
        """What a has set stays with a, and only there."""
        for text in ("SET search_path = b", "SET ROLE NONE", "SET search_path = ''",
                     "SET SESSION AUTHORIZATION DEFAULT", "RESET ALL", "DISCARD ALL"):
            for wraps in ([text], ["BEGIN", text, "COMMIT"], ["BEGIN", text, "ROLLBACK"],
                          ["BEGIN", text, "SELECT 1/0", "END"]):
                self.run_program(self.a, wraps)
                self.assert_is_itself(self.b, "b", f"{wraps} of a")
        self.a.close()
        self.a = self.connect("a")
        self.same_backend()

    # ---- what all sessions of a database have in common ------------------------------------

    def test_advisory_lock(self):
        self.a_keeps("SELECT pg_advisory_lock(4711)", "SELECT pg_advisory_lock_shared(1, 2)")
        self.b_gets([], red_team_stage.OWN_LOCKS)
        self.b_gets([["f"]], "SELECT pg_advisory_unlock(4711)")
        self.assertEqual(self.run_as_admin("SELECT pg_try_advisory_lock(4711)"), [(True,)])

    def test_listen(self):
        self.a_keeps("LISTEN jobs")
        self.b_gets([], "SELECT * FROM pg_listening_channels()")
        told = self.run_program(self.b, ["NOTIFY jobs, 'for who listens'", "SELECT 1", "SELECT 1"])
        self.assertNotIn("A", [one.kind for one in told])

    def test_open_transaction(self):
        """Its work, its locks and its snapshot end with its client."""
        self.a_runs("BEGIN ISOLATION LEVEL SERIALIZABLE", "INSERT INTO t VALUES ('undone')",
                    "SET LOCAL work_mem = '13MB'", "SAVEPOINT s")
        self.a.vanish()
        self.b_gets([["4MB", "read committed"]], "SELECT current_setting('work_mem'), "
                    "current_setting('transaction_isolation')")
        self.b_fails("3B001", "BEGIN; ROLLBACK TO s")
        self.b.ask("ROLLBACK")
