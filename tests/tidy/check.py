#!/usr/bin/env python3
"""Checks what neither the compiler nor clang-tidy sees: who may include and link whom, words that a
folder must not contain, sizes, files that no build would notice, dead links.

    python3 tests/tidy/check.py        prints findings and 'tidy: N passed, N failed'

One check is one function that yields findings; every check counts once. Exceptions are in the
tables below, each with its reason, and nowhere else.
"""
import re
import sys
from pathlib import Path

from edges import check_cves_have_tests, check_edges_have_tests  # noqa: F401  (run as those here)
from events import check_events_are_documented, check_reasons_are_documented  # noqa: F401

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("protocol", "core", "config", "daemon")
NOT_OURS = {"build", ".git", "node_modules", "__pycache__"}

MAX_FILE_LINES = 500
MANY_FILE_LINES = 350
MAX_FUNCTION_LINES = 70
MAX_COLUMNS = 100
MAX_HEADER_COMMENT_LINES = 24  # state tables live there

# path: reason
LONG_FILES = {}
LONG_FUNCTIONS = {}

# --- dependency rule -----------------------------------------------------------------------------
# What a folder may include besides the standard library and its own headers.
INCLUDES = {
    "protocol": [r"openssl/"],
    "core": [
        r"protocol/",
        r"boost/(container|unordered|circular_buffer|intrusive)(/|\.hpp|_fwd\.hpp)",
    ],
    "config": [r"arpa/inet\.h", r"boost/regex\.hpp"],
    "daemon": None,  # anything, but for CONFIG_USERS
}
# Third-party headers that one file hides from the rest.
HIDDEN = {
    r"yaml-cpp/": {"config/yaml_tree.cpp"},
    r"boost/regex": {"config/service_pattern.cpp"},
    r"CLI/": {"daemon/main.cpp"},
}
# In the daemon only these know the configuration; the others get core's policy structs.
CONFIG_USERS = {
    "wiring", "login_wiring", "service_wiring", "isolation_wiring", "console_wiring", "main",
    "commands", "server", "server_console", "server_http", "server_reload", "dev", "loading",
}
# What a folder's library links.
LINKS = {
    "protocol": {"schemux_options", "OpenSSL::Crypto"},
    "core": {"schemux_protocol"},
    "config": {"schemux_options", "yaml-cpp"},
}

# --- words ---------------------------------------------------------------------------------------
CLOCK_READS = r"\b(steady_clock|system_clock|high_resolution_clock)::now\b|\b(time|clock_gettime)\("
IO_WORDS = r"\b(asio|spdlog|prometheus|pthread)\b|libpq|<thread>|std::(jthread|thread)\b"
# folder: (what, pattern)
FORBIDDEN = {
    "protocol": [
        ("I/O, logging or threads", IO_WORDS),
        ("a clock", CLOCK_READS),
        ("an exception", r"\b(throw|try)\b"),
        ("a lock", r"<mutex>|std::mutex"),
        ("output", r"<iostream>|\bprintf\("),
    ],
    "core": [
        ("I/O, logging or threads", IO_WORDS),
        ("a clock", CLOCK_READS),
        ("an exception", r"\b(throw|try)\b"),
        ("a lock", r"<mutex>|std::mutex"),
        ("output", r"<iostream>|\bprintf\("),
    ],
    "config": [
        ("I/O, logging or threads", IO_WORDS),
        ("a clock", CLOCK_READS),
        ("output", r"<iostream>|\bprintf\("),
    ],
}
# (file, what): reason
FORBIDDEN_BUT = {
    ("core/shared_pool.h", "a lock"): "the one bound that all workers share",
    ("core/shared_pool.cpp", "a lock"): "the one bound that all workers share",
}
UNFINISHED = r"\b(TO" r"DO|FIX" r"ME|X" r"XX|GTEST_" r"SKIP)\b"
MACHINE_PATHS = r"(?<![\w.$}])/(work|root|farm)/"


# --- reading -------------------------------------------------------------------------------------
def files(*patterns, under=(".",)):
    found = []
    for folder in under:
        for pattern in patterns:
            for path in (ROOT / folder).rglob(pattern):
                relative = path.relative_to(ROOT)
                if path.is_file() and not NOT_OURS.intersection(relative.parts):
                    found.append(relative)
    return sorted(set(found))


def text_of(path):
    return (ROOT / path).read_text(encoding="utf-8")


def sources():
    return files("*.h", "*.cpp", under=FOLDERS)


def all_code():
    return files("*.h", "*.cpp", under=FOLDERS + ("tests",))


def scripts():
    return files("*.py", "*.sh", "*.js", "*.java", "run", under=("tests", "deploy", ".ci"))


