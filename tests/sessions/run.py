#!/usr/bin/python3
"""What sessions are and leave behind: random programs of several clients, on PostgreSQL itself and
through schemux, then the state matrix (matrix.py).

    python3 tests/sessions/run.py --schemux PATH [--smoke] [--count N] [--seed S] [--jobs N]
                                  [--mode transaction|session|none] [--features [+]A,B]
                                  [--program FILE] [--show] [--no-matrix] [--only KIND]

Without --mode the programs run with a pool in transaction mode, and a quarter as many in session
mode; `none` is PostgreSQL on both sides, which shows that programs mean the same each time.
--features names the features of the programs (features.py), those that agree today in that mode if
it is not given; with + in front, those and more. --program runs the programs of a file, --show
prints those of --seed and --count without running them. --only KIND runs the matrix's cells of that
kind, and no programs. A failing program is printed with its seed, and shrunk. The last line is
`sessions: N passed, N failed`.
"""

import argparse
import multiprocessing
import pathlib
import signal
import sys
import time
import traceback

import place  # first: it makes the others known
import compare
import features
import matrix
import notation
import player
import programs
import session
import shrink

PROGRAMS = 1000
PROGRAMS_SMOKE = 200
SHOWN_MAX = 5
FAILURES_MAX = 20
PROGRESS_SECONDS = 10


class Lane:
    """Where programs are played, and the judgement of them."""

    def __init__(self, lane, mode, port, first_new):
        ways, databases = lane
        self.mode = mode
        self.shortest = None  # the last one that failed while shrinking, and how
        self.endpoints = [ways["direct"], ways["again" if mode == "none" else mode]]
        self.controls = place.Controls(port, databases)
        self.comparer = compare.Comparer(first_new)
        self.steps = self.answers = self.errors = 0

    def close(self):
        self.controls.close()

    def judge(self, program):
        """None, or (index, there, here) and both transcripts."""
        self.controls.forget()
        try:
            wanted, got = player.play(program, self.endpoints)
        except (OSError, session.wire.Closed) as error:
            return (0, ("nothing",), ("error", str(error).encode())), [], []
        self.steps += len(program.lines)
        self.answers += len(wanted)
        self.errors += sum(one[0] == "E" for one in wanted)
        found = self.comparer.difference(program, wanted, got)
        return found and (found, wanted, got)

    def fails_like(self, program, first):
        patience = session.STUCK_SECONDS, player.NOTIFICATION_SECONDS
        session.STUCK_SECONDS = session.STUCK_SECONDS_WHILE_SHRINKING
        player.NOTIFICATION_SECONDS = player.NOTIFICATION_SECONDS_WHILE_SHRINKING
        try:
            found = self.judge(program)
            if not found or _signature(found[0]) != _signature(first[0]):
                return False
            if not self.is_settled(program, found[1]):
                return False
            self.shortest = program, found
            return True
        finally:
            session.STUCK_SECONDS, player.NOTIFICATION_SECONDS = patience

    def is_settled(self, program, wanted):
        """PostgreSQL says the same when it is asked again, so that a difference means something."""
        self.controls.forget()
        again, = player.play(program, self.endpoints[:1])
        return self.comparer.difference(program, wanted, again) is None


def _signature(difference):
    """What differs, without what depends on the rest of the program."""
    return [(one[0], one[0] == "E" and compare.fields_of(one[1])["C"]) for one in difference[1:]]


def report(program, failure):
    (index, there, here), wanted, got = failure
    lines = [program.text()]
    step = next((int(one[1]) for one in wanted[index::-1] if one[0] == "step"), None)
    if step is not None:
        lines.append(f"  differs at: {program.lines[step]}")
    for who, said, transcript in (("PostgreSQL", there, wanted), ("schemux   ", here, got)):
        behind = compare.shown_all(transcript[index + 1:index + 6])
        lines.append(f"    {who} {compare.shown(said)} {behind}")
    return "\n".join(lines)


def explain(lane, program, failure):
    """The shortest program that still fails so, or what is known if it does not again."""
    if not lane.judge(program):
        return ("passes when it is played again: it needs what programs before it left\n"
                + report(program, failure))
    if not lane.is_settled(program, failure[1]):
        return "PostgreSQL itself does not say the same each time\n" + report(program, failure)
    lane.shortest = program, failure
    shrink.shrink(program, lambda one: lane.fails_like(one, failure))
    return "shrunk to\n" + report(*lane.shortest)


def run_programs(lane, wanted, chosen):
    """Plays programs from a list of (what to say of it, program or seed)."""
    passed = failed = 0
    began = said = time.monotonic()
    for number, (name, program) in enumerate(wanted):
        if time.monotonic() - said > PROGRESS_SECONDS:
            said = time.monotonic()
            print(f"  {number} of {len(wanted)} programs of a lane, {said - began:.0f} s, "
                  f"{failed} failed", flush=True)
        if program is None:
            program = programs.generate(name, chosen)
            name = f"--mode {lane.mode} --seed {name} --count 1"
        failure = lane.judge(program)
        passed += not failure
        failed += bool(failure)
        if failure and failed <= SHOWN_MAX:
            print(f"\nFAILED program {name}: {explain(lane, program, failure)}", flush=True)
        elif failure:
            print(f"\nFAILED program {name}", flush=True)
        if failed == FAILURES_MAX:
            print("gave up: too many failures", flush=True)
            break
    return passed, failed


