"""Services that are listed elsewhere: a file that is watched, a query that PostgreSQL answers."""

import psycopg

import harness
import wire

TENANTS = """
CREATE TABLE public.tenants (name text, schema text, "pool.max" int, users json, active bool);
GRANT SELECT ON public.tenants TO app;
INSERT INTO public.tenants VALUES ('first', 'users', NULL, NULL, true);
"""
QUERY = 'SELECT name, schema, "pool.max", users FROM public.tenants WHERE active'


class ListCase(harness.Case):
    def lets_in(self, service, schemux=None, **startup):
        try:
            wire.connect((schemux or self.schemux).port, service, **startup).close()
        except wire.Closed:
            return False
        return True

    def wait_for_service(self, service, there=True, **more):
        self.wait_until(lambda: self.lets_in(service, **more) == there,
                        f"{service} to be {'there' if there else 'gone'}")

    def refusal(self, service, **more):
        with self.assertRaises(psycopg.OperationalError) as caught:
            self.psycopg(service, **more)
        return str(caught.exception)

    def events(self, name, schemux=None):
        lines = (schemux or self.schemux).log_lines()
        return [line for line in lines if line.get("event") == name]


class ServicesFile(ListCase):
    def write(self, schemux, text):
        new = schemux.folder / "services.new"
        new.write_text(text)
        new.rename(schemux.folder / "services.yaml")

    def start(self, text):
        schemux = self.start_schemux({"services_file": "services.yaml",
                                      "services": [{"name": "legacy"}]}, start=False)
        self.write(schemux, text)
        schemux.start()
        return schemux

    def test_its_services_come_and_go_without_a_signal(self):
        schemux = self.start("services:\n  - { name: one, schema: users }\n")
        kept = self.wire("one", schemux=schemux)
        self.assertEqual(kept.rows("SELECT service FROM {{tables.who}}"), [["users"]])
        self.write(schemux, "services:\n  - { name: two, schema: orders }\n")
        self.wait_for_service("two", schemux=schemux)
        self.assertIn('database "one" does not exist', self.refusal("one", schemux=schemux))
        self.assertEqual(self.wire("two", schemux=schemux).rows("SELECT service FROM who"),
                         [["orders"]])
        # Who is there stays, and so does what the configuration lists.
        self.assertEqual(kept.rows("SELECT service FROM {{tables.who}}"), [["users"]])
        self.assertTrue(self.lets_in("legacy", schemux=schemux))
        self.write(schemux, "services: []\n")
        self.wait_for_service("two", there=False, schemux=schemux)

    def test_a_wrong_file_changes_nothing_and_says_where_it_is_wrong(self):
        schemux = self.start("services:\n  - { name: one }\n")
        self.write(schemux, "services:\n  - { name: two }\n  - { name: legacy }\n")
        self.wait_until(lambda: self.events("services_not_read", schemux), "the file to be read")
        said = self.events("services_file_error", schemux)[0]["msg"]
        self.assertIn("services.yaml:3:13: services[1].name: ", said)
        self.assertTrue(self.lets_in("one", schemux=schemux))
        self.assertFalse(self.lets_in("two", schemux=schemux))
        self.write(schemux, "services:\n  - { name: two }\n")
        self.wait_for_service("two", schemux=schemux)

    def test_a_reload_reads_it_too(self):
        schemux = self.start("services:\n  - { name: one }\n")
        self.write(schemux, "services:\n  - { name: two }\n  - { name: 't_*' }\n")
        schemux.reload()
        self.assertTrue(self.lets_in("two", schemux=schemux))
        self.assertTrue(self.lets_in("t_1", schemux=schemux))
        self.assertFalse(self.lets_in("one", schemux=schemux))


