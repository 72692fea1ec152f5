"""Who the backends of a service are for PostgreSQL: a login role of its own, a role that each of
its sessions has, another database; and what becomes of one bounded pool that has to serve them all.
"""

import random
import threading

import psycopg

import harness
import wire

ROLES = """
CREATE ROLE svc_users LOGIN PASSWORD 'users secret';
CREATE ROLE svc_orders LOGIN;
CREATE ROLE svc_wrong LOGIN PASSWORD 'something else';
CREATE ROLE guard LOGIN NOINHERIT;
GRANT svc_users, svc_orders TO guard;
GRANT USAGE ON SCHEMA users TO svc_users;
GRANT SELECT ON ALL TABLES IN SCHEMA users TO svc_users;
GRANT USAGE ON SCHEMA orders TO svc_orders;
GRANT SELECT ON ALL TABLES IN SCHEMA orders TO svc_orders;
"""
WITHDRAWN = """
DROP OWNED BY svc_users, svc_orders, svc_wrong, guard;
DROP ROLE svc_users, svc_orders, svc_wrong, guard;
"""
WHO = "SELECT session_user::text, current_user::text, current_database()::text"


class IdentityCase(harness.Case):
    def refusal(self, service):
        with self.assertRaises(psycopg.OperationalError) as caught:
            self.psycopg(service)
        return str(caught.exception)

    @classmethod
    def setUpClass(cls):
        cls.lab.postgres.run(ROLES)
        cls.addClassCleanup(cls.lab.postgres.run, WITHDRAWN)
        super().setUpClass()

    def denied(self, client, sql):
        errors = wire.errors_of(client.ask(sql))
        return errors[0]["C"] if errors else None


class Strict(IdentityCase):
    config = {"pool": {"max_connections": 3}, "services": [
        {"name": "users", "schema": "users", "role": "svc_users",
         "role_password": "users secret", "isolation": "strict"},
        {"name": "orders", "schema": "orders", "role": "svc_orders"},
        {"name": "wrong", "schema": "orders", "role": "svc_wrong", "role_password": "not it"},
        {"name": "gone", "schema": "orders", "role": "svc_gone"},
        {"name": "mute", "schema": "orders", "role": "svc_mute",
         "role_password_file": "/no/such/file"},
        {"name": "legacy"}]}

    def test_each_service_logs_in_as_its_role(self):
        for service, role in (("users", "svc_users"), ("orders", "svc_orders"), ("legacy", "app")):
            client = self.wire(service)
            self.assertEqual(client.rows(WHO), [[role, role, "app"]])
            self.assertEqual(client.parameters["session_authorization"], role)

    def test_what_is_not_its_own_is_denied_by_postgresql(self):
        client = self.wire("users")
        self.assertEqual(client.rows("SELECT service FROM {{tables.who}}"), [["users"]])
        self.assertEqual(self.denied(client, "SELECT * FROM orders.who"), "42501")
        self.assertEqual(self.denied(client, "SET ROLE svc_orders"), "42501")
        self.assertEqual(self.denied(client, "SET SESSION AUTHORIZATION app"), "42501")
        self.assertEqual(client.rows("RESET ROLE; SELECT current_user::text"), [["svc_users"]])

    def test_one_whom_postgresql_does_not_let_in_holds_nobody_up(self):
        for service in ("wrong", "gone"):
            self.assertIn(f'svc_{service}"', self.refusal(service))
        self.assertIn('no password for role "svc_mute"', self.refusal("mute"))
        self.assertEqual(self.schemux.log_count("backend_connect_failed"), 0)
        self.assertEqual(self.wire("users").rows("SELECT 1"), [["1"]])

    def test_every_role_gets_its_turn_in_a_pool_that_is_full(self):
        """Four identities and three backends, with more clients than backends all the time."""
        answers = []
        failures = []

        def work(service, role):
            try:
                client = wire.connect(self.schemux.port, service)
                for _ in range(50):
                    answers.append(client.rows("SELECT current_user::text, pg_sleep(0.001)")
                                   [0][0] == role)
                client.close()
            except Exception as error:  # pylint: disable=broad-except
                failures.append(error)

        threads = [threading.Thread(target=work, args=pair)
                   for pair in (("users", "svc_users"), ("orders", "svc_orders"),
                                ("legacy", "app")) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])
        self.assertEqual((len(answers), all(answers)), (600, True))


