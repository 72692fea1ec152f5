"""Users whose secrets PostgreSQL keeps: auth.query, what it may answer, and what is remembered."""

import base64
import time

import psycopg

import auth_test
import harness
import server
import wire

QUERY = ("SELECT rolname, rolpassword, extract(epoch FROM rolvaliduntil) "
         "FROM pg_catalog.pg_authid WHERE rolname = $1 AND rolcanlogin")
ROLES = """
SET password_encryption = 'scram-sha-256';
CREATE ROLE q_ann LOGIN PASSWORD 'anns word';
CREATE ROLE q_group PASSWORD 'groups word';
CREATE ROLE q_bare LOGIN;
CREATE ROLE q_late LOGIN PASSWORD 'lates word' VALID UNTIL '2001-01-01';
CREATE ROLE q_ever LOGIN PASSWORD 'evers word' VALID UNTIL 'infinity';
CREATE ROLE q_soon LOGIN PASSWORD 'soons word' VALID UNTIL '2100-01-01';
SET password_encryption = 'md5';
CREATE ROLE q_old LOGIN PASSWORD 'olds word';
CREATE ROLE "q ""odd"" \\ 'one'" LOGIN PASSWORD 'odds word';
"""
ROLE_NAMES = ("q_ann", "q_group", "q_bare", "q_late", "q_ever", "q_soon", "q_old",
              "q \"odd\" \\ 'one'")


class QueryCase(harness.Case):
    query = QUERY
    method = "scram-sha-256"
    cache = "30s"

    @classmethod
    def setUpClass(cls):
        cls.lab.postgres.run(ROLES)
        cls.config = {**cls.config, "auth": {
            "method": cls.method, "query": cls.query, "query_cache": cls.cache,
            "query_dsn": cls.lab.postgres.dsn("postgres"),
            "users": [{"name": "carol", "password": "carols word"}]}}
        super().setUpClass()

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        for name in ROLE_NAMES:
            quoted = name.replace('"', '""')
            cls.lab.postgres.run(f'DROP ROLE IF EXISTS "{quoted}"')

    def connect(self, user, password, service="users", **more):
        connection = psycopg.connect(host="127.0.0.1", port=self.schemux.port, user=user,
                                     dbname=service, password=password, autocommit=True, **more)
        self.addCleanup(connection.close)
        return connection

    def refusal(self, user, password, **more):
        with self.assertRaises(psycopg.OperationalError) as caught:
            self.connect(user, password, **more)
        return str(caught.exception)

    def assert_in(self, user, password):
        self.assertEqual(self.connect(user, password).execute("SELECT service FROM who").fetchone(),
                         ("users",))

    def assert_refused(self, user, password):
        self.assertIn(f'password authentication failed for user "{user}"',
                      self.refusal(user, password))


class Roles(QueryCase):
    def test_users_log_in_with_their_passwords_of_postgresql(self):
        self.assert_in("q_ann", "anns word")
        self.assert_in("q_ever", "evers word")
        self.assert_in("q_soon", "soons word")
        self.assert_in("carol", "carols word")
        for user in ("q_ann", "q_ever", "carol"):
            self.assert_refused(user, "wrong")

    def test_cve_2025_2291_a_password_that_is_over_is_none(self):
        """Who may not log in gets the words of a wrong password."""
        for user, password in (("q_late", "lates word"), ("q_group", "groups word"),
                               ("q_bare", "bares word"), ("q_old", "olds word"),
                               ("nobody", "nobodys word")):
            self.assert_refused(user, password)

    def test_a_name_is_never_a_part_of_the_query(self):
        for user in ("q_ann'--", "x' OR rolname = 'q_ann", "q_ann'; DROP ROLE q_soon; --", "$1",
                     "q_ann\\", 'q_ann"', "%s"):
            self.assert_refused(user, "anns word")
        self.assert_in("q_soon", "soons word")

    def test_a_changed_password_holds_at_the_second_try_at_the_latest(self):
        self.assert_in("q_ann", "anns word")
        self.postgres.run("SET password_encryption = 'scram-sha-256';"
                          "ALTER ROLE q_ann PASSWORD 'new word'")
        self.addCleanup(self.schemux.reload)
        self.addCleanup(self.postgres.run, "SET password_encryption = 'scram-sha-256';"
                                           "ALTER ROLE q_ann PASSWORD 'anns word'")

        def gets_in():
            try:
                self.connect("q_ann", "new word")
            except psycopg.OperationalError:
                return False
            return True

        # One answer is doubted once a second.
        self.wait_until(gets_in, "the new password", seconds=5)
        self.assert_refused("q_ann", "anns word")

    def test_settings_of_clients_never_get_to_its_connection(self):
        """CVE-2025-12819: the search_path of somebody who has proved nothing."""
        self.assert_refused("q_ann", "wrong")
        client = self.raw()
        client.send(wire.startup({"user": "q_ann", "database": "users", "search_path": "evil",
                                  "options": "-c role=nobody", "application_name": "evil"}))
        self.assertEqual(client.read().kind, "R")
        rows = self.postgres.run("SELECT application_name FROM pg_stat_activity "
                                 "WHERE query LIKE '%rolvaliduntil%' AND pid <> pg_backend_pid()")
        self.assertEqual(rows, [("schemux auth_query",)])

    def test_a_lost_connection_costs_no_login(self):
        self.assert_in("q_ann", "anns word")
        self.postgres.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                          "WHERE application_name = 'schemux auth_query'")
        self.assert_in("q_soon", "soons word")
        self.assert_in("q_ever", "evers word")

    def test_one_connection_for_all_of_them(self):
        for number in range(30):
            self.assert_refused(f"nobody{number}", "x")
        rows = self.postgres.run("SELECT count(*) FROM pg_stat_activity "
                                 "WHERE application_name = 'schemux auth_query'")
        self.assertEqual(rows, [(1,)])


