"""What a hostile client says, and to whom: states of a session, messages for each of them, and the
transcript of what came back.

The same bytes go to PostgreSQL and through schemux; hostile_client_test.py compares. This file
must not know what is right.
"""

import pathlib
import re
import struct

import wire

EXCEPTIONS = pathlib.Path(__file__).resolve().parents[2] / "core" / "EXCEPTIONS.md"

KNOWN_TYPES = b"BCDEFHPQSXcdfp"
# Of the bytes that are no frontend message: types of the other direction, ends of the range, text.
SOME_UNKNOWN_TYPES = b"\x00\x01AGKNRTZ2v~\x7f\x80\xff"
MARKER = "the probe came through"
COPY_TABLE = "hostile_copy"
GARBAGE = b"\xff\xfe\x00\x80S\x00\x7f\xff\xff\xff{{tables."


def documented_rows():
    """The ids of core/EXCEPTIONS.md."""
    return set(re.findall(r"^\| (E\d+) \|", EXCEPTIONS.read_text(), re.MULTILINE))


class State:
    """How a session gets into a state, and how it is told to leave it.

    `steps`: what is sent and the message kind that is waited for. `unread`: sent in front of the
    attack, in the same write. `leave`: behind the attack, ahead of the probe.
    """

    def __init__(self, name, steps=(), unread=b"", leave=wire.SYNC):
        self.name = name
        self.steps = steps
        self.unread = unread
        self.leave = leave

    def probe(self):
        return self.leave + wire.query("ROLLBACK") + wire.query(f"SELECT '{MARKER}'")


def states():
    """The states of a session that has logged in, by name."""
    copy = f"COPY {COPY_TABLE} FROM STDIN"
    # Its first row fills PostgreSQL's output buffer and is sent while the second is still to come.
    copy_out = ("COPY (SELECT repeat('x', 9000), pg_sleep(0.002 * (n - 1)) "
                "FROM generate_series(1, 2) AS n) TO STDOUT")
    begin = (wire.query("BEGIN"), "Z")
    extended_copy = wire.parse("", copy) + wire.bind() + wire.execute()
    rows = wire.parse("", "SELECT generate_series(1, 3)") + wire.bind("p") + wire.execute("p", 1)
    done = wire.COPY_DONE + wire.SYNC
    return {one.name: one for one in (
        State("idle"),
        State("in_transaction", [begin, (wire.query("SELECT 1"), "Z")]),
        State("failed_transaction", [begin, (wire.query("SELECT 1/0"), "Z")]),
        State("copy_in", [(wire.query(copy), "G")], leave=done),
        State("copy_in_transaction", [begin, (wire.query(copy), "G")], leave=done),
        State("copy_in_extended", [(extended_copy + wire.FLUSH, "G")], leave=done),
        State("copy_in_extended_synced", [(extended_copy + wire.SYNC, "G")], leave=done),
        State("copy_out", [(wire.query(copy_out), "d")]),
        State("batch_open", [(wire.parse("", "SELECT 5") + wire.bind() + wire.FLUSH, "2")]),
        State("batch_failed", [(wire.parse("", "SELEC") + wire.FLUSH, "E")]),
        State("portal_suspended", [begin, (rows + wire.SYNC, "Z")]),
        State("behind_a_copy", unread=wire.query(copy), leave=done),
        State("behind_a_query", unread=wire.query("SELECT 'first'")),
        State("behind_a_batch",
              unread=wire.parse("", "SELECT 'first'") + wire.bind() + wire.execute()),
    )}


def plausible(kind, function_oid):
    """Messages of this type that a driver might send."""
    return {
        "B": [wire.bind(), wire.bind("", "nobody"), wire.bind("p", "")],
        "C": [wire.close("S", "nobody"), wire.close("P", "p")],
        "D": [wire.describe("S"), wire.describe("P"), wire.describe("P", "p")],
        "E": [wire.execute(), wire.execute("p", 1)],
        "F": [wire.message("F", struct.pack("!IHHHIiIiH", function_oid, 1, 1, 2, 4, 2, 4, 3, 1))],
        "H": [wire.FLUSH],
        "P": [wire.parse("", "SELECT 7"), wire.parse("", "SELEC"),
              wire.parse("named", "SELECT 8") + wire.close("S", "named")],
        "Q": [wire.query("SELECT 9"), wire.query(""), wire.query("SELEC")],
        "S": [wire.SYNC],
        "X": [wire.TERMINATE],
        "c": [wire.COPY_DONE],
        "d": [wire.copy_data(b"a line\n"), wire.copy_data(b"")],
        "f": [wire.copy_fail("changed my mind")],
        "p": [wire.message("p", b"secret\0")],
    }[kind]


