"""A TCP proxy that fails on purpose, to stand between a pool and PostgreSQL: it delays, splits,
stalls, resets, ends, forgets and refuses connections, when a test says so or as one
random.Random(seed) has drawn it, and it counts the connections that it is asked for.

Of PostgreSQL's protocol it knows the first packet, to tell sessions from CancelRequests, and the
Terminate. It must not know who talks through it. Nothing here decides what is right.
"""

import asyncio
import collections
import concurrent.futures
import contextlib
import random
import socket
import struct
import threading
import time

TERMINATE = b"X\0\0\0\4"
CANCEL_CODE = 80877102
# Directions.
TO_SERVER, TO_CLIENT = 0, 1
# What a new connection meets.
OPEN, REFUSE, HANG_UP, BLACK_HOLE = "open", "refuse", "hang_up", "black_hole"
# Ends of a connection that a test or the dice choose.
RESET, FIN, HALF_TO_CLIENT, HALF_TO_SERVER, DROP = "reset", "fin", "half", "half_server", "drop"
ENDS = (RESET, FIN, HALF_TO_CLIENT, HALF_TO_SERVER, DROP)
PIECE_MAX = 7
ESTABLISHED = 1

Fault = collections.namedtuple("Fault", "what seconds amount")


class Link:
    """One connection of the pool's, and the one to the server that belongs to it."""

    def __init__(self, number, client, seed):
        self.number = number
        self.ends = [client, None]  # by the direction in which they are written to, the other way
        self.dice = random.Random(seed)
        self.kind = None
        self.counted = self.dropping = self.mute = False
        self.tail = b""
        self.passed = [0, 0]
        self.reset_at = [None, None]  # bytes in that direction, then a reset
        self.over = asyncio.Event()
        self.closed = threading.Event()
        self.with_reset = False

    def left(self):
        """The pool has closed it without a goodbye: it does not count it either. One that has said
        goodbye waits for the server's end, and counts until it is told of that."""
        client = self.ends[0]
        if client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == ESTABLISHED:
            return False
        unread = b""
        with contextlib.suppress(OSError):
            unread = client.recv(1 << 16, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        return self.dropping or not (self.tail + unread).endswith(TERMINATE)


class ChaosProxy:
    """Listens on a loopback port from `start` until `stop`, in a thread of its own."""

    def __init__(self, port, target_port, seed=0, address="127.0.0.1"):
        self.address = address
        self.port, self.target_port, self.seed = port, target_port, seed
        self.dice = random.Random(seed)
        self._link_seed = self.dice.getrandbits(64)
        self.entry = OPEN
        self.delays = [0.0, 0.0]
        self.split = False
        self.bytes_per_second = 0
        self.hang_up_after = 0.0  # seconds
        self.keep_server = False  # a dropped connection's other half stays, too
        self.attempts = []  # when each connection came that was no CancelRequest
        self.cancels = 0
        self.most_open = 0
        self.faults = collections.Counter()
        self._stalled_until = 0.0
        self._links = {}
        self._count = 0
        self._listener = None
        self._tasks = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    # ---- for tests, from their thread -------------------------------------------------------

    def start(self):
        self._thread.start()
        self._call(self._listen)
        return self

    def stop(self):
        if not self._thread.is_alive():
            return
        asyncio.run_coroutine_threadsafe(self._end_all(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def enter(self, way):
        """What connections meet that come from now on. With REFUSE nobody listens."""
        self.entry = way
        self._call(self._close_listener if way == REFUSE else self._listen)

    def calm(self):
        """No more faults for bytes or connections to come; what was dropped stays so."""
        self.delays, self.split, self.bytes_per_second = [0.0, 0.0], False, 0
        self._stalled_until = 0.0
        self.enter(OPEN)

    def stall(self, seconds):
        self._stalled_until = time.monotonic() + seconds

    def end(self, way, which=None):
        """Ends one connection, of all that are open the one at the part `which` (0 to 1), or all of
        them; how many. They are closed when this comes back, as far as they are to be."""
        links = self._call(self._end_some, way, which)
        for link in links:
            if link.over.is_set():
                link.closed.wait(10)
        return len(links)

    def reset_after(self, size, direction, which=None):
        """A reset behind the next `size` bytes in that direction."""
        return self._call(self._plan_reset, size, direction, which)

    def away(self, entry=REFUSE):
        """As a server that has gone: nobody listens, and what was open is reset."""
        self.enter(entry)
        self.end(RESET)

    def open_now(self):
        """The pool's connections, as it counts them itself."""
        return self._call(self._counted)

    def attempts_since(self, when):
        return [one for one in list(self.attempts) if one >= when]

    def most_attempts_in(self, seconds, since=0.0):
        """The most that came within such a time."""
        times = self.attempts_since(since)
        return max((sum(1 for one in times if begin <= one < begin + seconds) for begin in times),
                   default=0)

    # ---- faults as the dice have them -------------------------------------------------------

    def draw(self):
        """The next fault. Nothing else takes numbers from `dice` once the proxy is made: the same
        seed has the same faults."""
        what = self.dice.choice(("delay", "split", "stall", "throttle", "refuse", "hang_up",
                                 "black_hole", "reset_all", "cut", "cut", "cut", "cut",
                                 RESET, FIN, *ENDS))
        return Fault(what, self.dice.uniform(0.05, 0.6), self.dice.random())

    def suffer(self, fault):
        """Lets it happen, for as long as it takes; then the weather is fine again."""
        self.faults[fault.what] += 1
        if fault.what == "delay":
            self.delays = [fault.amount * 0.02, (1 - fault.amount) * 0.02]
        elif fault.what == "split":
            self.split = True
        elif fault.what == "stall":
            self.stall(fault.seconds)
        elif fault.what == "throttle":
            self.bytes_per_second = int(5_000 + 50_000 * fault.amount)
        elif fault.what in (REFUSE, HANG_UP, BLACK_HOLE):
            self.away(fault.what)
        elif fault.what == "reset_all":
            self.end(RESET)
        elif fault.what == "cut":
            part, direction = fault.amount, TO_SERVER if fault.seconds < 0.3 else TO_CLIENT
            self.reset_after(1 + int(part * 997) % 60, direction, part)
        else:
            self.end(fault.what, fault.amount)
        time.sleep(fault.seconds)
        self.calm()

    # ---- in the loop's thread ---------------------------------------------------------------

    def _call(self, function, *arguments):
        done = concurrent.futures.Future()

        def run():
            try:
                done.set_result(function(*arguments))
            except BaseException as error:  # handed to whoever waits for it
                done.set_exception(error)

        self._loop.call_soon_threadsafe(run)
        return done.result(10)

    def _listen(self):
        if self._listener is not None:
            return
        self._listener = socket.create_server((self.address, self.port), backlog=256)
        self._listener.setblocking(False)
        self._loop.add_reader(self._listener, self._accept)

    def _close_listener(self):
        if self._listener is None:
            return
        self._loop.remove_reader(self._listener)
        self._listener.close()
        self._listener = None

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                client.setblocking(False)
                self._count += 1
                link = Link(self._count, client, f"{self._link_seed} {self._count}")
                self._links[link.number] = link
                task = self._loop.create_task(self._serve(link))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _serve(self, link):
        came = time.monotonic()
        work = [self._loop.create_task(self._go_through(link, came)),
                self._loop.create_task(link.over.wait())]
        try:
            await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in work:
                one.cancel()
            # A socket must not be closed under who still reads it.
            await asyncio.gather(*work, return_exceptions=True)
            self._finish(link)

    async def _go_through(self, link, came):
        client = link.ends[0]
        first = await self._first_packet(client)
        link.kind = "cancel" if first[4:8] == struct.pack("!I", CANCEL_CODE) else "session"
        if link.kind == "cancel":
            self.cancels += 1
        else:
            self.attempts.append(came)
            self._count_in(link)
        if self.entry == BLACK_HOLE:
            while await self._loop.sock_recv(client, 65536):
                pass
            return
        if self.entry in (HANG_UP, REFUSE):
            await asyncio.sleep(self.hang_up_after)
            link.with_reset = True
            return
        server = socket.socket()
        server.setblocking(False)
        link.ends[1] = server
        try:
            await self._loop.sock_connect(server, ("127.0.0.1", self.target_port))
        except OSError:
            link.with_reset = True
            return
        for end in link.ends:
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        pumps = [self._loop.create_task(self._pump(link, TO_SERVER, first)),
                 self._loop.create_task(self._pump(link, TO_CLIENT, b""))]
        try:
            await asyncio.gather(*pumps)
        except OSError:
            link.with_reset = True
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    async def _first_packet(self, client):
        """What has come when its length and code are there; the rest may come later."""
        data = b""
        while len(data) < 8:
            more = await self._loop.sock_recv(client, 65536)
            if not more:
                raise ConnectionError
            data += more
        return data

    async def _pump(self, link, way, data):
        source, sink = link.ends[way], link.ends[1 - way]
        while True:
            if way == TO_SERVER:
                link.tail = (link.tail + data)[-len(TERMINATE):]
            try:
                await self._pass(link, way, sink, data)
            except OSError:
                if not link.dropping:
                    raise
            data = await self._loop.sock_recv(source, 65536)
            if data:
                continue
            if link.dropping:
                await asyncio.Event().wait()  # the end, too, is told to nobody
            if way == TO_CLIENT or not link.tail.endswith(TERMINATE):
                self._count_out(link)
            await self._weather(link, way, 0)
            with contextlib.suppress(OSError):
                sink.shutdown(socket.SHUT_WR)
            return

    async def _pass(self, link, way, sink, data):
        at = 0
        while at < len(data) and not link.dropping and not (link.mute and way == TO_CLIENT):
            size = link.dice.randint(1, PIECE_MAX) if self.split else len(data)
            piece = data[at:at + size]
            await self._weather(link, way, len(piece))
            limit = link.reset_at[way]
            if limit is not None and link.passed[way] + len(piece) >= limit:
                await self._loop.sock_sendall(sink, piece[:max(limit - link.passed[way], 0)])
                raise ConnectionError
            await self._loop.sock_sendall(sink, piece)
            link.passed[way] += len(piece)
            at += len(piece)

    async def _weather(self, link, way, size):
        wait = self.delays[way] + (size / self.bytes_per_second if self.bytes_per_second else 0)
        if wait:
            await asyncio.sleep(wait)
        while (left := self._stalled_until - time.monotonic()) > 0:
            await asyncio.sleep(min(left, 0.05))

    # ---- ends -------------------------------------------------------------------------------

    def _open_links(self, which):
        links = [link for link in self._links.values()
                 if link.kind == "session" and link.counted and not link.dropping]
        if which is None or not links:
            return links
        return [links[min(int(which * len(links)), len(links) - 1)]]

    def _end_some(self, way, which):
        links = self._open_links(which)
        for link in links:
            if way == DROP:
                self._drop(link)
            elif way in (HALF_TO_CLIENT, HALF_TO_SERVER):
                self._half_close(link, way)
            else:
                link.with_reset = way == RESET
                self._count_out(link)
                link.over.set()
        return links

    def _plan_reset(self, size, direction, which):
        links = self._open_links(which)
        for link in links:
            link.reset_at[direction] = link.passed[direction] + size
        return len(links)

    def _drop(self, link):
        """From now on neither side hears of the other. The server is told that it is over, unless
        `keep_server`: it would keep the locks of what was under way."""
        link.dropping = True
        server = link.ends[1]
        if server is not None and not self.keep_server:
            with contextlib.suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)

    def _half_close(self, link, way):
        end = link.ends[0 if way == HALF_TO_CLIENT else 1]
        if way == HALF_TO_CLIENT:
            link.mute = True
            self._count_out(link)
        if end is not None:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_WR)

    def _finish(self, link):
        self._count_out(link)
        self._links.pop(link.number, None)
        for end in link.ends:
            if end is None:
                continue
            if link.with_reset:
                with contextlib.suppress(OSError):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            end.close()
        link.closed.set()

    def _count_in(self, link):
        link.counted = True
        self.most_open = max(self.most_open, self._counted())

    def _counted(self):
        for link in self._links.values():
            link.counted = link.counted and not link.left()
        return sum(link.counted for link in self._links.values())

    def _count_out(self, link):
        """Before the pool is told of the end: what it opens then comes behind."""
        link.counted = False

    async def _end_all(self):
        self._close_listener()
        for link in list(self._links.values()):
            link.over.set()
        while self._tasks:
            await asyncio.wait(list(self._tasks), timeout=5)
