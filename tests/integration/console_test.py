"""The admin console: PgBouncer's columns for each version, what is in the rows, who may do what,
and what the commands do to clients."""

import pathlib
import signal
import threading
import unittest

import psycopg

import harness

COLUMNS = pathlib.Path(__file__).with_name("console_columns")
TYPES = {20: "int8", 23: "int4", 25: "text", 1700: "numeric"}
VERSIONS = {"1.18": "1.18.0", "1.24": "1.24.1", "1.26": "1.26.1"}


class Console(harness.Case):
    own_schemux = False

    def setUp(self):
        self.instance = self.start_schemux({
            "admin": {"users": ["root"], "stats_users": ["monitor"]},
            "pool": {"max_connections": 3, "acquire_timeout": "60s"}})

    def console(self, user="root", dbname="schemux", **options):
        """Connected as libpq connects; each command is a transaction of its own."""
        connection = psycopg.connect(self.instance.dsn(dbname, user=user), autocommit=True,
                                     **options)
        self.addCleanup(connection.close)
        return connection

    def show(self, what, **options):
        """Rows as dictionaries of texts."""
        with self.console(**options) as connection:
            cursor = connection.execute(f"SHOW {what}")
            names = [column.name for column in cursor.description]
            return [dict(zip(names, row)) for row in cursor]

    def row(self, what, **which):
        rows = [row for row in self.show(what)
                if all(row[name] == value for name, value in which.items())]
        self.assertEqual(len(rows), 1, (what, which))
        return rows[0]


class Shows(Console):
    def test_columns_are_those_of_the_version(self):
        for version, release in VERSIONS.items():
            self.instance.config["admin"]["compat"] = version
            self.instance.write_config()
            self.instance.reload()
            golden = dict(line.split(": ", 1) for line in
                          (COLUMNS / f"{version}.txt").read_text().splitlines())
            self.assertGreater(len(golden), 10)
            with self.console() as connection:
                self.assertEqual(connection.info.parameter_status("server_version"),
                                 f"{release}/bouncer")
                for what, columns in golden.items():
                    for prepare in (False, True):
                        cursor = connection.execute(f"SHOW {what}", prepare=prepare)
                        self.assertEqual(
                            ", ".join(f"{one.name} {TYPES[one.type_code]}"
                                      for one in cursor.description), columns, (version, what))
                if version == "1.18":
                    with self.assertRaises(psycopg.errors.SyntaxError):
                        connection.execute("SHOW STATE")

    def test_rows_say_what_happens(self):
        with self.psycopg("users", schemux=self.instance) as client:
            for _ in range(5):
                client.execute("SELECT service FROM {{tables.who}}")
            with client.transaction():
                client.execute("SELECT 1")
                pool = self.row("POOLS", database="users")
                self.assertEqual((pool["cl_active"], pool["cl_waiting"], pool["sv_active"]),
                                 (1, 0, 1))
                self.assertEqual(self.row("SERVICES", service="users")["leases"], 1)
                self.assertEqual(self.row("BACKENDS", backend="backend")["leased"], 1)
        # The last one is counted behind its answer.
        self.wait_until(lambda: self.row("SERVICES", service="users")["transactions"] >= 6)
        users = self.row("SERVICES", service="users")
        self.assertGreaterEqual(users["rewrites"], 1)
        stats = self.row("STATS", database="users")
        self.assertEqual(stats["total_xact_count"], users["transactions"])
        self.assertGreater(stats["total_received"], 0)
        self.assertEqual(self.row("STATS", database="orders")["total_xact_count"], 0)
        totals = {row["name"]: row["value"] for row in self.show("TOTALS")}
        self.assertEqual(totals["total_xact_count"], users["transactions"])
        self.assertEqual(self.row("POOLS", database="pgbouncer")["cl_active"], 1)
        shared = self.row("POOLS", database="*shared*")
        self.assertEqual(shared["sv_active"], 0)
        database = self.row("DATABASES", name="users")
        self.assertEqual((database["port"], database["pool_size"]), (self.postgres.port, 3))
        names = [row["list"] for row in self.show("LISTS")]
        self.assertIn("used_servers", names)
        config = {row["key"]: row for row in self.show("CONFIG")}
        self.assertEqual(config["pool.max_connections"]["value"], "3")
        self.assertEqual(config["default_pool_size"]["value"], "3")
        self.assertIn("isolation_audit", config)
        self.assertIn("shared", {row["level"] for row in self.show("ISOLATION")})

    def test_configuration_shows_no_secret(self):
        self.instance.config["auth"] = {
            "method": "trust", "users": [{"name": "root", "password": "canary-of-root"},
                                         {"name": "monitor"}]}
        self.instance.write_config()
        self.instance.reload()
        with self.console() as connection:
            text = repr(connection.execute("SHOW CONFIG").fetchall())
        self.assertIn("auth.users[root]", text)
        self.assertNotIn("canary", text)
        self.assertNotIn(self.postgres.dsn(), text)

    def test_pins_are_shown_while_they_last(self):
        with self.psycopg("users", schemux=self.instance) as client:
            client.execute("CREATE TEMP TABLE kept (id int)")
            pin = {"service": "users", "reason": "temp_table", "clients": 1}
            self.wait_until(lambda: self.show("PINS") == [pin])
        self.wait_until(lambda: self.show("PINS") == [])

    def test_psql_is_at_home(self):
        finished = self.run_program("psql", self.instance.dsn("pgbouncer", user="root"), "-Atc",
                                    "SHOW VERSION")
        self.assert_program(finished)
        self.assertRegex(finished.stdout, r"PgBouncer 1\.26\.1 \(schemux ")

    def test_drivers_settings_and_transactions_are_no_errors(self):
        with psycopg.connect(self.instance.dsn("schemux", user="root")) as connection:
            connection.execute("SET extra_float_digits = 3")
            self.assertEqual(connection.execute("SHOW client_encoding").fetchone(), ("UTF8",))
            self.assertGreater(len(connection.execute("SHOW STATS").fetchall()), 1)

    def test_binary_rows_say_the_same(self):
        with self.console() as connection:
            for what in ("STATS", "POOLS", "DATABASES", "LISTS"):
                cursors = [connection.cursor(binary=binary) for binary in (False, True)]
                rows = [cursor.execute(f"SHOW {what}", prepare=True).fetchall()
                        for cursor in cursors]
                self.assertEqual(rows[0], rows[1], what)


