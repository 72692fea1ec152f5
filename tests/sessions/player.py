"""Runs one program on both endpoints of a lane, step by step, and keeps what came back.

A program is a notation.Script whose lines are steps; each is one client's turn:

    @2 service=even TimeZone=Asia/Tokyo   client 2 logs in (again), with these startup parameters
    2 Q "SELECT 1"                        one write of messages in the notation of the wire tests,
    2 P a "SELECT 1" ; B "" a ; E "" ; S  answered with as many ReadyForQuery as it has Q, F and S

A client that nobody logged in logs in by itself. Notifications come when they come: those of each
client are kept apart, in their order. It must not know what the steps are about.
"""

import time

import place  # noqa: F401  (first: it makes the others known)
import notation
import session
import wire

# What each client says last: nothing of a program is left when the next one begins.
LAST_WORDS = (wire.query("ROLLBACK"), wire.query("SELECT pg_advisory_unlock_all()"))
NOTIFICATION_SECONDS = 5
NOTIFICATION_SECONDS_WHILE_SHRINKING = 0.3


class Turn:
    """One line, understood."""

    def __init__(self, line):
        words = notation._TOKEN.findall(line)
        self.login = line.startswith("@")
        self.client = words[0].lstrip("@")
        if not self.client.isdigit():
            raise notation.BadScript(f"{line!r}: no client")
        if self.login:
            pairs = dict(word.split("=", 1) for word in words[1:])
            self.startup = {name: notation._bytes_of(value) for name, value in pairs.items()}
            self.service = self.startup.pop("service", b"wire").decode()
            return
        self.data, self.ready, message = b"", 0, []
        for word in [*words[1:], ";"]:
            if word != ";":
                message.append(word)
            elif message:
                self.data += notation.message_of(" ".join(message))
                self.ready += message[0] in ("Q", "S", "F")
                message = []
        if not self.ready:
            raise notation.BadScript(f"{line!r}: nothing would answer")


class Side:
    """The clients of a program on one endpoint, and the transcript."""

    def __init__(self, endpoint):
        self._endpoint = endpoint
        self._clients = {}
        self.transcript = []
        self.heard = {}  # channels and payloads, by client
        self.stuck = False

    def login(self, name, service="wire", startup=None):
        old = self._clients.pop(name, None)
        if old is not None:
            old.send(wire.TERMINATE)
            old.close()
        try:
            client = session.Client(self._endpoint, service, startup or {})
        except wire.Closed as refused:
            self.transcript += [(one.kind, one.body) for one in refused.messages]
            self.transcript.append(session.CLOSED)
            return
        self._clients[name] = client
        self.heard[name] = []
        self.transcript += client.welcome

    def send(self, turn):
        if turn.client not in self._clients:
            self.login(turn.client)
        if turn.client in self._clients:
            self._clients[turn.client].send(turn.data)

    def _kept(self, name, said):
        """What was said but for notifications, which are heard. Their pids are nobody's to tell."""
        self.heard[name] += [one[1][4:] for one in said if one[0] == "A"]
        return [one for one in said if one[0] != "A"]

    def read(self, turn):
        if turn.client in self._clients:
            said = self._clients[turn.client].reader.read(session.counted(turn.ready))
            self.transcript += self._kept(turn.client, said)
            self.stuck = said[-1] == session.STUCK

    def finish(self):
        """The last words, and what has been heard by then."""
        for client in self._clients.values():
            client.send(b"".join(LAST_WORDS))
        for name, client in self._clients.items():
            self._kept(name, client.reader.read(session.counted(len(LAST_WORDS))))

    def wait_for(self, heard):
        """Until every client has heard as much as it has elsewhere, or will not."""
        deadline = time.monotonic() + NOTIFICATION_SECONDS
        for name, client in self._clients.items():
            while len(self.heard[name]) < len(heard.get(name, ())) and time.monotonic() < deadline:
                self._kept(name, client.reader.look())

    def end(self):
        for client in self._clients.values():
            client.send(wire.TERMINATE)
        self.transcript += [("heard", f"{name} {said}".encode())
                            for name, said in sorted(self.heard.items())]

    def drop(self):
        for client in self._clients.values():
            client.close()


def play(program, endpoints):
    """The transcripts of the endpoints; in each, a step's answers stand behind its number."""
    turns = [Turn(line) for line in program.lines]
    sides = [Side(endpoint) for endpoint in endpoints]
    try:
        for number, turn in enumerate(turns):
            for side in sides:
                side.transcript.append(("step", str(number).encode()))
                if turn.login:
                    side.login(turn.client, turn.service, turn.startup)
                else:
                    side.send(turn)
            for side in sides:
                if not turn.login:
                    side.read(turn)
            if any(side.stuck for side in sides):
                break
        else:
            for side in sides:
                side.finish()
            for side in sides:
                for other in sides:
                    side.wait_for(other.heard)
                side.end()
    finally:
        for side in sides:
            side.drop()
    return [side.transcript for side in sides]