class ServicesQuery(ListCase):
    config = {"pool": {"max_connections": 3},
              "services": [{"name": "legacy"}],
              "services_query": {"sql": QUERY, "interval": "1h", "channel": "tenants_changed"}}

    @classmethod
    def setUpClass(cls):
        cls.lab.postgres.run(TENANTS)
        cls.addClassCleanup(cls.lab.postgres.run, "DROP TABLE public.tenants")
        super().setUpClass()

    def setUp(self):
        self.wait_for_service("first")

    def change(self, sql, *parameters):
        self.postgres.run(sql, parameters)
        self.postgres.run('NOTIFY "tenants_changed"')

    def waiting(self):
        return self.schemux.metric("schemux_clients_waiting", service="services_query")

    def add(self, name, schema, most=None, users=None):
        self.change("INSERT INTO public.tenants VALUES (%s, %s, %s, %s, true)", name, schema, most,
                    users)
        self.addCleanup(self.postgres.run, "DELETE FROM public.tenants WHERE name = %s", (name,))

    def test_a_tenant_is_there_as_soon_as_it_is_notified(self):
        self.assertIn('database "second" does not exist', self.refusal("second"))
        self.add("second", "orders", 1, '["alice"]')
        self.wait_for_service("second")
        client = self.wire("second")
        self.assertEqual(client.rows("SELECT service FROM {{tables.who}}"), [["orders"]])
        self.assertIn("permission denied for database", self.refusal("second", user="bob"))
        # pool.max is 1: the next one waits for it.
        client.rows("BEGIN")
        waiting = harness.Background(lambda: self.wire("second").rows("SELECT 'served'"))
        self.wait_until(lambda: self.waiting() == 1, "it to wait")
        client.rows("COMMIT")
        self.assertEqual(waiting.result(), [["served"]])

    def test_a_changed_row_holds_for_who_comes_then(self):
        self.add("moving", "users")
        self.wait_for_service("moving")
        before = self.wire("moving")
        self.change("UPDATE public.tenants SET schema = 'orders' WHERE name = 'moving'")

        def is_new():
            client = wire.connect(self.schemux.port, "moving")
            rows = client.rows("SELECT service FROM {{tables.who}}")
            client.close()
            return rows == [["orders"]]

        self.wait_until(is_new, "the row to be seen")
        self.assertEqual(before.rows("SELECT service FROM {{tables.who}}"), [["users"]])
        self.change("UPDATE public.tenants SET active = false WHERE name = 'moving'")
        self.wait_for_service("moving", there=False)
        self.assertEqual(before.rows("SELECT service FROM {{tables.who}}"), [["users"]])

    def test_a_wrong_row_costs_no_other_one(self):
        self.add("wrong", "pg_catalog")
        self.add("legacy", "orders")
        self.add("right", "orders")
        self.wait_for_service("right")
        self.assertFalse(self.lets_in("wrong"))
        self.assertEqual(self.wire("legacy").rows("SHOW search_path"), [['"$user", public']])
        said = [event["msg"] for event in self.events("services_query_row")]
        self.assertTrue(any(".schema: 'pg_catalog'" in one for one in said), said)

    def test_they_are_counted_together(self):
        self.wire("first").rows("SELECT 1")
        services = {dict(labels).get("service") for _, labels in self.schemux.metrics()}
        self.assertEqual(services - {None}, {"legacy", "services_query"})

    def test_metrics_tell_what_was_answered(self):
        self.add("counted", "orders")
        self.wait_for_service("counted")
        self.assertGreaterEqual(self.schemux.metric("schemux_services_query_services"), 2)
        self.assertGreater(self.schemux.metric("schemux_services_query_timestamp_seconds"), 1e9)
        self.assertGreaterEqual(self.schemux.metric("schemux_services_query_failures_total"), 0)

    def test_a_reload_keeps_what_was_answered(self):
        self.schemux.reload()
        self.assertTrue(self.lets_in("first"))

    def test_a_lost_connection_is_made_again(self):
        self.postgres.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                          "WHERE application_name = 'schemux services_query'")
        self.add("third", "orders")
        self.wait_for_service("third")


class NotYet(ListCase):
    config = {"services": [{"name": "legacy"}],
              "services_query": {"sql": "SELECT name, schema FROM public.later",
                                 "interval": "1s"}}

    def test_until_it_is_answered_nobody_is_told_that_there_is_no_service(self):
        self.assertIn("the services are not known yet", self.refusal("soon"))
        self.assertEqual(self.wire("legacy").rows("SELECT 1"), [["1"]])
        not_yet = (503, "services_query was not answered yet\n")
        self.assertEqual(self.schemux.get("/readyz"), not_yet)
        self.wait_until(lambda: self.events("services_query_failed"), "it to be asked")
        self.assertIn('relation "public.later" does not exist',
                      self.events("services_query_failed")[0]["error"])
        self.postgres.run("CREATE TABLE public.later (name text, schema text); "
                          "GRANT SELECT ON public.later TO app; "
                          "INSERT INTO public.later VALUES ('soon', 'users')")
        self.addCleanup(self.postgres.run, "DROP TABLE public.later")
        self.wait_for_service("soon")
        self.assertEqual(self.schemux.get("/readyz"), (200, "ok\n"))
        self.assertIn('database "never" does not exist', self.refusal("never"))
