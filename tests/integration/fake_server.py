"""A PostgreSQL that is none: it logs clients in (trust or SCRAM-SHA-256) and answers each query
with the query's own text, honestly, until a test tells it to misbehave in one of the ways below.

A leased backend misbehaves when a query's text contains `misbehave:<way>`, a login or an upkeep
when the test put its way into `login_ways` (or a function of the connection) or `upkeep_ways`, a
resting one when the test sends bytes on its connection. It must not know about schemux.
"""

import base64
import collections
import contextlib
import hashlib
import hmac
import os
import re
import socket
import struct
import threading

import server
from wire import PROTOCOL_3_0, cstr, message

PID = struct.Struct("!II")
READY, READY_IN_TRANSACTION = message("Z", b"I"), message("Z", b"T")
AUTH_OK = message("R", struct.pack("!I", 0))
ITERATIONS = 4096
MISBEHAVE = re.compile(rb"misbehave:(\w+)")
FLOOD_BYTES = 64 << 20
HTTP = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"
TLS = bytes.fromhex("160303007a0200007603035f") + b"\x00" * 110


class Gone(Exception):
    """The other side closed the connection."""


def header(kind, length):
    return kind.encode() + struct.pack("!I", length)


def row_description():
    return message("T", struct.pack("!H", 1) + cstr("text") + struct.pack("!IHIhih", 0, 0, 25, -1,
                                                                         -1, 0))


def data_row(*values):
    body = struct.pack("!H", len(values))
    for value in values:
        body += struct.pack("!I", len(value)) + value
    return message("D", body)


def complete(tag="SELECT 1"):
    return message("C", cstr(tag))


def error(code, text, severity="ERROR"):
    return message("E", b"S" + cstr(severity) + b"V" + cstr(severity) + b"C" + cstr(code)
                   + b"M" + cstr(text) + b"\0")


def notice(text):
    return message("N", b"SNOTICE\0VNOTICE\0C00000\0M" + cstr(text) + b"\0")


def parameter(name, value):
    return message("S", cstr(name) + cstr(value))


def authentication(method, data=b""):
    return message("R", struct.pack("!I", method) + data)


ROWS = row_description() + data_row(b"1")
ANSWER = ROWS + complete()
BEHIND_FATAL = error("57P01", "terminating connection", "FATAL")


