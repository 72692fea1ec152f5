"""Raw-wire scripts as text: README.md describes the notation.

A script is a list of lines; `compile_script` turns it into writes and reads. It must not know
servers, nor what is right.
"""

import ast
import re
import struct

import wire

_STRING = r'"(?:\\.|[^"\\])*"(?:\*\d+)?'
_TOKEN = re.compile(rf"[^\s\"]*(?:{_STRING}\+?)+|[^\s\"]+")
_PART = re.compile(r'("(?:\\.|[^"\\])*")(?:\*(\d+))?\+?')
_TIMES = re.compile(r"(\d+)\* (.*)")
_TEMPLATE = re.compile(rb"(\{\{|<<)(?:tables\.(?:(\w+)\.)?(\w+)|(schema))(\}\}|>>)")


class BadScript(Exception):
    """A line that means nothing."""


class Script:
    """`lines` as they are written; the rest of its head line by name."""

    def __init__(self, name, lines, rows=(), service="wire", where="", moves=None):
        self.name = name
        self.lines = list(lines)
        self.rows = set(rows)
        self.service = service
        self.where = where
        self.moves = moves or []

    def text(self):
        head = f"== {self.name}"
        if self.service != "wire":
            head += f" service={self.service}"
        if self.rows:
            head += " rows=" + ",".join(sorted(self.rows))
        if self.moves:
            head += " moves=" + ",".join(f"{a}>{b}" for a, b in self.moves)
        return "\n".join([head, *self.lines])


def read_scripts(text, where):
    """All scripts of a file."""
    scripts = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("== "):
            words, options = [], {}
            for word in line[3:].split():
                name, equals, value = word.partition("=")
                if equals and name in ("service", "rows", "moves"):
                    options[name] = value
                else:
                    words.append(word)
            moves = [pair.split(">") for pair in options.get("moves", "").split(",") if pair]
            rows = [row for row in options.get("rows", "").split(",") if row]
            scripts.append(Script(" ".join(words), [], rows, options.get("service", "wire"),
                                  f"{where}:{number}", moves))
        elif line.strip() and not line.startswith("#"):
            if not scripts:
                raise BadScript(f"{where}:{number}: before the first script")
            scripts[-1].lines.append(line.strip())
    return scripts


def quoted(data):
    """The notation of some bytes, as short as it goes."""
    text = data.decode("latin-1")
    if re.fullmatch(r"[\w.:=-]+", text, re.ASCII):
        return text
    shown = "".join(
        one if 32 <= ord(one) < 127 and one not in '"\\' else
        {"\n": "\\n", "\t": "\\t", '"': '\\"', "\\": "\\\\"}.get(one, f"\\x{ord(one):02x}")
        for one in text)
    return f'"{shown}"'


def _bytes_of(token):
    if not token.startswith('"'):
        return token.encode()
    out = b""
    for part, times in _PART.findall(token):
        out += ast.literal_eval("b" + part) * int(times or 1)
    return out


def _codes(text):
    return [int(code) for code in text.split(",") if code]


def _bind(words):
    """portal statement parameters... in=codes out=codes"""
    codes = {"in": [], "out": []}
    values = []
    for token in words[2:]:
        name, equals, value = token.partition("=")
        if equals and name in codes:
            codes[name] = _codes(value)
        elif token == "NULL":
            values.append(None)
        elif token.startswith("x:"):
            values.append(bytes.fromhex(token[2:]))
        else:
            values.append(_bytes_of(token))
    body = _bytes_of(words[0]) + b"\0" + _bytes_of(words[1]) + b"\0"
    body += struct.pack(f"!H{len(codes['in'])}H", len(codes["in"]), *codes["in"])
    body += struct.pack("!H", len(values))
    for value in values:
        body += struct.pack("!i", -1) if value is None else struct.pack("!i", len(value)) + value
    return body + struct.pack(f"!H{len(codes['out'])}H", len(codes["out"]), *codes["out"])


def _function_call(words):
    """oid arguments... out=code: binary int4 arguments x:… or text."""
    out, values = 0, []
    for token in words[1:]:
        if token.startswith("out="):
            out = int(token[4:])
        elif token == "NULL":
            values.append((0, None))
        elif token.startswith("x:"):
            values.append((1, bytes.fromhex(token[2:])))
        else:
            values.append((0, _bytes_of(token)))
    body = struct.pack(f"!IH{len(values)}HH", int(words[0]), len(values),
                       *(code for code, _ in values), len(values))
    for _, value in values:
        body += struct.pack("!i", -1) if value is None else struct.pack("!i", len(value)) + value
    return body + struct.pack("!H", out)


