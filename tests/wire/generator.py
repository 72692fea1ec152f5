"""Random scripts in the table's notation, each made from its seed alone.

What a script waits for must come whatever its messages do. `<N` waits for the N-th ReadyForQuery
of the client; where a message may be skipped, so that nobody can count, a script only looks. It
must not know what is right.

Left out are the documented differences: session state beyond a transaction (E2, E3), tables that go
while statements stay (E5), DISCARD ALL of startup settings (E41), and messages with no place in a
COPY FROM STDIN (E33).
"""

import random
import re

import notation

NAMES = ("a", "b", "c", "d", "e", "f", "A b")
PORTALS = ("p", "q")
INT, TEXT = 23, 25
STEPS_MAX = 14
BATCH_MAX = 9
TEMPLATES = 0.4  # of the scripts
# Beyond, PostgreSQL 15 itself crashes in some of them (seed 7925, asked directly).
TEMPLATE_SEEDS = range(5000)
# Scripts that speak of prepared statements in SQL: not among those that run without being asked
# for, since PostgreSQL 15 itself crashes in one of 700.
NAME_SEEDS = range(20000, 40000)
# PostgreSQL 17 or 18 crashes, asked directly: in a failed transaction an Execute of the unnamed
# portal that a Query has left reads memory that is freed.
CRASHING_SEEDS = {7925, 9509}
OPEN_LITERAL = "SELECT ';"  # what is behind it is not SQL, and templates are none
TABLE = re.compile(r"\b(FROM|INTO|UPDATE|COPY|TRUNCATE) (items|loaded)\b")


def q(text):
    return notation.quoted(text.encode()) if text else '""'


class Text:
    """A statement's text; `values`: parameters that suit it."""

    def __init__(self, sql, values=(), types=()):
        self.sql = sql
        self.values = values
        self.types = types


def texts(rng):
    """One of the texts that a Parse may have; many are the same as before, and shared then."""
    n = rng.choice((rng.randrange(1, 7), rng.randrange(1, 10**6)))
    return rng.choice((
        lambda: Text(f"SELECT {n}"),
        lambda: Text(f"SELECT $1::int + {n}", (str(n),)),
        lambda: Text(f"SELECT $1, $2, {n}", ("7", "seven"), (INT, TEXT)),
        lambda: Text(f"SELECT generate_series(1, {n % 5 + 1})"),
        lambda: Text(f"SELECT id, name, price, made FROM items WHERE id < {n % 9} ORDER BY id"),
        lambda: Text("SELECT name FROM items WHERE id = $1", (str(n % 25),)),
        lambda: Text(f"SELECT repeat('x', {n % 9000})"),
        lambda: Text(f"SELECT shout('n{n}')"),
        lambda: Text(f"SELECT 1 / ({n % 3} - 1)"),
        lambda: Text(f"SELECT {n} / (2 - i) FROM generate_series(1, 4) AS i"),
        lambda: Text("SELECT fail($1)", ("luck",)),
        lambda: Text(f"INSERT INTO loaded VALUES ({n}, 'x') RETURNING number"),
        lambda: Text(f"UPDATE loaded SET body = body || $1 WHERE number > {n % 5}", ("y",)),
        lambda: Text("SELECT count(*), sum(number) FROM loaded"),
        lambda: Text("SELECT current_setting('DateStyle'), made FROM items WHERE id = 2"),
        lambda: Text(rng.choice(("", " ", ";", "-- nothing"))),
        lambda: Text(rng.choice(("SELEC", "SELECT nothing", "SELECT 1; SELECT 2", "SELECT '",
                                 "SELECT $2", "COPY nowhere TO STDOUT"))),
        lambda: Text(f"COPY (SELECT generate_series(1, {n % 4})) TO STDOUT"),
        lambda: Text(transaction_text(rng)),
        lambda: Text(transaction_text(rng)),
    ))()


