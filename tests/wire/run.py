#!/usr/bin/python3
"""The same bytes to PostgreSQL and through schemux: the table of scripts, then random ones.

    python3 tests/wire/run.py --schemux PATH [--smoke] [--count N] [--seed S] [--only NAME]
                              [--jobs N] [--script FILE] [--postgres VERSION:ROOT]

--count and --seed are of the random scripts; a failing one is printed with its seed, then shrunk.
--only runs the scripts of the table whose name contains NAME, and no random ones; --script takes
scripts from a file instead. --postgres: see tests/newer_servers.sh. The last line is
`wire: N passed, N failed`.
"""

import argparse
import multiprocessing
import pathlib
import re
import signal
import sys
import time
import traceback

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
sys.path.insert(0, str(HERE.parent / "integration"))

import bed  # noqa: E402  (found through the paths above)
import compare  # noqa: E402
import generator  # noqa: E402
import notation  # noqa: E402
import session  # noqa: E402
import shrink  # noqa: E402

RANDOM_SCRIPTS = 10_000
FIRST_SEED = 1
RANDOM_SCRIPTS_SMOKE = 500
# Failures that are shrunk and shown; with more, something is broken for everybody.
SHOWN_MAX = 5
FAILURES_MAX = 20
FRESH_EVERY = 250


class Lane:
    """The sessions of one lane, and the judgement of its scripts."""

    def __init__(self, endpoints, comparer):
        self.endpoints = endpoints
        self.sessions = [session.Session(endpoint) for endpoint in endpoints]
        self.comparer = comparer

    def close(self):
        for one in self.sessions:
            one.close()

    def judge(self, script):
        """Empty, or what differs: the endpoint's name, the transcripts, where."""
        try:
            transcripts = session.run(script, self.sessions)
            if _server_crashed(transcripts[0]):
                return self._after_a_crash(script)
        except (OSError, session.wire.Closed) as error:
            if _CRASHED.search(str(error)):
                return self._after_a_crash(script)
            self.close()
            return [("any", [], [], (0, ("nothing",), ("error", str(error).encode())))]
        found = []
        for one, got in zip(self.sessions[1:], transcripts[1:]):
            where = self.comparer.difference(script, transcripts[0], got)
            if where:
                found.append((one.endpoint.name, transcripts[0], got, where))
        if found:
            self.close()
        return found

    def _after_a_crash(self, script):
        """PostgreSQL itself went down, asked directly or not: there is nothing to compare with."""
        self.close()
        print(f"  PostgreSQL crashed around {script.name}", flush=True)
        bed.server.wait_until(self._all_answer, bed.server.START_SECONDS, "PostgreSQL to be back")
        return [("PostgreSQL", [], [], (0, ("nothing",), ("error", b"it crashed")))]

    def _all_answer(self):
        try:
            for endpoint in self.endpoints:
                endpoint.connect("wire", {})[0].close()
        except (OSError, session.wire.Closed):
            return False
        return True

    def fails_like(self, script, first):
        """For shrinking: the same difference as the first time, or it is another failure."""
        patience = session.STUCK_SECONDS
        session.STUCK_SECONDS = session.STUCK_SECONDS_WHILE_SHRINKING
        try:
            differences = self.judge(script)
        finally:
            session.STUCK_SECONDS = patience
        return any(_signature(one) == _signature(first) for one in differences)


_CRASHED = re.compile("57P0[23]")


def _server_crashed(transcript):
    return any(_CRASHED.search(one[1].decode("latin-1"))
               for one in transcript if one[0] in "EN" and len(one) > 1)


def _signature(difference):
    """What differs, without what depends on the rest of the script."""
    _, _, _, (_, there, here) = difference
    return [(one[0], one[0] == "E" and compare.fields_of(one[1])["C"]) for one in (there, here)]


def report(script, differences):
    lines = [f"FAILED {script.where} {script.name}", script.text()]
    for name, wanted, got, (index, there, here) in differences:
        before = compare.shown_all(wanted[max(0, index - 6):index])
        lines += [f"  through {name}, answer {index}, behind {before}:",
                  f"    PostgreSQL {compare.shown(there)} "
                  f"{compare.shown_all(wanted[index + 1:index + 6])}",
                  f"    schemux    {compare.shown(here)} "
                  f"{compare.shown_all(got[index + 1:index + 6])}"]
    return "\n".join(lines)


def run_table(lane, scripts):
    passed = failed = 0
    for script in scripts:
        differences = lane.judge(script)
        if differences:
            print("\n" + report(script, differences), flush=True)
        failed += bool(differences)
        passed += not differences
    return passed, failed