def message_of(line):
    """The bytes of one line that is a message."""
    words = _TOKEN.findall(line)
    kind, rest = words[0], words[1:]
    try:
        if kind == "Q":
            return wire.message("Q", _bytes_of(rest[0]) + b"\0")
        if kind == "P":
            types = [int(word) for word in rest[2:]]
            return wire.message("P", _bytes_of(rest[0]) + b"\0" + _bytes_of(rest[1]) + b"\0"
                                + struct.pack(f"!H{len(types)}I", len(types), *types))
        if kind == "B":
            return wire.message("B", _bind(rest))
        if kind == "E":
            rows = int(rest[1]) if len(rest) > 1 else 0
            return wire.message("E", _bytes_of(rest[0]) + b"\0" + struct.pack("!I", rows))
        if kind in ("DS", "DP", "CS", "CP"):
            return wire.message(kind[0], kind[1].encode() + _bytes_of(rest[0]) + b"\0")
        if kind in ("H", "S", "X", "c") and not rest:
            return wire.message(kind)
        if kind == "d":
            return wire.message("d", _bytes_of(rest[0]))
        if kind == "f":
            return wire.message("f", _bytes_of(rest[0]) + b"\0")
        if kind == "F":
            return wire.message("F", _function_call(rest))
        if kind == "raw":
            return b"".join(_bytes_of(word) for word in rest)
    except (IndexError, ValueError, SyntaxError) as error:
        raise BadScript(f"{line!r}: {error}") from error
    raise BadScript(f"{line!r}: no such message")


def statement_names(lines):
    """Statements that the script may leave defined."""
    names = set()
    for line in lines:
        words = _TOKEN.findall(_TIMES.sub(r"\2", line))
        if words and words[0] == "P":
            names.add(_bytes_of(words[1]))
    return sorted(names)


class Step:
    """One of: a write (`data` in pieces of `size`), a read (`until`), a change of client."""

    def __init__(self, what, data=b"", size=0, until=(), client="1", startup=None):
        self.what = what
        self.data = data
        self.size = size
        self.until = until
        self.client = client
        self.startup = startup


def compile_script(lines):
    """The steps of a script; what is gathered between two boundaries is one write."""
    steps, gathered = [], []

    def write(size=0):
        if gathered:
            steps.append(Step("write", b"".join(gathered), size))
            gathered.clear()

    for line in lines:
        times, line = _TIMES.fullmatch(line).groups() if _TIMES.fullmatch(line) else (1, line)
        if line[0] == "|":
            write(int(line[1:] or 0))
        elif line[0] == "<":
            write()
            until = line[1:].split()
            if line[1:].isdigit():
                steps.append(Step("count", size=int(line[1:])))
            else:
                # No message has the type NUL: up to the end of the connection.
                wanted = ["\0"] if until == ["end"] else until
                steps.append(Step("look" if until == ["?"] else "read", until=wanted))
        elif line[0] == "@":
            write()
            words = _TOKEN.findall(line[1:])
            startup = dict(word.split("=", 1) for word in words[1:])
            steps.append(Step("client", client=words[0], startup={
                name: _bytes_of(value) for name, value in startup.items()}))
        else:
            gathered.append(message_of(line) * int(times))
    write()
    return steps


def written_out(data, schema):
    """The same message for a server that knows no templates: each is replaced, lengths follow."""
    out, at = b"", 0
    while at + 5 <= len(data):
        size, = struct.unpack_from("!I", data, at + 1)
        body = data[at + 5:at + 1 + size]
        if data[at:at + 1] in b"QP":
            body = _TEMPLATE.sub(lambda found: _expansion(found, schema), body)
        out += data[at:at + 1] + struct.pack("!I", len(body) + 4) + body
        at += 1 + size
    return out + data[at:]


def _expansion(found, schema):
    quoted_schema = b'"' + schema + b'"'
    if found[4]:
        return quoted_schema
    return (b'"' + found[2] + b'"' if found[2] else quoted_schema) + b"." + found[3]