def naming_text(rng):
    """One that speaks of prepared statements by SQL's names."""
    name = rng.choice([f'"{name}"' for name in NAMES] + ["a", "B"])
    n = rng.randrange(1, 10**6)
    return rng.choice((
        f"PREPARE {name} AS SELECT {n}",
        f"PREPARE {name} AS SELECT {n}",
        f"PREPARE {name} (int) AS SELECT $1 + {n}",
        f"PREPARE {name} AS INSERT INTO loaded VALUES ({n}, 'x')",
        f"PREPARE {name} AS SELECT nothing",
        f"EXECUTE {name}",
        f"EXECUTE {name}",
        f"EXECUTE {name}({n})",
        f"EXPLAIN (COSTS off) EXECUTE {name}",
        f"DEALLOCATE {name}",
        f"DEALLOCATE PREPARE {name}",
    ))


def transaction_text(rng):
    return rng.choice(("BEGIN", "BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT s", "ROLLBACK TO s",
                       "RELEASE s", "COMMIT AND CHAIN", "BEGIN READ ONLY", "END",
                       "SET LOCAL DateStyle = 'German'", "SET LOCAL DateStyle = 'SQL, DMY'",
                       "SET LOCAL TimeZone = 'Asia/Tokyo'", "SET LOCAL IntervalStyle = 'x'"))


class Client:
    """What one client has sent: `ready` ReadyForQuery are sure to come, or nobody can count."""

    def __init__(self):
        self.ready = 0
        self.certain = True
        self.open = False  # messages of a batch without a Sync
        self.in_portal = {}
        self.statements = {}


