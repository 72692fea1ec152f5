"""Settings travel with the client in transaction mode: on whatever backend, it finds them as on a
direct connection, and nobody else does. Each spelling, each outcome of a transaction."""

import random

import harness
import rotation
import wire

STARTUP = {"TimeZone": "Europe/Berlin", "DateStyle": "SQL, DMY", "application_name": "caller",
           "options": r"-c work_mem=7MB -c app.started=with\ it --lock-timeout=9s"}

# Each is a client of its own. Behind every text all settings are compared with PostgreSQL's.
SPELLINGS = [
    ["SET work_mem = '13MB'", "SET work_mem TO 14000", "SET work_mem TO DEFAULT"],
    ["SET SESSION work_mem TO '13MB'", "RESET work_mem", "SET SESSION work_mem = DEFAULT"],
    ["sEt /* a /* nested */ comment */ WORK_MEM\n= '13MB' -- behind it\n;", 'RESET "work_mem"'],
    ["SET TimeZone = 'Asia/Tokyo'", "SET TIME ZONE 'Europe/Paris'", "SET TIME ZONE LOCAL"],
    ["SET TIME ZONE 3", "SET TIME ZONE -3.5", "SET TIME ZONE DEFAULT", "SET TIME ZONE 'PST8PDT'"],
    ["SET TIME ZONE INTERVAL '-08:30' HOUR TO MINUTE", "RESET TIME ZONE"],
    ["SET TIME ZONE '<+03>-03'", "SET SESSION TIME ZONE 'UTC'", "RESET TimeZone"],
    ["SET NAMES 'LATIN1'", "SET NAMES DEFAULT", "SET NAMES 'SJIS'", "RESET client_encoding"],
    ["SET client_encoding = 'latin1'", "SET client_encoding TO 'UTF-8'"],
    ["SET ROLE app_reader", "SET ROLE NONE", "SET ROLE 'app_reader'", "RESET ROLE"],
    ["SET role = app_reader", "SET role TO none", "SET SESSION ROLE app_reader", "RESET role"],
    ["SET SESSION AUTHORIZATION app", "SET SESSION AUTHORIZATION DEFAULT"],
    ["SET SESSION AUTHORIZATION 'app'", "SET ROLE app_reader", "RESET SESSION AUTHORIZATION"],
    ["SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE",
     "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY, DEFERRABLE", "BEGIN", "COMMIT",
     "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE, NOT DEFERRABLE"],
    ["SET default_transaction_isolation = serializable", "SET default_transaction_read_only = on",
     "SET default_transaction_deferrable = on", "BEGIN; SELECT 1", "COMMIT",
     "RESET default_transaction_read_only"],
    ["SET SCHEMA 'orders'", "SET SCHEMA 'no such'", "RESET search_path"],
    ["SET search_path = orders, public", "SET search_path TO orders", "SET search_path TO DEFAULT"],
    ["""SET search_path TO "$user", 'we ird', "quo""ted", 'x,y', public""", "RESET search_path"],
    ["SET search_path = ''", "SET search_path TO ''''", 'SET search_path = "UPPER", lower'],
    ["SET XML OPTION DOCUMENT", "SET XML OPTION CONTENT"],
    ["SET DateStyle = 'German'", "SET datestyle TO ymd", "SET DateStyle = ISO, DMY",
     "RESET DateStyle"],
    ["SET IntervalStyle = iso_8601", "SET extra_float_digits = 3", "SET bytea_output = escape"],
    ["SET enable_seqscan = off", "SET enable_seqscan TO 'YES'", "SET geqo_effort = 7",
     "SET seq_page_cost = 1.75", "SET random_page_cost TO 1e2"],
    ["SET app.x = 'value'", "SET app.x TO 17", "SET app.y = 'a', 'b'", "RESET app.x"],
    ["SET app.x = ''", "SET app.x TO DEFAULT"],
    ['SET "App.X" = $$dollars$$', r"SET app.e = E'tab\t, \'quote\', \\ and \u00e9'",
     "SET app.u = U&'\\00e9t\\00e9'"],
    ["SET standard_conforming_strings = off", r"SET app.x = 'a\\b'",
     "SET standard_conforming_strings = on", r"SET app.y = 'a\\b'"],
    ["SET backslash_quote = on", "SET escape_string_warning = off", "SET array_nulls = off",
     "SET transform_null_equals = on", "SET quote_all_identifiers = on"],
    ["SET row_security = off", "RESET row_security"],
    ["SET plpgsql.variable_conflict = use_column", "RESET ALL"],
    ["SET work_mem = '9MB'", "SET app.x = 'y'", "SET TimeZone = 'UTC'", "RESET ALL"],
    ["SET work_mem = '9MB'", "SET app.x = 'y'", "SET ROLE app_reader", "DISCARD ALL"],
    ["SET search_path = orders", "SET lock_timeout = '3s'", "RESET ALL", "SET lock_timeout = 0"],
    ["SET TimeZone = 'Asia/Tokyo'; SET DateStyle = 'German'; SELECT 1; SET app.x = 'y'"],
    ["SET application_name = 'other'", "SET application_name = 'with ''quotes'' and \"more\"'",
     "SET application_name = ''", "RESET application_name"],
    ["SET client_min_messages = debug1", "RESET client_min_messages"],
    ["SET temp_tablespaces = ''", "SET default_tablespace = 'pg_default'"],
    ["SET local_preload_libraries = 'x'", "SET session_preload_libraries = 'x'"],
]

