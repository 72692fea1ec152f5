"""deploy/ADOPTION.md, block for block: an application with its tables in `public` moves behind
schemux, and works before, between and behind all steps, on the old way and on the new one.

Runs the guide's own text on a cluster of its own, where passwords are asked for; only the ports are
other ones. A block that no step here follows is a failure.
"""

import os
import pathlib
import re
import signal
import urllib.request

import psycopg

import harness
import server

GUIDE = pathlib.Path(__file__).resolve().parents[2] / "deploy" / "ADOPTION.md"
# The name of a file, if it is one, stands alone above its block, with a remark behind it.
BLOCK = re.compile(r"^(?:`(?P<file>[\w.-]+)`[^`\n]*(?:`[^`\n]*`)?:?\n)?```(?P<kind>\w+)\n"
                   r"(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
BACK = "**Way back:**"

HBA = """
local all all trust
host all postgres 127.0.0.1/32 trust
host all all 127.0.0.1/32 scram-sha-256
"""
PASSWORDS = {"shop_app": "the shop's old word", "billing_app": "the word of billing"}
LOGINS = """
CREATE ROLE shop_app LOGIN PASSWORD 'the shop''s old word';
CREATE ROLE billing_app LOGIN PASSWORD 'the word of billing';
CREATE ROLE deploy LOGIN PASSWORD 'deploy';
CREATE DATABASE shop OWNER shop_app;
ALTER ROLE shop_app IN DATABASE shop SET statement_timeout = '30s';
"""
NEIGHBOUR = """
CREATE EXTENSION pg_trgm;
CREATE SCHEMA billing AUTHORIZATION billing_app;
SET ROLE billing_app;
CREATE TABLE billing.invoices (id serial PRIMARY KEY, total int);
INSERT INTO billing.invoices (total) VALUES (42);
"""
OLD_TABLES = """
CREATE TYPE state AS ENUM ('open', 'paid');
CREATE TABLE customers (id serial PRIMARY KEY, name text NOT NULL);
CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    customer int NOT NULL REFERENCES customers, state state NOT NULL DEFAULT 'open');
CREATE TABLE events (at date NOT NULL, what text) PARTITION BY RANGE (at);
CREATE TABLE events_now PARTITION OF events FOR VALUES FROM ('2020-01-01') TO ('2120-01-01');
CREATE SEQUENCE numbers;
CREATE VIEW open_orders AS SELECT o.id, c.name FROM orders o JOIN customers c ON c.id = o.customer
    WHERE state = 'open';
CREATE MATERIALIZED VIEW counted AS SELECT count(*) FROM orders;
CREATE FUNCTION orders_of(whose text) RETURNS bigint LANGUAGE plpgsql AS
    $$ BEGIN RETURN (SELECT count(*) FROM orders o JOIN customers c ON c.id = o.customer
                     WHERE c.name = whose); END $$;
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN INSERT INTO events VALUES ('2024-01-01', 'order'); RETURN NEW; END $$;
CREATE TRIGGER note AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION note();
INSERT INTO customers (name) VALUES ('ada');
"""


def sections(text):
    """(kind, file, body) of the blocks under each heading; the ways back under its name and
    ' back'."""
    found = {}
    for part in re.split(r"^##+ ", text, flags=re.MULTILINE)[1:]:
        heading, _, rest = part.partition("\n")
        there, _, back = rest.partition(BACK)
        for name, content in ((heading, there), (heading + " back", back)):
            blocks = [(match["kind"], match["file"], match["body"])
                      for match in BLOCK.finditer(content)]
            if blocks:
                found[name] = blocks
    return found


class Adoption(harness.Case):
    own_schemux = False

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.folder = cls.lab.folder / "adoption"
        cls.folder.mkdir()
        cls.old = server.Postgres(cls.folder / "postgres")
        cls.old.create()
        (cls.old.data / "pg_hba.conf").write_text(HBA)
        cls.old.start()
        cls.addClassCleanup(cls.old.stop, signal.SIGQUIT)
        for sql in LOGINS.strip().splitlines():
            cls.old.run(sql, dbname="postgres")
        cls.old.run(NEIGHBOUR, dbname="shop")
        with cls.old.connect("shop", "shop_app", password=PASSWORDS["shop_app"]) as connection:
            connection.execute(OLD_TABLES)
        cls.port, cls.http = server.free_port(), server.free_port()
        programs = cls.folder / "bin"
        programs.mkdir()
        (programs / "schemux").symlink_to(cls.lab.binary)
        cls.environment = {**os.environ, "PGHOST": "127.0.0.1", "PGPORT": str(cls.old.port),
                           "PGUSER": "postgres", "PGSSLMODE": "disable",
                           "PATH": f"{programs}:{server.POSTGRES_BIN}:{os.environ['PATH']}"}
        for role, word in PASSWORDS.items():
            file = cls.folder / f"{role}.password"
            file.write_text(word + "\n")
            file.chmod(0o600)
        cls.guide = sections(GUIDE.read_text(encoding="utf-8"))
        cls.addClassCleanup(cls.end_schemux)

    @classmethod
    def end_schemux(cls):
        file = cls.folder / "schemux.pid"
        if file.exists():
            os.kill(int(file.read_text()), signal.SIGKILL)

    # ---- the guide ---------------------------------------------------------------------------

    def localized(self, text):
        for port, ours in ((5432, self.old.port), (6432, self.port), (9632, self.http)):
            text = re.sub(rf"\b{port}\b", str(ours), text)
        return text

    def step(self, kind, file, body):
        """One block; what it printed."""
        body = self.localized(body)
        if file:
            (self.folder / file).write_text(body)
            return ""
        if kind == "sql":
            (self.folder / "block.sql").write_text(body)
            command = "psql -q -v ON_ERROR_STOP=1 -d shop -f block.sql"
        else:
            self.assertEqual(kind, "sh")
            command = body
        done = self.run_program("bash", "-euc", command, cwd=self.folder, env=self.environment)
        self.assert_program(done)
        self.assertNotIn("ERROR", done.stderr.replace("ERROR:  permission denied for schema", ""))
        return done.stdout + done.stderr

    def follow(self, heading, first=0, last=None):
        """The blocks of a heading, or some of them; those that are left are counted."""
        blocks = self.guide[heading]
        for number in range(*slice(first, last).indices(len(blocks))):
            self.left[heading].discard(number)
            printed = self.step(*blocks[number])
        return printed

    # ---- the application ---------------------------------------------------------------------

    def connect(self, direct, user="shop_app", service="shop", password=None, **more):
        return psycopg.connect(host="127.0.0.1", port=self.old.port if direct else self.port,
                               user=user, dbname=service, autocommit=True, connect_timeout=20,
                               password=password or PASSWORDS[user], sslmode="disable", **more)

    def use(self, connection):
        """All that the application does, each time the same."""
        before = connection.execute("SELECT orders_of('ada')").fetchone()[0]
        connection.execute("INSERT INTO orders (customer) SELECT id FROM customers WHERE name = %s",
                           ["ada"])
        self.assertEqual(connection.execute("SELECT orders_of('ada')").fetchone(), (before + 1,))
        for view in ("open_orders", "events", "orders"):
            self.assertEqual(connection.execute(f"SELECT count(*) FROM {view}").fetchone(),
                             (before + 1,), view)
        connection.execute("INSERT INTO customers (name) VALUES ('other'); "
                           "SELECT nextval('numbers'); REFRESH MATERIALIZED VIEW counted")
        self.assertEqual(connection.execute(
            "SELECT similarity(name, 'ada') = 1, 'paid'::state FROM customers WHERE id = 1"
        ).fetchone(), (True, "paid"))
        self.assertEqual(connection.execute("SHOW statement_timeout").fetchone(), ("30s",))

    def works(self, *ways, user="shop_app"):
        for direct in ways:
            with self.connect(direct, user) as connection:
                self.use(connection)

    def schema_of(self, table):
        return self.old.run("SELECT relnamespace::regnamespace::text FROM pg_class "
                            "WHERE relname = %s", [table], dbname="shop")[0][0]

    def made_by(self, direct=False):
        """The owner of a table that is made now."""
        with self.connect(direct) as connection:
            connection.execute("CREATE TABLE made (id int)")
            owner = connection.execute("SELECT tableowner FROM pg_tables WHERE tablename = 'made'"
                                       ).fetchone()[0]
            connection.execute("DROP TABLE made")
        return owner

    def who(self):
        with self.connect(False) as connection:
            return connection.execute("SELECT session_user::text, current_user::text").fetchone()

    def wait_to_be(self, *names):
        self.wait_until(lambda: self.who() == names, f"{names} to be who is there")

    # ---- the steps ---------------------------------------------------------------------------

    def test_the_guide_from_end_to_end(self):
        fences = GUIDE.read_text(encoding="utf-8").count("\n```")
        self.assertEqual(sum(map(len, self.guide.values())) * 2, fences, "blocks that are not read")
        self.left = {heading: set(range(len(blocks))) for heading, blocks in self.guide.items()}
        self.works(True)
        self.in_front()
        self.moved()
        self.role()
        self.proved()
        self.closed()
        self.users_of_postgresql()
        self.at_rest()
        self.assertEqual({heading: left for heading, left in self.left.items() if left}, {},
                         "blocks of the guide that nobody followed")

    def in_front(self):
        looked = self.follow("0. Look")
        self.assertIn("orders", looked)
        self.assertIn("statement_timeout=30s", looked)
        self.follow("1. Users and passwords")
        heading = "2. In front, and nothing else"
        self.follow(heading, last=3)
        self.wait_until(self.is_up, "schemux to listen")
        self.follow(heading, first=3)
        self.works(True, False)
        self.assertEqual((self.schema_of("orders"), self.who()[0]), ("public", "shop_app"))
        with self.connect(False, options="-c search_path=public") as connection:
            self.assertEqual(connection.execute("SHOW search_path").fetchone(), ("public",))
        with self.connect(False, "billing_app", "billing") as connection:
            self.assertEqual(connection.execute("SELECT total FROM invoices").fetchone(), (42,))
        with self.assertRaises(psycopg.OperationalError):
            self.connect(False, "billing_app", "shop")

    def is_up(self):
        done = self.run_program(self.lab.binary, "healthcheck", "--url",
                                f"http://127.0.0.1:{self.http}/readyz")
        return done.returncode == 0

    def moved(self):
        """Those who are connected need not know; and it goes back."""
        heading = "3. Move the tables"
        steps = (("shop", heading, slice(0, 2)), ("public", heading + " back", slice(1)),
                 ("shop", heading, slice(2, 3)))  # the last one with a pause
        with self.connect(True) as direct, self.connect(False) as behind:
            for schema, step, blocks in steps:
                self.follow(step, blocks.start, blocks.stop)
                self.assertEqual(self.schema_of("orders"), schema)
                for connection in (direct, behind):
                    self.use(connection)
                self.works(True, False)
        left = self.old.run("SELECT relname FROM pg_class WHERE relnamespace = "
                            "'public'::regnamespace", dbname="shop")
        self.assertEqual(left, [])
        with self.connect(False) as connection:
            self.assertGreater(connection.execute("SELECT count(*) FROM {{tables.orders}}")
                               .fetchone()[0], 0)

    def role(self):
        heading = "4. A role for the service"
        self.follow(heading, last=6)
        self.works(True, False)
        self.follow(heading, first=6)
        for names, step in ((("shop_svc",) * 2, None), (("shop_app",) * 2, f"{heading} back"),
                            (("shop_svc",) * 2, heading)):
            if step is not None:
                self.follow(step, first=-1)
            self.wait_to_be(*names)
            self.works(True, False)
        self.assertEqual((self.made_by(), self.made_by(direct=True)), ("shop_svc", "shop_app"))
        self.follow("Who else makes tables")
        with self.connect(True, "deploy", password="deploy") as connection:
            connection.execute("CREATE TABLE shop.deployed (id serial)")
        with self.connect(False) as connection:
            connection.execute("INSERT INTO deployed DEFAULT VALUES")
        self.guarded()

    def guarded(self):
        """As the paragraph says; then strict again."""
        file = self.folder / "schemux.yaml"
        strict = file.read_text()
        file.write_text(strict.replace("    role_password_file: shop_svc.password\n",
                                       "    isolation: guarded\n"))
        script = ("schemux isolation sql --config schemux.yaml > isolation.sql\n"
                  "psql -q -d postgres -f isolation.sql\nkill -HUP $(cat schemux.pid)")
        self.step("sh", None, script)
        self.wait_to_be("schemux", "shop_svc")
        self.works(False)
        self.assertEqual(self.made_by(), "shop_svc")
        file.write_text(strict)
        self.step("sh", None, script)
        self.wait_to_be("shop_svc", "shop_svc")
        self.old.run("REVOKE shop_svc FROM schemux", dbname="shop")

    def proved(self):
        heading = "5. Prove it"
        self.assertIn("0 holes", self.follow(heading, last=1))
        self.assertIn("shop_svc", self.follow(heading, last=2))
        self.assertIn("permission denied for schema shop", self.follow(heading, first=2))
        with self.connect(False, "billing_app", "billing") as connection:
            for sql in ("SELECT * FROM shop.customers", "SET ROLE shop_svc",
                        "INSERT INTO shop.customers (name) VALUES ('mallory')"):
                with self.assertRaises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(sql)

    def closed(self):
        heading = "6. Close the old door"
        with self.connect(True) as connection:
            connection.execute("CREATE TABLE made_late (id int)")
        self.assertIn("0 holes", self.follow(heading))
        owners = self.old.run("SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'shop' "
                              "AND tablename <> 'deployed'", dbname="shop")
        self.assertEqual(owners, [("shop_svc",)])
        database = self.old.run("SELECT pg_get_userbyid(datdba) FROM pg_database "
                                "WHERE datname = 'shop'", dbname="shop")
        self.assertEqual(database, [("postgres",)])
        self.works(False)
        with self.assertRaises(psycopg.OperationalError):
            self.connect(True)
        self.follow(heading + " back")
        self.works(True, False)
        self.follow(heading)

    def users_of_postgresql(self):
        heading = "Users that PostgreSQL knows"
        self.follow(heading)
        file = self.folder / "schemux.yaml"
        asked = (self.folder / "auth.yaml").read_text()
        file.write_text(re.sub(r"^auth:.*\n", lambda _: asked, file.read_text(), flags=re.M))
        self.step("sh", None, "rm userlist.txt\nkill -HUP $(cat schemux.pid)")
        self.old.run("ALTER ROLE shop_app PASSWORD 'a new word'", dbname="shop")
        self.addCleanup(PASSWORDS.update, shop_app=PASSWORDS["shop_app"])

        def new_word_holds():
            try:
                self.connect(False, password="a new word").close()
            except psycopg.OperationalError:
                return False
            return True

        self.wait_until(new_word_holds, "PostgreSQL to be asked")
        PASSWORDS["shop_app"] = "a new word"
        self.works(False)

    def at_rest(self):
        """What harness.Case asks of its own schemux."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}/metrics", timeout=20) as answer:
            metrics = server.parse_metrics(answer.read().decode())
        for wanted in ("schemux_desync_total", "schemux_audit_findings_total"):
            found = [value for (name, _), value in metrics.items() if name == wanted]
            self.assertEqual(sum(found), 0, wanted)
        self.assertEqual(server.sanitizer_report(self.folder / "schemux.log"), "")