# What a leased backend sends in place of its answer; then it stays, and waits for the end.
QUERY_WAYS = {
    "unknown_type": message("?", b"x"),
    "http": HTTP,
    "tls": TLS,
    "zeros": bytes(64),
    "ones": b"\xff" * 64,
    "length_0": header("D", 0),
    "length_3": ROWS + header("D", 3),
    "length_1g": ROWS + header("D", 0x3fffffff),
    "length_2g": ROWS + header("D", 0x80000000),
    "length_4g": ROWS + header("D", 0xffffffff),
    "length_of_ready": ANSWER + header("Z", 60000),
    "row_too_short": ROWS + message("D", b"\0"),
    "row_before_description": data_row(b"1") + complete() + READY,
    "row_behind_completion": ANSWER + data_row(b"1") + READY,
    "ready_at_once": READY,
    "ready_with_odd_status": ANSWER + message("Z", b"X"),
    "ready_in_rows": ROWS + READY,
    "ready_twice": ANSWER + READY + READY,
    "answer_twice": ANSWER + READY + ANSWER + READY,
    "unterminated_completion": ROWS + message("C", b"SELECT 1"),
    "unterminated_error": message("E", b"SERROR\0C42601\0Mhm"),
    "trailing_error": message("E", b"SERROR\0\0trailing") + READY,
    "unterminated_notice": message("N", b"SNOTICE\0Mhm"),
    "unterminated_parameter": message("S", b"TimeZone\0UTC"),
    "many_parameters": b"".join(parameter(f"p{n}", "v") for n in range(1000)),
    "large_parameter": parameter("p", "v" * 70000),
    "parameters_of_a_megabyte": b"".join(parameter(f"p{n}", "v" * 50000) for n in range(20)),
    "parse_complete": message("1") + ANSWER + READY,
    "portal_suspended": ROWS + message("s") + READY,
    "parameter_description": message("t", b"\0\0") + ANSWER + READY,
    "function_result": message("V", b"\xff\xff\xff\xff") + READY,
    "copy_in_amid_rows": ROWS + message("G", b"\0\0\0"),
    "copy_data_unasked": message("d", b"x\n") + ANSWER + READY,
    "copy_out_without_end": message("H", b"\0\0\0") + message("d", b"x\n") + complete("COPY 1"),
    "copy_both": message("W", b"\0\0\0"),
    "authentication_ok_late": AUTH_OK + ANSWER + READY,
    "password_request_late": authentication(3),
    "key_late": message("K", PID.pack(1, 2)) + ANSWER + READY,
    "negotiation_late": message("v", bytes(8)) + ANSWER + READY,
    "error_after_ready": ANSWER + READY + error("XX000", "out of the blue"),
}
# In answer to Parse, Bind, Execute and Sync.
EXTENDED_WAYS = {
    "x_bind_first": message("2") + message("1") + data_row(b"1") + complete() + READY,
    "x_description": message("1") + message("2") + ANSWER + READY,
    "x_ready_early": message("1") + READY + message("2"),
    "x_two_parses": message("1") + message("1") + message("2") + complete() + READY,
    "x_close_complete": message("1") + message("2") + message("3") + complete() + READY,
}
# The server has ended the session, as far as it says.
FATAL_WAYS = {
    "fatal_and_stay": BEHIND_FATAL,
    "fatal_in_rows": ROWS + BEHIND_FATAL,
}
# Odd, but between server and client alone: it passes.
PASSING_WAYS = {
    "error_without_fields": message("E", b"\0") + READY,
    "error_without_sqlstate": message("E", b"SERROR\0VERROR\0Mhm\0\0") + READY,
    "error_with_odd_fields": message("E", b"SERROR\0C\0P99999999999\0?x\0\0") + READY,
    "row_with_other_columns": row_description() + data_row(b"1", b"2", b"3") + complete() + READY,
    "row_with_a_lie_inside": row_description() + message("D", b"\xff\xff\0") + complete() + READY,
    "notices_and_parameters": notice("a") + parameter("TimeZone", "UTC") + ANSWER + READY,
}
# How the connection ends in place of an answer: (bytes before, whether with a reset).
CLOSING_WAYS = {
    "close_before_the_answer": (b"", False),
    "reset_before_the_answer": (b"", True),
    "close_in_a_header": (ROWS + b"D\0\0", False),
    "close_in_a_row": (ROWS + header("D", 100) + b"xxx", False),
    "close_before_ready": (ANSWER, False),
}
# In place of the first message of a login, the connection then stays; and what is told of it.
LOGIN_WAYS = {
    "l_http": HTTP,
    "l_tls": TLS,
    "l_unknown_type": message("?", b"x"),
    "l_huge": header("R", 0xffffffff),
    "l_ready_at_once": READY,
    "l_row": data_row(b"1"),
    "l_not_idle": AUTH_OK + READY_IN_TRANSACTION,
    "l_ok_twice": AUTH_OK + AUTH_OK + READY,
    "l_bytes_behind_ready": AUTH_OK + READY + READY,
    "l_unterminated_error": message("E", b"SFATAL\0C28P01\0Mno"),
    "l_error_without_fields": message("E", b"\0"),
    "l_proof_unasked": authentication(12, b"v=AAAA"),
    "l_many_parameters": AUTH_OK + b"".join(parameter(f"p{n}", "v") for n in range(1000)),
}
# In answer to schemux's own query.
UPKEEP_WAYS = {
    "u_fatal_then_ready": BEHIND_FATAL + READY,
    "u_ready_at_once": READY,
    "u_copy_in": message("G", b"\0\0\0"),
    "u_rows_first": data_row(b"1") + complete() + READY,
    "u_in_transaction": ANSWER + READY_IN_TRANSACTION,
    "u_unknown_type": message("?", b"x"),
    "u_unterminated_error": message("E", b"SERROR\0C42601\0Mhm") + READY,
}


