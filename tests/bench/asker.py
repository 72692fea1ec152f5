# One connection, by hand: what a driver costs would hide what a proxy does.
# It knows messages; it must not know what they are asked for.

import socket
import struct

import bed as testbed

READY = b"Z\0\0\0\5I"
CHUNK = 1 << 20


def message(kind, body):
    return kind + struct.pack("!I", len(body) + 4) + body


class Asker:
    """Logged in without a password; ConnectionError if the other side ends it."""

    def __init__(self, port, database, timeout):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        pairs = f"user\0{testbed.USER}\0database\0{database}\0\0"
        self.socket.sendall(message(b"", struct.pack("!I", 3 << 16) + pairs.encode()))
        self.wait()

    def wait(self, until=READY):
        """Reads up to these last bytes and keeps nothing; how many bytes it were."""
        received, last = 0, b""
        while not last.endswith(until):
            part = self.socket.recv(CHUNK)
            if not part:
                raise ConnectionError(last.decode(errors="replace"))
            received += len(part)
            last = (last + part)[-200:]
        return received

    def send(self, sql):
        self.socket.sendall(message(b"Q", sql.encode() + b"\0"))

    def ask(self, sql="SELECT 1"):
        self.send(sql)
        return self.wait()

    def close(self):
        self.socket.close()