FUNCTIONS = [
    ["SELECT set_config('work_mem', '13MB', false)", "SELECT set_config('work_mem', NULL, false)"],
    ["SELECT pg_catalog.set_config('app.x', 'it''s', 'f'), set_config('app.z', 'q', false)"],
    ["SELECT set_config('search_path', 'orders, public', false)", "SELECT service FROM who"],
    ["SELECT set_config('work_mem', '13MB', true)"],
    ["BEGIN", "SELECT set_config('work_mem', '13MB', true)", "COMMIT"],
    ["SELECT set_config('role', 'app_reader', false)", "SELECT set_config('role', 'none', false)"],
    ["SELECT set_config(name, '77', false) FROM (VALUES ('geqo_threshold'), ('app.n')) AS t(name)"],
    ["WITH done AS (SELECT set_config('TimeZone', 'Asia/Tokyo', false)) SELECT * FROM done"],
    ["VALUES (set_config('work_mem', '13MB', false))"],
    ["EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) "
     "SELECT set_config('work_mem', '13MB', false) FROM generate_series(1, 1)"],
    ["COPY (SELECT set_config('work_mem', '13MB', false)) TO STDOUT"],
    ["UPDATE pg_settings SET setting = '13MB' WHERE name = 'work_mem'"],
    ["DO $$ BEGIN PERFORM set_config('work_mem', '13MB', false); END $$", "RESET work_mem"],
    ["DO $$ BEGIN SET TimeZone = 'Asia/Tokyo'; EXECUTE 'SET work_mem = ''12MB'''; END $$"],
    ["DO $$ BEGIN SET search_path = orders; END $$", "SELECT service FROM who"],
    ["DO $$ BEGIN SET LOCAL work_mem = '13MB'; END $$"],
    ["DO $$ BEGIN SET work_mem = '13MB'; RAISE 'undone'; END $$"],
    ["DO $$ BEGIN BEGIN SET work_mem = '13MB'; RAISE 'undone'; EXCEPTION WHEN OTHERS THEN "
     "SET geqo = off; END; END $$"],
    ["DO $$ BEGIN SET work_mem = '13MB'; COMMIT; SET work_mem = '14MB'; ROLLBACK; END $$"],
    ["SELECT change_setting('work_mem', '13MB')", "SELECT change_setting('TimeZone', 'UTC')"],
    ["SELECT orders.change_setting('search_path', 'orders')", "SELECT whose()"],
    ["SELECT change_setting('role', 'app_reader')", "SELECT current_user"],
    ["PREPARE s (text, text) AS SELECT set_config($1, $2, false)", "EXECUTE s('work_mem', '13MB')",
     "EXECUTE s('app.x', 'y')", "DEALLOCATE s"],
]