def run_random(lane, seeds):
    """Prints what fails, shrunk; the numbers of those that passed and failed."""
    passed = failed = 0
    for number, seed in enumerate(seeds):
        if number % FRESH_EVERY == 0:
            lane.close()
        script = generator.generate(seed)
        differences = lane.judge(script)
        if not differences:
            passed += 1
            continue
        failed += 1
        text = f"FAILED random script, --seed {seed} --count 1"
        if differences[0][0] == "PostgreSQL":
            text += ": PostgreSQL crashed"
        elif failed <= SHOWN_MAX:
            small = shrink.shrink(script, lambda one: lane.fails_like(one, differences[0]))
            again = lane.judge(small)
            text += ": shrunk to\n" + report(small if again else script, again or differences)
        print("\n" + text, flush=True)
        if failed == FAILURES_MAX:
            print("gave up: too many failures", flush=True)
            break
    return passed, failed


def _job(arguments):
    endpoints, first_new, seeds = arguments
    lane = Lane(endpoints, compare.Comparer(first_new))
    try:
        passed, failed = run_random(lane, seeds)
        return passed, failed, lane.comparer.used
    except Exception:
        print(f"FAILED {traceback.format_exc()}", flush=True)
        return 0, 1, {}
    finally:
        lane.close()


def read_table(only, files):
    scripts = []
    for path in files:
        scripts += notation.read_scripts(path.read_text(), path.name)
    return [one for one in scripts if not only or any(name in one.name for name in only)]


def merge(into, more):
    for row, count in more.items():
        into[row] = into.get(row, 0) + count


def stop_on_signal(_number, _frame):
    raise KeyboardInterrupt


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--schemux", required=True, type=pathlib.Path, metavar="PATH")
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--count", type=int, metavar="N")
    parser.add_argument("--seed", type=int, metavar="S")
    parser.add_argument("--only", metavar="NAME", action="append", default=[])
    parser.add_argument("--jobs", type=int, default=2, metavar="N")
    parser.add_argument("--script", type=pathlib.Path, action="append", metavar="FILE")
    parser.add_argument("--postgres", metavar="VERSION:ROOT",
                        help="PostgreSQL as installed in the system in the folder ROOT")
    arguments = parser.parse_args()
    if arguments.postgres:
        version, _, root = arguments.postgres.partition(":")
        bed.server.use_root(root, version)
    if arguments.count is None:
        arguments.count = RANDOM_SCRIPTS_SMOKE if arguments.smoke else RANDOM_SCRIPTS
    if arguments.only or arguments.script:
        arguments.count = 0
    if arguments.seed is None:
        arguments.seed = FIRST_SEED
    return arguments


def run(arguments, place):
    first_new = place.first_new_oid()
    comparer = compare.Comparer(first_new)
    files = arguments.script or sorted((HERE / "scripts").glob("*.wire"))
    lane = Lane(place.lanes[0], comparer)
    began = time.monotonic()
    scripts = read_table(arguments.only, files)
    passed, failed = run_table(lane, scripts)
    lane.close()
    print(f"  {len(scripts)} scripts of the table, {time.monotonic() - began:.0f} s", flush=True)
    used = comparer.used
    if arguments.count:
        began = time.monotonic()
        seeds = [seed for seed in range(arguments.seed, arguments.seed + arguments.count)
                 if arguments.count == 1 or seed not in generator.CRASHING_SEEDS]
        print(f"  {len(seeds)} random scripts from --seed {arguments.seed} on", flush=True)
        jobs = [(lane, first_new, seeds[number::len(place.lanes)])
                for number, lane in enumerate(place.lanes)]
        with multiprocessing.Pool(len(jobs)) as pool:
            for good, bad, rows in pool.imap_unordered(_job, jobs):
                passed += good
                failed += bad
                merge(used, rows)
            # Leaving the block ends workers by the signal that stops this program.
            pool.close()
            pool.join()
        print(f"  {time.monotonic() - began:.0f} s for the random ones", flush=True)
    for fault in place.faults():
        print(f"FAILED {fault}", flush=True)
        failed += 1
    shown = ", ".join(f"{row} {count} times" for row, count in sorted(used.items()))
    print(f"  rows of core/EXCEPTIONS.md that were needed: {shown or 'none'}")
    return passed, failed


def main():
    arguments = parse_arguments()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop_on_signal)
    place = bed.Bed(arguments.schemux, arguments.jobs if arguments.count else 1)
    passed = failed = 0
    try:
        place.open()
        passed, failed = run(arguments, place)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
        failed += 1
    finally:
        place.close()
    print(f"wire: {passed} passed, {failed} failed", flush=True)
    return 0 if failed == 0 and passed > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
