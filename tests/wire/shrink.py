"""Makes a failing script as short as it goes: lines are left out while it still fails."""

import time

import notation

ROUNDS_MAX = 6
TRIES_MAX = 400
SECONDS_MAX = 30


def shrink(script, fails):
    lines = list(script.lines)
    tries = 0
    deadline = time.monotonic() + SECONDS_MAX

    def still_fails(some):
        nonlocal tries
        tries += 1
        small = notation.Script(script.name, some, script.rows, script.service, script.where)
        try:
            in_time = tries <= TRIES_MAX and time.monotonic() < deadline
            return in_time and fails(small)
        except notation.BadScript:
            return False

    for _ in range(ROUNDS_MAX):
        before = len(lines)
        size = max(1, len(lines) // 2)
        while size:
            at = 0
            while at < len(lines):
                fewer = lines[:at] + lines[at + size:]
                # What is waited for may be missing now: reads go first, in a round of their own.
                if fewer and still_fails(fewer):
                    lines = fewer
                else:
                    at += size
            size //= 2
        if len(lines) == before:
            break
    return notation.Script(script.name, lines, script.rows, script.service, script.where)
