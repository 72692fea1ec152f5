"""What a hostile service can do to another one on the same database, on each level of isolation.

Every outcome is asserted exactly, leaks as well: a level is sold for what it holds, and one that
comes to hold more or less has to say so. At `strict` no row of another service's is ever read. What
a program leaves in a session never reaches the next client, on any level.
"""

import itertools
import re

import harness
import isolation_test
import red_team_effects
import red_team_neighbours
import red_team_probes
import red_team_spelling
import red_team_stage
import red_team_variants
import server
import wire

# What may be left in a session besides settings, and how b would notice: rows of the latter.
LEFTOVERS = {
    "table in front of b's": ("CREATE TEMP TABLE t AS SELECT 'false' AS body",
                              "SELECT 1 WHERE to_regclass('t') <> to_regclass('b.t')"),
    "view in front of b's": ("CREATE TEMP VIEW t AS SELECT 'false'::text AS body",
                             "SELECT 1 WHERE to_regclass('t') <> to_regclass('b.t')"),
    "type in front of b's": ("CREATE DOMAIN pg_temp.mood AS text",
                             "SELECT 1 WHERE to_regtype('mood') <> to_regtype('b.mood')"),
    "function": ("CREATE OR REPLACE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
                 "SELECT 1 WHERE to_regproc('pg_temp.f') IS NOT NULL"),
    "sequence": ("CREATE TEMP SEQUENCE s", "SELECT 1 WHERE to_regclass('pg_temp.s') IS NOT NULL"),
    "channel": ("LISTEN left_behind", isolation_test.CHANNELS),
    "advisory lock": ("SELECT pg_advisory_lock(4711)", red_team_stage.OWN_LOCKS),
    "statement": ("PREPARE left_behind AS SELECT 1", isolation_test.STATEMENTS),
}
UNPINNED = dict.fromkeys(("temp_table", "advisory_lock", "hold_cursor", "listen", "seed"), "allow")


def word(title):
    return re.sub(r"[^a-z0-9]+", "_", title.lower()).strip("_")


class Table(harness.Case):
    """What is written down, before anything is tried."""

    own_schemux = False

    def test_it_has_all_52_and_more(self):
        probes = [*red_team_probes.ESCAPES, *red_team_effects.EFFECTS]
        self.assertEqual([probe.number for probe in probes], list(range(1, len(probes) + 1)))
        self.assertGreaterEqual(len(probes), 52)

    def test_strict_is_not_sold_for_less(self):
        """No row, no kill, no SQL; what it leaves is one list, and grows by nobody's mistake."""
        strict = red_team_stage.STRICT
        for probe in red_team_probes.ESCAPES:
            self.assertEqual(probe.expected(strict), "safe", probe)
        left = {probe.number: probe.expected(strict) for probe in red_team_effects.EFFECTS
                if probe.expected(strict) != "safe"}
        self.assertEqual(left, {**dict.fromkeys((46, 47, 48, 49, 50, 51, 52, 56, 59, 61), "leak"),
                                44: "own", 45: "own"})
        for variant in red_team_variants.VARIANTS:
            self.assertEqual(variant.expected(strict), "safe", variant)


class Escapes(red_team_stage.Stage):
    """Each of the 40 attempts to read b.t, on one backend for everybody."""

    def attempt(self, probe):
        self.addCleanup(self.mend)
        why = f"{probe.number:02} {probe.title}"
        # Whoever comes next, the other one comes behind.
        for after in ("b",) if probe.hidden else ("b", "a"):
            outcome = self.outcome(probe.program)
            self.assert_nothing_passed_on(why, after)
            self.assertEqual(outcome, probe.expected(self.level), f"{why}; {probe.note}")


def probes_of(case, probes):
    """One test for each probe, so that the report counts and names them."""
    for probe in probes:
        setattr(case, f"test_{probe.number:02}_{word(probe.title)}",
                lambda self, probe=probe: self.attempt(probe))


probes_of(Escapes, red_team_probes.ESCAPES)


class SideEffects(red_team_stage.Stage):
    """What b or the pool notices, or what a learns, while both have backends of their own."""

    connections = 4

    def attempt(self, probe):
        self.addCleanup(self.mend)
        why = f"{probe.number:02} {probe.title}"
        outcome = probe.program(self)
        self.assertEqual(outcome, probe.expected(self.level), f"{why}; {probe.note}")
        self.everybody_leaves()
        self.assert_nothing_passed_on(why)


probes_of(SideEffects, red_team_effects.EFFECTS)


