"""Services whose role is the client's own: who a backend is, and with what schemux gets in as a
client whose password it never sees."""

import base64
import hashlib
import hmac
import threading

import psycopg

import auth_query_test
import harness
import wire

ROLES = """
SET password_encryption = 'scram-sha-256';
CREATE ROLE cr_ann LOGIN PASSWORD 'anns word';
CREATE ROLE cr_bob LOGIN PASSWORD 'bobs word';
CREATE ROLE cr_cat LOGIN PASSWORD 'cats word';
CREATE ROLE cr_dan LOGIN PASSWORD 'dans word';
CREATE ROLE cr_eve LOGIN;
CREATE ROLE client LOGIN PASSWORD 'clients word';
CREATE ROLE cr_guard LOGIN NOINHERIT;
GRANT cr_ann, cr_bob TO app, cr_guard;
CREATE SCHEMA common;
GRANT ALL ON SCHEMA common TO PUBLIC;
"""
WITHDRAWN = """
DROP SCHEMA common CASCADE;
DROP OWNED BY cr_ann, cr_bob, cr_cat, cr_dan, cr_eve, client, cr_guard;
DROP ROLE cr_ann, cr_bob, cr_cat, cr_dan, cr_eve, client, cr_guard;
"""
SALT = b"another salt, 16"
WHO = "SELECT session_user::text, current_user::text"
OWNER = "SELECT relowner::regrole::text FROM pg_class WHERE relname = %s"
COMMON = {"name": "common", "schema": "common", "role": "client"}


def verifier(password):
    """As PostgreSQL would have made it, but with a salt that it has not."""
    iterations = 4096
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), SALT, iterations)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    parts = [base64.b64encode(part).decode()
             for part in (SALT, stored, hmac.digest(salted, b"Server Key", "sha256"))]
    return f"SCRAM-SHA-256${iterations}:{parts[0]}${parts[1]}:{parts[2]}"


class RoleCase(harness.Case):
    services = [COMMON, {"name": "legacy"}]
    pool = {"max_connections": 4}
    more = {}

    @classmethod
    def setUpClass(cls):
        cls.lab.postgres.run(ROLES)
        cls.addClassCleanup(cls.lab.postgres.run, WITHDRAWN)
        cls.config = {"services": cls.services, "pool": cls.pool, "auth": {
            "method": "scram-sha-256", "query": auth_query_test.QUERY, "query_cache": "0s",
            "query_dsn": cls.lab.postgres.dsn("postgres")}, **cls.more}
        super().setUpClass()

    def connect(self, user, password, service="common", schemux=None, **more):
        where = {"host": "127.0.0.1", "port": (schemux or self.schemux).port, **more}
        connection = psycopg.connect(user=user, dbname=service, password=password, autocommit=True,
                                     **where)
        self.addCleanup(connection.close)
        return connection

    def ann(self, **more):
        return self.connect("cr_ann", "anns word", **more)

    def bob(self, **more):
        return self.connect("cr_bob", "bobs word", **more)

    def refusal(self, user, password, **more):
        with self.assertRaises(psycopg.OperationalError) as caught:
            self.connect(user, password, **more)
        return str(caught.exception)

    def one(self, connection, sql, parameters=None):
        return connection.execute(sql, parameters).fetchone()

    def assert_is(self, connection, user):
        self.assertEqual(self.one(connection, WHO), (user, user))

    def with_users(self, *users, method="scram-sha-256", **changes):
        """A schemux that has these users' secrets from its configuration."""
        return self.start_schemux({"services": self.services, "auth": {
            "method": method, "users": list(users)}, **changes})


