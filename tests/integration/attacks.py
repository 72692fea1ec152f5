"""What the tests named after mistakes of other products (tests/CVES.md) have in common: somebody
who must not notice an attack, a statement that must not run, and SCRAM by hand.
"""

import struct

import auth_test
import harness
import wire

USERS = [{"name": "alice", "password": "alices word"}, {"name": "bob", "password": "bobs word"}]
SCRAM = {"method": "scram-sha-256", "users": USERS}
SERVICES = [{"name": "users", "schema": "users"},
            {"name": "orders", "schema": "orders", "users": ["bob"]}, {"name": "legacy"}]
FIRST = "n=,r=clientnonce"
# What an attack may leave behind in the allocator, whatever it claimed.
GROWN_MAX = 16 << 20
HUGE = (0x3fffffff, 0x7fffffff, 0x80000000, 0xfffffff0, 0xfffffffb, 0xffffffff)


def challenge_in(message):
    return dict(part.split("=", 1) for part in message.body[4:].decode().split(","))


def begin_scram(client, user, service, **more):
    """Up to the server's challenge, which is returned."""
    client.send(wire.startup({"user": user, "database": service, **more}))
    client.read()
    client.send(auth_test.initial_response(b"n,," + FIRST.encode()))
    return challenge_in(client.read())


def scram_final(challenge, password):
    return auth_test.response(auth_test.client_final(password, FIRST, challenge))


def scram_login(client, user, service, password, **more):
    """The messages behind the proof; wire.Closed when it was refused."""
    client.send(scram_final(begin_scram(client, user, service, **more), password))
    return client.finish_login()


def claimed(kind, length, body=b""):
    """A message that claims to be of another length than it has."""
    return kind.encode() + struct.pack("!I", length) + body


class Attacked(harness.Case):
    """A bystander who has logged in before the attack, and newcomers behind it."""

    config = {"auth": SCRAM, "services": SERVICES, "pool": {"max_connections": 3}}

    def setUp(self):
        self.bystander = self.log_in("bob", "orders")
        self.assertEqual(self.bystander.rows("SELECT service FROM {{tables.who}}"), [["orders"]])
        self.resident = self.schemux.resident_bytes()
        self.cpu = self.schemux.cpu_seconds()

    def log_in(self, user="alice", service="users", **more):
        client = self.raw()
        if self.config["auth"]["method"] == "trust":
            client.login(service, user, **more)
        else:
            scram_login(client, user, service, f"{user}s word", **more)
        return client

    def unharmed(self, grown=GROWN_MAX):
        """Everybody else is served, by the same process, and it has not grown."""
        self.assertIsNone(self.schemux.process.poll())
        for client in (self.bystander, self.log_in("bob", "orders")):
            mark = wire.nonce()
            self.assertEqual(client.rows(f"SELECT '{mark}', service FROM {{{{tables.who}}}}"),
                             [[mark, "orders"]])
        self.wait_until(lambda: self.schemux.metric("schemux_logins_in_progress") == 0)
        self.assertLess(self.schemux.resident_bytes() - self.resident, grown)

    def not_busy(self):
        """For attacks that made others loop for ever: what is left of one would burn CPU time."""
        self.assertLess(self.schemux.cpu_seconds() - self.cpu, 5)

    def refused(self, client, *codes):
        """FATAL with one of the codes, and the end; nobody was welcomed."""
        messages = client.read_to_end()
        self.assertNotIn("Z", [one.kind for one in messages])
        error, = wire.errors_of(messages)
        self.assertEqual(error["S"], "FATAL")
        self.assertIn(error["C"], codes)
        return error["M"]

    def canary(self):
        """A table's name, and the statement that would make it."""
        name = f"injected_{wire.nonce()}"
        self.addCleanup(self.postgres.run, f"DROP TABLE IF EXISTS public.{name}")
        return name, f"CREATE TABLE public.{name} ()"

    def assert_not_run(self, name):
        self.wait_for_idle_pool()
        self.assertEqual(self.postgres.run("SELECT to_regclass(%s)::text", (f"public.{name}",)),
                         [(None,)])
