"""The admin console's rows of single clients, backends, leases and statements, and its commands
that end clients or keep them out."""

import json
import threading
import urllib.parse

import psycopg

from console_test import Console


def id_of(connection):
    """As SHOW CLIENTS has it: that of the cancel key."""
    return connection.info.backend_pid


class Lists(Console):
    def test_a_client_and_its_backend_name_each_other(self):
        with self.psycopg("users", schemux=self.instance, application_name="teller") as client:
            client.execute("BEGIN")
            behind = client.execute("SELECT pg_backend_pid()").fetchone()[0]
            mine = self.row("CLIENTS", id=id_of(client))
            self.assertEqual((mine["type"], mine["database"], mine["state"], mine["addr"]),
                             ("C", "users", "active", "127.0.0.1"))
            self.assertEqual(mine["user"], client.info.user)
            self.assertEqual((mine["application_name"], mine["tls"]), ("teller", ""))
            self.assertEqual(mine["local_port"], self.instance.port)
            self.assertRegex(mine["connect_time"], r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC$")
            server = self.row("SERVERS", remote_pid=behind)
            self.assertEqual((server["type"], server["database"], server["state"]),
                             ("S", "users", "active"))
            self.assertEqual((server["port"], server["close_needed"]), (self.postgres.port, 0))
            self.assertEqual((mine["link"], server["link"]), (server["ptr"], mine["ptr"]))
            types = sorted(row["type"] for row in self.show("ACTIVE_SOCKETS"))
            self.assertEqual(types, ["C", "S"])
        self.wait_until(lambda: self.show("CLIENTS") == [])
        self.wait_until(lambda: {row["state"] for row in self.show("SERVERS")} == {"idle"})
        self.assertEqual({row["database"] for row in self.show("SERVERS")}, {"*shared*"})
        self.assertEqual({row["type"] for row in self.show("SOCKETS")}, {"S"})
        self.assertEqual(self.show("ACTIVE_SOCKETS"), [])
        self.assertEqual([row["name"] for row in self.show("MEM")],
                         ["client_cache", "server_cache"])

    def test_who_waits_is_seen_to_wait(self):
        # Before the others: the first client of a service is told by a backend what it has.
        late = self.psycopg("orders", schemux=self.instance)
        holders = [self.psycopg("users", schemux=self.instance, autocommit=False)
                   for _ in range(3)]
        for holder in holders:
            holder.execute("SELECT 1")
        asks = threading.Thread(target=late.execute, args=("SELECT 1",))
        asks.start()
        row = self.wait_until(lambda: next(
            (one for one in self.show("CLIENTS") if one["state"] == "waiting"), None))
        self.assertEqual((row["id"], row["database"], row["link"]), (id_of(late), "orders", ""))
        self.wait_until(lambda: self.row("CLIENTS", id=id_of(late))["wait_us"] > 0)
        holders[0].rollback()
        asks.join()

    def test_many_clients_are_told_in_steps(self):
        clients = [self.wire("users", schemux=self.instance) for _ in range(600)]
        self.wait_until(lambda: len(self.show("CLIENTS")) == len(clients))
        self.assertEqual(len({row["id"] for row in self.show("CLIENTS")}), len(clients))

    def test_labels_hide_what_applications_put_into_settings(self):
        with self.psycopg("users", schemux=self.instance) as client:
            client.execute("SET app.token = 'canary-of-app'")
            client.execute("SET statement_timeout = '7s'")

            def labelled():
                return [row for row in self.show("LABELS")
                        if "statement_timeout" in row["settings"]]
            row = self.wait_until(labelled)[0]
            self.assertRegex(row["settings"], r"app.token, .*statement_timeout=7s")
            self.assertEqual((row["clients"], row["backends"]), (1, 1))
            self.assertNotIn("canary", repr(self.show("LABELS")))

    def test_statements_have_figures_and_no_values(self):
        with self.psycopg("users", schemux=self.instance) as client:
            for number in range(4):
                client.execute(f"SELECT generate_series(1, {number}) /* canary */, 'canary'")
            with self.assertRaises(psycopg.errors.DivisionByZero):
                client.execute("SELECT 1/0")
        with self.psycopg("orders", schemux=self.instance) as client:
            client.execute("SELECT pg_sleep(0.1)")
        rows = self.show("STATEMENTS")
        self.assertNotIn("canary", repr(rows))
        self.assertIn("pg_sleep", rows[0]["statement"])
        self.assertGreaterEqual(rows[0]["max_time_us"], 100_000)
        series = next(row for row in rows if "generate_series" in row["statement"])
        self.assertEqual((series["service"], series["calls"], series["rows"], series["errors"]),
                         ("users", 4, 6, 0))
        self.assertRegex(series["fingerprint"], "^[0-9a-f]{16}$")
        failed = next(row for row in rows if row["errors"])
        self.assertEqual((failed["calls"], failed["errors"]), (1, 1))

    def test_statements_are_told_by_http(self):
        for name, text in (("users", "SELECT 1 AS one"), ("orders", "SELECT 2 AS two, 'x'")):
            with self.psycopg(name, schemux=self.instance) as client:
                client.execute(text)

        def told(**asked):
            query = urllib.parse.urlencode(asked)
            return json.loads(self.instance.get(f"/api/v1/statements?{query}")[1])["statements"]
        self.assertEqual({one["service"] for one in told()}, {"users", "orders"})
        mine = told(service="users")
        self.assertEqual([one["service"] for one in mine], ["users"])
        self.assertIn("one", mine[0]["statement"])
        self.assertEqual((mine[0]["calls"], mine[0]["rows"]), (1, 1))
        self.assertEqual(len(told(limit=1)), 1)
        self.assertEqual(told(service="no\nbody"), [])
        status = json.loads(self.instance.get("/api/v1/status")[1])
        self.assertEqual(len(status["statements"]), 2)

    def test_templates_show_what_becomes_of_them(self):
        with self.console() as connection:
            def rewritten(text, service="users"):
                quoted = text.replace("'", "''")
                return connection.execute(f"EXPLAIN REWRITE {service} '{quoted}'").fetchone()[0]
            self.assertEqual(
                rewritten("SELECT 'it''s' FROM {{tables.who}} JOIN <<tables.b>> USING (c)"),
                'SELECT \'it\'\'s\' FROM "users".who JOIN "users".b USING (c)')
            self.assertEqual(rewritten("SELECT 1"), "SELECT 1")
            self.assertIn('"orders"', rewritten("TABLE {{tables.who}}", "orders"))
            with self.assertRaises(psycopg.errors.SyntaxError):
                rewritten("SELECT {{nonsense.who}}")
            with self.assertRaises(psycopg.errors.InvalidCatalogName):
                rewritten("SELECT 1", "nobody")
            with self.assertRaises(psycopg.errors.SyntaxError):
                connection.execute("EXPLAIN SELECT 1")
        row = self.row("TEMPLATES", service="users")
        self.assertEqual((row["schema"], row["placeholders"]),
                         ("users", "{{tables.x}} <<tables.x>>"))

    def test_events_are_those_of_the_log(self):
        with self.console() as connection:
            connection.execute("PAUSE")
            connection.execute("RESUME")
        events = self.show("EVENTS")
        commands = [row for row in events if row["event"] == "console_command"]
        self.assertIn("command=RESUME", commands[0]["fields"])
        self.assertGreater(commands[0]["number"], commands[1]["number"])

    def test_a_lease_is_found_by_the_backends_process(self):
        with self.psycopg("users", schemux=self.instance, application_name="first") as first:
            behind = first.execute("SELECT pg_backend_pid()").fetchone()[0]
            first_id, user = id_of(first), first.info.user
        with self.psycopg("orders", schemux=self.instance, autocommit=False) as second:
            second.execute("SELECT 1")
            now = self.row("SERVERS", state="active")["remote_pid"]
            last = self.show(f"LEASES {now}")[0]
            self.assertEqual((last["backend_pid"], last["client_id"], last["service"]),
                             (now, id_of(second), "orders"))
            self.assertIsNone(last["ended"])
        past = [row for row in self.show(f"LEASES {behind}") if row["client_id"] == first_id]
        self.assertEqual({(row["service"], row["user"], row["addr"], row["application_name"])
                          for row in past}, {("users", user, "127.0.0.1", "first")})
        self.assertNotIn(None, [row["ended"] for row in past])
        self.assertEqual(self.show("LEASES 1"), [])
        with self.assertRaises(psycopg.errors.SyntaxError):
            self.show("LEASES mine")

    def test_the_community_exporter_finds_what_it_asks_for(self):
        with self.psycopg("users", schemux=self.instance) as client:
            client.execute("SELECT 1")
            with self.console(dbname="pgbouncer", user="monitor") as connection:
                def ask(text):
                    cursor = connection.execute(text)
                    names = [column.name for column in cursor.description]
                    return [dict(zip(names, row)) for row in cursor]
                self.assertEqual(list(ask("SHOW VERSION;")[0]), ["version"])
                lists = {row["list"]: row["items"] for row in ask("SHOW LISTS;")}
                for name in ("databases", "users", "pools", "free_clients", "used_clients",
                             "login_clients", "free_servers", "used_servers", "dns_names",
                             "dns_zones", "dns_queries"):
                    self.assertIsInstance(lists[name], int, name)
                config = {row["key"]: row for row in ask("SHOW CONFIG;")}
                for name in ("max_client_conn", "max_user_connections"):
                    float(config[name]["value"])
                self.assertNotIn(None, [row["changeable"] for row in config.values()])
                clients = ask("SHOW CLIENTS;")
                self.assertEqual([(row["database"], row["state"]) for row in clients],
                                 [("users", "active")])
                databases = ask("SHOW databases;")
                labels = ("name", "host", "port", "database", "force_user", "pool_mode")
                self.assertEqual(len({tuple(row[one] for one in labels) for row in databases}),
                                 len(databases))
                for row in databases:
                    for name in ("pool_size", "reserve_pool_size", "max_connections",
                                 "current_connections", "paused", "disabled"):
                        self.assertIsInstance(row[name], int, name)
                totals = ask("SHOW stats_totals;")
                self.assertEqual(len({row["database"] for row in totals}), len(totals))
                pools = ask("SHOW pools;")
                self.assertEqual(len({(row["database"], row["user"]) for row in pools}),
                                 len(pools))
                for row in pools:
                    for name in ("cl_active", "cl_waiting", "sv_active", "sv_idle", "sv_used",
                                 "sv_tested", "sv_login"):
                        self.assertIsInstance(row[name], int, name)


    def test_debians_exporter_finds_what_it_asks_for(self):
        self.instance.config["admin"]["compat"] = "legacy"
        self.instance.write_config()
        self.instance.reload()
        needed = {"STATS": ("database", "total_requests", "total_received", "total_sent",
                            "total_query_time"),
                  "POOLS": ("database", "user", "cl_active", "cl_waiting"),
                  "DATABASES": ("database", "pool_size", "reserve_pool")}
        for what, columns in needed.items():
            rows = self.show(what, dbname="pgbouncer", user="monitor")
            self.assertTrue(rows)
            for row in rows:
                self.assertNotIn(None, [row[column] for column in columns], what)
        names = [row["database"] for row in self.show("DATABASES")]
        self.assertEqual(len(set(names)), len(names))
        self.assertLessEqual(
            {"databases", "users", "pools", "free_clients", "used_clients", "login_clients",
             "free_servers", "used_servers", "dns_names", "dns_zones", "dns_queries",
             "dns_pending"}, {row["list"] for row in self.show("LISTS")})


class Endings(Console):
    def value(self, sql):
        return self.postgres.run(sql)[0][0]

    def ended(self, connection):
        """What it is told when it asks again."""
        with self.assertRaises(psycopg.OperationalError) as caught:
            connection.execute("SELECT 1")
        return str(caught.exception)

    def test_a_client_is_killed_alone(self):
        doomed = self.psycopg("users", schemux=self.instance)
        other = self.psycopg("users", schemux=self.instance)
        with self.console() as connection:
            connection.execute(f"KILL_CLIENT {id_of(doomed)}")
            self.assertIn("terminating connection due to administrator command",
                          self.ended(doomed))
            self.assertEqual(other.execute("SELECT 7").fetchone(), (7,))
            with self.assertRaises(psycopg.errors.UndefinedObject):
                connection.execute(f"KILL_CLIENT {id_of(doomed)}")
            for wrong in ("KILL_CLIENT", "KILL_CLIENT x", "KILL_CLIENT -1", "KILL_CLIENT 1 2",
                          "KILL_CLIENT 99999999999"):
                with self.assertRaises(psycopg.errors.SyntaxError):
                    connection.execute(wrong)

    def test_what_a_killed_client_runs_is_cancelled(self):
        self.postgres.run("CREATE TABLE users.killed AS SELECT 1 AS id LIMIT 0")
        self.addCleanup(self.postgres.run, "DROP TABLE users.killed")
        self.postgres.run("ALTER TABLE users.killed OWNER TO app")
        doomed = self.psycopg("users", schemux=self.instance, autocommit=False)
        doomed.execute("INSERT INTO users.killed VALUES (1)")
        failure = []

        def sleep():
            try:
                doomed.execute("SELECT pg_sleep(300)")
            except psycopg.OperationalError as error:
                failure.append(str(error))
        asks = threading.Thread(target=sleep)
        asks.start()
        sleeping = "SELECT count(*) FROM pg_stat_activity WHERE query ~ 'pg_sleep[(]300'" \
                   " AND state = 'active' AND pid <> pg_backend_pid()"
        self.wait_until(lambda: self.value(sleeping) == 1)
        with self.console() as connection:
            connection.execute(f"KILL_CLIENT {id_of(doomed)}")
        asks.join(30)
        self.assertEqual(len(failure), 1)
        self.assertIn("administrator command", failure[0])
        self.wait_until(lambda: self.value(sleeping) == 0)
        self.wait_until(lambda: all(row["state"] == "idle" for row in self.show("SERVERS")))
        self.assertEqual(self.value("SELECT count(*) FROM users.killed"), 0)

    def test_a_service_is_killed_and_waits_for_resume(self):
        doomed = [self.psycopg("users", schemux=self.instance) for _ in range(3)]
        other = self.psycopg("orders", schemux=self.instance)
        with self.console() as connection:
            connection.execute("KILL users")
            for client in doomed:
                self.assertIn("administrator command", self.ended(client))
            self.assertEqual(other.execute("SELECT 7").fetchone(), (7,))
            self.assertEqual(self.row("SERVICES", service="users")["paused"], 1)
            fresh = self.psycopg("users", schemux=self.instance)
            answers = []
            asks = threading.Thread(
                target=lambda: answers.append(fresh.execute("SELECT 8").fetchone()))
            asks.start()
            self.wait_until(lambda: self.row("POOLS", database="users")["cl_waiting"] == 1)
            connection.execute("RESUME users")
            asks.join(30)
            self.assertEqual(answers, [(8,)])
            connection.execute("KILL")
            self.assertIn("administrator command", self.ended(other))
            self.wait_until(lambda: self.show("SERVERS") == [])
            connection.execute("RESUME")

    def test_a_disabled_service_takes_no_new_clients(self):
        there = self.psycopg("users", schemux=self.instance)
        with self.console() as connection:
            connection.execute("DISABLE users")
            self.assertEqual(self.row("DATABASES", name="users")["disabled"], 1)
            with self.assertRaisesRegex(psycopg.OperationalError,
                                        "not currently accepting connections"):
                self.psycopg("users", schemux=self.instance)
            self.assertEqual(there.execute("SELECT 7").fetchone(), (7,))
            self.psycopg("orders", schemux=self.instance).close()
            with self.assertRaises(psycopg.errors.ObjectNotInPrerequisiteState):
                connection.execute("DISABLE users")
            # A reload changes nothing about it.
            connection.execute("RELOAD")
            self.assertEqual(self.row("SERVICES", service="users")["disabled"], 1)
            connection.execute("ENABLE users")
            self.psycopg("users", schemux=self.instance).close()
            with self.assertRaises(psycopg.errors.ObjectNotInPrerequisiteState):
                connection.execute("ENABLE users")
            for wrong in ("DISABLE", "ENABLE"):
                with self.assertRaises(psycopg.errors.SyntaxError):
                    connection.execute(wrong)
            with self.assertRaises(psycopg.errors.InvalidCatalogName):
                connection.execute("DISABLE nobody")

    def test_wait_close_waits_for_old_backends(self):
        client = self.psycopg("users", schemux=self.instance, autocommit=False)
        client.execute("SELECT 1")
        with self.console() as connection, self.console() as other:
            connection.execute("RECONNECT")
            self.assertEqual(self.row("SERVERS", state="active")["close_needed"], 1)
            done = threading.Event()

            def wait():
                other.execute("WAIT_CLOSE users")
                done.set()
            waits = threading.Thread(target=wait)
            waits.start()
            self.assertFalse(done.wait(0.5))
            client.rollback()
            waits.join(30)
            self.assertTrue(done.is_set())
            connection.execute("WAIT_CLOSE")

    def test_descriptors_are_not_handed_out(self):
        with self.console() as connection:
            for command in ("SUSPEND", "SHOW FDS"):
                with self.assertRaises(psycopg.errors.FeatureNotSupported):
                    connection.execute(command)
