"""Between schemux and PostgreSQL: knows which connection is the one that listens for all by what is
said on it first, and fails that one alone: PostgreSQL seems to refuse its LISTEN, or nothing is
heard of it any more though it stays open. All else passes as it is.
"""

import contextlib
import socket
import struct
import threading

import fake_server
import server
import wire

# What the listener says first; the connections of the pool never do.
FIRST_WORDS = b"SET client_encoding TO 'UTF8'\0"
REFUSAL = "this LISTEN is refused"


class Link:
    """One connection and the server's side of it, with a thread for each direction."""

    def __init__(self, owner, client):
        self.owner = owner
        self.ends = [client, socket.create_connection(("127.0.0.1", owner.target_port))]
        for end in self.ends:
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.peer_port = client.getpeername()[1]
        self.listens = self.silent = False
        self.unheard = 0  # messages that the server does not get
        self._buffer = bytearray()
        for pump in (self._to_server, self._to_client):
            threading.Thread(target=self._run, args=(pump,), daemon=True).start()

    def close(self):
        for end in self.ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _run(self, pump):
        with contextlib.suppress(OSError, wire.Closed):
            pump()
        self.close()

    def _exactly(self, size):
        while len(self._buffer) < size:
            data = self.ends[0].recv(65536)
            if not data:
                raise wire.Closed
            self._buffer += data
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    def _to_server(self):
        size = self._exactly(4)
        self.ends[1].sendall(size + self._exactly(struct.unpack("!I", size)[0] - 4))
        asked = 0
        while True:
            head = self._exactly(5)
            body = self._exactly(struct.unpack("!I", head[1:])[0] - 4)
            if head[:1] == b"Q":
                asked += 1
                self.listens = self.listens or (asked == 1 and body == FIRST_WORDS)
            if self.silent:
                self.unheard += 1
                continue
            if self.listens and self.owner.refusing and body.startswith(b"LISTEN"):
                self.owner.refused += 1
                self.ends[0].sendall(fake_server.error("42501", REFUSAL) + fake_server.READY)
            else:
                self.ends[1].sendall(head + body)

    def _to_client(self):
        while data := self.ends[1].recv(65536):
            if not self.silent:
                self.ends[0].sendall(data)


class ListenerProxy:
    """Listens on a loopback port until `close`."""

    link = Link

    def __init__(self, target_port):
        self.target_port = target_port
        self.port = server.free_port()
        self.refusing = False
        self.refused = 0
        self._links = []
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    self._links.append(self.link(self, client))
                except OSError:
                    client.close()  # the server is away

    def listener(self):
        """The one that listens now."""
        return [link for link in self._links if link.listens][-1]

    def silence(self):
        """Of this one nothing is heard any more on either side, and it stays open."""
        link = self.listener()
        link.silent = True
        return link

    def close(self):
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for link in list(self._links):
            link.close()