class Connection:
    """One connection to the fake server, with a thread of its own."""

    def __init__(self, owner, sock):
        self.owner = owner
        self.socket = sock
        self.ended = threading.Event()
        self.sent = 0
        self.last_text = b""
        self.in_transaction = False
        self._buffer = bytearray()
        threading.Thread(target=self._run, daemon=True).start()

    def send(self, data):
        self.socket.sendall(data)

    def exchange(self, data):
        """Sends it; the body of the message that comes then."""
        self.send(data)
        return self._message()[1]

    def wait_for_the_end(self):
        while True:
            self._receive()

    def _run(self):
        try:
            self._serve()
        except (Gone, OSError):
            pass
        finally:
            with contextlib.suppress(OSError):
                self.socket.close()
            self.ended.set()

    def _serve(self):
        size, = struct.unpack("!I", self._exactly(4))
        start = self._exactly(size - 4)
        version, = struct.unpack_from("!I", start)
        if version == 80877102:
            self.owner.cancels.append(start[4:])
            raise Gone  # nothing runs here for long
        self.owner.versions.append(version)
        if version != PROTOCOL_3_0 and self.owner.refusal is not None:
            self.send(self.owner.refusal)
            raise Gone
        way = self.owner.take(self.owner.login_ways)
        if callable(way):
            way(self)
        elif way is not None:
            self._login_way(way)
        if self.owner.password is not None:
            self._scram(self.owner.password)
        self.send(AUTH_OK + b"".join(parameter(*pair) for pair in self.owner.parameters)
                  + message("K", struct.pack("!I", self.owner.next_pid()) + self.owner.key) + READY)
        self._answer_for_ever()

    def _answer_for_ever(self):
        batch = []
        while True:
            kind, body = self._message()
            if kind == b"X":
                raise Gone
            if kind == b"Q":
                self._answer_query(body[:-1])
            elif kind == b"S":
                self._answer_batch(batch)
                batch = []
            else:
                batch.append((kind, body))

    def _answer_query(self, text):
        if b"pg_catalog.getdatabaseencoding" in text:
            # schemux asks for the settings of the session: there are none.
            self.send(row_description() + complete("SELECT 0") + self._ready())
            return
        self.last_text = text
        upkeep = text.startswith((b"SELECT pg_catalog.set_config", b"SET SESSION AUTH",
                                  b"ROLLBACK;"))
        if upkeep:
            way = self.owner.take(self.owner.upkeep_ways)
            if way is not None:
                self._upkeep_way(way)
        found = None if upkeep else MISBEHAVE.search(text)
        if found is not None and self._query_way(found.group(1).decode()):
            return
        words = text.upper()
        if words.startswith(b"BEGIN"):
            self.in_transaction = True
        elif words.startswith((b"COMMIT", b"ROLLBACK")):
            self.in_transaction = False
        self.send(row_description() + data_row(text) + complete() + self._ready())

    def _answer_batch(self, batch):
        text = next((body.split(b"\0")[1] for kind, body in batch if kind == b"P"), self.last_text)
        self.last_text = text
        found = MISBEHAVE.search(text)
        if found is not None and self._query_way(found.group(1).decode()):
            return
        answers = {b"P": message("1"), b"B": message("2"), b"C": message("3"),
                   b"D": row_description(), b"E": data_row(text) + complete()}
        self.send(b"".join(answers.get(kind, b"") for kind, _ in batch) + self._ready())

    def _ready(self):
        return READY_IN_TRANSACTION if self.in_transaction else READY

    # ---- misbehaving -----------------------------------------------------------------------

    def _query_way(self, way):
        """True: it was answered, and the connection goes on."""
        for ways in (QUERY_WAYS, EXTENDED_WAYS, FATAL_WAYS):
            if way in ways:
                self.send(ways[way])
                self.wait_for_the_end()
        if way in PASSING_WAYS:
            self.send(PASSING_WAYS[way])
            return True
        if way in CLOSING_WAYS:
            before, reset = CLOSING_WAYS[way]
            self.send(before)
            if reset:
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                       struct.pack("ii", 1, 0))
            raise Gone
        if way == "silence":
            self.wait_for_the_end()
        if way == "copy_unread":
            # PostgreSQL too answers a COPY that fails before it has read all its data.
            self.send(message("G", b"\0\0\0"))
            self.owner.may_fail_copy.wait(60)
            self.send(error("22P04", "not that data") + READY)
            self.owner.may_read_on.wait(60)
            self.wait_for_the_end()
        if way in ("flood_of_notices", "flood_of_parameters"):
            piece = notice("x" * 1000) if way == "flood_of_notices" else \
                parameter("TimeZone", "x" * 1000)
            self._flood(piece * 64, FLOOD_BYTES)
            self.send(ANSWER + READY)
            return True
        return False

    def _login_way(self, way):
        if way == "l_close":
            raise Gone
        if way == "l_close_after_ok":
            self.send(AUTH_OK)
            raise Gone
        if way == "l_flood_of_notices":
            self._flood(notice("x" * 1000) * 64, None)
        if way in LOGIN_WAYS:
            self.send(LOGIN_WAYS[way])
        if way == "l_iterations":
            self.send(authentication(10, cstr("SCRAM-SHA-256") + b"\0"))
            _, body = self._message()
            nonce = body[body.index(b"r=") + 2:]
            self.send(authentication(11, b"r=" + nonce + b"x,s=c2FsdA==,i=2147483647"))
        self.wait_for_the_end()

    def _upkeep_way(self, way):
        if way == "u_close":
            raise Gone
        if way != "u_silence":
            self.send(UPKEEP_WAYS[way])
        self.wait_for_the_end()

    def _flood(self, piece, limit):
        self.sent = 0
        while limit is None or self.sent < limit:
            self.send(piece)
            self.sent += len(piece)

    # ---- logging in ------------------------------------------------------------------------

    def _scram(self, password):
        self.send(authentication(10, cstr("SCRAM-SHA-256") + b"\0"))
        _, body = self._message()
        bare = body[body.index(b"n,,") + 3:]
        nonce = bare[bare.index(b"r=") + 2:] + base64.b64encode(os.urandom(18))
        salt = os.urandom(16)
        first = b"r=%s,s=%s,i=%d" % (nonce, base64.b64encode(salt), ITERATIONS)
        self.send(authentication(11, first))
        _, final = self._message()
        without_proof, proof = final.rsplit(b",p=", 1)
        salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, ITERATIONS)
        client_key = hmac.digest(salted, b"Client Key", "sha256")
        everything = bare + b"," + first + b"," + without_proof
        signature = hmac.digest(hashlib.sha256(client_key).digest(), everything, "sha256")
        expected = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        if base64.b64decode(proof) != expected:
            self.send(error("28P01", "wrong password", "FATAL"))
            raise Gone
        server_key = hmac.digest(salted, b"Server Key", "sha256")
        self.send(authentication(12, b"v=" + base64.b64encode(
            hmac.digest(server_key, everything, "sha256"))))

    # ---- reading ---------------------------------------------------------------------------

    def _receive(self):
        data = self.socket.recv(65536)
        if not data:
            raise Gone
        return data

    def _exactly(self, size):
        while len(self._buffer) < size:
            self._buffer += self._receive()
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    def _message(self):
        head = self._exactly(5)
        return head[:1], self._exactly(struct.unpack("!I", head[1:])[0] - 4)