class Own(RoleCase):
    """By SCRAM, with what PostgreSQL itself keeps of the passwords."""

    def test_a_session_is_the_role_that_its_client_logged_in_as(self):
        ann, bob = self.ann(), self.bob()
        for _ in range(3):
            self.assert_is(ann, "cr_ann")
            self.assert_is(bob, "cr_bob")
        self.assertEqual(ann.info.parameter_status("session_authorization"), "cr_ann")
        self.assertEqual(self.one(ann, "SHOW schemux.service"), ("common",))
        self.assertIn("password authentication failed", self.refusal("cr_ann", "bobs word"))
        self.assertEqual(self.one(self.ann(service="legacy"), WHO), ("app", "app"))

    def test_no_password_is_anywhere_but_with_the_client(self):
        self.assert_is(self.ann(), "cr_ann")
        # PostgreSQL lets nobody in as her without a proof.
        with self.assertRaises(psycopg.OperationalError):
            self.postgres.connect(user="cr_ann", password="")
        for file in (self.schemux.config_file, self.schemux.log):
            self.assertNotIn("anns word", file.read_text())
            self.assertNotIn("SCRAM-SHA-256$", file.read_text())

    def test_what_a_client_makes_is_its_own(self):
        ann, bob = self.ann(), self.bob()
        ann.execute("CREATE TABLE {{tables.anns}} AS SELECT 1 AS a")
        self.addCleanup(self.postgres.run, "DROP TABLE common.anns")
        self.assertEqual(self.postgres.run(OWNER, ("anns",)), [("cr_ann",)])
        with self.assertRaises(psycopg.errors.InsufficientPrivilege):
            bob.execute("SELECT * FROM {{tables.anns}}")
        for sql in ("SET ROLE cr_ann", "SET SESSION AUTHORIZATION cr_ann"):
            with self.assertRaises(psycopg.errors.InsufficientPrivilege):
                bob.execute(sql)
        self.assertEqual(self.one(ann, "SELECT a FROM {{tables.anns}}"), (1,))

    def test_nobody_has_another_ones_backend_nor_what_is_left_in_it(self):
        pids = {"cr_ann": set(), "cr_bob": set()}
        for _ in range(5):
            ann, bob = self.ann(), self.bob()
            ann.execute("CREATE TEMP TABLE of_ann AS SELECT 1")
            ann.execute("SET app.of_ann = 'hers'")
            with self.assertRaises(psycopg.errors.UndefinedTable):
                bob.execute("SELECT * FROM of_ann")
            with self.assertRaises(psycopg.errors.UndefinedObject):
                bob.execute("SHOW app.of_ann")
            for name, client in (("cr_ann", ann), ("cr_bob", bob)):
                pids[name].add(self.one(client, "SELECT pg_backend_pid()")[0])
            ann.close()
            bob.close()
        self.assertEqual(pids["cr_ann"] & pids["cr_bob"], set())
        self.wait_until(lambda: not self.postgres.run(OWNER, ("of_ann",)), "all of them to be gone")

    def test_a_changed_password_holds_for_who_comes_then(self):
        before = self.ann()
        before.execute("BEGIN")
        held = self.one(before, "SELECT pg_backend_pid()")
        self.postgres.run("SET password_encryption = 'scram-sha-256';"
                          "ALTER ROLE cr_ann PASSWORD 'new word'")
        self.addCleanup(self.postgres.run, "SET password_encryption = 'scram-sha-256';"
                                           "ALTER ROLE cr_ann PASSWORD 'anns word'")
        self.assertEqual(self.one(before, "SELECT pg_backend_pid()"), held)
        # Hers is taken: the new one needs a backend of its own, for which PostgreSQL is asked.
        after = self.connect("cr_ann", "new word")
        self.assert_is(after, "cr_ann")
        self.assertNotEqual(self.one(after, "SELECT pg_backend_pid()"), held)
        before.execute("COMMIT")
        self.assertIn("password authentication failed", self.refusal("cr_ann", "anns word"))

    def test_a_password_that_changed_meanwhile_is_told_and_the_next_proof_helps(self):
        schemux = self.start_schemux(self.config)
        before = self.ann(schemux=schemux)
        self.assert_is(before, "cr_ann")
        self.postgres.run("SET password_encryption = 'scram-sha-256';"
                          "ALTER ROLE cr_ann PASSWORD 'newer word'")
        self.addCleanup(self.postgres.run, "SET password_encryption = 'scram-sha-256';"
                                           "ALTER ROLE cr_ann PASSWORD 'anns word'")
        for backend in self.postgres.backends("cr_ann"):
            self.postgres.run("SELECT pg_terminate_backend(%s)", (backend,))
        self.wait_until(lambda: schemux.metric("schemux_backend_connections") == 0, "it to be gone")
        with self.assertRaises(psycopg.Error) as caught:
            before.execute("SELECT 1")
        self.assertIn("another SCRAM secret", str(caught.exception))
        self.assert_is(self.connect("cr_ann", "newer word", schemux=schemux), "cr_ann")
        self.assert_is(before, "cr_ann")

    def test_a_role_whose_name_is_client_is_one_as_any_other(self):
        self.assert_is(self.connect("client", "clients word"), "client")
        self.assert_is(self.ann(), "cr_ann")

    def test_what_asks_for_the_password_itself_is_told_that_there_are_only_keys(self):
        said = self.refusal("cr_dan", "dans word")
        self.assertIn('of role "cr_dan", of which only SCRAM keys are known', said)
        self.assert_is(self.ann(), "cr_ann")

    def test_commands_say_whose_the_roles_are(self):
        checked = self.run_program(self.lab.binary, "check-config", "--config",
                                   self.schemux.config_file)
        self.assert_program(checked)
        self.assertIn("isolation strict: logs in as the client's own role", checked.stdout)
        for command in ("sql", "audit"):
            for more in ((), ("--service", "common")):
                done = self.run_program(self.lab.binary, "isolation", command, "--config",
                                        self.schemux.config_file, *more)
                self.assert_program(done)
                self.assertIn("common has its clients' own roles", done.stdout)
                self.assertNotIn('"client"', done.stdout)

    def test_all_its_users_are_counted_as_the_service(self):
        self.ann().execute("SELECT 1")
        self.bob().execute("SELECT 1")
        names = {dict(labels)["service"] for _, labels in self.schemux.metrics()
                 if "service" in dict(labels)}
        self.assertEqual({name for name in names if "cr_" in name or "\0" in name}, set())
        self.assertGreater(self.schemux.metric("schemux_queries_total", service="common",
                                               protocol="simple") +
                           self.schemux.metric("schemux_queries_total", service="common",
                                               protocol="extended"), 1)

    def test_a_reload_may_end_it_and_bring_it_back(self):
        before = self.ann()
        self.schemux.config["services"] = [{"name": "common", "schema": "users"}]
        self.schemux.write_config()
        self.schemux.reload()
        self.assertEqual(self.one(self.ann(), WHO), ("app", "app"))
        self.assert_is(before, "cr_ann")
        self.schemux.config["services"] = self.services
        self.schemux.write_config()
        self.schemux.reload()
        self.assert_is(self.bob(), "cr_bob")
        self.assert_is(before, "cr_ann")


