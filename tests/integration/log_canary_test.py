"""Secrets are planted wherever schemux meets them, and none of them is told by anything that it
tells; hostile names and texts come from everywhere, and every line of the log stays one line.

Each kind must have been told of without its secret, or the test would pass on a log of nothing.
"""

import base64
import contextlib
import json
import re
import signal
import socket
import subprocess

import psycopg

import certificates
import harness
import hostile_startup_test
import server
import wire

# What no test may find: each is told apart by its own end.
CLIENT_PASSWORD = "canary9317 of alice"
WRONG_PASSWORD = "canary9317 that is wrong"
LISTED_PASSWORD = "canary9317 of the userlist"
DSN_PASSWORD = "canary9317 of the dsn"
OTHER_PASSWORD = "canary9317 of another dsn"
VALUE = "canary9317 value"
NUMBER = "931793179317"
SECRETS = [CLIENT_PASSWORD, WRONG_PASSWORD, LISTED_PASSWORD, DSN_PASSWORD, OTHER_PASSWORD, VALUE]
SALT, STORED_KEY, SERVER_KEY = (base64.b64encode(letter * size).decode()
                                for letter, size in ((b"s", 16), (b"k", 32), (b"v", 32)))
VERIFIER = f"SCRAM-SHA-256$4096:{SALT}${STORED_KEY}:{SERVER_KEY}"
SHOWS = ("HELP", "CONFIG", "DATABASES", "POOLS", "USERS", "VERSION", "PEERS", "PEER_POOLS", "LISTS",
         "STATE", "DNS_HOSTS", "DNS_ZONES", "STATS", "STATS_TOTALS", "STATS_AVERAGES", "TOTALS",
         "SERVICES", "BACKENDS", "QUEUE", "PINS", "ISOLATION")

SLEEP = "SELECT pg_sleep(0.02)"
# Each is slow, and has its secret where a client may have one.
SLOW = {
    "literal": f"{SLEEP}, '{VALUE}', {NUMBER}",
    "escaped": f"{SLEEP}, E'{VALUE}\\n', U&'{VALUE}'",
    "quoted": f"{SLEEP}, $${VALUE}$$, $tag${VALUE}$tag$",
    "commented": f"{SLEEP} /* {VALUE} /* {NUMBER} */ */ -- {VALUE}",
    "password": f"{SLEEP}; ALTER ROLE nobody PASSWORD '{VALUE}'",
    "dynamic": f"DO $$ BEGIN PERFORM pg_sleep(0.02); RAISE '{VALUE}'; END $$",
    "listed": f"{SLEEP} WHERE 'x' NOT IN ('{VALUE}', '{VALUE}2', '{NUMBER}')",
    "setting": f"{SLEEP}, set_config('canary.seen', '{VALUE}', false)",
    "unseen": f"{SLEEP}, users.change_setting('canary.unseen', '{VALUE}')",
}
QUICK = [
    f"SELECT '{VALUE}", f"SELECT $x${VALUE}", f"SELECT /* {VALUE}", f"SELECT '{VALUE}' FROM {{{{x",
    f"SET canary.secret = '{VALUE}'", f"SELECT {NUMBER}/0", f"SELECT '{VALUE}'::int",
    f"PREPARE p AS SELECT '{VALUE}'", "EXECUTE p", f"NOTIFY told, '{VALUE}'",
    f"DECLARE kept CURSOR WITH HOLD FOR SELECT '{VALUE}'", "CREATE TEMP TABLE kept (what text)",
    f"INSERT INTO kept VALUES ('{VALUE}')", f"SET DateStyle = '{VALUE}'",
]

NAMES = [
    'new\nline\r\n{"ts":"1","level":"error","event":"forged"}\n',
    '"}\\",\\"x\\":{\\u000a\\',
    "\x1b[31m\x1b]0;title\x07\x9b2J\u2028\u202e\x7f\x08\t",
    b"\xff\xfe\xc0\xaf\xed\xa0\x80\xf4\x90\x80\x80 no text",
    "long " * 1800 + "é\n",
]


def as_bytes(text):
    return text if isinstance(text, bytes) else text.encode()


