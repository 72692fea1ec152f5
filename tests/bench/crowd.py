# Many clients by hand in one thread: each logs in as a service of its own or of all, and so many of
# them have a query under way at a time. What a driver or a thread for each costs would hide what
# the proxy does with ten thousand.
# It knows messages and sockets; it must not know what is asked, nor what for.

import collections
import select
import struct
import time

import bed as testbed
from asker import READY, Asker, message

TIMEOUT = 60
SYNC = message(b"S", b"")
FAILED = b"VERROR\0"  # in each ErrorResponse


def query(sql):
    return message(b"Q", sql.encode() + b"\0")


def parse(name, sql):
    return message(b"P", name + b"\0" + sql.encode() + b"\0\0\0")


def execute(name):
    """Bind without parameters, Execute, Sync."""
    return (message(b"B", b"\0" + name + b"\0" + bytes(6)) + message(b"E", bytes(5)) + SYNC)


def first_row(answer):
    """The columns of its first DataRow, as text."""
    at = 0
    while answer[at:at + 1] != b"D":
        at += 1 + struct.unpack_from("!I", answer, at + 1)[0]
    columns, at = struct.unpack_from("!H", answer, at + 5)[0], at + 7
    row = []
    for _ in range(columns):
        size, = struct.unpack_from("!i", answer, at)
        row.append(answer[at + 4:at + 4 + size].decode())
        at += 4 + size
    return row


def leave(clients):
    """As drivers go: a Terminate, and the end of the other side's."""
    for client in clients:
        client.socket.setblocking(True)
        client.socket.settimeout(TIMEOUT)
        client.socket.sendall(message(b"X", b""))
    for client in clients:
        while client.socket.recv(4096):
            pass
        client.close()


class Answers:
    """What became of one run; `took` is seconds for each query, `of` whose it was."""

    def __init__(self):
        self.took, self.of, self.bytes, self.seconds = [], [], [], 0.0

    @property
    def rate(self):
        return len(self.took) / self.seconds


class Crowd:
    """`with Crowd(port, services) as crowd:` one client for each entry of `services`."""

    def __init__(self, port, services):
        self.services = services
        self.clients = []
        try:
            for service in services:
                self.clients.append(Asker(port, service, TIMEOUT))
        except OSError as problem:
            testbed.fail(f"client {len(self.clients)} ({services[len(self.clients)]}): {problem}")
        self.poll = select.epoll()
        self.by_descriptor = {}
        for number, client in enumerate(self.clients):
            client.socket.setblocking(False)
            self.by_descriptor[client.socket.fileno()] = number
            self.poll.register(client.socket, select.EPOLLIN)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.poll.close()
        leave(self.clients)

    def run(self, messages, depth, seconds=None, count=None, dice=None, keep=False):
        """`depth` of the clients have their message under way, the others rest; who has an answer
        goes behind those (with `dice`: anywhere among them). `messages`: one for each client, or a
        function of its number. `keep`: the answers too."""
        message_of = messages if callable(messages) else messages.__getitem__
        resting = collections.deque(range(len(self.clients)))
        answers, asked, parts = Answers(), {}, {}
        began = time.perf_counter()

        def more():
            if count is not None:
                return len(answers.took) + len(asked) < count
            return time.perf_counter() - began < seconds

        def ask():
            if dice:
                resting.rotate(dice.randrange(len(resting)))
            number = resting.popleft()
            asked[number] = time.perf_counter()
            self.clients[number].socket.send(message_of(number))

        for _ in range(min(depth, len(self.clients))):
            ask()
        while asked:
            ready = self.poll.poll(TIMEOUT)
            if not ready:
                testbed.fail(f"{len(asked)} queries have no answer for {TIMEOUT} s")
            for descriptor, _ in ready:
                number = self.by_descriptor[descriptor]
                if not self._answered(number, parts):
                    continue
                answers.took.append(time.perf_counter() - asked.pop(number))
                answers.of.append(number)
                answer = parts.pop(number)
                if keep:
                    answers.bytes.append(answer)
                resting.append(number)
                if more():
                    ask()
        answers.seconds = time.perf_counter() - began
        return answers

    def ask_one(self, number, text):
        """The seconds that it takes, in a list."""
        client = self.clients[number]
        client.socket.setblocking(True)
        began = time.perf_counter()
        client.socket.sendall(text)
        client.wait()
        took = time.perf_counter() - began
        client.socket.setblocking(False)
        return [took]

    def _answered(self, number, parts):
        """Reads what there is; True behind a ReadyForQuery."""
        part = self.clients[number].socket.recv(1 << 16)
        answer = parts[number] = parts.get(number, b"") + part
        if not part or FAILED in answer:
            testbed.fail(f"{self.services[number]}: {answer!r}")
        return answer.endswith(READY)
