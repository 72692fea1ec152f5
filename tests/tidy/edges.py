"""Checks tests/EDGES.md: every edge has its row, once and in order, and what a row names exists.
And tests/CVES.md: each row names tests that exist, each test that is named after a CVE has its row.

How a row names what holds it is told at the top of that file. It must not know what the tests do.
"""
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TABLE = Path("tests/EDGES.md")
EDGES = 66
CVES = Path("tests/CVES.md")
CVES_MIN = 22

ROW = re.compile(r"^\| *(\d+) *\|([^|]*)\|([^|]*)\|$")
SPAN = re.compile(r"`([^`]+)`")
# Instead of a test, and behind some for what they leave out.
REASON = re.compile(r"\b(?:does not apply|open): \w")


def texts(pattern):
    return [path.read_text(encoding="utf-8") for path in sorted((ROOT / "tests").glob(pattern))]


def unit_tests():
    """Suite.Name of all of them."""
    found = set()
    for text in texts("*/*_test.cpp"):
        for suite, name in re.findall(r"^\s*TEST(?:_F|_P)?\(\s*(\w+),\s*(\w+)\s*\)", text, re.M):
            found.add(f"{suite}.{name}")
    return found


def integration_tests():
    """module.Class and module.Class.test of all of them."""
    found = set()
    for path in sorted((ROOT / "tests" / "integration").glob("*_test.py")):
        group = None
        for line in path.read_text(encoding="utf-8").splitlines():
            opened = re.match(r"class (\w+)\(", line)
            test = re.match(r"    def (test_\w+)\(", line)
            if opened:
                group = f"{path.stem}.{opened[1]}"
                found.add(group)
            elif test and group:
                found.add(f"{group}.{test[1]}")
    return found


def wire_scripts():
    """Names of scripts, without the options behind them."""
    found = set()
    for text in texts("wire/scripts/*.wire"):
        for head in re.findall(r"^== (.*)$", text, re.M):
            words = [word for word in head.split()
                     if not re.match(r"(?:service|rows|moves)=", word)]
            found.add(" ".join(words))
    return found


def simulation_properties():
    """What must hold in the simulation, as its failures say it."""
    found = set()
    for text in texts("simulation/*.cpp"):
        found.update(re.findall(r'\bdemand\([^;]*?"([^"]+)"\);', text))
    return found


def programs(folder, suffix):
    return {path.stem for path in (ROOT / "tests" / folder).glob(f"*{suffix}")}


def client_checks():
    """module.function of the checks with drivers and tools."""
    found = set()
    for path in (ROOT / "tests" / "clients").glob("*.py"):
        names = re.findall(r"^def (\w+)\(", path.read_text(encoding="utf-8"), re.M)
        found.update(f"{path.stem}.{name}" for name in names)
    return found


class Tree:
    """All that a row may name."""

    def __init__(self):
        self.plain = unit_tests() | integration_tests()
        self.kinds = {
            "wire": wire_scripts(),
            "simulation": simulation_properties(),
            "fuzz": programs("fuzz", ".cpp"),
            "clients": client_checks(),
        }

    def has(self, name):
        kind, colon, rest = name.partition(": ")
        if not colon or kind not in self.kinds:
            return name in self.plain
        if rest.endswith("*"):
            return any(one.startswith(rest[:-1]) for one in self.kinds[kind])
        return rest in self.kinds[kind]


def check_edges_have_tests():
    """Every edge has a row with tests that exist, or with a reason."""
    tree = Tree()
    numbers = []
    for number, line in enumerate((ROOT / TABLE).read_text(encoding="utf-8").splitlines(), 1):
        row = ROW.match(line)
        if not row:
            if re.match(r"\| *\d", line):
                yield f"{TABLE}:{number}: not a row of three cells"
            continue
        numbers.append(int(row[1]))
        names = SPAN.findall(row[3])
        for name in names:
            if not tree.has(name):
                yield f"{TABLE}:{number}: edge {row[1]} names what does not exist: {name}"
        if not names and not REASON.search(row[3]):
            yield f"{TABLE}:{number}: edge {row[1]} has neither a test nor a reason"
    if numbers != list(range(1, EDGES + 1)):
        wrong = [n for n in range(1, EDGES + 1) if numbers.count(n) != 1]
        yield f"{TABLE}: edges 1 to {EDGES}, in order, each once; look at {wrong or numbers}"


def check_cves_have_tests():
    """Every row of the table of CVEs names tests that exist, and none of theirs is left out."""
    known = integration_tests()
    named = set()
    rows = 0
    for number, line in enumerate((ROOT / CVES).read_text(encoding="utf-8").splitlines(), 1):
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|") or set(line) <= set("|- ") or cells[0] == "CVE":
            continue
        rows += 1
        if len(cells) != 4 or not all(cells):
            yield f"{CVES}:{number}: not a row of four cells"
            continue
        tests = SPAN.findall(cells[3])
        named.update(tests)
        if not tests:
            yield f"{CVES}:{number}: {cells[0]} has no test"
        for test in tests:
            if test not in known or ".test_" not in test:
                yield f"{CVES}:{number}: {cells[0]} names what is no test: {test}"
        missing = [identity for identity in re.findall(r"CVE-(\d+)-(\d+)", cells[0])
                   if not any("test_cve_{}_{}_".format(*identity) in test for test in tests)]
        for year, serial in missing:
            yield f"{CVES}:{number}: no test of the row is named after CVE-{year}-{serial}"
    if rows < CVES_MIN:
        yield f"{CVES}: {rows} rows, {CVES_MIN} at least"
    for test in sorted(known - named):
        if re.search(r"\.test_cve_\d", test):
            yield f"{CVES}: no row names {test}"
