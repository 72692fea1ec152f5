#!/usr/bin/python3
"""Replays the corpus of each fuzz target, then fuzzes each for some seconds.

    python3 tests/fuzz/run.py --build build/fuzz [--seconds N] [--only TARGET] [--jobs 2]
                              [--keep DIR]

One count per target for the corpus, another for the fuzzing; --seconds 0 only replays. --keep
leaves what fuzzing found new in DIR/TARGET, to be merged (README.md). Inputs that break a property
or crash are copied to BUILD/findings. The last line is `fuzz: N passed, N failed`; the exit status
is 0 only when something ran and nothing failed.
"""

import argparse
import base64
import collections
import concurrent.futures
import os
import pathlib
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
CORPUS = HERE / "corpus"
# Longest input, and the dictionary. What a target does with an input is in its .cpp.
Target = collections.namedtuple("Target", "name max_len dictionary")
TARGETS = [
    Target("frontend_stream", 512, "streams.dict"),
    Target("backend_stream", 512, "streams.dict"),
    Target("startup_packet", 1024, "streams.dict"),
    Target("scram", 512, None),
    Target("sql", 1024, "sql.dict"),
    Target("config", 2048, "config.dict"),
    Target("login_files", 512, "login_files.dict"),
    Target("certificate_names", 1024, None),
    Target("relay_session", 384, None),
]
INPUT_SECONDS_MAX = 10
MEMORY_MB_MAX = 1024
REPLAY_SECONDS_MAX = 300
# What a run may take beyond the seconds it was given: reading the corpus, the last input.
GRACE_SECONDS = 120
SHOWN_BYTES_MAX = 2048
LINES_SHOWN = 40
SYMBOLIZER = "/usr/bin/llvm-symbolizer-14"


class Outcome:
    """What one run of a target's program came to."""

    def __init__(self, status, output, seconds):
        self.status = status
        self.output = output
        self.seconds = seconds
        self.executions = int(self._last(r"stat::number_of_executed_units: +(\d+)") or 0)
        self.artifact = self._last(r"Test unit written to (\S+)")

    def _last(self, pattern):
        found = re.findall(pattern, self.output)
        return found[-1] if found else None

    def reason(self):
        """The line that says what is wrong."""
        for pattern in (r"^BROKEN: .*", r".*Assertion .* failed.*", r"^.*runtime error: .*",
                        r"^==\d+== ?ERROR: .*", r"^ERROR: .*"):
            found = re.search(pattern, self.output, re.M)
            if found:
                return found.group()
        return f"ended with status {self.status}"