class Rights(Console):
    def test_nobody_else_comes_in(self):
        for dbname in ("schemux", "pgbouncer"):
            with self.assertRaisesRegex(psycopg.OperationalError, "permission denied"):
                psycopg.connect(self.instance.dsn(dbname, user="alice"))

    def test_they_log_in_as_everybody_does(self):
        self.instance.config["auth"] = {
            "method": "scram-sha-256",
            "users": [{"name": name, "password": f"of {name}"}
                      for name in ("root", "monitor", "alice")]}
        self.instance.write_config()
        self.instance.reload()
        for user, password, why in (("root", "of monitor", "password authentication failed"),
                                    ("nobody", "of root", "password authentication failed"),
                                    ("alice", "of alice", "permission denied")):
            with self.assertRaisesRegex(psycopg.OperationalError, why):
                psycopg.connect(self.instance.dsn("schemux", user=user, password=password))
        with psycopg.connect(self.instance.dsn("schemux", user="root", password="of root")) as one:
            self.assertTrue(one.execute("SHOW POOLS").fetchall())

    def test_stats_users_may_look(self):
        with self.console(user="monitor") as connection:
            self.assertTrue(connection.execute("SHOW POOLS").fetchall())
            for command in ("PAUSE", "RESUME", "RECONNECT", "RELOAD", "SHUTDOWN", "DISABLE users",
                            "ENABLE users", "KILL", "KILL users", "KILL_CLIENT 1", "WAIT_CLOSE"):
                for prepare in (False, True):
                    with self.assertRaises(psycopg.errors.InsufficientPrivilege):
                        connection.execute(command, prepare=prepare)
        self.assertEqual(self.instance.log_count("reloaded"), 0)

    def test_without_users_there_is_no_console(self):
        del self.instance.config["admin"]
        self.instance.write_config()
        self.instance.reload()
        with self.assertRaisesRegex(psycopg.OperationalError, "does not exist"):
            psycopg.connect(self.instance.dsn("schemux", user="root"))

    def test_it_is_open_when_all_places_are_taken(self):
        self.instance.config["limits"] = {"max_clients": 1}
        self.instance.write_config()
        self.instance.reload()
        with self.psycopg("users", schemux=self.instance):
            with self.assertRaisesRegex(psycopg.OperationalError, "too many clients"):
                self.psycopg("users", schemux=self.instance)
            self.assertEqual(self.row("SERVICES", service="users")["clients"], 1)

    def test_its_sessions_are_bounded(self):
        kept = [self.console() for _ in range(32)]
        with self.assertRaisesRegex(psycopg.OperationalError, "too many sessions"):
            psycopg.connect(self.instance.dsn("schemux", user="root"))
        kept.pop().close()
        self.wait_until(self.has_room)

    def has_room(self):
        try:
            return self.row("STATE", key="active")["value"] == "yes"
        except psycopg.OperationalError:
            return False


