"""Two transcripts of one script, PostgreSQL's own and one through schemux: the same, byte for byte,
but for what rows of core/EXCEPTIONS.md say. Each row that is used is named here.

A row of ALWAYS holds for every script; the others must be named in the script's head.
"""

import pathlib
import re
import struct

import bed

EXCEPTIONS = pathlib.Path(__file__).resolve().parents[2] / "core" / "EXCEPTIONS.md"
FAILED_TRANSACTION = "25P02"
# What schemux finds out before the server sees the message (E14): names, and templates.
FOUND_BEFORE = {"26000", "42P05", "42601", "54000"}


def documented_rows():
    return set(re.findall(r"^\| (E\d+) \|", EXCEPTIONS.read_text(), re.MULTILINE))


def fields_of(body):
    return {chr(part[0]): part[1:] for part in body.rstrip(b"\0").split(b"\0") if part}


def body_of(fields):
    return b"".join(name.encode() + value + b"\0" for name, value in fields.items()) + b"\0"


def _without_new_tables(body, first_new):
    """A RowDescription with one number for all tables that are younger than the databases: their
    ids come from a counter that all of PostgreSQL shares."""
    count, = struct.unpack_from("!H", body)
    out, at = bytearray(body), 2
    for _ in range(count):
        at = body.index(b"\0", at) + 1
        table, = struct.unpack_from("!I", body, at)
        if table >= first_new:
            struct.pack_into("!I", out, at, 0xffffffff)
        at += 18
    return bytes(out)


def _prepared_in_vain(message):
    """PostgreSQL's error of a Parse in a failed transaction."""
    if message[0] != "E":
        return False
    fields = fields_of(message[1])
    return fields["C"].decode() == FAILED_TRANSACTION and fields.get("R") == b"exec_parse_message"


class Comparer:
    """`first_new`: the first object id that the template of the databases does not have."""

    ALWAYS = {"E1", "E14", "E16", "E40", "E42", "E43"}

    def __init__(self, first_new):
        self.first_new = first_new
        self.documented = documented_rows()
        self.used = {}

    def _may(self, script, row):
        if row not in self.documented or (row not in self.ALWAYS and row not in script.rows):
            return False
        self.used[row] = self.used.get(row, 0) + 1
        return True

    def _normal(self, message):
        if message[0] == "T":
            return ("T", _without_new_tables(message[1], self.first_new))
        return message

    def _same(self, script, wanted, got):
        wanted, got = self._normal(wanted), self._normal(got)
        if wanted == got:
            return True
        if wanted[0] != got[0]:
            return False
        if wanted[0] == "K":
            return len(wanted[1]) == len(got[1]) and self._may(script, "E1")
        if wanted[0] != "E":
            return False
        ours, theirs = fields_of(got[1]), fields_of(wanted[1])
        if not {"F", "L", "R"} & set(ours):
            same = {name: value for name, value in theirs.items() if name not in "FLR"} == ours
            if same:
                return self._may(script, "E40")
            if ours["C"] == b"42P05" and theirs["C"] != b"25P02":
                return self._may(script, "E42")
            in_failed = theirs["C"].decode() == FAILED_TRANSACTION
            return in_failed and ours["C"].decode() in FOUND_BEFORE and self._may(script, "E14")
        if theirs["C"] == ours["C"] == FAILED_TRANSACTION.encode():
            for fields in (theirs, ours):
                fields.update(F=b"", L=b"", R=b"")
            return theirs == ours and self._may(script, "E40")
        return body_of(theirs) == got[1] or (
            _prepared_in_vain(got) and self._may(script, "E43"))

    def _cut_off(self, script, notice):
        return fields_of(notice[1])["C"] == b"42622" and self._may(script, "E44")

    def _without_vain_warnings(self, script, wanted, got):
        """Without PostgreSQL's warnings of texts whose names were taken: schemux does not read
        them."""
        out = []
        for one in wanted:
            here = got[len(out)] if len(out) < len(got) else ("nothing",)
            vain = one[0] == "N" and here[0] == "E" and \
                fields_of(here[1])["C"] == b"42P05" and fields_of(one[1])["S"] == b"WARNING"
            if not (vain and self._may(script, "E42")):
                out.append(one)
        return out

    def difference(self, script, wanted, got):
        """None, or (index, what was wanted, what came) of the first message that differs."""
        got = _once_closed(got)
        wanted = self._without_vain_warnings(script, _once_closed(wanted), got)
        said, (wanted, right) = wanted, _with_moved_positions(wanted, script.moves)
        if not right:
            where = [fields_of(one[1]).get("P", b"") for one in said
                     if one[0] in "EN" and len(one) > 1]
            return 0, ("positions", b" ".join(where)), ("moves", repr(script.moves).encode())
        if "E44" in script.rows:
            wanted = [one for one in wanted if one[0] != "N" or not self._cut_off(script, one)]
        for index in range(max(len(wanted), len(got))):
            there = wanted[index] if index < len(wanted) else ("nothing",)
            here = got[index] if index < len(got) else ("nothing",)
            if there == here != ("stuck",) or self._same(script, there, here):
                continue
            refused = there[0] == "E" and fields_of(there[1])["C"].decode() == FAILED_TRANSACTION
            if refused and here == ("1", b"") and self._may(script, "E16"):
                return None  # what the names mean is not comparable from here on
            if there[0] == "t" and _prepared_in_vain(here) and self._may(script, "E43"):
                return None  # nor is what the rest of the batch does
            return index, there, here
        return None


def _with_moved_positions(transcript, moves):
    """What PostgreSQL said with the positions of the client's own text, each in its turn; and
    whether `moves` are those that it said. Before anything is compared, lest PostgreSQL's own
    positions pass for right."""
    out, left, right = [], list(moves), True
    for one in transcript if moves else ():
        fields = fields_of(one[1]) if one[0] in "EN" and len(one) > 1 else {}
        if "P" in fields:
            said, meant = left.pop(0) if left else ("none", "")
            right = right and fields["P"] == said.encode()
            one = (one[0], body_of({**fields, "P": meant.encode()}))
        out.append(one)
    return (out if moves else transcript), right and not left


def _once_closed(transcript):
    """Without looks at a connection that has been closed already."""
    out = []
    for one in transcript:
        if one[0] != "closed" or not out or out[-1] != one:
            out.append(one)
    return out


def shown(message):
    if message[0] in "EN" and len(message) > 1:
        fields = fields_of(message[1])
        return message[0] + "(" + " ".join(
            f"{name}={fields[name].decode(errors='replace')}" for name in fields
            if name not in "V") + ")"
    return message[0] + (repr(message[1][:80])[1:] if len(message) > 1 and message[1] else "")


def shown_all(transcript):
    return " ".join(shown(one) for one in transcript)