class Runner:
    def __init__(self, arguments):
        self.build = arguments.build
        self.seconds = arguments.seconds
        self.keep = arguments.keep
        self.findings = self.build / "findings"
        self.passed = 0
        self.failed = 0
        self.executions = 0
        self.lock = threading.Lock()
        self.running = set()
        self.stopping = False
        self.environment = dict(os.environ)
        if os.path.exists(SYMBOLIZER):
            self.environment["ASAN_SYMBOLIZER_PATH"] = SYMBOLIZER

    def program(self, target):
        return self.build / "tests" / "fuzz" / f"fuzz_{target.name}"

    def run_target(self, target, folder):
        """Its corpus, then new inputs; `folder` takes the latter."""
        if self.stopping:
            return
        corpus = CORPUS / target.name
        count = sum(1 for path in corpus.glob("*") if path.is_file())
        if not self.program(target).is_file():
            self.say(target, "replay", False, f"there is no {self.program(target)}")
            return
        if count == 0:
            self.say(target, "replay", False, f"no inputs in {corpus}")
            return
        replay = self.execute(target, ["-runs=0", corpus], REPLAY_SECONDS_MAX)
        good = replay.status == 0 and replay.executions >= count
        self.report(target, "replay", replay, good, f"{count} inputs")
        if not good or self.seconds == 0 or self.stopping:
            return
        # A fixed seed: two runs begin alike, however far each gets in its time.
        options = [f"-max_total_time={self.seconds}", f"-max_len={target.max_len}", "-seed=1"]
        if target.dictionary:
            options.append(f"-dict={HERE / target.dictionary}")
        fuzzed = self.execute(target, [*options, folder, corpus], self.seconds + GRACE_SECONDS)
        good = fuzzed.status == 0 and fuzzed.executions > count
        found = sum(1 for _ in folder.iterdir())
        self.report(target, "fuzz", fuzzed, good, f"{found} new inputs")

    def execute(self, target, options, seconds_max):
        self.findings.mkdir(parents=True, exist_ok=True)
        command = [str(self.program(target)), f"-timeout={INPUT_SECONDS_MAX}",
                   f"-rss_limit_mb={MEMORY_MB_MAX}", "-print_final_stats=1",
                   f"-artifact_prefix={self.findings}/{target.name}-", *map(str, options)]
        began = time.monotonic()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, env=self.environment)
        with self.lock:
            self.running.add(process)
        try:
            output, _ = process.communicate(timeout=seconds_max)
            status = process.returncode
        except subprocess.TimeoutExpired:
            process.kill()
            output, _ = process.communicate()
            status = f"killed after {seconds_max} s"
        finally:
            with self.lock:
                self.running.discard(process)
        return Outcome(status, output.decode("utf-8", "replace"), time.monotonic() - began)

    def report(self, target, part, outcome, good, remark):
        rate = outcome.executions / max(outcome.seconds, 0.001)
        line = f"{outcome.executions:9} executions {rate:8.0f}/s  {remark}"
        if good:
            self.say(target, part, True, line, outcome.executions)
            return
        text = [outcome.reason()]
        # In front of the rest: whoever reads a log that was cut can still run it again.
        if outcome.artifact:
            artifact = pathlib.Path(outcome.artifact)
            data = artifact.read_bytes()
            text.append(f"  input: {artifact} ({len(data)} bytes)")
            if len(data) <= SHOWN_BYTES_MAX:
                text.append(f"  base64: {base64.b64encode(data).decode()}")
            command = shlex.join([str(self.program(target)), str(artifact)])
            text.append(f"  again: {command}")
        text += ["    " + line for line in outcome.output.splitlines()[-LINES_SHOWN:]]
        self.say(target, part, False, "\n".join(text), outcome.executions)

    def say(self, target, part, good, text, executions=0):
        with self.lock:
            self.executions += executions
            self.passed += good
            self.failed += not good
            word = "" if good else "FAILED "
            print(f"  {word}{target.name:16} {part:6} {text}", flush=True)

    def stop(self, _number, _frame):
        self.stopping = True
        self.failed += 1
        for process in list(self.running):
            process.kill()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=pathlib.Path, default="build/fuzz", metavar="DIR")
    parser.add_argument("--seconds", type=int, default=60, metavar="N")
    parser.add_argument("--only", choices=[target.name for target in TARGETS], metavar="TARGET")
    parser.add_argument("--jobs", type=int, default=2, metavar="N")
    parser.add_argument("--keep", type=pathlib.Path, metavar="DIR")
    arguments = parser.parse_args()
    if arguments.seconds < 0 or arguments.jobs < 1:
        parser.error("--seconds and --jobs are positive numbers")
    arguments.build = arguments.build.resolve()

    runner = Runner(arguments)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, runner.stop)
    with tempfile.TemporaryDirectory(prefix="schemux-fuzz-") as scratch:
        new_inputs = arguments.keep or pathlib.Path(scratch)
        with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
            waiting = []
            for target in TARGETS:
                if arguments.only in (None, target.name):
                    folder = new_inputs / target.name
                    folder.mkdir(parents=True, exist_ok=True)
                    waiting.append(pool.submit(runner.run_target, target, folder))
            for future in waiting:
                future.result()
    print(f"  {runner.executions} executions")
    print(f"fuzz: {runner.passed} passed, {runner.failed} failed", flush=True)
    return 0 if runner.failed == 0 and runner.passed > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
