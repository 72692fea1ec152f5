"""Configuration files, reloads and signals of `schemux serve`."""

import json
import signal

import harness
import server
import wire

BAD_CONFIG = 78


class CheckConfig(harness.Case):
    own_schemux = False

    def check(self, text, command="check-config"):
        file = self.lab.folder / f"check-{wire.nonce()}.yaml"
        file.write_text(text)
        self.file = file
        return self.run_program(self.lab.binary, command, "--config", file, seconds=30)

    def assert_refused(self, text, *expected, place=None):
        for command in ("check-config", "serve"):
            finished = self.check(text, command)
            self.assertEqual(finished.returncode, BAD_CONFIG, finished.stderr)
            if place is not None:
                self.assertIn(f"{self.file}:{place}: ", finished.stderr)
            for part in expected:
                self.assertIn(part, finished.stderr)

    def minimal(self, more=""):
        return ('backend: { dsn: "host=127.0.0.1 dbname=app user=app" }\n'
                "auth: { method: trust }\nservices:\n  - { name: users, schema: users }\n" + more)

    def test_good_file_is_explained(self):
        finished = self.check(self.minimal())
        self.assert_program(finished)
        self.assertIn("the configuration is fine", finished.stdout)
        self.assertIn("users", finished.stdout)

    def test_unknown_key_names_its_place_and_a_suggestion(self):
        self.assert_refused(self.minimal("pool: { max_conections: 3 }\n"), "max_conections",
                            "max_connections", place="5:9")

    def test_duplicate_keys_and_services(self):
        self.assert_refused(self.minimal("workers: 1\nworkers: 2\n"), "workers")
        self.assert_refused(self.minimal("  - { name: users }\n"), "users")

    def test_values_out_of_range_and_of_the_wrong_type(self):
        for more, word in (("pool: { max_connections: 0 }\n", "max_connections"),
                           ("pool: { acquire_timeout: soon }\n", "acquire_timeout"),
                           ("workers: many\n", "workers"), ("log: { level: loud }\n", "level"),
                           ("listen:\n  - { address: localhost, port: 1 }\n", "address"),
                           ("limits: { max_query_bytes: 3 parsecs }\n", "max_query_bytes")):
            with self.subTest(more):
                self.assert_refused(self.minimal(more), word)

    def test_missing_parts(self):
        self.assert_refused("services: []\n", "backend")
        self.assert_refused('backend: { dsn: "host=x" }\n', "services")

    def test_text_that_is_not_yaml(self):
        self.assert_refused("backend: { dsn: [\n", "")

    def test_broken_dsn(self):
        self.assert_refused(self.minimal().replace("host=127.0.0.1", "hots=127.0.0.1"), "hots")

    def test_file_that_does_not_exist(self):
        for command in ("check-config", "serve"):
            finished = self.run_program(self.lab.binary, command, "--config", "/nowhere/x.yaml")
            self.assertEqual(finished.returncode, BAD_CONFIG)
            self.assertIn("/nowhere/x.yaml", finished.stderr)

    def test_default_configuration_is_printed_and_is_valid(self):
        printed = self.run_program(self.lab.binary, "check-config", "--print-default-config")
        self.assert_program(printed)
        self.assertIn("max_connections", printed.stdout)
        self.assert_program(self.check(printed.stdout))

    def test_address_in_use_is_an_ordinary_failure(self):
        taken = self.start_schemux()
        second = self.start_schemux({"listen": [{"address": "127.0.0.1", "port": taken.port}]},
                                    start=False)
        second.start(wait=False)
        self.assertEqual(second.wait(), 1)
        self.assertIn(str(taken.port), second.log.read_text())

    def test_version(self):
        finished = self.run_program(self.lab.binary, "version")
        self.assert_program(finished)
        self.assertRegex(finished.stdout, r"^schemux \d+\.\d+\.\d+\n$")

    def test_no_secret_is_shown(self):
        password = self.lab.folder / "word.password"
        password.write_text("very-secret-word\n")
        finished = self.check(self.minimal().replace(
            'user=app"', f'user=app password=other-secret", password_file: {password}'))
        self.assertNotIn("secret", finished.stdout + finished.stderr)


