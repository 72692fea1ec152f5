"""Settings that travel, at their edges: encodings, sizes, timeouts, roles that go away, clients
that go away, pipelines. Beside a direct connection wherever that says what is right."""

import harness
import rotation
import wire

CLEAN = [["users", "4MB", ""]]
CLEAN_SQL = ("SELECT (SELECT service FROM who), current_setting('work_mem'), "
             "coalesce(current_setting('app.x', true), '')")


def statements(*texts):
    """One extended batch, without its Sync."""
    return [part for text in texts
            for part in (wire.parse("", text), wire.bind(), wire.execute())]


class SettingsEdges(harness.Case):
    config = rotation.POOL

    def twin(self, turns=None, **startup):
        return rotation.Twin(turns or rotation.Rotation(self), **startup)

    # ---- values ----------------------------------------------------------------------------

    def test_values_in_other_encodings(self):
        """The characters are the same everywhere, the bytes on the wire are not."""
        turns = rotation.Rotation(self)
        for encoding, codec, text in (
                ("UTF8", "utf-8", "ünï 'quoted' \"ß\" 表\\"),
                ("LATIN1", "latin-1", "ünï ''\\ \"ß\""),
                ("SJIS", "shift_jis", "表 ソ 能 \" \\"), ("WIN1251", "cp1251", "Ж 'я' \\"),
                ("EUC_JP", "euc_jp", "表 能"), ("BIG5", "big5", "許 功 蓋")):
            value = "'" + text.replace("'", "''") + "'"
            name = '"' + text.replace('"', '""') + '"'
            with self.subTest(encoding), self.twin(turns) as twin:
                twin.ask(f"SET client_encoding = '{encoding}'")
                for sql in (f"SET app.x = {value}", f"SET application_name = {value}",
                            f"SET search_path = {name}, public", f"SET search_path = {value}",
                            f"SELECT set_config('app.y', {value}, false)", "SHOW app.x",
                            "SHOW application_name", "SHOW search_path", "SHOW app.y",
                            "SELECT encode(convert_to(current_setting('app.x'), 'UTF8'), 'hex')"):
                    twin.ask(sql.encode(codec))
                    twin.ask("SHOW app.x")
                twin.look()
                twin.ask("SET client_encoding = 'UTF8'")
                twin.look()

    def test_value_that_the_clients_encoding_does_not_have(self):
        turns = rotation.Rotation(self)
        twin, other = self.twin(turns), self.twin(turns)
        for sql in ("SET app.x = '表'", "SET search_path = \"表\", users", "SET NAMES 'LATIN1'",
                    "SELECT 1", "SHOW app.x", "SELECT service FROM who", "SELECT 1/0",
                    "SET app.y = 'more'", "SET NAMES 'UTF8'", "SHOW app.x", "SHOW search_path"):
            twin.ask(sql)
            other.look()
        twin.look()

    def test_name_of_other_bytes_stays_with_nobody(self):
        """Two characters in the client's encoding, one where its bytes are the server's."""
        turns = rotation.Rotation(self)
        client = self.wire()
        client.ask("SET NAMES 'LATIN1'")
        for sql in (b"SET \"\xc3\xa4.x\" = 'secret'",
                    b"SELECT set_config('\xc3\xa4.x', 'secret', false)"):
            self.assertEqual(wire.errors_of(client.ask(sql)), [])
            seen = self.wire().rows(r"SELECT current_setting(U&'\00C3\00A4.x', true)")
            self.assertIn(seen, ([[""]], [[None]]))
            turns.turn()

    def test_startup_in_another_encoding(self):
        turns = rotation.Rotation(self)
        for encoding, codec in (("LATIN1", "latin-1"), ("SJIS", "shift_jis")):
            with self.subTest(encoding), self.twin(turns, client_encoding=encoding) as twin:
                for sql in ("SET app.x = 'é'" if encoding == "LATIN1" else "SET app.x = '表'",
                            "SHOW app.x", "RESET client_encoding", "SET NAMES 'UTF8'", "SHOW app.x",
                            "RESET ALL", "SHOW client_encoding", "SHOW app.x"):
                    twin.ask(sql.encode(codec))
                twin.look()

    def test_values_that_need_quoting(self):
        turns = rotation.Rotation(self)
        values = ["", " ", "'", "''", '"', "\\", "\\'", "$1", "$$", "{{schema}}", "{{tables.who}}",
                  "a,b", "a, b", '"a", b', "a;b", "-- a", "/* a", "\n", "\t\r\n", "E'x'", "%s",
                  "NULL", "default", "DEFAULT", "on", "0", "1e3", "x" * 63, "x" * 64, "\x01",
                  "\x7f"]
        for strings in ("on", "off"):
            with self.twin(turns) as twin:
                twin.ask(f"SET standard_conforming_strings = {strings}")
                for value in values:
                    with self.subTest(value=value, strings=strings):
                        for name in ("app.x", "application_name", "search_path"):
                            twin.run("SELECT set_config($1, $2, false)", [name, value])
                            twin.ask(f"SHOW {name}")
                        twin.look()

    def test_200_settings_of_its_own(self):
        twin = self.twin()
        for first in range(0, 200, 40):
            twin.ask("; ".join(f"SET app.v{n} = 'value {n}'" for n in range(first, first + 40)))
            twin.look()
        for n in range(1, 201):
            twin.ask(f"SHOW app.v{n}")  # 200 is not there
        twin.ask("BEGIN; RESET app.v7; SET app.v8 = 'undone'; ROLLBACK")
        twin.ask("RESET app.v9")
        twin.look()
        twin.ask("RESET ALL")
        twin.look()

    def test_long_values(self):
        twin = self.twin()
        for size in (1_000, 20_000):
            with self.subTest(size):
                text = "'x" * (size // 2)
                twin.ask(f"SET app.long = '{text.replace(chr(39), chr(39) * 2)}'")
                twin.ask("SELECT length(long), md5(long) FROM current_setting('app.long') AS long")
                twin.look()
                path = ", ".join(f"schema_{n}" for n in range(size // 12))
                twin.ask(f"SET search_path = {path}, users")
                twin.ask("SELECT service FROM who")
                twin.look()

    # ---- what the client is told -----------------------------------------------------------

    def test_parameter_status_is_that_of_a_direct_connection(self):
        """Each answer has the same ParameterStatus, and what was told is what holds."""
        turns = rotation.Rotation(self)
        names = {"TimeZone": "'Asia/Tokyo'", "DateStyle": "'German'", "IntervalStyle": "iso_8601",
                 "application_name": "'other'", "client_encoding": "'LATIN1'",
                 "standard_conforming_strings": "off"}
        startup = {"TimeZone": "Europe/Berlin", "application_name": "caller", "DateStyle": "SQL"}
        for begin in ({}, startup):
            for name, value in names.items():
                with self.subTest(name, startup=begin), self.twin(turns, **begin) as twin:
                    told = twin.client.parameters[name]
                    for sql in (f"SET {name} = {value}", "SELECT 1", f"RESET {name}", "SELECT 1",
                                "BEGIN", f"SET {name} = {value}", "ROLLBACK", "SELECT 1",
                                f"BEGIN; SET LOCAL {name} = {value}; COMMIT", "SELECT 1",
                                f"SET {name} = {value}; SELECT 1/0", f"SET {name} TO DEFAULT",
                                f"SET {name} = {value}", "RESET ALL", "SELECT 1",
                                f"SET {name} = {value}", "DISCARD ALL", "SELECT 1"):
                        for one in twin.ask(sql):
                            if one.kind == "S" and one.body.startswith(name.encode() + b"\0"):
                                told = one.body.decode().split("\0")[1]
                        if twin.idle:
                            self.assertEqual(twin.rows(f"SHOW {name}"), [[told]], sql)

    def test_resets_give_what_the_connection_began_with(self):
        turns = rotation.Rotation(self)
        begins = [{}, {"work_mem": "7MB", "TimeZone": "Asia/Tokyo"},
                  {"options": "-c work_mem=7MB", "DateStyle": "German"}]
        for begin in begins:
            for reset in ("RESET ALL", "DISCARD ALL", "RESET work_mem", "RESET app.x",
                          "SET search_path TO DEFAULT", "RESET search_path", "RESET TimeZone",
                          "SET work_mem TO DEFAULT", "SET TIME ZONE DEFAULT",
                          "BEGIN; RESET ALL; COMMIT", "BEGIN; RESET ALL; ROLLBACK",
                          "BEGIN; SAVEPOINT a; RESET ALL; ROLLBACK TO a; COMMIT"):
                with self.subTest(reset, begin=begin), self.twin(turns, **begin) as twin:
                    twin.play("SET work_mem = '9MB'; SET app.x = 'set'; SET search_path = orders; "
                              "SET TimeZone = 'UTC'; SET geqo = off", reset)
                    twin.ask("SELECT service FROM who")

    def test_search_path_of_the_startup(self):
        turns = rotation.Rotation(self)
        for path in ("orders", "orders, public", '"orders"', '"$user", public', ""):
            with self.subTest(path), rotation.Twin(turns, direct={}, search_path=path) as twin:
                twin.play("SELECT service FROM who", "SET search_path = users", "RESET search_path",
                          "SELECT service FROM who", "RESET ALL", "SELECT whose()")

    # ---- what follows a search_path --------------------------------------------------------

    def test_unqualified_names_follow_the_search_path(self):
        twin = self.twin()
        twin.send(wire.parse("s", "SELECT service FROM who"), wire.parse("f", "SELECT whose()"),
                  wire.SYNC)
        for sql in ("SELECT 1", "SET search_path = orders", "SET search_path = users",
                    "SET search_path = 'no such'", "SET search_path = public", "RESET search_path",
                    "BEGIN", "SET search_path = orders", "ROLLBACK", "BEGIN",
                    "SET search_path = orders", "COMMIT", "DISCARD PLANS", "RESET ALL"):
            twin.ask(sql)
            for name in ("s", "f"):
                with self.subTest(sql, name=name):
                    answer = twin.send(wire.bind("", name), wire.describe("P"), wire.execute(),
                                       wire.SYNC)
                    failed = answer[-1].body == b"E"
            if not failed:
                twin.ask("SELECT service, whose() FROM who")

    def test_sql_prepare_follows_the_search_path(self):
        twin = self.twin()
        twin.ask("PREPARE s AS SELECT service FROM who")
        for sql in ("SET search_path = orders", "EXECUTE s", "RESET search_path", "EXECUTE s",
                    "BEGIN", "SET LOCAL search_path = orders", "EXECUTE s", "COMMIT", "EXECUTE s"):
            twin.ask(sql)

    def test_literals_follow_the_settings(self):
        twin = self.twin()
        twin.run("SELECT '01/02/2026'::date, '2026-01-01 12:00'::timestamptz, "
                 "'a\\b', interval '1 2:03'", name="before")
        for sql in ("SET DateStyle = 'German, DMY'", "SET TimeZone = 'Asia/Tokyo'",
                    "SET standard_conforming_strings = off", "SET IntervalStyle = iso_8601"):
            twin.ask(sql)
            twin.send(wire.bind("", "before"), wire.execute(), wire.SYNC)
            twin.run("SELECT '01/02/2026'::date, '2026-01-01 12:00'::timestamptz, 'a\\\\b', "
                     "interval '1 day 2 hours'")
            twin.ask("SELECT '01.02.2026'::date, '2026-01-01 12:00'::timestamptz, 'a\\\\b'")

    # ---- timeouts and the like -------------------------------------------------------------

    def test_short_statement_timeout_harms_nobody(self):
        """Neither the client, whose settings have to be put on each backend, nor the next one."""
        turns = rotation.Rotation(self)
        for milliseconds in (1, 2, 5):
            for name in ("statement_timeout", "lock_timeout",
                         "idle_in_transaction_session_timeout"):
                with self.subTest(name, milliseconds=milliseconds):
                    client = self.wire()
                    client.ask("SET work_mem = '13MB'; SET app.x = 'y'")
                    if name.startswith("idle"):
                        client.ask(f"SET {name} = '1h'")
                    else:
                        client.ask(f"SET {name} = {milliseconds}")
                    for _ in range(10):
                        turns.turn()
                        answer = client.ask("SHOW work_mem")
                        # On a slow machine even this may take longer than that.
                        if wire.sqlstates(answer) != ["57014"]:
                            self.assertEqual(wire.rows_of(answer), [["13MB"]])
                    client.ask(f"SET {name} = 0")
                    turns.turn()
                    self.assertEqual(client.rows(f"SHOW {name}"), [["0"]])
                    self.assertEqual(client.rows("SHOW app.x"), [["y"]])
                    client.close()
        turns.assert_no_backend_was_closed()

    def test_statement_timeout_ends_its_own_clients_statement(self):
        twin = self.twin()
        twin.ask("SET statement_timeout = '50ms'")
        for _ in range(3):
            self.assertEqual(wire.sqlstates(twin.ask("SELECT pg_sleep(30)")), ["57014"])
            self.assertEqual(wire.sqlstates(twin.run("SELECT pg_sleep(30)")), ["57014"])

    def test_lock_timeout_ends_its_own_clients_wait(self):
        with self.temporary_table("x int") as table, self.postgres.connect_as_owner() as owner:
            owner.execute(f"BEGIN; LOCK TABLE users.{table}")
            twin = self.twin()
            twin.ask("SET lock_timeout = '20ms'")
            for _ in range(3):
                answer = twin.ask(f"SELECT * FROM users.{table}")
                self.assertEqual(wire.sqlstates(answer), ["55P03"])
            owner.execute("ROLLBACK")

    def test_defaults_of_transactions(self):
        """Nor do they reach what schemux itself has to ask PostgreSQL."""
        with self.temporary_table("x int") as table:
            twin = self.twin()
            for sql in ("SET default_transaction_isolation = 'serializable'",
                        "SET default_transaction_read_only = on",
                        "SET default_transaction_deferrable = on",
                        f"INSERT INTO users.{table} VALUES (1)", "SHOW transaction_isolation",
                        "BEGIN", "SHOW transaction_deferrable", "SET TRANSACTION READ WRITE",
                        f"INSERT INTO users.{table} VALUES (2)", "SET app.x = 'y'", "COMMIT",
                        "BEGIN READ WRITE; SET default_transaction_read_only = off; COMMIT",
                        f"INSERT INTO users.{table} VALUES (3)", f"TRUNCATE users.{table}",
                        "RESET ALL", f"TABLE users.{table}"):
                with self.subTest(sql):
                    twin.ask(sql)

    def test_settings_of_one_transaction_end_with_it(self):
        """They cannot be reset, nor set elsewhere."""
        twin = self.twin()
        for sql in ("SET TRANSACTION READ ONLY", "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
                    "SET TRANSACTION READ ONLY, DEFERRABLE", "SET transaction_read_only = on",
                    "SELECT set_config('transaction_isolation', 'serializable', false)",
                    "SET LOCAL transaction_deferrable = on"):
            for end in ("COMMIT", "ROLLBACK"):
                with self.subTest(sql, end=end):
                    twin.play("BEGIN", sql, "SET app.x = 'y'", end, f"BEGIN; {sql}; {end}",
                              f"{sql}; SET app.x = 'z'")

    # ---- who a client is -------------------------------------------------------------------

    def test_role_and_settings_together(self):
        twin = self.twin()
        twin.play("SET ROLE app_reader; SET work_mem = '13MB'", "SELECT 1", "SET app.x = 'y'",
                  "SELECT service FROM who", "RESET work_mem", "SET ROLE NONE", "RESET ALL")

    def test_role_that_is_dropped_meanwhile(self):
        """The one client gets an error each time, until it takes another role; nobody else does."""
        self.postgres.run("CREATE ROLE passing; GRANT passing TO app")
        turns = rotation.Rotation(self)
        client, other = self.wire(), self.wire()
        client.ask("SET work_mem = '13MB'; SET ROLE passing")
        other.ask("SET work_mem = '14MB'")
        self.assertEqual(client.rows("SELECT current_user"), [["passing"]])
        self.postgres.run("DROP ROLE passing")
        for _ in range(4):
            turns.turn()
            for text in ("SELECT current_user", "BEGIN"):
                answer = client.ask(text)
                self.assertEqual(len(wire.errors_of(answer)), 1, answer)
                self.assertEqual(answer[-1].body, b"I")
            client.send(*statements("SELECT 1", "SELECT 2"), wire.SYNC)
            self.assertEqual(len(wire.errors_of(client.read_ready())), 1)
            self.assertEqual(other.rows("SELECT current_user, current_setting('work_mem')"),
                             [["app", "14MB"]])
            self.assertEqual(self.wire().rows(CLEAN_SQL), CLEAN)

    def test_setting_of_a_mightier_role_harms_nobody(self):
        """Whoever comes next may not even RESET it."""
        self.postgres.run("CREATE ROLE mighty SUPERUSER; GRANT mighty TO app")
        self.addCleanup(self.postgres.run, "DROP ROLE mighty")
        turns = rotation.Rotation(self)
        client, other = self.wire(), self.wire()
        other.ask("SET work_mem = '14MB'")
        client.ask("BEGIN")
        for text in ("SET ROLE mighty", "SET log_min_duration_statement = 70000", "RESET ROLE",
                     "COMMIT"):
            self.assertEqual(wire.errors_of(client.ask(text)), [])
        for _ in range(3):
            self.assertEqual(other.rows("SELECT current_user, current_setting('work_mem')"),
                             [["app", "14MB"]])
            self.assertEqual(self.wire().rows(CLEAN_SQL), CLEAN)
            turns.turn()
        # The client itself may not set it either, E58.
        refused = [error["C"] for error in wire.errors_of(client.ask("SELECT 1"))]
        self.assertEqual(refused, ["42501"])

    def test_schema_that_is_dropped_meanwhile(self):
        self.postgres.run("CREATE SCHEMA passing AUTHORIZATION app")
        twin = self.twin()
        twin.ask("SET search_path = passing, users")
        twin.rows("SELECT service FROM who")
        self.postgres.run("DROP SCHEMA passing")
        for _ in range(3):
            twin.rows("SELECT service FROM who")
            twin.look()

    def test_refused_set_changes_nothing(self):
        twin = self.twin()
        twin.ask("SET work_mem = '13MB'; SET TimeZone = 'Asia/Tokyo'")
        for sql in ("SET work_mem = 'lots'", "SET work_mem = '14MB'; SET TimeZone = 'Mars'",
                    "SELECT set_config('work_mem', '15MB', false), set_config('geqo', '?', false)",
                    "BEGIN; SET work_mem = '16MB'; SET geqo = 7", "ROLLBACK", "SET ROLE postgres",
                    "SET SESSION AUTHORIZATION postgres", "SET log_statement = 'all'"):
            answer = twin.ask(sql)
            if sql != "ROLLBACK":
                self.assertEqual(len(wire.errors_of(answer)), 1, sql)
            if answer[-1].body == b"I":
                twin.look()

    # ---- clients that go away --------------------------------------------------------------

    def test_client_that_goes_right_behind_its_set(self):
        turns = rotation.Rotation(self)
        sets = ("SET work_mem = '13MB'", "SET app.x = 'secret'", "SET ROLE app_reader",
                "SET search_path = orders", "SELECT set_config('app.x', 'secret', false)",
                "DO $$ BEGIN PERFORM set_config('work_mem', '13MB', false); END $$",
                "BEGIN; SET work_mem = '13MB'; COMMIT", "SET statement_timeout = 1",
                "SET client_encoding = 'SJIS'", "SET session_replication_role = replica")
        for text in sets:
            for how in ("terminate", "close", "vanish", "extended", "extended vanish"):
                with self.subTest(text, how=how):
                    client = self.wire()
                    client.rows("SELECT 1")
                    parts = ([wire.query(text)] if "extended" not in how
                             else [*statements(text), wire.SYNC])
                    client.send(*parts, *([] if "vanish" in how else [wire.TERMINATE]))
                    client.vanish() if "vanish" in how else client.close()
                    self.assertEqual(self.wire().rows(CLEAN_SQL), CLEAN)
                    turns.turn()

    def test_client_that_goes_inside_its_transaction(self):
        turns = rotation.Rotation(self)
        for how in ("terminate", "vanish"):
            with self.subTest(how):
                client = self.wire()
                client.ask("SET work_mem = '13MB'")
                client.ask("BEGIN; SET app.x = 'secret'; SET ROLE app_reader")
                client.send(*([wire.TERMINATE] if how == "terminate" else []))
                client.vanish()
                self.assertEqual(self.wire().rows(CLEAN_SQL), CLEAN)
                turns.turn()

    # ---- pipelines -------------------------------------------------------------------------

    def test_pipeline_behind_a_set(self):
        """In one write; PostgreSQL says what the answers are."""
        twin = self.twin()
        texts = ["SET work_mem = '13MB'", "SHOW work_mem", "SET search_path = orders",
                 "SELECT service FROM who", "SET work_mem = 'lots'", "BEGIN", "SET app.x = 'y'",
                 "SHOW app.x", "ROLLBACK", "SHOW app.x", "RESET search_path",
                 "SELECT service FROM who", "SELECT 1/0", "SET TimeZone = 'Asia/Tokyo'",
                 "SELECT '2026-01-01 00:00+00'::timestamptz", "RESET ALL", "SHOW work_mem"] * 5
        twin.send(*[wire.query(text) for text in texts], readies=len(texts))
        twin.look()
        twin.send(*[part for text in texts for part in [*statements(text), wire.SYNC]],
                  readies=len(texts))
        twin.look()
        mixed = [part for number, text in enumerate(texts) for part in
                 ([wire.query(text)] if number % 2 else [*statements(text), wire.SYNC])]
        twin.send(*mixed, readies=len(texts))
        twin.look()

    def test_pipelines_of_clients_with_other_settings(self):
        clients = [self.wire() for _ in range(4)]
        for number, client in enumerate(clients):
            client.ask(f"SET app.x = 'of {number}'")
        for _ in range(5):
            for number, client in enumerate(clients):
                client.send(wire.query("SHOW app.x"),
                            wire.query(f"SET app.x = 'of {number}'"),
                            *[part for _ in range(20)
                              for part in [*statements("SHOW app.x"), wire.SYNC]])
            for number, client in enumerate(clients):
                rows = [row for _ in range(22) for row in wire.rows_of(client.read_ready())]
                self.assertEqual(rows, [[f"of {number}"]] * 21)


class SuperuserSettings(harness.Case):
    """What only a superuser may set."""

    login_user = "postgres"

    @classmethod
    def setUpClass(cls):
        cls.config = {**rotation.POOL, "backend": {"dsn": cls.lab.postgres.dsn(user="postgres")}}
        super().setUpClass()

    def test_session_authorization_and_role(self):
        scripts = [
            ["SET SESSION AUTHORIZATION app", "SELECT service FROM who", "SET ROLE app_reader",
             "SET ROLE NONE", "SET SESSION AUTHORIZATION DEFAULT"],
            ["SET SESSION AUTHORIZATION app", "RESET SESSION AUTHORIZATION"],
            ["SET SESSION AUTHORIZATION app", "SET work_mem = '13MB'", "RESET ALL"],
            ["SET SESSION AUTHORIZATION app", "SET ROLE app_reader", "DISCARD ALL"],
            ["SET SESSION AUTHORIZATION app", "SET SESSION AUTHORIZATION secret_app"],
            ["SET ROLE app", "SET SESSION AUTHORIZATION app_reader", "SET ROLE NONE"],
            ["SET ROLE app; SET work_mem = '13MB'; SET search_path = orders", "RESET ROLE"],
            ["BEGIN", "SET SESSION AUTHORIZATION app", "ROLLBACK", "SELECT 1"],
            ["BEGIN", "SET SESSION AUTHORIZATION app", "COMMIT", "SELECT 1"],
            ["BEGIN", "SET LOCAL SESSION AUTHORIZATION app", "COMMIT", "SELECT 1"],
            ["BEGIN; SAVEPOINT a; SET ROLE app; ROLLBACK TO a; SET geqo = off; COMMIT"],
            ["SELECT set_config('session_authorization', 'app', false)", "SELECT 1"],
        ]
        turns = rotation.Rotation(self, user="postgres")
        for script in scripts:
            with self.subTest(script), rotation.Twin(turns) as twin:
                twin.play(*script)
        turns.assert_no_backend_was_closed()

    def test_settings_of_a_superuser(self):
        scripts = [
            ["SET session_replication_role = replica", "RESET session_replication_role"],
            ["SET log_statement = 'all'", "SET log_min_duration_statement = 7", "RESET ALL"],
            ["SET zero_damaged_pages = on", "SET row_security = off", "SET app.x = 'y'"],
            ["SET session_replication_role = replica; SET ROLE app", "SET geqo = off",
             "RESET session_replication_role", "RESET ROLE", "RESET ALL"],
            ["SET SESSION AUTHORIZATION app", "SET log_statement = 'all'", "SET geqo = off"],
            ["SET log_statement = 'ddl'", "SET SESSION AUTHORIZATION app", "RESET log_statement",
             "SHOW log_statement", "RESET SESSION AUTHORIZATION", "RESET log_statement"],
            ["SET allow_system_table_mods = on", "SET temp_file_limit = 77", "DISCARD ALL"],
        ]
        turns = rotation.Rotation(self, user="postgres")
        for script in scripts:
            with self.subTest(script), rotation.Twin(turns) as twin:
                twin.play(*script)

    def test_row_security_follows_the_role(self):
        self.postgres.run("CREATE TABLE users.guarded (owner name, body text);"
                          "ALTER TABLE users.guarded ENABLE ROW LEVEL SECURITY;"
                          "CREATE POLICY own ON users.guarded USING (owner = current_user);"
                          "GRANT ALL ON users.guarded TO PUBLIC;"
                          "GRANT USAGE ON SCHEMA users TO PUBLIC;"
                          "INSERT INTO users.guarded VALUES ('app', 'a'), ('app_reader', 'r')")
        try:
            twin = rotation.Twin(rotation.Rotation(self, user="postgres"))
            for sql in ("SELECT * FROM guarded", "SET ROLE app", "SELECT * FROM guarded",
                        "SET ROLE app_reader", "SELECT * FROM guarded", "SET row_security = off",
                        "SELECT * FROM guarded", "RESET ROLE", "SELECT * FROM guarded",
                        "SET SESSION AUTHORIZATION app", "SELECT * FROM guarded",
                        "SET row_security = on", "SELECT * FROM guarded"):
                with self.subTest(sql):
                    twin.ask(sql)
        finally:
            self.postgres.run("DROP TABLE users.guarded; REVOKE ALL ON SCHEMA users FROM PUBLIC")