class OwnWithTwoWorkers(Own):
    more = {"workers": 2}


class FewBackends(RoleCase):
    """Each user needs a backend of its own, and the bound holds."""
    pool = {"max_connections": 2}

    def test_three_users_take_turns(self):
        answers, failures = [], []

        def work(user, password):
            try:
                client = self.connect(user, password)
                for _ in range(30):
                    answers.append(self.one(client, "SELECT current_user::text, pg_sleep(0.001)")
                                   [0] == user)
            except Exception as error:  # pylint: disable=broad-except
                failures.append(error)

        threads = [threading.Thread(target=work, args=(f"cr_{name}", f"{name}s word"))
                   for name in ("ann", "bob", "cat") for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])
        self.assertEqual((len(answers), all(answers)), (180, True))
        found = self.postgres.run("SELECT count(*) FROM pg_stat_activity WHERE usename LIKE 'cr%'")
        self.assertLessEqual(found[0][0], 2)


class Secrets(RoleCase):
    """Where what schemux has of the user is not what PostgreSQL has."""
    own_schemux = False

    def test_a_verifier_with_another_salt_is_told_and_hurts_nobody_else(self):
        schemux = self.with_users(
            {"name": "cr_ann", "scram_verifier": verifier("anns word")},
            {"name": "cr_bob", "password": "bobs word"},
            pool={"max_connections": 3, "acquire_timeout": "1h"})
        for _ in range(3):
            said = self.refusal("cr_ann", "anns word", schemux=schemux)
            self.assertIn('another SCRAM secret of role "cr_ann"', said)
            self.assertIn("byte for byte", said)
            self.assert_is(self.bob(schemux=schemux), "cr_bob")

    def test_a_better_secret_is_used_at_once(self):
        schemux = self.with_users({"name": "cr_ann", "scram_verifier": verifier("anns word")},
                                  pool={"max_connections": 3, "acquire_timeout": "1h"})
        self.refusal("cr_ann", "anns word", schemux=schemux)
        schemux.config["auth"]["users"] = [{"name": "cr_ann", "password": "anns word"}]
        schemux.write_config()
        schemux.reload()
        self.assert_is(self.ann(schemux=schemux), "cr_ann")

    def test_a_password_that_the_configuration_had_is_forgotten_for_a_proof(self):
        """It stays known for clients of before; who proves a newer one is not held up by it."""
        schemux = self.start_schemux({
            "auth": {"method": "scram-sha-256",
                     "users": [{"name": "cr_cat", "password": "new word"}]},
            "services": [{"name": "common", "role": "cr_cat", "role_password": "cats word"}]})
        self.assert_is(self.connect("cr_cat", "new word", schemux=schemux), "cr_cat")
        self.postgres.run("SET password_encryption = 'scram-sha-256';"
                          "ALTER ROLE cr_cat PASSWORD 'new word'")
        self.addCleanup(self.postgres.run, "SET password_encryption = 'scram-sha-256';"
                                           "ALTER ROLE cr_cat PASSWORD 'cats word'")
        schemux.config["services"] = self.services
        schemux.write_config()
        schemux.reload()
        for backend in self.postgres.backends("cr_cat"):
            self.postgres.run("SELECT pg_terminate_backend(%s)", (backend,))
        self.wait_until(lambda: schemux.metric("schemux_backend_connections") == 0, "it to be gone")
        self.assert_is(self.connect("cr_cat", "new word", schemux=schemux), "cr_cat")

    def test_the_very_verifier_of_postgresql_does(self):
        stored, = self.postgres.run(
            "SELECT rolpassword FROM pg_authid WHERE rolname = 'cr_ann'")[0]
        schemux = self.with_users({"name": "cr_ann", "scram_verifier": stored})
        self.assert_is(self.ann(schemux=schemux), "cr_ann")

    def test_a_password_of_the_configuration_does_for_any_proof(self):
        schemux = self.with_users({"name": "cr_ann", "password": "anns word"},
                                  {"name": "cr_dan", "password": "dans word"},
                                  {"name": "cr_cat", "password": "not hers there"})
        self.assert_is(self.ann(schemux=schemux), "cr_ann")
        self.assert_is(self.connect("cr_dan", "dans word", schemux=schemux), "cr_dan")
        said = self.refusal("cr_cat", "not hers there", schemux=schemux)
        self.assertIn('password authentication failed for user "cr_cat"', said)
        self.assertIn("another password of role", said)
        self.assertNotIn("not hers there", schemux.log.read_text())

    def test_a_password_that_the_client_sends_does(self):
        """Though the verifier that it is compared with has another salt."""
        folder = self.lab.folder
        schemux = self.with_users(
            {"name": "cr_ann", "scram_verifier": verifier("anns word")}, method="password",
            listen=[{"unix_socket_dir": str(folder), "port": 7432}])
        self.assert_is(self.ann(schemux=schemux, host=str(folder), port=7432), "cr_ann")
        self.assertIn("password authentication failed",
                      self.refusal("cr_ann", "wrong", schemux=schemux, host=str(folder),
                                   port=7432))
        self.assertNotIn("anns word", schemux.log.read_text())

    def test_who_proves_nothing_is_whom_postgresql_lets_in_so(self):
        schemux = self.start_schemux({"services": self.services, "auth": {"method": "trust"}})
        self.assert_is(self.connect("cr_eve", "", schemux=schemux), "cr_eve")
        said = self.refusal("cr_ann", "", schemux=schemux)
        self.assertIn("server asks for a password", said)
        self.assertIn('the login of "cr_ann" proved no password', said)

    def test_names_that_can_be_no_role_are_refused(self):
        schemux = self.start_schemux({"services": self.services, "auth": {"method": "trust"}})
        for user in ("pg_monitor", "public", "none", "x" * 64, "a\nb"):
            client = self.raw(schemux)
            client.send(wire.startup({"user": user, "database": "common"}))
            error = wire.errors_of(client.read_to_end())[0]
            self.assertEqual(error["C"], "28000", error)
            self.assertIn("can be no client's own role", error["M"])
        self.assertEqual(self.postgres.backends("pg_monitor"), [])