class FakeServer:
    """Listens on a loopback port until `close`."""

    def __init__(self, password=None):
        self.password = password
        self.parameters = [("server_version", "15.0"), ("client_encoding", "UTF8"),
                           ("standard_conforming_strings", "on"), ("TimeZone", "UTC")]
        self.port = server.free_port()
        self.login_ways = collections.deque()
        self.upkeep_ways = collections.deque()
        self.connections = []
        self.key = struct.pack("!I", 7)
        self.refusal = None  # what is said to who asks for more than protocol 3.0
        self.versions = []
        self.cancels = []  # pid and key of each CancelRequest
        self.may_fail_copy, self.may_read_on = threading.Event(), threading.Event()
        self._lock = threading.Lock()
        self._last_pid = 1000
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, daemon=True).start()

    def dsn(self, **more):
        return " ".join(f"{name}={value}" for name, value in {
            "host": "127.0.0.1", "port": self.port, "dbname": "app", "user": "app",
            **more}.items())

    def take(self, ways):
        with self._lock:
            return ways.popleft() if ways else None

    def next_pid(self):
        with self._lock:
            self._last_pid += 1
            return self._last_pid

    def open_connections(self):
        return [one for one in list(self.connections) if not one.ended.is_set()]

    def one_with(self, text):
        """The open connection whose last query was `text`."""
        found, = [one for one in self.open_connections() if one.last_text == text.encode()]
        return found

    def close(self):
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for one in self.open_connections():
            with contextlib.suppress(OSError):
                one.socket.shutdown(socket.SHUT_RDWR)

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.connections.append(Connection(self, sock))