class Listening(harness.Case):
    own_schemux = False

    def test_unix_socket_is_served_and_removed(self):
        folder = self.lab.folder / "sockets"
        folder.mkdir()
        port = server.free_port()
        instance = self.start_schemux(
            {"listen": [{"unix_socket_dir": str(folder), "port": port}]})
        path = folder / f".s.PGSQL.{port}"
        shown = self.run_program("psql", "-XAt", "-h", folder, "-p", port, "-U", "alice", "orders",
                                 "-c", "SELECT service FROM {{tables.who}}")
        self.assertEqual(shown.stdout, "orders\n", shown.stderr)
        self.assertEqual(instance.stop(), 0)
        self.assertFalse(path.exists())

    def test_password_from_a_file_with_scram_at_the_backend(self):
        password = self.lab.folder / "backend.password"
        password.write_text("pool secret\n")
        self.postgres.run("GRANT app TO secret_app")
        instance = self.start_schemux({"backend": {"dsn": self.postgres.dsn("secret_app"),
                                                   "password_file": str(password)}})
        client = self.wire("orders", instance)
        self.assertEqual(client.rows("SELECT current_user, service FROM {{tables.who}}"),
                         [["secret_app", "orders"]])

    def test_wrong_backend_password_reaches_the_client_as_an_error(self):
        password = self.lab.folder / "wrong.password"
        password.write_text("wrong\n")
        instance = self.start_schemux({"backend": {"dsn": self.postgres.dsn("secret_app"),
                                                   "password_file": str(password)}})
        client = self.raw(instance)
        client.send(wire.startup({"user": "alice", "database": "users"}))
        self.assertEqual(wire.sqlstates(client.read_to_end()), ["28P01"])


class Reload(harness.Case):
    own_schemux = False

    def setUp(self):
        self.schemux_now = self.start_schemux({"pool": {"max_connections": 4}})

    def reload(self, **changes):
        self.schemux_now.config = server.merged(self.schemux_now.config, changes)
        self.schemux_now.write_config()
        self.schemux_now.reload()

    def test_new_service_is_there_after_sighup(self):
        instance = self.schemux_now
        old = self.wire("users", instance)
        client = self.raw(instance)
        client.send(wire.startup({"user": "alice", "database": "extra"}))
        self.assertEqual(wire.sqlstates(client.read_to_end()), ["3D000"])
        self.reload(services=instance.config["services"] + [{"name": "extra", "schema": "orders"}])
        self.assertEqual(self.wire("extra", instance).rows("SELECT service FROM who"), [["orders"]])
        self.assertEqual(old.rows("SELECT service FROM who"), [["users"]])
        self.assertEqual(instance.metric("schemux_config_last_reload_successful"), 1)
        self.assertEqual(instance.metric("schemux_client_connections", service="extra"), 1)

    def test_bad_file_keeps_the_old_settings(self):
        instance = self.schemux_now
        client = self.wire("users", instance)
        for text in ("this: is: not yaml", json.dumps({"services": []})):
            instance.write_config(text)
            instance.reload()
            self.assertEqual(instance.metric("schemux_config_last_reload_successful"), 0)
            self.assertEqual(client.rows("SELECT service FROM who"), [["users"]])
            self.assertEqual(self.wire("orders", instance).rows("SELECT service FROM who"),
                             [["orders"]])
        instance.write_config()
        instance.reload()
        self.assertEqual(instance.metric("schemux_config_last_reload_successful"), 1)

    def test_removed_service_refuses_new_clients(self):
        instance = self.schemux_now
        self.reload(services=[{"name": "users", "schema": "users"}])
        client = self.raw(instance)
        client.send(wire.startup({"user": "alice", "database": "orders"}))
        self.assertEqual(wire.sqlstates(client.read_to_end()), ["3D000"])
        self.assertEqual(self.wire("users", instance).rows("SELECT 1"), [["1"]])

    def test_lower_pool_bound_is_obeyed(self):
        instance = self.schemux_now
        clients = [self.wire("users", instance) for _ in range(4)]
        for client in clients:
            client.ask("BEGIN")
        self.assertEqual(len(self.postgres.backends()), 4)
        self.reload(pool={"max_connections": 2})
        self.assertEqual(instance.metric("schemux_backend_connections_max"), 2)
        for client in clients:
            self.assertEqual(client.ask("COMMIT")[-1].body, b"I")
        self.wait_until(lambda: len(self.postgres.backends()) <= 2, "the pool to shrink")
        working = [harness.Background(client.rows, "SELECT 1, pg_sleep(0.01)")
                   for client in clients]
        for one in working:
            self.assertEqual(one.result()[0][0], "1")
        self.assertLessEqual(len(self.postgres.backends()), 2)

    def test_higher_pool_bound_serves_who_waits(self):
        instance = self.schemux_now
        self.reload(pool={"max_connections": 1})
        holder, waiter = self.wire("users", instance), self.wire("users", instance)
        holder.ask("BEGIN")
        waiter.send(wire.query("SELECT 'served'"))
        self.wait_until(lambda: instance.metric("schemux_clients_waiting") == 1)
        self.reload(pool={"max_connections": 2})
        self.assertEqual(wire.rows_of(waiter.read_ready()), [["served"]])