class Patterns(RoleCase):
    services = [{"name": "mine_*", "schema": "mine_*", "role": "client", "create_schema": True},
                {"name": "/own-(.*)", "schema": "common", "role": r"\1"}]

    def test_each_name_is_its_clients_role(self):
        self.addCleanup(self.postgres.run, "DROP SCHEMA IF EXISTS mine_ann, mine_bob CASCADE")
        ann, bob = self.ann(service="mine_ann"), self.bob(service="mine_bob")
        self.assert_is(ann, "cr_ann")
        self.assert_is(bob, "cr_bob")
        owners = self.postgres.run("SELECT nspname, nspowner::regrole::text FROM pg_namespace "
                                   "WHERE nspname LIKE 'mine%' ORDER BY 1")
        self.assertEqual(owners, [("mine_ann", "cr_ann"), ("mine_bob", "cr_bob")])
        ann.execute("CREATE TABLE {{tables.t}} ()")
        with self.assertRaises(psycopg.errors.InsufficientPrivilege):
            self.bob(service="mine_ann").execute("SELECT * FROM {{tables.t}}")

    def test_a_name_is_no_word_of_the_configuration(self):
        """`own-client` would be role client."""
        self.assertIn("does not exist", self.refusal("cr_ann", "anns word", service="own-client"))


