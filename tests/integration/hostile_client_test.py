"""Every message type in every state, well formed or not, and every length: what PostgreSQL answers
is what schemux answers, but for rows of core/EXCEPTIONS.md, and nobody else is harmed.
"""

import random
import unittest

import harness
import hostile
import wire

STATES = hostile.states()
# A session in these waits for an answer when the attack is read.
SMOKE_STATES = ("idle", "copy_in", "batch_open", "batch_failed", "behind_a_query")
# What reads an unknown type there is what reads it in another state of the list.
SAME_FOR_UNKNOWN_TYPES = ("copy_in_transaction", "copy_in_extended_synced", "portal_suspended")
DIFFERENCES_SHOWN = 12


def in_short(transcript):
    """Without the answer to the probe, if it ends with that."""
    parts = []
    for kind, *fields in transcript:
        if kind in "EN":
            fields = [field.split("=", 1)[1] for field in fields if field[0] != "V"]
        parts.append(f"{kind}({', '.join(str(field)[:60] for field in fields)})")
    return " ".join(parts[:-4] + ["probe"] if transcript[-1] != ("closed",) else parts)


LOST_SYNCHRONIZATION = (
    "E", "S=FATAL", "V=FATAL", "C=08P01",
    "M=terminating connection because protocol synchronization was lost")
INVALID_LENGTH = ("E", "S=FATAL", "V=FATAL", "C=08P01", "M=invalid message length")


def without_lost_synchronization(transcript):
    """In a COPY FROM STDIN PostgreSQL takes an invalid length for the end of the connection."""
    return [one for one in transcript if one[0] != "E" or not one[-1].startswith(
        ("M=unexpected EOF on client connection", "M=terminating connection because protocol"))]


class Comparing(harness.Case):
    """The same bytes to PostgreSQL and through schemux; no tests of its own."""

    config = {"pool": {"max_connections": 4}}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        with cls.postgres.connect_as_owner() as connection:
            connection.execute(f"CREATE TABLE users.{hostile.COPY_TABLE} (line text)")
        cls.documented = hostile.documented_rows()
        cls.function_oid = cls.postgres.run("SELECT 'int4pl'::regproc::oid::int")[0][0]

    @classmethod
    def tearDownClass(cls):
        try:
            super().tearDownClass()
        finally:
            with cls.postgres.connect_as_owner() as connection:
                connection.execute(f"DROP TABLE users.{hostile.COPY_TABLE}")

    def setUp(self):
        self.direct = hostile.Session(self._log_in_directly)
        self.through = hostile.Session(lambda: wire.connect(self.schemux.port, "users"))
        self.addCleanup(self.direct.close)
        self.addCleanup(self.through.close)
        self.differences = []
        self.cases = 0
        self.bystander = self.wire("users")
        self.in_transaction = self.wire("orders")
        self.in_transaction.ask("BEGIN")

    def _log_in_directly(self):
        client = wire.Wire(self.postgres.port)
        client.login("app", "app", search_path="users, public")
        return client

    def compare(self, state, data, attack="attack"):
        # Each has processes of its own to wait for.
        got = harness.Background(getattr(self.through, attack), state, data)
        self.judge(state, data, getattr(self.direct, attack)(state, data), got.result())

    def judge(self, state, data, wanted, got):
        self.cases += 1
        if got != wanted and self.exception_for(state, data, wanted, got) not in self.documented:
            shown = data[:80] + (b"..." if len(data) > 80 else b"")
            self.differences.append(f"{state.name}: {shown!r}\n  PostgreSQL {in_short(wanted)}"
                                    f"\n  schemux    {in_short(got)}")

    def exception_for(self, state, data, wanted, got):
        """The row of core/EXCEPTIONS.md that allows this difference, if one does."""
        told = [one for one in got if one != INVALID_LENGTH]
        allowed = without_lost_synchronization(wanted)[:-1]
        if len(told) < len(got) and told[:len(allowed)] == allowed:
            return "E30"
        refused, shared = next(((there, here) for there, here in zip(wanted, got) if there != here),
                               ((), ()))
        if refused[:1] == ("E",) and "C=25P02" in refused and shared == ("1", b""):
            return "E16"  # which of the backends has a copy is chance
        copying = state.name.startswith("copy_in") or state.name == "behind_a_copy"
        if copying and (data[:1] == b"X" or b"X\0\0" in data) and got[-1] == ("closed",):
            return "E31"
        if state.name == "behind_a_copy" and LOST_SYNCHRONIZATION in got + wanted:
            return "E33"
        if copying and LOST_SYNCHRONIZATION in got and "C=22021" in str(wanted):
            return "E33"  # its data had failed the COPY already
        if b"X\0\0\0" in data and got[-1] == wanted[-1] and got[:len(wanted) - 1] == wanted[:-1]:
            return "E35"
        if b"\xff" in data and "C=22021" in str(wanted):
            same = [one for one in got if one[0] != "E"] == [one for one in wanted if one[0] != "E"]
            return "E32" if same else None
        return None

    def finish(self):
        """Nothing differed, and nobody else noticed anything."""
        self.assertEqual(self.in_transaction.rows("SELECT service FROM {{tables.who}}"),
                         [["orders"]])
        self.in_transaction.ask("COMMIT")
        self.assertEqual(self.bystander.rows("SELECT service FROM {{tables.who}}"), [["users"]])
        self.direct.close()
        self.through.close()
        self.wait_for_idle_pool()
        bound = self.config["pool"]["max_connections"]
        self.wait_until(lambda: len(self.postgres.backends()) <= bound, "backends that leaked")
        if self.differences:
            shown = "\n".join(self.differences[:DIFFERENCES_SHOWN])
            self.fail(f"{len(self.differences)} of {self.cases} cases differ:\n{shown}")