def _job(arguments):
    lane, mode, port, first_new, wanted, chosen = arguments
    lane = Lane(lane, mode, port, first_new)
    try:
        counts = run_programs(lane, wanted, chosen)
        return counts, lane.comparer.used, (lane.steps, lane.answers, lane.errors)
    except Exception:
        print(f"FAILED {traceback.format_exc()}", flush=True)
        return (0, 1), {}, (0, 0, 0)
    finally:
        lane.close()


def stop_on_signal(_number, _frame):
    raise KeyboardInterrupt


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--schemux", type=pathlib.Path, metavar="PATH")
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--count", type=int, metavar="N")
    parser.add_argument("--seed", type=int, default=1, metavar="S")
    parser.add_argument("--jobs", type=int, default=2, metavar="N")
    parser.add_argument("--features", default="", metavar="A,B")
    parser.add_argument("--program", type=pathlib.Path, metavar="FILE")
    parser.add_argument("--mode", choices=(*place.MODES, "none"), default="")
    parser.add_argument("--show", action="store_true")
    parser.add_argument("--no-matrix", action="store_true")
    parser.add_argument("--only", metavar="KIND")
    arguments = parser.parse_args()
    if arguments.count is None:
        arguments.count = PROGRAMS_SMOKE if arguments.smoke else PROGRAMS
    unknown = set(_named(arguments)) - set(features.FEATURES)
    if unknown or not (arguments.show or arguments.schemux):
        parser.error(f"no feature {', '.join(sorted(unknown))}" if unknown else "--schemux PATH")
    arguments.matrix = not (arguments.no_matrix or arguments.program)
    return arguments


def _named(arguments):
    return [one for one in arguments.features.lstrip("+").split(",") if one]


def chosen_features(arguments, mode):
    named = _named(arguments)
    more = () if named and not arguments.features.startswith("+") else features.AGREED[mode]
    # Of these every client has a step, whatever its transaction is like.
    return sorted({*named, *more, "local", "transactions"})


def wanted_programs(arguments, count):
    if arguments.program:
        scripts = notation.read_scripts(arguments.program.read_text(), arguments.program.name)
        return [(one.name, one) for one in scripts]
    if arguments.only:
        return []
    return [(arguments.seed + number, None) for number in range(count)]


def run(arguments, where, mode, wanted):
    passed = failed = 0
    first_new = where.first_new_oid()
    chosen = chosen_features(arguments, mode)
    print(f"  {len(wanted)} programs from --seed {arguments.seed} on, --mode {mode}, "
          f"features {','.join(chosen)}", flush=True)
    began = time.monotonic()
    lanes = where.lanes
    jobs = [(lane, mode, where.postgres.port, first_new, wanted[at::len(lanes)], chosen)
            for at, lane in enumerate(lanes)]
    used, figures = {}, []
    with multiprocessing.Pool(len(jobs)) as pool:
        for (good, bad), rows, lanes_figures in pool.imap_unordered(_job, jobs):
            passed += good
            failed += bad
            figures.append(lanes_figures)
            for row, count in rows.items():
                used[row] = used.get(row, 0) + count
        # Leaving the block ends workers by the signal that stops this program.
        pool.close()
        pool.join()
    steps, answers, errors = (sum(one) for one in zip(*figures))
    shown = ", ".join(f"{row} {count} times" for row, count in sorted(used.items()))
    print(f"  {steps} steps, {answers} messages of PostgreSQL's, {errors} of them errors, "
          f"{time.monotonic() - began:.0f} s")
    print(f"  rows of core/EXCEPTIONS.md that were needed: {shown or 'none'}", flush=True)
    return passed, failed


def main():
    arguments = parse_arguments()
    if arguments.show:
        chosen = chosen_features(arguments, arguments.mode or "transaction")
        for seed in range(arguments.seed, arguments.seed + arguments.count):
            print(programs.generate(seed, chosen).text())
        return 0
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop_on_signal)
    counts = {arguments.mode: arguments.count} if arguments.mode else {
        "transaction": arguments.count, "pinning": arguments.count // 4,
        "sharing": arguments.count // 4,
        "session": arguments.count // 4}
    where = place.Place(arguments.schemux, min(arguments.jobs, max(arguments.count, 1)))
    passed = failed = 0
    try:
        where.open()
        for mode, count in counts.items():
            wanted = wanted_programs(arguments, count)
            if wanted:
                good, bad = run(arguments, where, mode, wanted)
                passed += good
                failed += bad
        if arguments.matrix:
            good, bad = matrix.run(where, arguments.jobs, arguments.smoke, arguments.only)
            passed += good
            failed += bad
        for fault in where.faults():
            print(f"FAILED {fault}", flush=True)
            failed += 1
    except KeyboardInterrupt:
        print("interrupted", flush=True)
        failed += 1
    finally:
        where.close()
    print(f"sessions: {passed} passed, {failed} failed", flush=True)
    return 0 if failed == 0 and passed > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
