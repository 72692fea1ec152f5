"""Checks deploy/EVENTS.md: the events that the daemon logs, with their levels and fields, are those
of its tables, and the other way round; so are the reasons for which clients and backends are
closed.

An event is what a call of log_event or log_event_limited in daemon/ names as a literal. It must not
know what any of them means.
"""
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TABLE = Path("deploy/EVENTS.md")
# Their calls only pass on what others say.
WRITERS = {"log.h", "log.cpp"}
# The log adds them by itself.
ADDED = {"ts", "level", "event", "msg", "suppressed"}

CALL = re.compile(r"\blog_event(?:_limited)?\(")
STRING = re.compile(r'"((?:[^"\\]|\\.)*)"')
KEY = re.compile(r'\{"(\w+)",')
LEVEL = re.compile(r"\bLogLevel::(\w+)")
ROW = re.compile(r"^\| `(\w+)` \|([^|]*)\|([^|]*)\|([^|]*)\|$")


def calls(text):
    """(line, arguments) of each call."""
    for found in CALL.finditer(text):
        depth = 1
        at = found.end()
        while depth:
            literal = STRING.match(text, at)
            if literal:
                at = literal.end()
                continue
            depth += {"(": 1, ")": -1}.get(text[at], 0)
            at += 1
        yield text.count("\n", 0, found.start()) + 1, text[found.end():at - 1]


def logged():
    """{event: (levels, keys)}; a place where it cannot be told as (place, None)."""
    events = {}
    for path in sorted((ROOT / "daemon").glob("*.*")):
        if path.suffix not in (".h", ".cpp") or path.name in WRITERS:
            continue
        for line, arguments in calls(path.read_text(encoding="utf-8")):
            name = STRING.search(arguments)
            if not name or not re.fullmatch(r"[a-z][a-z0-9_]*", name[1]):
                events[f"{path.relative_to(ROOT)}:{line}"] = None
                continue
            levels, keys = events.setdefault(name[1], (set(), set()))
            levels.update(LEVEL.findall(arguments[:name.start()]))
            keys.update(KEY.findall(arguments))
    return events


def documented():
    """[(line, event, levels, keys)]"""
    for number, line in enumerate((ROOT / TABLE).read_text(encoding="utf-8").splitlines(), 1):
        row = ROW.match(line)
        if row:
            yield (number, row[1], set(re.findall(r"\w+", row[2])),
                   set(re.findall(r"`(\w+)`", row[4])))


def reasons_of_clients():
    names = re.search(r"name_of\(CloseReason \w+\) \{(.*?)\n\}",
                      (ROOT / "core/relay.cpp").read_text(encoding="utf-8"), re.S)
    session = (ROOT / "daemon/session.cpp").read_text(encoding="utf-8")
    return (set(re.findall(r'return "(\w+)"', names[1])) - {"none"}
            | set(re.findall(r'\b(?:leave|note_closed)\([^;]*"(\w+)"', session)))


def reasons_of_backends():
    found = set()
    for path in (ROOT / "daemon").glob("*.cpp"):
        text = path.read_text(encoding="utf-8")
        for call in re.findall(r"\bclose_backend\(([^;]*)\);", text):
            found.update(STRING.findall(call))
        for event, reason in re.findall(r'"(\w+)",\s*(?:\{\{[^;]*)\{"reason", "(\w+)"\}', text):
            found.update({reason} if event == "backend_closed" else ())
    return found


def check_reasons_are_documented():
    """Every reason for which a client or a backend is closed is listed, and no other."""
    text = (ROOT / TABLE).read_text(encoding="utf-8")
    for what, told in (("client", reasons_of_clients()), ("backend", reasons_of_backends())):
        listed = re.search(rf"^A {what} is closed for one of:(.*?)\n\n", text, re.M | re.S)
        names = set(re.findall(r"`(\w+)`", listed[1] if listed else ""))
        if names != told:
            yield (f"{TABLE}: a {what} is closed for {words(told - names)}, which is not listed; "
                   f"listed and of no use: {words(names - told)}")


def words(names):
    return ", ".join(sorted(names)) or "none"


def check_events_are_documented():
    """Every event of the log has its row, with its levels and fields, and no row is left over."""
    events = logged()
    rows = list(documented())
    named = [event for _, event, _, _ in rows]
    for place in [name for name, what in events.items() if what is None]:
        yield f"{place}: the event's id is not a literal in snake_case"
        del events[place]
    for event in sorted(set(events) - set(named)):
        yield f"{TABLE}: no row for {event}: {words(events[event][0])}; {words(events[event][1])}"
    for number, event, levels, keys in rows:
        if named.count(event) > 1:
            yield f"{TABLE}:{number}: {event} has more than one row"
        if event not in events:
            yield f"{TABLE}:{number}: nothing logs {event}"
            continue
        told_levels, told_keys = events[event]
        if levels != told_levels:
            yield f"{TABLE}:{number}: {event} is logged as {words(told_levels)}"
        if keys != told_keys:
            yield f"{TABLE}:{number}: {event} is logged with {words(told_keys)}"
        if keys & ADDED:
            yield f"{TABLE}:{number}: {event} has what the log adds by itself"
    if not events:
        yield f"{TABLE}: nothing in daemon/ logs anything"