class Told(harness.Case):
    """What schemux says, in all places. No tests of its own."""

    honest_server = True
    may_find = True

    def log(self):
        return (self.schemux.folder / "events.log").read_bytes()

    def lines(self):
        """Each a JSON object of its own, without a key twice."""
        def once(pairs):
            self.assertEqual(len(dict(pairs)), len(pairs), pairs)
            return dict(pairs)

        log = self.log()
        self.assertEqual(log[-1:], b"\n")
        return [json.loads(line.decode(), object_pairs_hook=once)
                for line in log[:-1].split(b"\n")]

    def events(self, event, **which):
        return [line for line in self.lines() if line["event"] == event
                and all(line.get(name) == value for name, value in which.items())]

    def count(self, *events):
        return sum(line["event"] in events for line in self.lines())

    def stream(self):
        """The first of the status page's events."""
        with wire.Wire(self.schemux.http_port) as reader:
            reader.send(b"GET /api/v1/stream HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            told = b""
            while not told.endswith(b"\n\n"):
                told += reader.read_exactly(1)
            return told.decode()

    def everything(self):
        """{place: what is told there}"""
        told = {"log": self.log().decode(), "stderr": self.schemux.log.read_text()}
        for path in ("/metrics", "/api/v1/status", "/api/v1/events", "/"):
            told[path] = self.schemux.get(path)[1]
        told["stream"] = self.stream()
        with psycopg.connect(self.schemux.dsn("schemux", user="root"), autocommit=True,
                             password=CLIENT_PASSWORD) as console:
            notices = []
            console.add_notice_handler(lambda notice: notices.append(notice.message_primary))
            for show in SHOWS:
                cursor = console.execute(f"SHOW {show}")
                told[show] = str(cursor.fetchall() if cursor.description else notices)
        told["check-config"] = subprocess.run(
            [self.schemux.binary, "check-config", "--config", self.schemux.config_file],
            check=True, capture_output=True, text=True, timeout=60).stdout
        return told


class Secrets(Told):
    config = {
        "log": {"file": "events.log", "slow_query": "1ms", "long_lease": "10ms"},
        "pool": {"max_connections": 4, "audit_sample": 1},
        "admin": {"users": ["root"]},
        "services": [{"name": name} for name in (*SLOW, "bound", "quick", "startup", "prepared")]
        + [{"name": "away", "backend": "away"}]}

    @classmethod
    def setUpClass(cls):
        folder = cls.lab.folder / "canary"
        cls.authority = certificates.Authority(folder)
        cls.authority.sign("localhost", "server")
        cls.key = (folder / "server.key").read_text()
        (folder / "userlist.txt").write_text(f'"carol" "{LISTED_PASSWORD}"\n')
        cls.postgres = cls.lab.postgres
        cls.schemux = cls.lab.schemux({**cls.config, **{
            "backend": {"dsn": f"{cls.postgres.dsn()} password='{DSN_PASSWORD}'"},
            "backends": [{"name": "away", "dsn": f"host=127.0.0.1 port={server.free_port()} "
                          f"dbname=app user=app password='{OTHER_PASSWORD}'"}],
            "auth": {"method": "scram-sha-256", "users_file": str(folder / "userlist.txt"),
                     "users": [{"name": "alice", "password": CLIENT_PASSWORD},
                               {"name": "root", "password": CLIENT_PASSWORD},
                               {"name": "bob", "scram_verifier": VERIFIER}]}}},
            start=False, name=cls.__name__)
        cls.tls_port = server.free_port()
        cls.schemux.config["listen"].append({"address": "127.0.0.1", "port": cls.tls_port, "tls": {
            "mode": "require", "certificate": str(folder / "server.crt"),
            "key": str(folder / "server.key")}})
        cls.schemux.write_config()
        cls.schemux.start()

    def log_in(self, service="quick", user="alice", password=CLIENT_PASSWORD, **more):
        connection = psycopg.connect(self.schemux.dsn(service, user=user, **more), autocommit=True,
                                     password=password, prepare_threshold=None)
        self.addCleanup(connection.close)
        return connection

    def run_all(self, service, *texts):
        with self.log_in(service) as client:
            for text in texts:
                with contextlib.suppress(psycopg.Error):
                    client.execute(text)

    def test_no_secret_is_told_anywhere(self):
        for service, text in SLOW.items():
            self.run_all(service, text)
        self.run_all("quick", *QUICK)
        self.log_in("bound").execute("SELECT pg_sleep(0.02), %s::text, %s::bigint",
                                     (VALUE, int(NUMBER)))
        self.log_in("prepared").execute("SELECT pg_sleep(0.02), %s::text", (VALUE,), prepare=True)
        self.log_in("startup", options=f"-c canary.one={VALUE.replace(' ', '_')}",
                    application_name=VALUE).execute(SLEEP)
        self.log_in(user="carol", password=LISTED_PASSWORD).execute("SELECT 1")
        for user in ("alice", "bob", "carol", "nobody"):
            with self.assertRaises(psycopg.OperationalError):
                self.log_in(user=user, password=WRONG_PASSWORD)
        with self.assertRaises(psycopg.OperationalError):
            self.log_in("away").execute("SELECT 1")
        with wire.Wire(self.tls_port) as client:
            client.send(wire.SSL_REQUEST)
            client.read_exactly(1)
            client.send(b"\x16\x03\x01\x02\x00 " + VALUE.encode() * 40)
            client.read_to_end()
        self.reload_all()
        for service in (*SLOW, "bound", "prepared", "startup"):
            self.wait_until(lambda: self.events("slow_query", service=service), service)
        for event in ("login_refused", "backend_connect_failed", "setting_changed", "config_error",
                      "client_pinned", "client_closed", "tls_failed"):
            self.assertTrue(self.events(event), event)
        self.assert_untold()

    def reload_all(self):
        """What a reload changes is told, and what is wrong with a file."""
        users = self.schemux.config["auth"]["users"]
        self.schemux.config["auth"]["users"] = users[:2]
        for text in (None, f"auth: {{users: [{{name: alice, password: [{CLIENT_PASSWORD}]}}]}}",
                     f"backend: {{dsn: \"host=h password='{OTHER_PASSWORD}' what='{VALUE}'\"}}"):
            self.schemux.write_config(text)
            before = self.count("reloaded", "reload_failed")
            self.schemux.signal(signal.SIGHUP)
            self.wait_until(lambda: self.count("reloaded", "reload_failed") > before, "the reload")
        self.schemux.write_config()

    def assert_untold(self):
        key_lines = [line for line in self.key.splitlines() if line and not line.startswith("-")]
        secrets = [*SECRETS, NUMBER, VALUE.replace(" ", "_"), SALT, STORED_KEY, SERVER_KEY,
                   *key_lines, *(base64.b64encode(secret.encode()).decode() for secret in SECRETS),
                   *(secret.encode().hex() for secret in SECRETS), "canary9317"]
        for place, text in self.everything().items():
            for secret in secrets:
                self.assertNotIn(secret, text, place)


class HostileNames(Told):
    """In JSON; below once more as text. Whole SQL texts are logged here."""

    config = {
        "log": {"file": "events.log", "slow_query": "1ms", "slow_query_text": "client"},
        "pool": {"max_connections": 4}, "admin": {"users": ["root"]},
        "services": [{"name": "users", "schema": "users"}]
        + [{"name": f"slow{number}"} for number in range(len(NAMES))]}

    def send(self, *parts):
        with wire.Wire(self.schemux.port) as client, contextlib.suppress(OSError):
            client.send(*parts)
            client.socket.shutdown(socket.SHUT_WR)
            client.read_to_end()

    def misbehave(self):
        for name in NAMES:
            self.send(wire.startup({"user": "alice", "database": name}))
        for number, name in enumerate(NAMES):
            self.send(wire.startup({"user": name, "database": "users"}), wire.TERMINATE)
            for key in ("application_name", "options", "DateStyle", name):
                self.send(wire.startup({"user": "alice", "database": "users", key: name}),
                          wire.TERMINATE)
            sql = "SELECT pg_sleep(0.02) /* ".encode() + as_bytes(name) + b" */"
            client = self.wire(f"slow{number}", client_encoding="SQL_ASCII")
            client.ask(sql)
            client.send(wire.parse(name, sql), wire.bind(name, name), wire.SYNC)
            client.read_ready()
            console = self.wire("schemux", user="root")
            console.ask(b'PAUSE "' + as_bytes(name).replace(b'"', b'""') + b'"')
        for _, packet, _ in hostile_startup_test.broken_packets("users"):
            self.send(packet)

    def wait_for_all(self, count):
        """`count(id)`: how many of these the log has."""
        for event in ("client_opened", "login_refused"):
            self.wait_until(lambda: count(event) >= len(NAMES), event)
        # PostgreSQL runs no text of invalid bytes, and the console no long one.
        for event in ("slow_query", "console_command"):
            self.wait_until(lambda: count(event) >= len(NAMES) - 1, event)

    def test_a_line_stays_a_line_whatever_a_client_says(self):
        self.misbehave()
        self.wait_for_all(self.count)
        for line in self.lines():
            self.assertRegex(line["ts"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
            self.assertIn(line["level"], ("debug", "info", "warning", "error"))
            self.assertRegex(line["event"], "^[a-z][a-z0-9_]+$")
            self.assertNotEqual(line["event"], "forged")
            for value in line.values():
                self.assertLess(len(str(value)), 1100)
        users = {line["user"] for line in self.lines() if line["event"] == "client_opened"}
        self.assertLessEqual({NAMES[0], NAMES[1], NAMES[2]}, users)
        self.assertIn("forged", str(self.schemux.get("/api/v1/events")))
        self.assert_plain(self.schemux.get("/metrics")[1])
        self.assertEqual(json.loads(self.schemux.get("/api/v1/status")[1])["ready"], True)

    def assert_plain(self, text):
        """Nothing that ends a line elsewhere or steers a terminal."""
        self.assertEqual(re.findall(r"[^\n -~\u00a0-\U0010ffff]", text), [])


class HostileNamesInText(HostileNames):
    config = server.merged(HostileNames.config, {"log": {"format": "text"}})

    def test_a_line_stays_a_line_whatever_a_client_says(self):
        self.misbehave()
        self.wait_for_all(lambda event: self.log().decode().count(f" {event} "))
        text = self.log().decode()
        self.assert_plain(text)
        for line in text[:-1].split("\n"):
            self.assertRegex(line, r"^\d{4}-\d\d-\d\dT[\d:.]{12}Z (debug|info|warning|error) "
                                   r"(?!forged)[a-z][a-z0-9_]+($| |:)")