class Variants(red_team_stage.Stage):
    """Many spellings and ways of the same, and behind each one clients who were there before."""

    def test_there_are_enough_of_them(self):
        variants = red_team_variants.VARIANTS
        self.assertGreater(len({variant.program for variant in variants}), 500)
        self.assertEqual(variants, red_team_variants.variants(), "not the same ones each time")

    def test_outcome_of_each(self):
        residents = {service: self.connect(service) for service in red_team_stage.SERVICES}
        wrong = []
        for variant in red_team_variants.VARIANTS:
            outcome = self.outcome(variant.program)
            why = f"{variant.number} {variant.family}: {variant.program}"
            if outcome != variant.expected(self.level):
                wrong.append(f"{outcome}: {why}")
            for service in "ab" if variant.number % 2 and not variant.hidden else "ba":
                self.assert_is_itself(residents[service], service, why)
        self.assertEqual(len(wrong), 0, "\n".join([f"{len(wrong)} outcomes", *wrong[:12]]))


class Tampering(red_team_stage.Stage):
    """What a sets for the session, by whatever means, reaches nobody who comes next: neither b, nor
    another client of its own service."""

    settings = (("search_path", "b"), ("work_mem", "13MB"))
    speller = red_team_spelling.Speller
    numbers = itertools.count(100_000)  # of names that nobody has yet

    def passed_on(self, setter, name, value, to):
        """Whether the next client of the service has another session than it should have."""
        ways = red_team_variants.Ways(next(self.numbers), self.speller)
        *preparation, springs = getattr(ways, setter)(name, value)
        # One client makes the trap, one steps into it: the text of neither shows all.
        together = any(word in setter for word in ("prepare", "cursor"))
        for part in ([[*preparation, springs]] if together else [preparation, [springs]]):
            client = self.connect("a")
            self.run_program(client, part)
            client.close()
        client = self.connect(to)
        # An error, too: another role may not see the service's table.
        told = client.ask(f"{red_team_stage.WHO}, current_setting('work_mem')")
        client.close()
        rows = [[*row[:4], row[5]] for row in (one.row for one in told if one.kind == "D")]
        clean = rows == [[*self.who(to), "4MB"]]
        if not clean:
            self.end_backends()
        return not clean

    def all_passed_on(self, setters, to):
        return [(setter, name) for name, value in self.settings for setter in setters
                if self.passed_on(setter, name, value, to)]

    def left_behind(self, unseen):
        """What a text of a's, a function, or unseen a view, makes that the next client of b's has
        in its session."""
        found = []
        for what, (statement, seen) in LEFTOVERS.items():
            number = next(self.numbers)
            maker = self.connect("a")
            maker.rows(f"CREATE FUNCTION a.f{number}() RETURNS int LANGUAGE plpgsql AS "
                       f"$$ BEGIN EXECUTE $x${statement}$x$; RETURN 1; END $$")
            maker.rows(f"CREATE VIEW a.v{number} AS SELECT a.f{number}() AS x")
            maker.close()
            shown = [statement, f"SELECT a.f{number}()",
                     f"DO $$ BEGIN PERFORM a.f{number}(); END $$"]
            for attack in [f"SELECT x FROM a.v{number}"] if unseen else shown:
                attacker, victim = self.connect("a"), self.connect("b")
                attacker.rows(attack)
                attacker.close()
                if victim.rows(seen) != []:
                    found.append(what)
                    self.end_backends()
                victim.close()
        return found


class EscapesShared(Escapes):
    level = red_team_stage.SHARED


class EscapesGuarded(Escapes):
    level = red_team_stage.GUARDED


class EscapesStrict(Escapes):
    level = red_team_stage.STRICT
    connections = 2
    service = {"state": "verify"}


class SideEffectsShared(SideEffects):
    level = red_team_stage.SHARED


class SideEffectsGuarded(SideEffects):
    level = red_team_stage.GUARDED


class SideEffectsStrict(SideEffects):
    level = red_team_stage.STRICT


class VariantsShared(Variants):
    level = red_team_stage.SHARED


class VariantsGuarded(Variants):
    level = red_team_stage.GUARDED


class VariantsStrict(Variants):
    level = red_team_stage.STRICT
    connections = 2
    service = {"state": "verify"}


