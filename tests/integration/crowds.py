"""Crowds of connections, and what is measured beside them: sockets that send a byte now and then,
logins that fail at a given pace, times and how much two samples of them differ.

Run as a program it is the failing logins, in a process of their own: `crowds.py PORT PER_SECOND`
says when it has begun, goes on until something is written to it, then prints how many there were.
It must not know about schemux.
"""

import contextlib
import math
import os
import random
import select
import sys
import threading
import time

import wire

# A proof of the right form that is nobody's: the client has no key to derive.
PROOF = b",p=" + b"A" * 43 + b"="
FIRST = b"n,,n=,r=clientnonce"


class Slow:
    """Sockets that each send a byte of `text` a second, from a thread, until they are closed."""

    ROUNDS = 50  # a second has so many, each with its part of the sockets

    def __init__(self, connect, count, text):
        self.lasted = {}  # of each that was closed: seconds from its connect on
        self._text = text
        self._over = threading.Event()
        self._poll = select.epoll()
        self._open = {}
        for _ in range(count):
            began = time.monotonic()
            client = connect()
            client.setblocking(False)
            self._open[client.fileno()] = (client, began)
            self._poll.register(client.fileno(), select.EPOLLIN | select.EPOLLRDHUP)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def still_open(self):
        return len(self._open)

    def _run(self):
        at = 0
        while self._open and not self._over.is_set():
            part, second = at % self.ROUNDS, at // self.ROUNDS
            at += 1
            byte = self._text[second % len(self._text):][:1]
            for number in [number for number in self._open if number % self.ROUNDS == part]:
                with contextlib.suppress(OSError):
                    self._open[number][0].send(byte)
            self._forget(self._poll.poll(1 / self.ROUNDS))
            time.sleep(1 / self.ROUNDS)  # the pace of the attack; nothing is decided by it

    def _forget(self, events):
        for number, _ in events:
            client, began = self._open[number]
            try:
                data = client.recv(4096)
            except BlockingIOError:
                continue
            except OSError:
                data = b""
            if not data:
                self.lasted[number, began] = time.monotonic() - began
                self._poll.unregister(number)
                del self._open[number]
                client.close()

    def end(self):
        self._over.set()
        self._thread.join(30)
        for client, _ in self._open.values():
            client.close()
        self._poll.close()


def initial_response(data):
    return wire.message("p", b"SCRAM-SHA-256\0" + len(data).to_bytes(4, "big") + data)


def failing_scram(client, user, database="users"):
    """Seconds from client-first to the challenge, and from client-final to the refusal."""
    client.send(wire.startup({"user": user, "database": database}))
    client.read()
    began = time.perf_counter()
    client.send(initial_response(FIRST))
    challenge = client.read().body[4:]
    first = time.perf_counter() - began
    final = wire.message("p", b"c=biws," + challenge[:challenge.index(b",")] + PROOF)
    began = time.perf_counter()
    client.send(final)
    refused = client.read()
    last = time.perf_counter() - began
    if refused.kind != "E" or refused.error["C"] != "28P01":
        raise AssertionError(f"no refusal: {refused}")
    return first, last


def failing_password(client, user, database="users"):
    """Seconds from the password to the refusal."""
    client.send(wire.startup({"user": user, "database": database}))
    client.read()
    began = time.perf_counter()
    client.send(wire.message("p", b"alices wort\0"))
    refused = client.read()
    last = time.perf_counter() - began
    if refused.kind != "E" or refused.error["C"] != "28P01":
        raise AssertionError(f"no refusal: {refused}")
    return last


def welch(one, other):
    """Welch's t of two samples: how far their means are apart, in standard errors."""
    def moments(sample):
        mean = sum(sample) / len(sample)
        return mean, sum((x - mean) ** 2 for x in sample) / (len(sample) - 1) / len(sample)

    (mean_one, error_one), (mean_other, error_other) = moments(one), moments(other)
    return (mean_one - mean_other) / math.sqrt(error_one + error_other)


def cropped(one, other, part=0.9):
    """Both without what took longer than this part of them together: rare stalls of the machine
    would hide a difference."""
    limit = sorted(one + other)[int(part * (len(one) + len(other)))]
    return [x for x in one if x < limit], [x for x in other if x < limit]


def percentile(sample, part):
    return sorted(sample)[min(len(sample) - 1, int(part * len(sample)))]


def fail_for_ever(port, per_second):
    """Half of them with a user that exists, half with one that does not."""
    count, began = 0, time.monotonic()
    while not select.select([sys.stdin], [], [], 0)[0]:
        ahead = count / per_second - (time.monotonic() - began)
        if ahead > 0:
            time.sleep(ahead)
        with wire.Wire(port) as client:
            failing_scram(client, random.choice(("alice", "nobody")))
        count += 1
        if count == 20:
            print("begun", flush=True)
    return count, time.monotonic() - began


if __name__ == "__main__":
    total, seconds = fail_for_ever(int(sys.argv[1]), float(sys.argv[2]))
    print(f"{total} {seconds:.1f}", flush=True)
    os._exit(0)
