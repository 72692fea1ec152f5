"""A client that speaks PostgreSQL's protocol byte by byte, to send what no driver would.

The messages are those of the PostgreSQL manual, 55.7. It must not know about schemux.
"""

import contextlib
import os
import socket
import struct

PROTOCOL_3_0 = 3 << 16
PROTOCOL_3_2 = PROTOCOL_3_0 + 2
SSL_REQUEST = struct.pack("!II", 8, 80877103)
GSS_REQUEST = struct.pack("!II", 8, 80877104)
ANSWER_SECONDS = 30


class Closed(Exception):
    """The other side closed the connection. `messages`: what came before it did."""

    def __init__(self, messages=()):
        super().__init__(f"closed after {list(messages)}")
        self.messages = list(messages)


class Message:
    """One message of the backend."""

    def __init__(self, kind, body):
        self.kind = kind
        self.body = body

    def __repr__(self):
        return f"{self.kind}{self.body[:60]!r}"

    @property
    def error(self):
        """The fields of an ErrorResponse or NoticeResponse by their letters."""
        fields = {}
        for part in self.body.rstrip(b"\0").split(b"\0"):
            if part:
                fields[chr(part[0])] = part[1:].decode(errors="replace")
        return fields

    @property
    def text(self):
        return self.body.rstrip(b"\0").decode(errors="replace")

    @property
    def row(self):
        """The columns of a DataRow, as text."""
        count, = struct.unpack_from("!H", self.body)
        at, columns = 2, []
        for _ in range(count):
            size, = struct.unpack_from("!i", self.body, at)
            at += 4
            columns.append(None if size < 0 else self.body[at:at + size].decode())
            at += max(size, 0)
        return columns


def message(kind, body=b""):
    return kind.encode() + struct.pack("!I", len(body) + 4) + body


def cstr(text):
    return (text if isinstance(text, bytes) else text.encode()) + b"\0"


def startup(parameters, version=PROTOCOL_3_0):
    body = struct.pack("!I", version)
    body += b"".join(cstr(name) + cstr(value) for name, value in parameters.items()) + b"\0"
    return struct.pack("!I", len(body) + 4) + body


def cancel_request(pid, secret):
    """`secret`: a number, or the bytes of a longer key."""
    key = secret if isinstance(secret, bytes) else struct.pack("!I", secret)
    return struct.pack("!III", 12 + len(key), 80877102, pid) + key


def query(sql):
    return message("Q", cstr(sql))


def parse(name, sql, types=()):
    return message("P", cstr(name) + cstr(sql) + struct.pack("!H", len(types))
                   + b"".join(struct.pack("!I", oid) for oid in types))


def bind(portal="", name="", parameters=()):
    body = cstr(portal) + cstr(name) + struct.pack("!HH", 0, len(parameters))
    for value in parameters:
        if value is None:
            body += struct.pack("!i", -1)
        else:
            data = str(value).encode()
            body += struct.pack("!I", len(data)) + data
    return message("B", body + struct.pack("!H", 0))


def describe(kind, name=""):
    return message("D", kind.encode() + cstr(name))


def close(kind, name=""):
    return message("C", kind.encode() + cstr(name))


def execute(portal="", rows=0):
    return message("E", cstr(portal) + struct.pack("!I", rows))


SYNC = message("S")
FLUSH = message("H")
TERMINATE = message("X")
COPY_DONE = message("c")


def copy_data(data):
    return message("d", data)


def copy_fail(why):
    return message("f", cstr(why))


class Wire:
    """One connection. Use as a context manager, or close() it."""

    def __init__(self, port, host="127.0.0.1", seconds=ANSWER_SECONDS, folder=None):
        if folder is not None:
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(seconds)
            self.socket.connect(f"{folder}/.s.PGSQL.{port}")
        else:
            self.socket = socket.create_connection((host, port), timeout=seconds)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = bytearray()
        self.parameters = {}
        self.pid = self.secret = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def send(self, *parts):
        self.socket.sendall(b"".join(parts))

    def send_byte_by_byte(self, data):
        for byte in data:
            self.socket.sendall(bytes([byte]))

    def read_exactly(self, size):
        while len(self._buffer) < size:
            try:
                data = self.socket.recv(262144)
            except ConnectionError:
                data = b""
            if not data:
                raise Closed
            self._buffer += data
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    def read(self):
        """The next message."""
        header = self.read_exactly(5)
        size, = struct.unpack_from("!I", header, 1)
        return Message(chr(header[0]), self.read_exactly(size - 4))

    def read_until(self, kinds):
        """Messages up to and with the first of one of `kinds`."""
        messages = []
        while not messages or messages[-1].kind not in kinds:
            try:
                messages.append(self.read())
            except Closed:
                raise Closed(messages) from None
        return messages

    def read_ready(self):
        """Messages up to and with the next ReadyForQuery."""
        return self.read_until("Z")

    def read_to_end(self):
        """Everything until the other side closes."""
        messages = []
        with contextlib.suppress(Closed):
            while True:
                messages.append(self.read())
        return messages

    def login(self, service="users", user="alice", version=PROTOCOL_3_0, **more):
        """Startup until the first ReadyForQuery; the messages of the welcome."""
        self.send(startup({"user": user, "database": service, **more}, version))
        return self.finish_login()

    def finish_login(self):
        messages = self.read_ready()
        for one in messages:
            if one.kind == "S":
                name, value, _ = one.body.decode().split("\0")
                self.parameters[name] = value
            elif one.kind == "K":
                self.pid, = struct.unpack_from("!I", one.body)
                key = one.body[4:]
                self.secret = struct.unpack("!I", key)[0] if len(key) == 4 else key
        return messages

    def ask(self, sql):
        """A simple query's messages."""
        self.send(query(sql))
        return self.read_ready()

    def rows(self, sql):
        """A simple query's rows; an AssertionError when it fails."""
        return rows_of(self.ask(sql))

    def close(self):
        self.socket.close()

    def vanish(self):
        """Ends the connection with a reset, as a process that was killed would not even do."""
        with contextlib.suppress(OSError):
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


def connect(port, service="users", **startup_parameters):
    """A client that is logged in."""
    wire = Wire(port)
    try:
        wire.login(service, **startup_parameters)
    except BaseException:
        wire.close()
        raise
    return wire


def kinds(messages):
    """The types as one string, without what PostgreSQL may say at any time."""
    return "".join(one.kind for one in messages if one.kind not in "NSA")


def errors_of(messages):
    return [one.error for one in messages if one.kind == "E"]


def sqlstates(messages):
    return [error["C"] for error in errors_of(messages)]


def rows_of(messages):
    found = errors_of(messages)
    if found:
        raise AssertionError(f"an error instead of rows: {found[0]}")
    return [one.row for one in messages if one.kind == "D"]


def send_cancel(port, pid, secret, linger=True):
    """A CancelRequest on a connection of its own; `linger` waits until the server closes it."""
    with contextlib.closing(socket.create_connection(("127.0.0.1", port), timeout=10)) as request:
        request.sendall(cancel_request(pid, secret))
        if linger:
            with contextlib.suppress(ConnectionError):
                return request.recv(1)
    return b""


def nonce():
    return os.urandom(8).hex()