class Stopping(harness.Case):
    own_schemux = False

    def setUp(self):
        self.instance = self.start_schemux({"drain_timeout": "20s"})

    def refuses_connections(self):
        try:
            wire.Wire(self.instance.port).close()
        except OSError:
            return True
        return False

    def test_sigterm_lets_a_transaction_finish_and_tells_idle_clients(self):
        with self.temporary_table("x int") as table:
            idle, busy = self.wire("users", self.instance), self.wire("users", self.instance)
            idle.rows("SELECT 1")
            busy.ask("BEGIN")
            busy.ask(f"INSERT INTO {table} VALUES (1)")
            self.instance.signal(signal.SIGTERM)
            errors = wire.errors_of(idle.read_to_end())
            self.assertEqual([(one["S"], one["C"]) for one in errors], [("FATAL", "57P01")])
            self.wait_until(self.refuses_connections, "the listener to close")
            busy.ask(f"INSERT INTO {table} VALUES (2)")
            messages = busy.ask("COMMIT")
            self.assertEqual(wire.kinds(messages), "CZ")
            self.assertEqual(wire.sqlstates(busy.read_to_end()), ["57P01"])
            self.assertEqual(self.instance.wait(), 0)
            self.assertEqual(self.postgres.run(f"SELECT count(*) FROM users.{table}"), [(2,)])

    def test_second_sigterm_stops_now(self):
        busy = self.wire("users", self.instance)
        busy.ask("BEGIN")
        self.instance.signal(signal.SIGTERM)
        self.wait_until(self.refuses_connections, "the drain to begin")
        self.assertIsNone(self.instance.process.poll())
        self.instance.signal(signal.SIGTERM)
        self.assertEqual(self.instance.wait(10), 0)
        self.wait_until(lambda: not self.postgres.backends(), "the backends to end")

    def test_sigint_stops_too(self):
        self.instance.signal(signal.SIGINT)
        self.assertEqual(self.instance.wait(10), 0)

    def test_drain_timeout_ends_the_wait(self):
        quick = self.start_schemux({"drain_timeout": "200ms"})
        busy = self.wire("users", quick)
        busy.ask("BEGIN")
        quick.signal(signal.SIGTERM)
        self.assertEqual(quick.wait(10), 0)

    def test_readyz_says_draining(self):
        busy = self.wire("users", self.instance)
        busy.ask("BEGIN")
        self.instance.signal(signal.SIGTERM)
        self.wait_until(lambda: self.instance.get("/readyz")[0] == 503, "readyz to say 503")
        busy.ask("COMMIT")
        self.assertEqual(self.instance.wait(), 0)

    def test_backends_are_closed_with_it(self):
        self.wire("users", self.instance).rows("SELECT 1")
        self.assertEqual(self.instance.stop(), 0)
        self.wait_until(lambda: not self.postgres.backends(), "the backends to end")
