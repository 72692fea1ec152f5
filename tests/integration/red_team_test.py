"""What a hostile service can do to another one on the same database, on each level of isolation.

Every outcome is asserted exactly, leaks as well: a level is sold for what it holds, and one that
comes to hold more or less has to say so. At `strict` no row of another service's is ever read. What
a program leaves in a session never reaches the next client, on any level.
"""

import re

import red_team_effects
import red_team_probes
import red_team_stage


def word(title):
    return re.sub(r"[^a-z0-9]+", "_", title.lower()).strip("_")


class Escapes(red_team_stage.Stage):
    """Each of the 40 attempts to read b.t, on one backend for everybody."""

    def attempt(self, probe):
        self.addCleanup(self.mend)
        why = f"{probe.number:02} {probe.title}"
        for after in ("b", "a"):  # whoever comes next, the other one comes behind
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


class EscapesShared(Escapes):
    level = red_team_stage.SHARED


class EscapesGuarded(Escapes):
    level = red_team_stage.GUARDED


class EscapesStrict(Escapes):
    level = red_team_stage.STRICT
    connections = 2


class SideEffectsShared(SideEffects):
    level = red_team_stage.SHARED


class SideEffectsGuarded(SideEffects):
    level = red_team_stage.GUARDED


class SideEffectsStrict(SideEffects):
    level = red_team_stage.STRICT


del Escapes, SideEffects  # of no level themselves