def malformed(kind):
    """Bodies whose length is right and whose content is not what the type asks for."""
    huge_counts = b"\0\0" + struct.pack("!HH", 0, 0xffff)
    bodies = [b"", GARBAGE, b"no terminator", b"x\0", b"\0\0\0\0\0"]
    bodies += {
        "B": [huge_counts, b"\0\0" + struct.pack("!HHi", 0, 1, -2),
              b"\0\0" + struct.pack("!HHI", 0, 1, 1 << 31), b"\0\0" + struct.pack("!HHH", 0, 0, 9),
              b"\0nobody\0\0", wire.bind()[5:] + b"more"],
        "C": [b"Zx\0", b"S", b"Sx\0more", b"Sx"],
        "D": [b"Zx\0", b"P", b"P\0more", b"Sx"],
        "E": [b"\0\0\0", b"\0" + struct.pack("!I", 0) + b"more", b"p\0\xff\xff\xff\xff"],
        "F": [struct.pack("!I", 0), struct.pack("!IHHI", 1 << 31, 0, 1, 1 << 31)],
        "P": [b"\0SELECT 1\0", b"\0SELECT 1\0\0\1", b"\0SELECT 1\0\xff\xff",
              b"\0SELECT 1\0\0\0more", b"name\0SELECT 1"],
        "Q": [b"SELECT 1\0more", b"SELECT 1\0\0", b"\0\0"],
        "S": [b"x" * 9000],
        "H": [b"x" * 9000],
        "f": [b"why\0more"],
    }.get(kind, [])
    return [wire.message(kind, body) for body in bodies]


def raw_message(kind, body=b"", length=None):
    """`kind` as a number; `length` as it is claimed."""
    claimed = len(body) + 4 if length is None else length
    return bytes([kind]) + struct.pack("!I", claimed) + body


def outline(message):
    """What of a message two servers must have in common; None for what may differ."""
    if message.kind in "SA":
        return None
    if message.kind in "EN":
        fields = message.error
        return (message.kind, *(f"{letter}={fields[letter]}" for letter in "SVCMDHP"
                                if letter in fields))
    if message.kind == "d":
        return ("d", len(message.body))
    return (message.kind, message.body)


class Session:
    """A client that is put into states and attacks from there; it logs in again when it must."""

    def __init__(self, log_in):
        self._log_in = log_in
        self._client = None

    def close(self):
        if self._client is not None:
            self._client.close()
        self._client = None

    def enter(self, state):
        if self._client is None:
            self._client = self._log_in()
        for data, until in state.steps:
            self._client.send(data)
            self._client.read_until(until)
        return self._client

    def attack(self, state, data, before_reading=None):
        """The outlines of all answers up to the probe's or the end, which is ("closed",)."""
        client = self.enter(state)
        client.send(state.unread, data, state.probe())
        if before_reading is not None:
            before_reading()
        return self._transcript(client)

    def attack_byte_by_byte(self, state, data):
        client = self.enter(state)
        client.send(state.unread)
        client.send_byte_by_byte(data)
        client.send(state.probe())
        return self._transcript(client)

    def attack_and_end(self, state, data):
        """The same for what is no complete message: the client sends no more after it."""
        client = self.enter(state)
        client.send(state.unread, data)
        client.socket.shutdown(1)
        return self._transcript(client)

    def _transcript(self, client):
        said = []
        probed = False
        while True:
            try:
                message = client.read()
            except wire.Closed:
                self.close()
                return said + [("closed",)]
            if message.kind == "D" and message.row == [MARKER]:
                probed = True
            said.append(outline(message))
            if said[-1] is None:
                said.pop()
            if probed and message.kind == "Z":
                return said