class Md5Roles(QueryCase):
    method = "md5"

    def test_hashes_and_verifiers_serve_side_by_side(self):
        for user, password in (("q_old", "olds word"), ("q_ann", "anns word"),
                               ("q \"odd\" \\ 'one'", "odds word")):
            self.assert_in(user, password)
            self.assert_refused(user, "wrong")


    def test_who_does_not_exist_is_asked_as_the_others_are(self):
        self.assert_in("q_old", "olds word")
        client = self.raw()
        client.send(wire.startup({"user": "nobody_else", "database": "users"}))
        self.assertEqual(client.read().body[:4], b"\0\0\0\5")


class ManyIterations(QueryCase):
    """Verifiers with another number of iterations than PostgreSQL's usual one."""

    iterations = 9_000

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        salt = base64.b64encode(b"0123456789abcdef").decode()
        key = base64.b64encode(bytes(32)).decode()
        cls.lab.postgres.run(
            f"ALTER ROLE q_ann PASSWORD 'SCRAM-SHA-256${cls.iterations}:{salt}${key}:{key}'")

    def test_who_does_not_exist_has_as_many(self):
        for user in ("q_ann", "nobody", "q_bare"):
            challenge = auth_test.challenge_for(self.schemux.port, user)
            self.assertEqual(int(challenge["i"]), self.iterations, user)


