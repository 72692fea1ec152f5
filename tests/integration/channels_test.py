"""`channels: service`: a service's NOTIFY is heard by its own clients, under the names that they
use, whether they share a listener, keep a backend for LISTEN, or have one for the session."""

import harness
import wire
from listen_test import extended, pids, told


class Channels(harness.Case):
    features = {"listen": "share"}
    pool = {"max_connections": 6, "acquire_timeout": "5s"}

    @classmethod
    def setUpClass(cls):
        cls.config = {"pool": cls.pool, "services": [
            {"name": name, "schema": name, "channels": "service", "session_features": cls.features}
            for name in ("users", "orders")] + [
                {"name": "legacy", "session_features": cls.features}]}
        super().setUpClass()

    def heard(self, client):
        """What came up to now: the mark is under the name that it has on the server."""
        messages = client.ask("LISTEN mark")
        self.postgres.run("".join(f'NOTIFY "{name}", \'\';' for name in
                                  ("users:mark", "orders:mark", "mark")))
        while ("mark", "") not in told(messages):
            messages.append(client.read())
        return [one for one in told(messages) if one[0] != "mark"]

    def test_services_do_not_hear_each_other(self):
        clients = {name: self.wire(name) for name in ("users", "orders", "legacy")}
        for client in clients.values():
            self.assertEqual(wire.errors_of(client.ask('LISTEN a; LISTEN "B c"')), [])
        for name in clients:
            sender = self.wire(name)
            for text in (f"NOTIFY a, '{name}'", f"NOTIFY \"B c\", '{name}'",
                         f"SELECT pg_notify('a', '{name} 2')"):
                self.assertEqual(wire.errors_of(sender.ask(text)), [])
            sender.send(extended("SELECT pg_notify('B' || ' c', 'extended')"))
            self.assertEqual(wire.errors_of(sender.read_ready()), [])
        for name, client in clients.items():
            self.assertEqual(self.heard(client), [
                ("a", name), ("B c", name), ("a", name + " 2"), ("B c", "extended")])

    def test_own_notifications(self):
        client = self.wire()
        client.ask("LISTEN A")
        messages = client.ask("NOTIFY a, 'own'")
        self.assertEqual(told(messages), [("a", "own")])
        self.assertEqual(pids(messages), [client.pid])
        self.assertEqual(wire.errors_of(client.ask("UNLISTEN a")), [])
        self.assertEqual(told(client.ask("NOTIFY a, 'own'")), [])
        self.assertEqual(self.heard(client), [])

    def test_triggers_made_through_the_service(self):
        client = self.wire()
        client.ask("LISTEN changed")
        for text in (
                "CREATE TABLE {{tables.noted}} (id int)",
                "CREATE FUNCTION {{schema}}.note() RETURNS trigger LANGUAGE plpgsql AS $$ "
                "BEGIN PERFORM pg_notify('changed', NEW.id::text); RETURN NEW; END $$",
                "CREATE TRIGGER note AFTER INSERT ON {{tables.noted}} FOR EACH ROW "
                "EXECUTE FUNCTION {{schema}}.note()"):
            self.assertEqual(wire.errors_of(client.ask(text)), [])
        self.addCleanup(self.postgres.run, "DROP TABLE users.noted; DROP FUNCTION users.note()")
        other = self.wire()
        other.ask("INSERT INTO {{tables.noted}} VALUES (1), (2)")
        self.assertEqual(self.heard(client), [("changed", "1"), ("changed", "2")])

    def test_errors_are_where_the_client_wrote(self):
        client = self.wire()
        error, = wire.errors_of(client.ask("SELECT pg_notify('a', ''), nothing"))
        self.assertEqual((error["C"], error["P"]), ("42703", "28"))
        error, = wire.errors_of(client.ask("NOTIFY aaaa; SELECT nothing"))
        self.assertEqual((error["C"], error["P"]), ("42703", "21"))

    def test_parameters_are_described_as_ever(self):
        client = self.wire()
        client.send(wire.parse("n", "SELECT pg_notify($1, $2)"), wire.describe("S", "n"), wire.SYNC)
        messages = client.read_ready()
        types, = [one.body for one in messages if one.kind == "t"]
        self.assertEqual(types, bytes.fromhex("0002 00000019 00000019"))


class Pinned(Channels):
    features = {"listen": "pin"}


class OfASession(Channels):
    pool = {"max_connections": 12, "acquire_timeout": "5s", "mode": "session"}

    def test_own_notifications(self):
        client = self.wire()
        client.ask("LISTEN A")
        self.assertEqual(told(client.ask("NOTIFY a, 'own'")), [("a", "own")])