TOKENS = re.compile(
    r"""//[^\n]*|/\*.*?\*/|R"(?P<tag>[^\s()\\]{0,16})\(.*?\)(?P=tag)"|"""
    r""""(?:\\.|[^"\\\n])*"|(?<![0-9a-fA-F])'(?:\\.|[^'\\\n])+'""",  # not 1'000
    re.S,
)


def without_comments(text):
    """The code alone: comments and literals blanked, line numbers kept."""

    def blank(match):
        token = match.group()
        kept = "" if token.startswith("/") else '""'
        return kept + "\n" * token.count("\n")

    return TOKENS.sub(blank, text)


def includes_of(path):
    for number, line in enumerate(text_of(path).splitlines(), 1):
        match = re.match(r'\s*#\s*include\s*([<"])([^>"]+)', line)
        if match:
            yield number, match.group(1), match.group(2)


# --- checks --------------------------------------------------------------------------------------
def check_includes():
    """A folder includes only what it may depend on."""
    for path in sources():
        folder = path.parts[0]
        allowed = INCLUDES[folder]
        for number, _, name in includes_of(path):
            where = f"{path}:{number}"
            for pattern, users in HIDDEN.items():
                if re.match(pattern, name) and str(path) not in users:
                    yield f"{where}: only {', '.join(sorted(users))} may include <{name}>"
            if folder == "daemon":
                if name.startswith("config/") and path.stem not in CONFIG_USERS:
                    yield f"{where}: only {', '.join(sorted(CONFIG_USERS))} may include {name}"
                continue
            if name.startswith(folder + "/") or re.fullmatch(r"[a-z_0-9]+", name):
                continue  # its own, or the C++ standard library
            if any(re.match(pattern, name) for pattern in HIDDEN):
                continue
            if not any(re.match(pattern, name) for pattern in allowed):
                yield f"{where}: {folder} may not include {name}"


def check_links():
    """A folder's library links only what it may depend on."""
    for folder, allowed in LINKS.items():
        text = text_of(f"{folder}/CMakeLists.txt")
        for arguments in re.findall(r"target_link_libraries\(([^)]*)\)", text):
            linked = set(arguments.split()[1:]) - {"PUBLIC", "PRIVATE", "INTERFACE"}
            for target in sorted(linked - allowed):
                yield f"{folder}/CMakeLists.txt: may not link {target}"


def check_forbidden_words():
    """protocol, core and config have no I/O, clocks or threads; protocol and core never throw."""
    for path in sources():
        rules = FORBIDDEN.get(path.parts[0], [])
        for number, line in enumerate(without_comments(text_of(path)).splitlines(), 1):
            for what, pattern in rules:
                if re.search(pattern, line) and (str(path), what) not in FORBIDDEN_BUT:
                    yield f"{path}:{number}: {what} in {path.parts[0]}: {line.strip()}"


def check_own_header_first():
    """A .cpp includes its own header first, which proves that the header compiles alone."""
    for path in sources():
        header = path.with_suffix(".h")
        if path.suffix != ".cpp" or not (ROOT / header).exists():
            continue
        first = next(includes_of(path), (1, "", ""))
        if first[2] != str(header):
            yield f'{path}:{first[0]}: the first include must be "{header}"'


def check_pragma_once():
    """Every header has #pragma once."""
    for path in all_code():
        if path.suffix == ".h" and "#pragma once" not in text_of(path):
            yield f"{path}: no #pragma once"


def check_opening_comment():
    """A header, test or program of its own says first what it is for."""
    for path in all_code():
        lines = text_of(path).splitlines()
        count = next((i for i, line in enumerate(lines) if not line.startswith("//")), len(lines))
        if count > MAX_HEADER_COMMENT_LINES:
            yield f"{path}: opens with {count} lines of comment, {MAX_HEADER_COMMENT_LINES} at most"
        if count == 0 and not (path.suffix == ".cpp" and has_header(path)):
            yield f"{path}: does not say what it is for"


def has_header(path):
    """label.cpp has label.h, relay_backend.cpp relay.h, tests/core/label_test.cpp core/label.h."""
    folder = path.parent
    parts = path.stem.split("_")
    if parts[-1] == "test":
        folder = folder.relative_to("tests")
        return (ROOT / folder / ("_".join(parts[:-1]) + ".h")).exists()
    return any((ROOT / folder / ("_".join(parts[:n]) + ".h")).exists()
               for n in range(1, len(parts) + 1))