class Hostile(Comparing):
    def states(self):
        return [STATES[name] for name in SMOKE_STATES] if self.lab.smoke else STATES.values()

    # ---- types -----------------------------------------------------------------------------

    def test_every_type_byte_in_every_state(self):
        known = set(hostile.KNOWN_TYPES)
        unknown = (hostile.SOME_UNKNOWN_TYPES if self.lab.smoke
                   else bytes(set(range(256)) - known))
        for state in self.states():
            kinds = known if state.name in SAME_FOR_UNKNOWN_TYPES else known | set(unknown)
            for kind in sorted(kinds):
                self.compare(state, hostile.raw_message(kind))
        self.finish()

    def test_plausible_messages_in_every_state(self):
        for state in self.states():
            for kind in hostile.KNOWN_TYPES.decode():
                for data in hostile.plausible(kind, self.function_oid):
                    self.compare(state, data)
        self.finish()

    def test_malformed_bodies_in_every_state(self):
        for state in self.states():
            for kind in hostile.KNOWN_TYPES.decode():
                for data in hostile.malformed(kind):
                    self.compare(state, data)
            self.compare(state, hostile.raw_message(0xf0, hostile.GARBAGE))
        self.finish()

    def test_random_sequences(self):
        """Fixed seeds: what fails once fails again."""
        known = [one for kind in hostile.KNOWN_TYPES.decode() for one in
                 hostile.plausible(kind, self.function_oid) + hostile.malformed(kind)
                 if hostile.GARBAGE not in one]
        states = list(self.states())
        for seed in range(100 if self.lab.smoke else 1_000):
            chance = random.Random(seed)
            data = b"".join(chance.choice(known) for _ in range(chance.randrange(2, 7)))
            self.compare(chance.choice(states), data)
        self.finish()

    # ---- lengths ---------------------------------------------------------------------------

    def test_every_length_of_every_type(self):
        """Too short, negative, beyond any limit; or longer than what comes."""
        names = ("idle", "copy_in") if self.lab.smoke else (
            "idle", "in_transaction", "copy_in", "copy_in_extended", "copy_out", "batch_open",
            "batch_failed", "behind_a_query", "behind_a_batch")
        lengths = (0, 3, 1 << 31, (1 << 32) - 1) if self.lab.smoke else (
            0, 1, 2, 3, 10_001, (1 << 30) - 1, 1 << 30, (1 << 31) - 1, 1 << 31, (1 << 32) - 1)
        for name in names:
            for kind in sorted(hostile.KNOWN_TYPES + b"?"):
                for length in lengths:
                    if length == 10_001 and chr(kind) in "BFPQd":
                        continue  # theirs may be as long
                    self.compare(STATES[name], hostile.raw_message(kind, b"", length))
        self.finish()

    def test_lengths_that_take_the_next_message_for_their_body(self):
        """Valid lengths, but not the content's: what follows is read from there."""
        names = ("idle", "in_transaction", "batch_open", "batch_failed")
        for name in names[:1] if self.lab.smoke else names:
            state = STATES[name]
            for kind in "BCDEFHPQSdf":
                for data in hostile.plausible(kind, self.function_oid)[:1]:
                    for claimed in (4, 5, len(data) - 2, len(data)):
                        shifted = hostile.raw_message(ord(kind), data[5:], max(4, claimed))
                        self.compare(state, shifted + b"\0" * 8)
        self.finish()

    def test_messages_that_never_become_complete(self):
        """The client promises more than it sends, and goes."""
        names = ("idle", "copy_in", "in_transaction", "batch_open", "batch_failed")
        for name in names[:2] if self.lab.smoke else names:
            state = STATES[name]
            for kind in sorted(hostile.KNOWN_TYPES):
                for data in (bytes([kind]), hostile.raw_message(kind, b"", 5),
                             hostile.raw_message(kind, b"part", 9_000)):
                    self.through.attack_and_end(state, data)
                    self.cases += 1
        self.finish()
        self.assertEqual(self.schemux.log_count("backend_desync"), 0)

    # ---- deliveries ------------------------------------------------------------------------

    def test_byte_by_byte_is_the_same(self):
        for state in self.states():
            for kind in hostile.KNOWN_TYPES.decode():
                data = hostile.plausible(kind, self.function_oid)[0]
                wanted = self.direct.attack(state, data)
                if wanted[-1] != ("closed",):  # else its reset may overtake what it said
                    self.judge(state, data, wanted, self.through.attack_byte_by_byte(state, data))
        self.finish()


class WaitingForABackend(Comparing):
    """The client has asked, the pool is full: what it says meanwhile is looked at later."""

    config = {"pool": {"max_connections": 2}}

    def test_every_type_while_the_client_waits(self):
        # Both backends are held: one by setUp's client, one by this.
        holder = self.wire("orders")
        state = hostile.State("waiting", unread=wire.query("SELECT 'first'"))
        kinds = hostile.KNOWN_TYPES.decode()
        attacks = [one for kind in kinds for one in hostile.plausible(kind, self.function_oid)]
        attacks += [hostile.raw_message(kind) for kind in hostile.SOME_UNKNOWN_TYPES]
        attacks += [hostile.raw_message(ord(kind), b"", 1 << 31) for kind in kinds]
        for data in attacks[::4] if self.lab.smoke else attacks:
            holder.ask("BEGIN")
            got = self.through.attack(state, data, lambda: self.let_go(holder))
            self.judge(state, data, self.direct.attack(state, data), got)
        self.finish()

    def let_go(self, holder):
        self.wait_until(lambda: self.schemux.metric("schemux_clients_waiting") == 1)
        holder.ask("COMMIT")


if __name__ == "__main__":
    unittest.main()
