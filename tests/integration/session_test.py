"""Session mode: a client keeps its backend until it goes."""

import signal

import psycopg

import harness


class SessionMode(harness.Case):
    config = {"pool": {"mode": "session", "max_connections": 3, "acquire_timeout": "500ms"}}

    def test_session_state_lasts_as_long_as_the_client(self):
        client = self.psycopg()
        client.execute("SET work_mem = '7MB'")
        client.execute("CREATE TEMP TABLE mine AS SELECT 42 AS answer")
        client.execute("PREPARE theirs AS SELECT answer FROM mine")
        client.execute("SELECT pg_advisory_lock(77)")
        client.execute("DECLARE held CURSOR WITH HOLD FOR SELECT answer FROM mine")
        for _ in range(3):
            self.assertEqual(client.execute("EXECUTE theirs").fetchall(), [(42,)])
            self.assertEqual(client.execute("SHOW work_mem").fetchall(), [("7MB",)])
        self.assertEqual(client.execute("FETCH ALL FROM held").fetchall(), [(42,)])
        held = self.postgres.run("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")
        self.assertEqual(held, [(1,)])
        client.close()
        self.wait_for_idle_pool()
        held = self.postgres.run("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")
        self.assertEqual(held, [(0,)])

    def test_next_client_of_the_backend_finds_nothing_of_the_last(self):
        for _ in range(4):
            with self.psycopg() as client:
                self.assertEqual(client.execute("SHOW work_mem").fetchall(), [("4MB",)])
                client.execute("SET work_mem = '7MB'")
                client.execute("CREATE TEMP TABLE mine (id int)")
                client.execute("PREPARE theirs AS SELECT 1")
            self.wait_for_idle_pool()

    def test_client_keeps_the_backend_that_it_began_with(self):
        clients = [self.psycopg(service) for service in ("users", "orders", "legacy")]
        pids = [client.execute("SELECT pg_backend_pid()").fetchone() for client in clients]
        self.assertEqual(len(set(pids)), 3)
        for _ in range(5):
            for client, pid in zip(clients, pids):
                self.assertEqual(client.execute("SELECT pg_backend_pid()").fetchone(), pid)
        late = self.psycopg()
        with self.assertRaises(psycopg.errors.TooManyConnections):
            late.execute("SELECT 1")
        clients[0].close()
        self.wait_until(lambda: self.schemux.metric(
            "schemux_backend_connections", state="idle") == 1)
        self.assertEqual(late.execute("SELECT 1").fetchall(), [(1,)])

    def test_notification_comes_without_asking(self):
        client = self.psycopg()
        client.execute("LISTEN news")
        self.postgres.run("NOTIFY news, 'payload'")
        self.assertEqual(next(client.notifies()).payload, "payload")

    def test_reset_brings_the_settings_that_the_client_began_with(self):
        client = self.psycopg(options="-c work_mem=7MB -c DateStyle=German")
        resets = ["RESET ALL", "DISCARD ALL", "SET search_path TO DEFAULT", "RESET work_mem",
                  "BEGIN; RESET ALL; COMMIT", "BEGIN; RESET ALL; ROLLBACK"]
        for text in resets:
            with self.subTest(text):
                client.execute("SET lock_timeout = '9s'")
                client.execute(text)
                found = [client.execute(query).fetchone()[0] for query in (
                    "SELECT service FROM who", "SHOW work_mem", "SELECT '2026-11-21'::date::text",
                    "SELECT (SELECT service FROM {{tables.who}})")]
                self.assertEqual(found, ["users", "7MB", "21.11.2026", "users"])
                kept = "0" if "ALL" in text and "ROLLBACK" not in text else "9s"
                self.assertEqual(client.execute("SHOW lock_timeout").fetchone()[0], kept)

    def test_own_settings_survive_the_reset_of_another(self):
        client = self.psycopg(options="-c work_mem=7MB")
        client.execute("SET search_path TO orders")
        client.execute("RESET work_mem")
        self.assertEqual(client.execute("SELECT service FROM who").fetchall(), [("orders",)])
        self.assertEqual(client.execute("SHOW work_mem").fetchall(), [("7MB",)])

    def test_template_behind_a_set_is_read_as_the_setting_says(self):
        client = self.psycopg()
        client.execute("SET standard_conforming_strings = off")
        text = r"SELECT service, 'it\'s {{tables.who}}' FROM {{tables.who}}"
        self.assertEqual(client.execute(text).fetchall(), [("users", "it's {{tables.who}}")])

    def test_resting_client_is_told_of_the_shutdown_at_once(self):
        schemux = self.start_schemux({"pool": {"mode": "session"}, "drain_timeout": "20s"})
        client = self.psycopg(schemux=schemux)
        client.execute("SELECT 1")
        schemux.signal(signal.SIGTERM)
        self.assertEqual(schemux.wait(10), 0)
        with self.assertRaisesRegex(psycopg.OperationalError, "due to administrator command"):
            client.execute("SELECT 1")