def check_file_length():
    """No file over the limit. Long ones are named, as a warning."""
    for path in all_code() + scripts():
        count = len(text_of(path).splitlines())
        if count > MAX_FILE_LINES and str(path) not in LONG_FILES:
            yield f"{path}: {count} lines, {MAX_FILE_LINES} at most"
        elif count > MANY_FILE_LINES and path.parts[0] in FOLDERS:
            print(f"note: {path}: {count} lines; is it about one thing?")


def check_line_length():
    """No line over the limit, in characters."""
    for path in all_code() + scripts() + files("CMakeLists.txt"):
        for number, line in enumerate(text_of(path).splitlines(), 1):
            if len(line) > MAX_COLUMNS:
                yield f"{path}:{number}: {len(line)} columns, {MAX_COLUMNS} at most"


def functions_of(path):
    """(line, length) of every brace block that opens after a ')' at namespace or class level."""
    code = without_comments(text_of(path))
    line, head, stack = 1, "", []
    for character in code:
        if character == "\n":
            line += 1
        if character == "{":
            inside = bool(stack) and stack[-1][1]
            scope = re.search(r"\b(namespace|class|struct|union|enum)\b[^;()=]*$", head)
            is_function = not inside and not scope and ")" in head
            stack.append((line, inside or is_function, is_function))
            head = ""
        elif character == "}":
            if stack:
                start, _, is_function = stack.pop()
                if is_function:
                    yield start, line - start + 1
            head = ""
        elif character == ";":
            head = ""
        else:
            head += character


def check_function_length():
    """No function over the limit."""
    for path in all_code():
        for number, length in functions_of(path):
            if length > MAX_FUNCTION_LINES and str(path) not in LONG_FUNCTIONS:
                yield f"{path}:{number}: a function of {length} lines, {MAX_FUNCTION_LINES} at most"


def check_sources_are_built():
    """Every .cpp is in its folder's CMakeLists.txt, every test in that of tests/."""
    for path in sources():
        names = text_of(f"{path.parts[0]}/CMakeLists.txt").split()
        if path.suffix == ".cpp" and path.name not in [name.rstrip(")") for name in names]:
            yield f"{path}: not in {path.parts[0]}/CMakeLists.txt"
    listed = text_of("tests/CMakeLists.txt")
    for path in files("*_test.cpp", under=("tests",)):
        folder = path.parts[1]
        block = re.search(rf"^schemux_tests\({folder}\b[^)]*\)", listed, re.M)
        if not block or path.name not in block.group().split():
            yield f"{path}: not in tests/CMakeLists.txt"


    for path in files("*.cpp", under=("tests/support",)):
        if path.name not in listed.split():
            yield f"{path}: not in tests/CMakeLists.txt"


def check_tests_have_tests():
    """A test file that no test is in would pass for ever."""
    for path in files("*_test.cpp", under=("tests",)):
        if not re.search(r"^\s*(TYPED_)?TEST(_F|_P)?\(", text_of(path), re.M):
            yield f"{path}: no TEST in it"


def check_nothing_unfinished():
    """No note to oneself, no test that skips itself, no path of one machine."""
    for path in all_code() + scripts() + files("*.md", "CMakeLists.txt", "*.yaml", "*.yml"):
        for number, line in enumerate(text_of(path).splitlines(), 1):
            if re.search(UNFINISHED, line):
                yield f"{path}:{number}: unfinished: {line.strip()}"
            if re.search(MACHINE_PATHS, line) and path != Path("tests/tidy/check.py"):
                yield f"{path}:{number}: a path of one machine: {line.strip()}"


def check_markdown_links():
    """Links of the documents lead somewhere."""
    for path in files("*.md"):
        text = re.sub(r"```.*?```", "", text_of(path), flags=re.S)
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            target, _, fragment = target.partition("#")
            if re.match(r"[a-z]+:", target):
                continue
            there = (ROOT / path).parent / target if target else ROOT / path
            if not there.exists():
                yield f"{path}: the link to {target} leads nowhere"
            elif fragment and there.suffix == ".md" and fragment not in anchors_of(there):
                yield f"{path}: no heading #{fragment} in {target or path}"


def anchors_of(path):
    headings = re.findall(r"^#+ +(.*)$", path.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def check_folders_have_readmes():
    """Each folder tells its role, its rule and where to start reading."""
    for folder in FOLDERS + ("tests",):
        if not (ROOT / folder / "README.md").exists():
            yield f"{folder}/README.md: missing"


def main():
    checks = [item for name, item in sorted(globals().items()) if name.startswith("check_")]
    failed = 0
    for check in checks:
        findings = list(check())
        if findings:
            failed += 1
            print(f"FAILED {check.__name__}: {check.__doc__.splitlines()[0]}")
            for finding in findings:
                print(f"    {finding}")
    print(f"tidy: {len(checks) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