TRANSACTIONS = [
    ["BEGIN", "SET work_mem = '13MB'", "COMMIT", "SHOW work_mem"],
    ["BEGIN", "SET work_mem = '13MB'", "SET app.x = 'y'", "ROLLBACK", "SHOW work_mem"],
    ["BEGIN", "SET work_mem = '13MB'", "SELECT 1/0", "COMMIT", "SHOW work_mem"],
    ["SET work_mem = '5MB'", "BEGIN", "SET work_mem = '13MB'", "ROLLBACK", "RESET work_mem"],
    ["SET work_mem = '5MB'", "BEGIN", "RESET work_mem", "ROLLBACK"],
    ["SET work_mem = '5MB'", "BEGIN", "RESET ALL", "COMMIT"],
    ["SET work_mem = '5MB'", "SET app.x = 'y'", "BEGIN", "RESET ALL", "ROLLBACK"],
    ["BEGIN", "SET work_mem = '5MB'", "SAVEPOINT a", "SET work_mem = '6MB'", "ROLLBACK TO a",
     "COMMIT"],
    ["BEGIN", "SAVEPOINT a", "SET work_mem = '6MB'", "SET TimeZone = 'UTC'", "SELECT 1/0",
     "ROLLBACK TO a", "SET geqo = off", "COMMIT"],
    ["BEGIN", "SAVEPOINT a", "SET work_mem = '6MB'", "RELEASE a", "COMMIT"],
    ["BEGIN", "SAVEPOINT a", "SET work_mem = '6MB'", "RELEASE a", "ROLLBACK"],
    ["BEGIN", "SAVEPOINT a", "SET ROLE app_reader", "ROLLBACK TO a", "COMMIT"],
    ["BEGIN", "SET ROLE app_reader", "SET work_mem = '6MB'", "COMMIT", "SELECT current_user"],
    ["BEGIN", "SET LOCAL work_mem = '13MB'", "COMMIT"],
    ["BEGIN", "SET work_mem = '5MB'", "SET LOCAL work_mem = '13MB'", "COMMIT", "SHOW work_mem"],
    ["BEGIN", "SET LOCAL work_mem = '13MB'", "SET work_mem = '5MB'", "COMMIT", "SHOW work_mem"],
    ["SET LOCAL work_mem = '13MB'", "SET LOCAL ROLE app_reader", "SET LOCAL TIME ZONE 'UTC'"],
    ["BEGIN", "SET LOCAL ROLE app_reader", "SET LOCAL search_path = orders", "COMMIT"],
    ["SET search_path = orders", "BEGIN", "SET LOCAL search_path = public", "COMMIT"],
    ["BEGIN", "SET work_mem = '5MB'", "COMMIT AND CHAIN", "SET work_mem = '6MB'",
     "ROLLBACK AND CHAIN", "SET geqo = off", "COMMIT"],
    ["BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY", "COMMIT"],
    ["BEGIN", "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", "SET transaction_read_only = on",
     "COMMIT"],
    ["SET work_mem = '5MB'; SELECT 1/0; SET work_mem = '6MB'", "SHOW work_mem"],
    ["SET work_mem = '5MB'; COMMIT; SET work_mem = '6MB'; SELECT 1/0", "SHOW work_mem"],
    ["SET work_mem = '5MB'; BEGIN; SET geqo = off", "ROLLBACK"],
    ["BEGIN; SET work_mem = '5MB'; COMMIT; BEGIN; SET geqo = off; ROLLBACK"],
    ["SET work_mem = 'lots'", "SET no_such = 1", "SET shared_buffers = '1GB'", "SET TimeZone = 'X'",
     "SET client_encoding = 'klingon'", "SET ROLE nobody_there", "SET work_mem = 1, 2",
     "SET search_path = 'unclosed", "SET app.1 = 2", "SELECT set_config('work_mem', '-1', false)"],
    ["SET work_mem = '5MB'", "SET work_mem = 'lots'", "SELECT set_config('geqo', '?', false)"],
]


# What random clients change, each with the value that a connection begins with.
FIRST = {"work_mem": "7MB", "TimeZone": "Europe/Berlin", "geqo": "on",
         "search_path": '"users", public'}