class TamperingShared(Tampering):
    """By default: all but what no text shows, of which b's role, search_path and rows are safe."""

    level = red_team_stage.SHARED

    def test_what_a_text_shows_is_passed_on_to_nobody(self):
        shown = sorted(set(red_team_variants.SETS) - set(red_team_variants.HIDDEN))
        for to in red_team_stage.SERVICES:
            self.assertEqual(self.all_passed_on(shown, to), [], f"to {to}")

    def test_what_an_object_sets_reaches_neither_role_nor_search_path_of_another_service(self):
        self.speller = red_team_spelling.Plain
        self.assertEqual(self.all_passed_on(red_team_variants.HIDDEN, "b"), [
            (setter, "work_mem") for setter in red_team_variants.HIDDEN])

    def test_what_an_object_sets_reaches_other_clients_of_its_service(self):
        self.speller = red_team_spelling.Plain
        # PostgreSQL 18 reports each change of search_path: there no text has to show it.
        told = {"search_path"} if server.major() >= 18 else set()
        self.assertEqual(self.all_passed_on(red_team_variants.HIDDEN, "a"), [
            (setter, name) for name, _ in self.settings for setter in red_team_variants.HIDDEN
            if name not in told])

    def test_only_what_an_object_makes_is_left_behind(self):
        self.assertEqual(self.left_behind(unseen=False), [])
        self.assertEqual(self.left_behind(unseen=True), list(LEFTOVERS))


class TamperingVerified(Tampering):
    """With an audit behind each lease."""

    level = red_team_stage.SHARED
    service = {"state": "verify"}

    def test_nothing_is_passed_on_to_anybody(self):
        for to in red_team_stage.SERVICES:
            self.assertEqual(self.all_passed_on(red_team_variants.SETS, to), [], f"to {to}")

    def test_nothing_is_left_behind(self):
        for unseen in (False, True):
            self.assertEqual(self.left_behind(unseen), [])


class TamperingScrubbed(TamperingVerified):
    """With a reset behind each lease."""

    service = {"state": "strict"}


class NeighboursShared(red_team_neighbours.Neighbours):
    level = red_team_stage.SHARED


class NeighboursSharedUnpinned(NeighboursShared):
    """What would pin lasts until the transaction ends, and its client stays."""

    pins = False
    service = {"session_features": UNPINNED}


class NeighboursSharedVerified(NeighboursShared):
    """With an audit behind each lease, which has to find those statements, too."""

    service = {"state": "verify"}
    unseen = ("own", "own")


class NeighboursSharedScrubbed(NeighboursShared):
    """With a reset behind each lease, which takes statements as well."""

    service = {"state": "strict"}
    unseen = ("own", "own")
    statements_seen = 0


class TamperingGuarded(TamperingShared):
    """What no text shows can make another client of a's have b's role, as at `shared` b's rows."""

    level = red_team_stage.GUARDED
    settings = (*Tampering.settings, ("role", "svc_b"))


class TamperingGuardedVerified(TamperingVerified):
    level = red_team_stage.GUARDED
    settings = TamperingGuarded.settings


class TamperingGuardedScrubbed(TamperingScrubbed):
    level = red_team_stage.GUARDED
    settings = TamperingGuarded.settings


class NeighboursGuarded(NeighboursShared):
    level = red_team_stage.GUARDED


class NeighboursGuardedUnpinned(NeighboursSharedUnpinned):
    level = red_team_stage.GUARDED


class NeighboursGuardedVerified(NeighboursSharedVerified):
    level = red_team_stage.GUARDED


class ApartStrict(red_team_stage.Stage):
    """One backend at a time for two services, and never the same one for both."""

    level = red_team_stage.STRICT

    def test_each_has_a_backend_of_its_own(self):
        a, b = self.connect("a"), self.connect("b")
        pids = {service: set() for service in red_team_stage.SERVICES}
        for _ in range(5):
            for client, service in ((a, "a"), (b, "b")):
                pids[service].add(self.assert_is_itself(client, service))
        self.assertFalse(pids["a"] & pids["b"])

    def test_nothing_of_the_session_is_seen(self):
        a, b = self.connect("a"), self.connect("b")
        a.send(wire.parse("s", "SELECT 'text of a'"), wire.SYNC)
        a.read_ready()
        a.ask("PREPARE p AS SELECT 'text of a'")
        told = self.run_program(b, ["SELECT * FROM pg_prepared_statements", "EXECUTE p",
                                    "SELECT query FROM pg_stat_activity"])
        self.assertFalse(self.tells(told, "text of a"))


if not red_team_stage.GUARDED.through_schemux:
    del TamperingGuarded, TamperingGuardedVerified, TamperingGuardedScrubbed
    del NeighboursGuarded, NeighboursGuardedUnpinned, NeighboursGuardedVerified
if not red_team_stage.STRICT.through_schemux:
    del ApartStrict
del Escapes, SideEffects, Variants, Tampering  # of no level themselves