class Answers(QueryCase):
    """Whatever the query answers; the function is PostgreSQL's, so that each test can change it."""

    query = "SELECT * FROM public.lookup($1)"
    cache = "0"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.verifier, = cls.lab.postgres.run(
            "SELECT rolpassword FROM pg_authid WHERE rolname = 'q_ann'")[0]

    def answer(self, columns, body):
        self.postgres.run("DROP FUNCTION IF EXISTS public.lookup(text); "
                          f"CREATE FUNCTION public.lookup(name text) RETURNS TABLE ({columns}) "
                          f"LANGUAGE plpgsql AS $$ BEGIN {body} END $$")
        self.addCleanup(self.postgres.run, "DROP FUNCTION IF EXISTS public.lookup(text)")

    def test_odd_answers_refuse_the_login_and_nothing_else(self):
        rows = f"RETURN QUERY SELECT name, '{self.verifier}'::text"
        two, three = "a text, b text", "a text, b text, c text"
        for columns, body in ((two, f"{rows} UNION ALL SELECT name, 'x';"),
                              ("a text", "RETURN QUERY SELECT name;"),
                              ("a text, b text, c text, d text", f"{rows}, 'x', 'y';"),
                              (two, f"RETURN QUERY SELECT 'q_ever'::text, '{self.verifier}';"),
                              (two, f"RETURN QUERY SELECT NULL::text, '{self.verifier}'::text;"),
                              (two, "RETURN QUERY SELECT name, 'SCRAM-SHA-256$4096:x'::text;"),
                              (two, "RETURN QUERY SELECT name, ''::text;"),
                              (three, f"{rows}, 'soon'::text;"), (three, f"{rows}, ''::text;"),
                              (two, "RAISE EXCEPTION 'out of order';")):
            self.answer(columns, body)
            text = self.refusal("q_ann", "anns word")
            self.assertIn("password cannot be looked up now", text, body)
            self.assertNotIn("SCRAM", text)
            self.assert_in("carol", "carols word")
        self.assertGreater(self.schemux.log_count("auth_query_failed"), 0)
        self.assertNotIn(self.verifier[:40], self.schemux.log.read_text())

    def test_no_row_and_no_secret_are_wrong_passwords(self):
        for body in ("RETURN;", "RETURN QUERY SELECT name, NULL::text;"):
            self.answer("a text, b text", body)
            self.assert_refused("q_ann", "anns word")

    def test_the_third_column_is_the_secrets_end(self):
        for end, good in ((str(time.time() + 60), True), ("Infinity", True), ("1e300", True),
                          (str(time.time() - 1), False), ("0", False), ("-5", False),
                          ("-Infinity", False)):
            self.answer("a text, b text, c text",
                        f"RETURN QUERY SELECT name, '{self.verifier}'::text, '{end}'::text;")
            (self.assert_in if good else self.assert_refused)("q_ann", "anns word")
        self.answer("a text, b text, c text",
                    f"RETURN QUERY SELECT name, '{self.verifier}'::text, NULL::text;")
        self.assert_in("q_ann", "anns word")

    def test_a_password_serves_too(self):
        self.answer("a text, b text", "RETURN QUERY SELECT name, 'plain word'::text;")
        self.assert_in("q_ann", "plain word")
        self.assert_refused("q_ann", "anns word")

    def test_one_that_hangs_is_given_up_and_holds_nobody_else_up(self):
        self.answer("a text, b text", "PERFORM pg_sleep(60); RETURN;")
        asking = harness.Background(lambda: self.refusal("q_ann", "anns word"))
        self.wait_until(lambda: self.postgres.run(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'")[0][0] == 1,
            "the query to hang")
        self.assert_in("carol", "carols word")
        self.assertIn("cannot be looked up now", asking.result())

    def test_a_client_that_goes_meanwhile_is_missed_by_nobody(self):
        self.answer("a text, b text",
                    f"PERFORM pg_sleep(0.3); RETURN QUERY SELECT name, '{self.verifier}'::text;")
        for _ in range(3):
            client = self.raw()
            client.send(wire.startup({"user": "q_ann", "database": "users"}))
            client.close()
        self.assert_in("q_ann", "anns word")


class Unreachable(QueryCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.schemux.config["auth"]["query_dsn"] = \
            f"host=127.0.0.1 port={server.free_port()} dbname=app user=postgres"
        cls.schemux.write_config()
        cls.schemux.reload()

    def test_users_of_the_configuration_log_in_all_the_same(self):
        for user in ("q_ann", "nobody"):
            text = self.refusal(user, "anns word")
            self.assertIn("the user's password cannot be looked up now", text)
        self.assert_in("carol", "carols word")
        self.assertGreater(self.schemux.log_count("auth_query_failed"), 0)
        self.assertGreaterEqual(
            self.schemux.metric("schemux_auth_lookups_total", result="failed"), 2)


class Remembered(QueryCase):
    """How often PostgreSQL is asked."""

    query = "SELECT * FROM public.count_and_look($1)"

    @classmethod
    def setUpClass(cls):
        cls.lab.postgres.run(
            "CREATE TABLE public.asked (name text); "
            "CREATE FUNCTION public.count_and_look(asked_name text) RETURNS TABLE (a text, b text) "
            "LANGUAGE sql AS $$ INSERT INTO public.asked VALUES (asked_name);"
            "SELECT rolname::text, rolpassword FROM pg_authid WHERE rolname = asked_name $$")
        super().setUpClass()

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        cls.lab.postgres.run("DROP FUNCTION public.count_and_look; DROP TABLE public.asked")

    def asked(self, name):
        return self.postgres.run("SELECT count(*) FROM public.asked WHERE name = %s",
                                 (name,))[0][0]

    def test_an_answer_serves_many_logins(self):
        for _ in range(5):
            self.assert_in("q_ever", "evers word")
        self.assertEqual(self.asked("q_ever"), 1)
        self.assertGreater(self.schemux.metric("schemux_auth_lookups_total", result="ok"), 0)

    def test_that_there_is_no_such_user_is_remembered_too(self):
        for _ in range(5):
            client = self.raw()
            client.send(wire.startup({"user": "no_such", "database": "users"}))
            self.assertEqual(client.read().kind, "R")
        self.assertEqual(self.asked("no_such"), 1)

    def test_a_reload_forgets(self):
        self.assert_in("q_soon", "soons word")
        self.schemux.reload()
        self.assert_in("q_soon", "soons word")
        self.assertEqual(self.asked("q_soon"), 2)