class Generator:
    def __init__(self, seed):
        self.seed = seed
        self.rng = random.Random(seed)
        self.lines = []
        self.clients = {"1": Client()}
        self.name = "1"

    @property
    def client(self):
        return self.clients[self.name]

    def add(self, *lines):
        self.lines += lines

    def chance(self, probability):
        return self.rng.random() < probability

    def boundary(self):
        """Where one write ends; often nowhere."""
        what = self.rng.random()
        if what < 0.12:
            self.add("|")
        elif what < 0.16:
            self.add(f"| {self.rng.randrange(1, 40)}")
        elif what < 0.20:
            self.add("< ?")

    def wait(self):
        if self.client.certain:
            self.add(f"<{self.client.ready}" if self.client.ready else "|")
        else:
            self.add("< ?")

    @property
    def naming(self):
        return self.seed in NAME_SEEDS

    def names(self):
        """SQL's PREPARE, EXECUTE or DEALLOCATE, in no portal that outlives it: PostgreSQL 15 itself
        crashes in some scripts that have such."""
        if not self.naming:
            return
        if self.chance(0.3):
            self.add(f'P "" {q(naming_text(self.rng))}', 'B "" ""', 'E ""')
            self.client.open = True
        else:
            self.query("; ".join(naming_text(self.rng) for _ in range(self.rng.randrange(1, 4))))

    # ---- one message ---------------------------------------------------------------------------

    def any_name(self):
        return "" if self.chance(0.35) else self.rng.choice(NAMES[:self.rng.randrange(1, 8)])

    def any_portal(self):
        return "" if self.chance(0.6) else self.rng.choice(PORTALS)

    def parse(self, name=None):
        name = self.any_name() if name is None else name
        text = texts(self.rng)
        if name:
            # Of its own: see known() for texts that a backend has already.
            text.sql += f" /* {self.rng.randrange(10**9)} */"
        self.client.statements[name] = text
        self.add(" ".join(["P", q(name), q(text.sql), *map(str, text.types)]))

    def bind(self):
        known = sorted(self.client.statements)
        name = self.rng.choice(known) if known and self.chance(0.85) else self.any_name()
        text = self.client.statements.get(name, Text(""))
        values = [q(value) for value in text.values]
        if values and self.chance(0.1):
            values[0] = self.rng.choice(("x", "NULL", "x:00"))
        if self.chance(0.03):
            values.append("1")
        if self.chance(0.2):
            values.append("out=1")
        portal = self.any_portal()
        self.client.in_portal[portal] = name
        self.add(" ".join(["B", q(portal), q(name), *values]))
        return portal

    def execute(self, portal=None):
        portal = self.any_portal() if portal is None else portal
        limit = f" {self.rng.randrange(1, 4)}" if self.chance(0.3) else ""
        self.add(f"E {q(portal)}{limit}")

    def message(self):
        """One message of the extended protocol, sometimes the usual row of them."""
        what = self.rng.random()
        if what < 0.35:
            if self.chance(0.6):
                self.parse()
            portal = self.bind()
            if self.chance(0.3):
                self.add(f"DP {q(portal)}")
            self.execute(portal)
        elif what < 0.55:
            self.parse()
        elif what < 0.65:
            self.bind()
        elif what < 0.72:
            self.execute()
        elif what < 0.80:
            self.add(f"DS {q(self.any_name())}")
        elif what < 0.83:
            self.add(f"DP {q(self.any_portal())}")
        elif what < 0.92:
            # What is sent behind a Close that may be skipped is awaited in most: see batch().
            kind = "CS" if self.client.certain or self.naming else "DS"
            self.add(f"{kind} {q(self.any_name())}")
        elif what < 0.95:
            self.add(f"CP {q(self.any_portal())}")
        elif what < 0.98:
            self.add("H")
        else:
            self.add(self.rng.choice(("c", 'd "late\\n"', 'f "late"')))

    def sync(self):
        self.add("S")
        self.client.ready += 1
        self.client.open = False

    # ---- one step ------------------------------------------------------------------------------

    def batch(self):
        began = len(self.lines)
        for _ in range(self.rng.randrange(1, BATCH_MAX)):
            self.message()
            self.client.open = True
            self.boundary()
        closes = any(line.startswith("CS") for line in self.lines[began:])
        if closes and not self.naming:
            self.sync()
            self.wait()
        elif self.chance(0.92):
            self.sync()
        elif self.chance(0.5):
            self.add("H", "|")

    def query(self, sql):
        # In a batch that failed it is skipped.
        self.client.certain = self.client.certain and not self.client.open
        self.client.open = False
        self.client.ready += 1
        self.add(f"Q {q(sql)}")

    def simple(self):
        if self.chance(0.3):
            self.query("; ".join(self.parameterless() for _ in range(self.rng.randrange(2, 5))))
        else:
            self.query(self.parameterless())

    def parameterless(self):
        while True:
            text = texts(self.rng)
            if not text.values:
                return text.sql

    def transaction(self):
        sql = transaction_text(self.rng)
        if self.chance(0.6):
            self.query(sql)
            return
        self.add(f'P "" {q(sql)}', 'B "" ""', 'E ""')
        self.sync()

    def call(self):
        self.client.certain = self.client.certain and not self.client.open
        self.client.open = False
        self.client.ready += 1
        self.add(self.rng.choice(("F 177 1 2", "F 177 x:00000001 x:00000002 out=1", "F 154 1 0",
                                  "F 177 1", "F 1 1")))

    def deallocate(self):
        if self.client.open:
            self.sync()
        name = self.rng.choice(NAMES)
        one = self.rng.choice((f'DEALLOCATE "{name}"', f'DEALLOCATE PREPARE "{name}"'))
        if self.chance(0.4) or not self.client.certain:
            self.query(one)
            return
        # What is sent ahead of the answer may still find search_path reset (E12).
        if self.chance(0.7):
            self.query(self.rng.choice(("DISCARD ALL", "DEALLOCATE ALL")))
        else:
            self.add('P "" "DEALLOCATE ALL"', 'B "" ""', 'E ""')
            if self.naming:
                self.client.open = True
                return
            self.sync_and_forget()
        if not self.naming or "DISCARD" in self.lines[-1]:
            self.wait()

    def sync_and_forget(self):
        """A Query drops the unnamed statement: it is not to run again in the midst of others."""
        self.sync()
        self.query(self.rng.choice(("", "SELECT 1")))

    def copy_data(self, wrong=0.15):
        for _ in range(self.rng.randrange(0, 4)):
            pieces = self.rng.choice((('d "1\\tone\\n"',), ('d "2\\ttwo\\n3\\tth"', 'd "ree\\n"'),
                                      ('d "5\\tfive\\n"',), ('d ""', 'd "6\\tsix\\n"', 'd ""')))
            self.add(*pieces)
            self.boundary()
        if self.chance(wrong):
            self.add('d "x\\ty\\n"')

    def copy_in(self):
        """A COPY FROM STDIN whose data is sent when its answer has come."""
        if not self.client.certain:
            return
        if self.client.open:
            self.sync()
        if self.client.ready:
            self.wait()
        simple = self.chance(0.5)
        if simple:
            self.add('Q "COPY loaded FROM STDIN"', "< GZ")
            self.client.ready += 1
        else:
            self.add('P "" "COPY loaded FROM STDIN"', 'B "" ""', 'E ""', "H", "< GE")
        self.copy_data()
        self.add(self.rng.choice(("c", "c", "c", 'f "no"')))
        self.boundary()
        if self.chance(0.2):
            self.add(self.rng.choice(("c", 'd "late"', 'f "late"')))
        if not simple:
            self.sync_and_forget()

    def copy_in_blind(self):
        """One whose data, and Syncs in it, are sent without waiting for anything."""
        if self.client.open:
            self.sync()
        if self.chance(0.5):
            self.query("COPY loaded FROM STDIN" + self.rng.choice(("", "; SELECT 1")))
            self.copy_data()
        else:
            self.add('P "" "COPY loaded FROM STDIN"', 'B "" ""', 'E ""')
            self.boundary()
            self.copy_data()
            if self.chance(0.4):
                self.client.certain = False
                self.add("S")
                self.boundary()
                self.copy_data()
        self.add(self.rng.choice(("c", "c", 'f "no"')))
        self.sync_and_forget()
        self.boundary()

    def known(self):
        """A named statement that other clients have too, prepared where nothing can be skipped."""
        if not self.client.certain:
            return
        if self.client.open:
            self.sync()
        name = self.rng.choice(NAMES)
        text = texts(self.rng)
        self.add(f"CS {q(name)}")
        self.sync()
        self.wait()
        self.client.statements[name] = text
        self.add(" ".join(["P", q(name), q(text.sql), *map(str, text.types)]))
        self.sync()
        self.wait()

    def change_client(self):
        """To another one, when this one is surely at rest."""
        if not self.client.certain:
            return
        if self.client.open:
            self.sync()
        self.query("ROLLBACK")
        self.wait()
        self.name = "2" if self.name == "1" else "1"
        self.clients.setdefault(self.name, Client())
        self.add(f"@{self.name}")

    def script(self, name):
        steps = ((self.batch, 10), (self.simple, 3), (self.transaction, 3), (self.call, 0.5),
                 (self.deallocate, 0.8), (self.copy_in, 0.5), (self.copy_in_blind, 0.4),
                 (self.change_client, 0.6), (self.known, 1.5), (self.wait, 4),
                 (self.names, 3 if self.naming else 0))
        self.query("TRUNCATE loaded")
        for _ in range(self.rng.randrange(2, STEPS_MAX)):
            step, = self.rng.choices([one for one, _ in steps], [weight for _, weight in steps])
            step()
            self.boundary()
        if not any("loaded" in line for line in self.lines[1:]):
            self.lines[0] = 'Q ""'
        return notation.Script(name, *self.with_templates())

    def with_templates(self):
        """The lines and a service: in some scripts tables are named by templates. What PostgreSQL
        sees in their place has as many characters, so that positions are the same."""
        if self.seed not in TEMPLATE_SEEDS or not self.chance(TEMPLATES):
            return self.lines, (), "wire"
        lines = [TABLE.sub(self.template, line) if line[0] in "QP" and OPEN_LITERAL not in line
                 else line for line in self.lines]
        return lines, (), "even"

    def template(self, found):
        form = self.rng.choice(("{{tables.%s}}", "<<tables.%s>>", "{{schema}}.%s", "%s"))
        return f"{found[1]} {form % found[2]}"


def generate(seed):
    return Generator(seed).script(f"seed {seed}")
