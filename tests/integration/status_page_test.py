"""The status page in a browser: what is on it, that it lives, what it refuses to load or run, and
that it fits a phone; its JSON; and that the configuration turns it off."""

import http.client
import json
import threading

import psycopg

import browser
import harness

HOSTILE = "<img src=x onerror=document.title='run'><b>"
SELECTORS = ("#tile-leased", "#tile-waiting", "#tile-queries_per_second", "#tile-wait_p99_seconds",
             "#clusters .bar", "#services-rows tr", "#pins-none", "#events-list li",
             ".spark path.line")


class Load:
    """Clients that ask without end, until it is left."""

    def __init__(self, schemux, clients=3):
        self.stopped = threading.Event()
        self.threads = [harness.Background(self.work, schemux, at) for at in range(clients)]

    def work(self, schemux, at):
        service = ("users", "orders")[at % 2]
        with psycopg.connect(schemux.dsn(service), autocommit=True) as connection:
            while not self.stopped.is_set():
                connection.execute("SELECT pg_sleep(0.002)")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stopped.set()
        for thread in self.threads:
            thread.result()


class Json(harness.Case):
    config = {"services": [{"name": "users", "schema": "users"},
                           {"name": "orders", "schema": "orders"}]}

    def ask(self, path, host=None, method="GET", schemux=None):
        """Status, headers, body."""
        port = (schemux or self.schemux).http_port
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        connection.putrequest(method, path, skip_host=True)
        if host != "":
            connection.putheader("Host", host or f"127.0.0.1:{port}")
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read().decode()

    def status(self):
        status, headers, body = self.ask("/api/v1/status")
        self.assertEqual((status, headers["Content-Type"]), (200, "application/json"))
        return json.loads(body)

    def test_status_tells_what_is_going_on(self):
        with self.psycopg("users") as connection:
            connection.execute("CREATE TEMP TABLE kept (n int)")

            def seen():
                status = self.status()
                users = next(one for one in status["services"] if one["name"] == "users")
                return users["pins"].get("temp_table") == 1 and status
            status = self.wait_until(seen, "the pin to be told")
        self.assertTrue(status["ready"])
        self.assertEqual(status["services_total"], 2)
        self.assertIn("CREATE TEMP TABLE kept (n int)",
                      [one["statement"] for one in status["statements"]])
        pool = status["clusters"][0]["pool"]
        self.assertEqual((pool["maximum"], pool["leased"]), (5, 1))
        self.assertEqual(status["totals"]["pins"], {"temp_table": 1})
        self.assertIn("client_pinned", [one["event"] for one in status["events"]])
        lengths = {len(series) for series in status["history"].values()}
        self.assertEqual(len(lengths), 1)

    def test_rates_and_waits_are_those_of_the_last_seconds(self):
        with Load(self.schemux, clients=8):
            def busy():
                users = next(one for one in self.status()["services"] if one["name"] == "users")
                return (users["queries_per_second"] or 0) > 1 and users["wait_p99_seconds"]
            self.wait_until(busy, "the rates of users", 40)

    def test_the_stream_goes_on(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.schemux.http_port, timeout=30)
        connection.request("GET", "/api/v1/stream")
        answer = connection.getresponse()
        self.assertEqual(answer.getheader("Content-Type"), "text/event-stream")
        told = []
        while len(told) < 2:
            line = answer.fp.readline().decode()
            self.assertTrue(line, "the stream ended")
            if line.startswith("data: "):
                told.append(json.loads(line[len("data: "):]))
        connection.close()
        self.assertLess(told[0]["time_seconds"], told[1]["time_seconds"])
        self.assertNotIn("history", told[0])

    def test_events_are_told_whatever_made_them_up(self):
        with self.assertRaises(psycopg.OperationalError):
            psycopg.connect(self.schemux.dsn(), dbname=HOSTILE)
        events = json.loads(self.ask("/api/v1/events")[2])["events"]
        self.assertIn("started", [one["event"] for one in events])
        self.assertIn("login_refused", [one["event"] for one in events])
        self.assertIn("<img", json.dumps(events))

    def test_only_for_own_names(self):
        for path in ("/", "/api/v1/status", "/api/v1/events", "/api/v1/stream"):
            with self.subTest(path):
                self.assertEqual(self.ask(path, "rebound.example:80")[0], 403)
        for host in ("localhost:1", "[::1]", "10.0.0.1", ""):
            with self.subTest(host):
                self.assertEqual(self.ask("/", host)[0], 200)
        self.assertEqual(self.ask("/metrics", "rebound.example")[0], 200)

    def test_the_page_may_be_kept_or_framed_by_nobody(self):
        status, headers, body = self.ask("/")
        self.assertEqual((status, headers["Content-Type"]), (200, "text/html; charset=utf-8"))
        self.assertEqual(headers["X-Frame-Options"], "DENY")
        self.assertEqual(headers["Cache-Control"], "no-store")
        self.assertEqual(headers["X-Content-Type-Options"], "nosniff")
        policy = headers["Content-Security-Policy"]
        self.assertIn("default-src 'none'", policy)
        self.assertNotIn("unsafe", policy)
        self.assertLess(len(body), 64 * 1024)
        self.assertEqual(self.ask("/", method="POST")[0], 405)

    def test_the_configuration_turns_it_off_and_on(self):
        schemux = self.start_schemux({"http": {"status_page": False}})
        paths = ("/", "/api/v1/status", "/api/v1/events", "/api/v1/stream")

        def answers():
            return {self.ask(path, schemux=schemux)[0] for path in paths[:3]}
        self.assertEqual(answers(), {404})
        self.assertEqual(self.ask(paths[3], schemux=schemux)[0], 404)
        self.assertEqual(self.ask("/readyz", schemux=schemux)[0], 200)
        schemux.config["http"] |= {"status_page": True, "host_names": ["pool.example"]}
        schemux.write_config()
        schemux.reload()
        self.assertEqual(answers(), {200})
        self.assertEqual(self.ask("/", "pool.example", schemux=schemux)[0], 200)
        watcher = http.client.HTTPConnection("127.0.0.1", schemux.http_port, timeout=30)
        watcher.request("GET", "/api/v1/stream")
        stream = watcher.getresponse()
        schemux.config["http"]["status_page"] = False
        schemux.write_config()
        schemux.reload()
        stream.read()  # up to its end
        self.assertEqual(answers(), {404})
        self.assertEqual(schemux.stop(), 0)