class StrictWithTwoWorkers(Strict):
    config = {**Strict.config, "workers": 2}


class StrictPattern(IdentityCase):
    """Each service of a pattern is a role of its own."""
    config = {"pool": {"max_connections": 2}, "services": [
        {"name": "svc_*", "schema": "*", "role": "svc_*", "role_password": "users secret"}]}

    def test_each_name_is_its_role(self):
        users, orders = self.wire("svc_users"), self.wire("svc_orders")
        self.assertEqual(users.rows("SELECT current_user::text"), [["svc_users"]])
        self.assertEqual(orders.rows("SELECT current_user::text"), [["svc_orders"]])
        self.assertEqual(self.denied(users, "SELECT * FROM orders.who"), "42501")
        self.assertIn('schema "nobody" does not exist', self.refusal("svc_nobody"))
        self.postgres.run("CREATE SCHEMA none_of_us")
        self.addCleanup(self.postgres.run, "DROP SCHEMA none_of_us")
        self.assertIn('role "svc_none_of_us" does not exist', self.refusal("svc_none_of_us"))

    def test_a_reload_forgets_no_password(self):
        client = self.wire("svc_users")
        before = client.rows("SELECT pg_backend_pid()")
        self.schemux.reload()
        self.postgres.run(f"SELECT pg_terminate_backend({before[0][0]})")
        self.wait_until(lambda: not self.postgres.backends("svc_users"), "the backend to be gone")
        self.assertEqual(client.rows("SELECT current_user::text"), [["svc_users"]])