class Listed(RoleCase):
    """By services_query."""
    services = [{"name": "legacy"}]
    more = {"services_query": {"sql": "SELECT name, role FROM public.cr_services",
                               "interval": "1h", "channel": "cr_changed"}}

    @classmethod
    def setUpClass(cls):
        cls.lab.postgres.run("CREATE TABLE public.cr_services (name text, role text);"
                             "GRANT SELECT ON public.cr_services TO app;"
                             "INSERT INTO public.cr_services VALUES ('listed', 'client')")
        cls.addClassCleanup(cls.lab.postgres.run, "DROP TABLE public.cr_services")
        super().setUpClass()

    def test_a_row_may_say_it_and_stop_to_say_it(self):
        def is_there():
            try:
                return self.ann(service="listed")
            except psycopg.OperationalError:
                return None

        self.assert_is(self.wait_until(is_there, "the list"), "cr_ann")
        self.postgres.run("UPDATE public.cr_services SET role = NULL; NOTIFY cr_changed")
        self.wait_until(lambda: self.one(self.ann(service="listed"), WHO) == ("app", "app"),
                        "the row to be seen")


class Guarded(RoleCase):
    services = [{**COMMON, "isolation": "guarded"}]

    @classmethod
    def setUpClass(cls):
        cls.more = {"backend": {"dsn": cls.lab.postgres.dsn("cr_guard")}}
        super().setUpClass()

    def test_each_session_has_its_clients_role(self):
        ann, bob = self.ann(), self.bob()
        for _ in range(3):
            self.assertEqual(self.one(ann, WHO), ("cr_guard", "cr_ann"))
            self.assertEqual(self.one(bob, WHO), ("cr_guard", "cr_bob"))