VALUES = {"work_mem": ["8MB", "9MB", "10MB"], "TimeZone": ["UTC", "Asia/Tokyo"],
          "geqo": ["off", "on"],
          "search_path": ["orders", "users", '"no such", orders']}


class RandomClient:
    """Knows what its settings are, changes them at random and looks."""

    def __init__(self, case, number):
        self.case = case
        self.choice = random.Random(number)
        self.begin()

    def begin(self):
        self.client = self.case.wire(
            "users", TimeZone=FIRST["TimeZone"],
            options=f"-c work_mem={FIRST['work_mem']}")
        self.settings = dict(FIRST)
        self.told = []

    def change(self):
        """A text that changes something, and what it changes."""
        name = self.choice.choice(list(FIRST))
        if self.choice.random() < 0.2:
            return f"RESET {name}", {name: FIRST[name]}
        if self.choice.random() < 0.05:
            return "RESET ALL", FIRST
        value = self.choice.choice(VALUES[name])
        quoted = value.replace("'", "''")
        if self.choice.random() < 0.5 or not value:
            return f"SELECT set_config('{name}', '{quoted}', false)", {name: value}
        return (f"SET search_path = {value}" if name == "search_path" else
                f"SET {name} = '{quoted}'"), {name: value}

    def step(self):
        text, changed = self.change()
        more, changed_more = self.change()
        after = {**self.settings, **changed}
        way = self.choice.randrange(8)
        self.told = [*self.told[-4:], (way, text, more)]
        if way == 0:
            self.client.rows(f"BEGIN; {text}; ROLLBACK")
        elif way == 1:
            self.client.rows("BEGIN")
            self.client.rows(text)
            self.look(after)
            self.client.ask("SELECT 1/0")
            self.client.rows("COMMIT")
        elif way == 2:
            self.client.rows("BEGIN")
            self.client.rows(text)
            self.client.rows(f"SAVEPOINT a; {more}; ROLLBACK TO a")
            self.client.rows("COMMIT")
            self.settings = after
        elif way == 3:
            parts = [part for one in (text, more) for part in
                     (wire.parse("", one), wire.bind(), wire.execute(), wire.SYNC)]
            self.client.send(*parts)
            for _ in range(2):
                wire.rows_of(self.client.read_ready())
            self.settings = {**after, **changed_more}
        elif way == 4 and self.choice.random() < 0.3:
            self.client.send(wire.query(text), *self.choice.choice([[], [wire.TERMINATE]]))
            self.client.vanish()
            self.begin()
        else:
            self.client.rows(text)
            self.settings = after
        self.look(self.settings)

    def look(self, settings):
        columns = ", ".join(f"current_setting('{name}')" for name in settings)
        self.case.assertEqual(self.client.rows(f"SELECT {columns}"), [list(settings.values())],
                              self.told)

    def play(self, steps):
        for _ in range(steps):
            self.step()