class Page(harness.Case):
    config = {"services": [{"name": "users", "schema": "users"},
                           {"name": "orders", "schema": "orders"}]}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.browser = browser.Browser(cls.lab.folder / "browser")
        cls.addClassCleanup(cls.browser.close)

    def open(self, **screen):
        self.browser.look(**screen)
        self.browser.open(f"http://127.0.0.1:{self.schemux.http_port}/")
        self.wait_until(lambda: self.browser.text("#live") == "Live", "the page to live", 40)

    def assert_no_complaint(self):
        self.assertEqual(self.browser.complaints, [])

    def test_it_shows_what_there_is_and_asks_nobody_else(self):
        self.open()
        self.assertEqual([one for one in SELECTORS
                          if not self.browser.value(f"!!document.querySelector({one!r})")], [])
        self.assertIn("of 5", self.browser.text("#tile-leased dd"))
        self.assertEqual(self.browser.text("#ready"), "Ready")
        names = self.browser.value("[...document.querySelectorAll('#services-rows td:first-child')]"
                                   ".map(one => one.textContent)")
        self.assertEqual(sorted(names), ["orders", "users"])
        own = f"http://127.0.0.1:{self.schemux.http_port}/"
        self.assertEqual([url for url in self.browser.requests
                          if not url.startswith((own, "data:"))], [])
        self.assert_no_complaint()

    def test_numbers_change_by_themselves(self):
        self.open()
        self.browser.value("window.opened = true")

        def rate():
            text = self.browser.text("#tile-queries_per_second dd span")
            return float(text.replace(",", "").replace("–", "0"))
        with Load(self.schemux):
            self.wait_until(lambda: rate() > 5, "queries to show", 40)
            self.wait_until(lambda: self.browser.text("#tile-clients dd span") == "3",
                            "clients to show", 40)
        self.wait_until(lambda: rate() == 0, "queries to end", 40)
        self.assertTrue(self.browser.value("window.opened"), "it was loaded again")
        line = self.browser.value(
            "document.querySelector('#tile-queries_per_second .line').getAttribute('d')")
        self.assertGreater(line.count("L"), 1)
        self.assert_no_complaint()

    def test_statements_are_shown_without_values(self):
        self.open()
        with self.psycopg("users") as connection:
            for number in range(3):
                connection.execute(f"SELECT pg_sleep(0.05), 'canary-{number}' AS <b>".replace(
                    "<b>", '"<b>"'))

        def rows():
            return self.browser.text("#statements-rows")
        self.wait_until(lambda: '"<b>"' in rows(), "the statement to show", 40)
        self.assertFalse(self.browser.value("document.getElementById('statements').hidden"))
        self.assertIn("SELECT pg_sleep(?), ? AS", rows())
        self.assertNotIn("canary", rows())
        self.assert_no_complaint()

    def test_pins_and_names_of_others_are_text(self):
        with self.assertRaises(psycopg.OperationalError):
            psycopg.connect(self.schemux.dsn(), dbname=HOSTILE)
        self.open()
        with self.psycopg("users") as connection:
            connection.execute("CREATE TEMP TABLE kept (n int)")
            self.wait_until(lambda: "1 temporary tables" in self.browser.text("#pins-list"),
                            "the pin to show", 40)
        self.assertIn("<img", self.browser.text("#events-list"))
        self.assertFalse(self.browser.value("!!document.querySelector('main img, main b > b')"))
        self.assertEqual(self.browser.value("document.title"), "schemux")
        self.assert_no_complaint()

    def test_scripts_of_others_do_not_run(self):
        self.open()
        self.browser.value("document.body.insertAdjacentHTML('beforeend',"
                           "'<img src=x onerror=\"document.title=1\">')")
        self.wait_until(lambda: self.browser.complaints, "the policy to refuse it")
        self.assertEqual(self.browser.value("document.title"), "schemux")

    def test_light_and_dark(self):
        def brightness():
            colour = self.browser.value("getComputedStyle(document.body).backgroundColor")
            return sum(int(part) for part in colour[len("rgb("):-1].split(","))
        self.open(scheme="light")
        light = brightness()
        self.browser.look(scheme="dark")
        self.assertGreater(light, 600)
        self.assertLess(brightness(), 150)

    def test_it_fits_a_phone(self):
        with self.psycopg("users") as connection:
            connection.execute(f"SELECT 1 AS {'wide' * 15}")
        for width in (360, 768, 1280):
            with self.subTest(width):
                self.open(width=width, height=740)
                self.wait_until(lambda: "widewide" in self.browser.text("#statements-rows"),
                                "the statement to show", 40)
                self.assertLessEqual(
                    self.browser.value("document.documentElement.scrollWidth"), width)

    def test_a_lost_connection_shows_and_comes_back(self):
        schemux = self.start_schemux()
        self.browser.look()
        self.browser.open(f"http://127.0.0.1:{schemux.http_port}/")
        self.wait_until(lambda: self.browser.text("#live") == "Live", "the page to live", 40)
        self.assertEqual(schemux.stop(), 0)  # though somebody watches
        self.wait_until(lambda: "reconnecting" in self.browser.text("#live"), "the loss to show",
                        40)
        schemux.start()
        self.wait_until(lambda: self.browser.text("#live") == "Live", "it to come back", 60)

