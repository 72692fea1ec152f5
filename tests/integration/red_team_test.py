"""What a hostile service can do to another one on the same database, on each level of isolation.

Every outcome is asserted exactly, leaks as well: a level is sold for what it holds, and one that
comes to hold more or less has to say so. At `strict` no row of another service's is ever read. What
a program leaves in a session never reaches the next client, on any level.
"""

import itertools
import re

import red_team_effects
import red_team_neighbours
import red_team_probes
import red_team_stage
import red_team_variants

UNPINNED = dict.fromkeys(("temp_table", "advisory_lock", "hold_cursor", "listen", "seed"), "allow")


def word(title):
    return re.sub(r"[^a-z0-9]+", "_", title.lower()).strip("_")


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
    numbers = itertools.count(100_000)  # of names that nobody has yet

    def passed_on(self, setter, name, value, to):
        """Whether the next client of the service has another session than it should have."""
        ways = red_team_variants.Ways(next(self.numbers))
        *preparation, springs = getattr(ways, setter)(name, value)
        # One client makes the trap, one steps into it: the text of neither shows all.
        together = any(word in setter for word in ("prepare", "cursor"))
        for part in ([[*preparation, springs]] if together else [preparation, [springs]]):
            client = self.connect("a")
            self.run_program(client, part)
            client.close()
        client = self.connect(to)
        *who, _pid, work_mem = client.rows(f"{red_team_stage.WHO}, current_setting('work_mem')")[0]
        client.close()
        clean = (who, work_mem) == (self.who(to), "4MB")
        if not clean:
            self.end_backends()
        return not clean

    def all_passed_on(self, setters, to):
        return [(setter, name) for name, value in self.settings for setter in setters
                if self.passed_on(setter, name, value, to)]


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
        passed = self.all_passed_on(red_team_variants.HIDDEN, "b")
        self.assertEqual({name for _, name in passed}, {"work_mem"})


class TamperingVerified(Tampering):
    """With an audit behind each lease."""

    level = red_team_stage.SHARED
    service = {"state": "verify"}

    def test_nothing_is_passed_on_to_anybody(self):
        for to in red_team_stage.SERVICES:
            self.assertEqual(self.all_passed_on(red_team_variants.SETS, to), [], f"to {to}")


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


del Escapes, SideEffects, Variants, Tampering  # of no level themselves