class Verbs(Console):
    def in_thread(self, work):
        """What it gives, in a list, once it has ended."""
        result = []
        thread = threading.Thread(target=lambda: result.append(work()))
        thread.start()
        self.addCleanup(thread.join)
        return result

    def query(self, service):
        with self.psycopg(service, schemux=self.instance) as client:
            return client.execute("SELECT service FROM {{tables.who}}").fetchone()[0]

    def test_pause_waits_for_transactions_and_holds_back_the_rest(self):
        console = self.console()
        with self.psycopg("users", schemux=self.instance, autocommit=False) as busy:
            busy.execute("SELECT 1")
            paused = self.in_thread(lambda: console.execute("PAUSE").statusmessage)
            self.wait_until(lambda: self.row("STATE", key="paused")["value"] == "yes")
            busy.execute("SELECT 2")
            self.assertEqual(paused, [])
            busy.commit()
            self.wait_until(lambda: paused == ["PAUSE"])
        with self.assertRaises(psycopg.errors.ObjectNotInPrerequisiteState):
            console.execute("PAUSE")
        answered = self.in_thread(lambda: self.query("orders"))
        self.wait_until(lambda: self.row("QUEUE", service="orders")["waiting"] == 1)
        self.assertEqual(self.row("BACKENDS", backend="backend")["open"], 0)
        self.assertEqual(console.execute("RESUME").statusmessage, "RESUME")
        self.wait_until(lambda: answered == ["orders"])
        with self.assertRaises(psycopg.errors.ObjectNotInPrerequisiteState):
            console.execute("RESUME")

    def test_one_service_is_paused_alone_and_through_a_reload(self):
        console = self.console()
        console.execute("PAUSE users")
        self.assertEqual(self.query("orders"), "orders")
        waiting = self.in_thread(lambda: self.query("users"))
        self.wait_until(lambda: self.row("QUEUE", service="users")["waiting"] == 1)
        self.assertEqual(console.execute("RELOAD").statusmessage, "RELOAD")
        self.assertEqual(self.query("orders"), "orders")
        self.assertEqual(waiting, [])
        self.assertEqual(self.row("DATABASES", name="users")["paused"], 1)
        console.execute("RESUME users")
        self.wait_until(lambda: waiting == ["users"])
        with self.assertRaises(psycopg.errors.InvalidCatalogName):
            console.execute("PAUSE nobody")

    def test_what_is_made_of_tenants_is_not_paused_alone(self):
        self.instance.config["services"] += [
            {"name": "t_*", "schema": "users"},
            {"name": "own", "schema": "users", "role": "client", "isolation": "strict"}]
        self.instance.write_config()
        self.instance.reload()
        console = self.console()
        for service in ("t_*", "own"):
            with self.assertRaises(psycopg.errors.FeatureNotSupported):
                console.execute(f'PAUSE "{service}"')
            self.assertEqual(self.row("DATABASES", name=service)["paused"], 0)
            console.execute(f'RECONNECT "{service}"')

    def test_the_log_says_who_gave_a_command(self):
        self.console().execute("RECONNECT users")
        self.wait_until(lambda: self.instance.log_count("console_command"))
        told = [line for line in self.instance.log_lines() if line["event"] == "console_command"]
        self.assertEqual([(line["user"], line["command"], line["service"]) for line in told],
                         [("root", "RECONNECT", "users")])

    def test_a_stop_ends_a_pause_that_waits(self):
        console = self.console()
        busy = self.psycopg("users", schemux=self.instance, autocommit=False)
        self.addCleanup(busy.close)
        busy.execute("SELECT 1")
        ended = self.in_thread(lambda: self.fails(console, "PAUSE"))
        self.wait_until(lambda: self.row("STATE", key="paused")["value"] == "yes")
        for _ in range(2):
            self.instance.signal(signal.SIGTERM)
        self.assertEqual(self.instance.process.wait(timeout=60), 0)
        self.wait_until(lambda: ended == [True])

    def fails(self, console, command):
        try:
            console.execute(command)
        except psycopg.OperationalError:
            return True
        return False

    def test_reconnect_replaces_backends(self):
        with self.psycopg("users", schemux=self.instance) as client:
            def pid():
                return client.execute("SELECT pg_backend_pid()").fetchone()[0]
            first = pid()
            self.console().execute("RECONNECT")
            self.assertNotEqual(pid(), first)

    def test_reload_says_whether_it_was_taken(self):
        console = self.console()
        self.instance.config["pool"]["max_connections"] = 5
        self.instance.write_config()
        console.execute("RELOAD")
        self.assertEqual(self.row("BACKENDS", backend="backend")["maximum"], 5)
        self.instance.config["pool"]["max_connections"] = "many"
        self.instance.write_config()
        with self.assertRaises(psycopg.errors.ConfigFileError):
            console.execute("RELOAD")
        self.assertEqual(self.row("BACKENDS", backend="backend")["maximum"], 5)

    def test_shutdown_behind_the_last_client(self):
        with self.psycopg("users", schemux=self.instance) as client:
            self.console().execute("SHUTDOWN WAIT_FOR_CLIENTS")
            self.wait_until(lambda: self.refuses())
            self.assertEqual(client.execute("SELECT 1").fetchone(), (1,))
            self.assertIsNone(self.instance.process.poll())
        self.assertEqual(self.instance.process.wait(timeout=60), 0)

    def test_shutdown_behind_transactions(self):
        with self.psycopg("users", schemux=self.instance, autocommit=False) as client:
            client.execute("SELECT 1")
            self.console().execute("SHUTDOWN WAIT_FOR_SERVERS")
            self.wait_until(lambda: self.refuses())
            client.execute("SELECT 2")
            client.commit()
        self.assertEqual(self.instance.process.wait(timeout=60), 0)

    def test_who_waits_for_clients_may_stop_behind_transactions(self):
        console = self.console()
        with self.psycopg("users", schemux=self.instance, autocommit=False) as client:
            client.execute("SELECT 1")
            console.execute("SHUTDOWN WAIT_FOR_CLIENTS")
            self.wait_until(self.refuses)
            console.execute("SHUTDOWN WAIT_FOR_SERVERS")
            self.wait_until(lambda: self.instance.log_count("draining") == 2)
            client.execute("SELECT 2")
            client.commit()
            self.assertEqual(self.instance.process.wait(timeout=60), 0)

    def test_shutdown_at_once(self):
        client = self.psycopg("users", schemux=self.instance, autocommit=False)
        client.execute("SELECT 1")
        self.assertEqual(self.console().execute("SHUTDOWN").statusmessage, "SHUTDOWN")
        self.assertEqual(self.instance.process.wait(timeout=60), 0)
        client.close()

    def refuses(self):
        try:
            psycopg.connect(self.instance.dsn("orders")).close()
        except psycopg.OperationalError:
            return True
        return False


if __name__ == "__main__":
    unittest.main()