class StrictWithOneBackend(IdentityCase):
    """The bound holds though each service needs a backend of its own."""
    config = {"pool": {"max_connections": 1}, "services": Strict.config["services"]}

    def test_services_take_turns(self):
        users, orders = self.wire("users"), self.wire("orders")
        for _ in range(5):
            self.assertEqual(users.rows("SELECT current_user::text"), [["svc_users"]])
            self.assertEqual(orders.rows("SELECT current_user::text"), [["svc_orders"]])
        mine = self.postgres.run("SELECT count(*) FROM pg_stat_activity WHERE usename LIKE 'svc%'")
        self.assertLessEqual(mine[0][0], 1)

    def test_one_that_goes_on_for_ever_does_not_starve_another(self):
        stop = threading.Event()

        def keep_asking():
            client = wire.connect(self.schemux.port, "users")
            while not stop.is_set():
                client.rows("SELECT 1")
            client.close()

        threads = [threading.Thread(target=keep_asking) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(5):
                self.assertEqual(self.wire("orders").rows("SELECT current_user::text"),
                                 [["svc_orders"]])
        finally:
            stop.set()
            for thread in threads:
                thread.join()


class Reserved(IdentityCase):
    """A guarantee holds between identities too: its backends are there while others want more."""
    config = {"pool": {"max_connections": 3}, "services": [
        {"name": "users", "schema": "users", "role": "svc_users",
         "role_password": "users secret", "pool": {"guarantee": 1, "reserve": True}},
        {"name": "orders", "schema": "orders", "role": "svc_orders"}]}

    def test_others_never_have_all(self):
        holders = [self.wire("orders") for _ in range(2)]
        for holder in holders:
            holder.ask("BEGIN")
        third = self.wire("orders")
        third.send(wire.query("BEGIN"))
        self.assertEqual(self.wire("users").rows("SELECT current_user::text"), [["svc_users"]])
        holders[0].ask("COMMIT")
        self.assertEqual(wire.errors_of(third.read_ready()), [])


class Guarded(IdentityCase):
    @classmethod
    def setUpClass(cls):
        cls.config = {
            "backend": {"dsn": cls.lab.postgres.dsn("guard")},
            "pool": {"max_connections": 1},
            "services": [
                {"name": name, "schema": name, "role": f"svc_{name}", "isolation": "guarded"}
                for name in ("users", "orders")]}
        super().setUpClass()

    def test_sessions_have_the_role_of_their_service(self):
        users, orders = self.wire("users"), self.wire("orders")
        for _ in range(3):
            self.assertEqual(users.rows(WHO), [["guard", "svc_users", "app"]])
            self.assertEqual(orders.rows(WHO), [["guard", "svc_orders", "app"]])

    def test_mistakes_are_denied(self):
        users = self.wire("users")
        self.assertEqual(users.rows("SELECT service FROM who"), [["users"]])
        self.assertEqual(self.denied(users, "SELECT * FROM orders.who"), "42501")
        self.assertEqual(self.denied(users, "COPY orders.who TO STDOUT"), "42501")

    def test_resets_go_back_to_the_role(self):
        for reset in ("RESET ROLE", "SET ROLE NONE; RESET ROLE", "DISCARD ALL", "RESET ALL",
                      "SET SESSION AUTHORIZATION DEFAULT"):
            users = self.wire("users")
            for statement in reset.split("; "):
                users.ask(statement)
            self.assertEqual(users.rows("SELECT current_user::text"), [["svc_users"]], reset)
            users.close()

    def test_what_one_client_does_to_its_role_is_not_the_next_ones(self):
        for attack in ("SET ROLE svc_orders", "SET ROLE NONE",
                       "SELECT set_config('ro' || 'le', 'svc_orders', false)",
                       "DO $$ BEGIN EXECUTE 'SET R' || 'OLE svc_orders'; END $$"):
            client = self.wire("users")
            client.ask(attack)
            client.close()
            for service in ("users", "orders"):
                self.assertEqual(self.wire(service).rows("SELECT current_user::text"),
                                 [[f"svc_{service}"]], attack)

    def test_a_startup_packet_cannot_name_another_role(self):
        for role in ("svc_orders", "none", "guard"):
            with self.assertRaises(psycopg.OperationalError) as caught:
                self.psycopg("users", options=f"-c role={role}")
            self.assertIn("permission denied to set role", str(caught.exception))


class EveryLevelAtOnce(IdentityCase):
    """Shared, guarded and strict services on one backend at a time."""

    OF = {"users": ["svc_users", "svc_users", "app"], "orders": ["guard", "svc_orders", "app"],
          "legacy": ["guard", "guard", "app"]}
    DISTURBANCES = ("SELECT 1", "SET ROLE svc_orders", "SET ROLE NONE", "RESET ROLE", "DISCARD ALL",
                    "SET search_path = orders", "BEGIN; SET LOCAL ROLE svc_users; ROLLBACK",
                    "SELECT 1/0", "DO $$ BEGIN EXECUTE 'SET R' || 'OLE svc_orders'; END $$")

    @classmethod
    def setUpClass(cls):
        cls.config = {
            "backend": {"dsn": cls.lab.postgres.dsn("guard")},
            "pool": {"max_connections": 1}, "workers": 2,
            "services": [
                {"name": "users", "schema": "users", "role": "svc_users",
                 "role_password": "users secret"},
                {"name": "orders", "schema": "orders", "role": "svc_orders",
                 "isolation": "guarded", "state": "verify"},
                {"name": "legacy", "state": "verify"}]}
        super().setUpClass()

    def test_nobody_is_ever_somebody_else(self):
        draw = random.Random(9)
        clients = {service: [self.wire(service) for _ in range(2)] for service in self.OF}
        for _ in range(60):
            service = draw.choice(list(clients))
            place = draw.randrange(2)
            clients[service][place].ask(draw.choice(self.DISTURBANCES))
            # Who disturbed is gone, with its role and all: what the others have is theirs.
            clients[service][place].close()
            clients[service][place] = self.wire(service)
            for other, (first, second) in clients.items():
                for client in (first, second):
                    self.assertEqual(client.rows(WHO), [self.OF[other]], other)
        for service in ("users", "orders"):
            self.assertEqual(clients[service][0].rows("SELECT service FROM {{tables.who}}"),
                             [[service]])
        self.assertGreater(self.schemux.metric("schemux_backend_connections_evicted_total"), 0)


class Databases(IdentityCase):
    """Services of other databases of the same server."""

    @classmethod
    def setUpClass(cls):
        for name in ("test_one", "test_two"):
            cls.lab.postgres.run(f"CREATE DATABASE {name} OWNER app")
            cls.addClassCleanup(cls.lab.postgres.run, f"DROP DATABASE {name} WITH (FORCE)")
        # An audit behind each lease: what it looks at rests a moment later only.
        cls.config = {"pool": {"max_connections": 2, "audit_sample": 1}, "services": [
            {"name": "legacy"}, {"name": "reports", "database": "test_one"},
            {"name": "test_*", "database": "test_*"}]}
        super().setUpClass()

    def test_a_service_can_be_in_another_database(self):
        for service, database in (("legacy", "app"), ("reports", "test_one"),
                                  ("test_one", "test_one"), ("test_two", "test_two")):
            self.assertEqual(self.wire(service).rows("SELECT current_database()::text"),
                             [[database]])

    def test_a_database_that_is_not_there_is_postgresqls_error(self):
        self.assertIn('database "test_three" does not exist', self.refusal("test_three"))


    def test_idle_backends_do_not_stop_drop_database(self):
        self.postgres.run("CREATE DATABASE test_gone OWNER app")
        owner = self.wire("legacy")
        self.assertEqual(self.wire("test_gone").rows("SELECT 1"), [["1"]])
        self.postgres.run("ALTER ROLE app CREATEDB")
        try:
            # PostgreSQL waits five seconds for others to go; a pool keeps them for minutes.
            self.assertEqual(wire.errors_of(owner.ask("ALTER DATABASE test_gone RENAME TO gone_1")),
                             [])
            owner.send(wire.parse("", "DROP DATABASE gone_1"), wire.bind(), wire.execute(),
                       wire.SYNC)
            self.assertEqual(wire.errors_of(owner.read_ready()), [])
        finally:
            self.postgres.run("ALTER ROLE app NOCREATEDB")


class Settings(harness.Case):
    config = {"services": [
        {"name": "users", "schema": "users",
         "settings": {"statement_timeout": "5s", "application_name": "from the service",
                      "app.tenant": "u"}}]}

    def test_sessions_begin_with_them(self):
        client = self.wire("users")
        self.assertEqual(client.rows("SELECT current_setting('statement_timeout'), "
                                     "current_setting('app.tenant')"), [["5s", "u"]])
        self.assertEqual(client.parameters["application_name"], "from the service")

    def test_a_client_can_say_others(self):
        client = self.wire("users", application_name="mine", statement_timeout="7s")
        self.assertEqual(client.rows("SHOW statement_timeout"), [["7s"]])
        self.assertEqual(client.rows("SHOW application_name"), [["mine"]])

    def test_a_reset_goes_back_to_them(self):
        client = self.wire("users")
        client.ask("SET statement_timeout = '1min'")
        client.ask("RESET statement_timeout")
        self.assertEqual(client.rows("SHOW statement_timeout"), [["5s"]])

    def test_a_session_can_ask_where_it_is(self):
        """The same in both protocols, with the name and type of a SHOW."""
        connection = self.psycopg("users")
        for name, value in (("service", "users"), ("schema", "users"), ("isolation", "shared")):
            for prepare in (None, True):
                cursor = connection.execute(f"SHOW schemux.{name}", prepare=prepare)
                self.assertEqual(cursor.fetchall(), [(value,)])
                self.assertEqual(cursor.description[0].name, f"schemux.{name}")
                self.assertEqual(cursor.description[0].type_code, 25)
        client = self.wire("users")
        pid, shown = client.rows("BEGIN; SELECT pg_backend_pid()"), client.rows(
            "SHOW schemux.backend_pid")
        self.assertEqual(pid, shown)
        self.assertEqual(self.denied_as(client, "SHOW schemux.nothing"), "42704")
        self.assertEqual(self.denied_as(client, "SHOW schemux.service"), "25P02")

    def denied_as(self, client, sql):
        return wire.errors_of(client.ask(sql))[0]["C"]