class Settings(harness.Case):
    config = rotation.POOL

    def play_all(self, scripts, **startup):
        turns = rotation.Rotation(self)
        for script in scripts:
            with self.subTest(script=script), rotation.Twin(turns, **startup) as twin:
                twin.play(*script)
        turns.assert_no_backend_was_closed()

    def test_each_spelling(self):
        self.play_all(SPELLINGS)

    def test_each_spelling_beside_settings_of_the_startup(self):
        self.play_all(SPELLINGS, **STARTUP)

    def test_functions_that_set(self):
        self.play_all(FUNCTIONS)

    def test_outcome_of_the_transaction(self):
        self.play_all(TRANSACTIONS)

    def test_outcome_of_the_transaction_beside_settings_of_the_startup(self):
        self.play_all(TRANSACTIONS, **STARTUP)

    def test_extended_protocol(self):
        turns = rotation.Rotation(self)
        for script in SPELLINGS + FUNCTIONS + TRANSACTIONS:
            if any("; " in text for text in script if not text.startswith("DO")):
                continue  # several statements: a syntax error in both
            with self.subTest(script=script), rotation.Twin(turns) as twin:
                for text in script:
                    if twin.run(text)[-1].body != b"E":
                        twin.look()
                twin.ask("ROLLBACK")
                twin.look()

    def test_set_config_of_parameters(self):
        twin = rotation.Twin(rotation.Rotation(self))
        value = "SELECT set_config('work_mem', $1, false)"
        name = "SELECT set_config($1, $2, $3)"
        for sql, parameters in ((value, ["13MB"]), (name, ["work_mem", "14MB", "false"]),
                                (name, ["app.x", "it's $1", "f"]), (name, ["geqo", "off", "true"]),
                                (name, ["search_path", 'orders, "x ""y"', "false"]),
                                (name, ["role", "app_reader", "false"]), (value, ["lots"]),
                                (name, ["role", "none", "false"]), (value, [None])):
            with self.subTest(sql, parameters=parameters):
                twin.run(sql, parameters)
                twin.look()
        twin.send(wire.parse("named", name), wire.SYNC)
        for number in range(6):
            twin.send(wire.bind("", "named", ["app.n", number, "false"]), wire.execute(), wire.SYNC)
            twin.look()

    def test_batch_of_several_settings_ends_with_its_sync(self):
        twin = rotation.Twin(rotation.Rotation(self))

        def batch(*texts):
            return [part for text in texts
                    for part in (wire.parse("", text), wire.bind(), wire.execute())]

        for texts in (["SET work_mem = '13MB'", "SET app.x = 'y'"],
                      ["SET work_mem = '14MB'", "SELECT 1/0", "SET work_mem = '15MB'"],
                      ["BEGIN", "SET work_mem = '16MB'", "COMMIT", "SET geqo = off"],
                      ["BEGIN", "SET work_mem = '17MB'", "ROLLBACK", "SELECT 1"]):
            with self.subTest(texts):
                twin.send(*batch(*texts), wire.SYNC)
                twin.look()

    def test_many_clients_on_two_backends(self):
        values = [{"work_mem": f"{n + 1}MB", "app.x": f"client {n}",
                   "TimeZone": f"<+0{n}>-0{n}"} for n in range(7)]
        clients = [self.wire(service) for service in ("users", "orders", "legacy") * 2]
        clients.append(self.wire("users"))
        for client, settings in zip(clients, values):
            for name, value in settings.items():
                client.rows(f"SET {name} = '{value}'")
        turns = rotation.Rotation(self, service="legacy")
        for round_number in range(12):
            turns.turn()
            for number in range(len(clients)):
                client = clients[(number * (round_number % 5 + 1)) % len(clients)]
                settings = values[clients.index(client)]
                shown = [client.rows(f"SHOW {name}")[0][0] for name in settings]
                self.assertEqual(shown, list(settings.values()))
        turns.assert_no_backend_was_closed()

    def test_random_clients_at_once(self):
        running = [harness.Background(RandomClient(self, number).play, 150) for number in range(10)]
        for one in running:
            one.result(120)

    def test_a_role_of_the_startup_packet_comes_back(self):
        who = "SELECT current_user, current_setting('role'), current_setting('work_mem')"
        turns = rotation.Rotation(self)
        for texts in (
                ("RESET ROLE",), ("SET role TO DEFAULT",), ("RESET SESSION AUTHORIZATION",),
                ("SET SESSION AUTHORIZATION DEFAULT",), ("SET ROLE app", "DISCARD ALL"),
                ("BEGIN", "RESET ROLE", "COMMIT"), ("BEGIN", "RESET ROLE", "ROLLBACK"),
                ("RESET ROLE; SELECT 1",), ("SET ROLE NONE", "RESET ALL"), ("RESET ALL",),
                ("SET ROLE NONE", "RESET work_mem"), ("DISCARD ALL",), ("SET ROLE NONE",),
                ("SET work_mem = '9MB'", "RESET ROLE", "RESET work_mem")):
            with self.subTest(texts):
                twin = rotation.Twin(turns, role="app_reader", work_mem="7MB")
                for text in texts:
                    twin.ask(text)
                    twin.ask(who)
                twin.client.close()
                twin.direct.close()
