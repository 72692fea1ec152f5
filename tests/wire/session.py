"""Runs one script on one endpoint and keeps all that came back, message by message.

The end of a script is a marker that its answer ends with, so that nothing is waited for in vain:
before it whatever is open is closed, in the same bytes for everybody.
"""

import collections
import socket
import struct

import bed
import notation
import wire

MARKER = b"the end of the script"
STUCK_SECONDS = 10
STUCK_SECONDS_WHILE_SHRINKING = 0.7
LOOK_SECONDS = 0.001
# Both an answer and an end: what a script sees of a connection that is closed, or says no more.
CLOSED = ("closed",)
STUCK = ("stuck",)


def last_words(names):
    """Ends a COPY, a batch and a transaction, forgets statements, and asks for the marker."""
    data = wire.COPY_DONE * 3 + wire.SYNC + wire.query("ROLLBACK")
    data += b"".join(wire.message("C", b"S" + name + b"\0") for name in names) + wire.SYNC
    return data + wire.query(b"SELECT '" + MARKER + b"'")


class Reader:
    """Splits a connection's bytes into messages; what nobody has asked for yet stays in it."""

    def __init__(self, sock):
        self.socket = sock
        self.buffer = bytearray()
        self.complete = collections.deque()
        self.closed = False

    def _receive(self, seconds):
        self.socket.settimeout(seconds)
        try:
            data = self.socket.recv(1 << 18)
        except (socket.timeout, BlockingIOError):
            return False
        except ConnectionError:
            data = b""
        self.closed = not data
        self.buffer += data
        self._split()
        return True

    def _split(self):
        at, end = 0, len(self.buffer)
        while at + 5 <= end:
            size, = struct.unpack_from("!I", self.buffer, at + 1)
            if at + 1 + size > end:
                break
            self.complete.append((chr(self.buffer[at]), bytes(self.buffer[at + 5:at + 1 + size])))
            at += 1 + size
        del self.buffer[:at]

    def read(self, done):
        """Messages until `done(message)`, the end, or for too long."""
        found = []
        while True:
            while self.complete:
                found.append(self.complete.popleft())
                if done(found[-1]):
                    return found
            if self.closed:
                return found + [CLOSED]
            if not self._receive(STUCK_SECONDS):
                return found + [STUCK]

    def look(self):
        """What has come in a moment."""
        if not self.closed:
            self._receive(LOOK_SECONDS)
        found = list(self.complete)
        self.complete.clear()
        return found + ([CLOSED] if self.closed else [])


def until(wanted):
    """True when kinds of `wanted`, one set after another, have come."""
    left = list(wanted)

    def done(message):
        if left and message[0] in left[0]:
            left.pop(0)
        return not left

    return done


def counted(missing):
    """True when `missing` ReadyForQuery have come."""
    left = missing

    def done(message):
        nonlocal left
        left -= message[0] == "Z"
        return left <= 0

    return done


def at_marker():
    marked = False

    def done(message):
        nonlocal marked
        if marked and message[0] == "Z":
            return True
        marked = marked or (message[0] == "D" and message[1].endswith(MARKER))
        return False

    return done


class Client:
    def __init__(self, endpoint, service, startup):
        self.wire, welcome = endpoint.connect(service, startup)
        self.reader = Reader(self.wire.socket)
        self.ready = 0  # ReadyForQuery that the script has seen
        self.heard = []
        self.welcome = [(one.kind, one.body) for one in welcome]

    def send(self, data, size=0):
        self.wire.socket.settimeout(STUCK_SECONDS)
        try:
            for at in range(0, len(data), size or len(data) or 1):
                self.wire.socket.sendall(data[at:at + size] if size else data)
        except OSError:
            pass  # the answers tell why it was closed

    def close(self):
        self.wire.close()


class Session:
    """Clients of one endpoint by service and name; they stay until they must go."""

    def __init__(self, endpoint):
        self.endpoint = endpoint
        self._clients = {}
        self.stuck = False

    def close(self):
        for client in self._clients.values():
            client.close()
        self._clients.clear()

    def begin(self, script):
        self.script = script
        self.stuck = False
        self.names = notation.statement_names(script.lines)
        self._used = {}
        self._startups = set()
        self._choose("1", {})

    def _choose(self, name, startup):
        key = (self.script.service, name)
        if startup:
            self._drop(key)
            self._startups.add(key)
        if key not in self._clients:
            self._clients[key] = Client(self.endpoint, self.script.service, startup)
        self.client = self._clients[key]
        if key not in self._used:
            self.client.ready = 0
            self.client.heard = list(self.client.welcome) if startup else []
        self._used[key] = self.client

    def _drop(self, key):
        client = self._clients.pop(key, None)
        if client is not None:
            client.close()

    def write(self, step):
        data = step.data
        if self.endpoint.direct and (b"{{" in data or b"<<" in data):
            schema = SCHEMAS_OF[self.script.service]
            data = notation.written_out(data, schema)
        if step.what == "write":
            self.client.send(data, step.size)

    def read(self, step):
        """What a step lets this client see."""
        if step.what == "client":
            self._choose(step.client, step.startup)
            return
        if step.what == "look":
            said = self.client.reader.look()
        elif step.what == "count":
            said = self._count(step.size - self.client.ready)
        else:
            said = self.client.reader.read(until(step.until))
        self.client.ready += sum(one[0] == "Z" for one in said)
        self.client.heard += said
        self.stuck = self.stuck or said[-1:] == [STUCK]

    def _count(self, missing):
        return self.client.reader.read(counted(missing)) if missing > 0 else []

    def send_last_words(self):
        for client in self._used.values():
            client.send(last_words(self.names))

    def end(self):
        """All that each client heard up to its marker; who was closed, or got stuck, is not used
        again."""
        transcript = []
        for key, client in self._used.items():
            client.heard += client.reader.read(at_marker())
            transcript += [("client", key[1].encode()), *client.heard]
            if client.heard[-1] in (CLOSED, STUCK) or key in self._startups:
                self._drop(key)
        return transcript


SCHEMAS_OF = {service: schema.encode() for service, schema in bed.SERVICES.items()}


def run(script, sessions):
    """The transcripts of all sessions, worked off side by side; PostgreSQL's is the first."""
    steps = notation.compile_script(script.lines)
    for session in sessions:
        session.begin(script)
    for step in steps:
        for session in sessions:
            session.write(step)
        if step.what != "write":
            for session in sessions:
                session.read(step)
                if session.stuck:
                    break
        if any(session.stuck for session in sessions):
            break  # what comes behind it would only take as long again
    for session in sessions:
        session.send_last_words()
    return [session.end() for session in sessions]
