"""Clients that listen where one session does so for all (`listen: share`), and others that notify,
for when the server or the network fails under them. A notification says who sent it and which one
of his it is; behind the run, what each client heard is laid beside what was sent and when. It may
have missed some if it is told so before it hears the next one, or if its connection ends.
"""

import bisect
import collections
import math
import select
import threading
import time
import types

import chaos_load
import harness
import wire

CHANNELS = ("c0", "c1", "c2", "c3")
# What the channels of a service begin with on the server: two have theirs for themselves.
PREFIXES = {"users": "users:", "orders": "orders:", "legacy": ""}
CONFIG = [
    {"name": service, **({} if schema == "public" else {"schema": schema}),
     **({"channels": "service"} if PREFIXES[service] else {}),
     "session_features": {"listen": "share"}}
    for service, schema in chaos_load.SERVICES.items()]
MISSED = "notifications may have been missed"
HEARERS, NOTIFIERS = 6, 3
# Beside the numbers of chaos_load's clients.
FIRST_HEARER, FIRST_NOTIFIER = 200, 300
WARNED, LAST, LAST_SECONDS_MAX = "warned", "last", 30

Sent = collections.namedtuple("Sent", "channel when")


class Period:
    """What one client was told while it listened on the same channels. From `since` on it must hear
    whatever is sent, or be told that it may not have."""

    def __init__(self, channels, since=math.inf, warned=False):
        self.channels, self.since = channels, dict.fromkeys(channels, since)
        self.told = [(WARNED, None)] if warned else []
        self.lasts = set()

    def note(self, message):
        if message.kind == "N" and message.error["M"] == MISSED:
            self.told.append((WARNED, None))
        elif message.kind == "A":
            channel, payload = message.body[4:-1].decode().split("\0")
            if payload == LAST:
                self.lasts.add(channel)
            else:
                self.told.append((channel, payload))

    def warned(self):
        return any(channel == WARNED for channel, _ in self.told)

    def faults(self, senders):
        marks, found = {name: [] for name in senders}, []
        for channel, payload in self.told:
            name, _, place = (payload or "").rpartition(" ")
            if channel == WARNED:
                for one in marks.values():
                    one.append(None)
            elif name not in marks or channel not in self.channels:
                found.append(f"not for it: {payload} on {channel}")
            else:
                marks[name].append(int(place))
        for name, sender in senders.items():
            found += [f"{what} from {name}: {which}" for what, which in
                      self._faults_of(sender, marks[name]) if which]
        return found

    def _faults_of(self, sender, marks):
        places = [mark for mark in marks if mark is not None]
        yield "twice", [one for one, count in collections.Counter(places).items() if count > 1]
        yield "never notified", sorted(set(places) - set(sender.done) - set(sender.unknown))
        # What had no answer may have been done late, behind the next one.
        known = [one for one in places if one in sender.done]
        yield "in another order", [b for a, b in zip(known, known[1:]) if b < a]
        yield "missed without a word", self._missed(sender, marks)

    def _missed(self, sender, marks):
        """What was passed over, with no warning since the one that was heard before."""
        due = [place for place, sent in sorted(sender.done.items())
               if sent.when > self.since.get(sent.channel, math.inf)]
        # Who has heard the last of all channels hears no more: what is missing then was missed.
        end = [math.inf] if self.lasts >= self.channels else []
        missed, at, warned = [], 0, False
        for mark in marks + end:
            if mark is None:
                warned = True
                continue
            upto = bisect.bisect_left(due, mark)
            missed += [] if warned else due[at:upto]
            at = max(at, upto + (upto < len(due) and due[upto] == mark))
            warned = warned and mark not in sender.done
        return missed


class Ear(chaos_load.Client):
    """Keeps what comes unasked."""

    def __init__(self, port):
        super().__init__(port)
        self.period = Period(set())
        self.heard = 0

    def read(self):
        message = super().read()
        self.heard += message.kind == "A"
        self.period.note(message)
        return message

    def wait(self, seconds, messages):
        """Reads what comes within that time, if anything does."""
        while self._buffer or select.select([self.socket], [], [], seconds)[0]:
            messages.append(self.read())
            seconds = 0


class Hearer(chaos_load.Worker):
    """One client after the other that listens, and asks between."""

    def __init__(self, load, number):
        super().__init__(load, number)
        self.periods = []
        self.heard = 0

    def _one_connection(self):
        self.connects += 1
        self.client = Ear(self.load.port)
        self.client.send(wire.startup({"user": f"client{self.number}", "database": self.service}))
        self._until("Z")
        self._listen("", set())
        ways = (self.wait, self.simple, self.in_transaction, self.move, self.more, self.leave)
        while not self.load.over.is_set():
            self.dice.choices(ways, weights=(30, 8, 8, 6, 8, 1))[0]()
            self.heard += self.client.heard
            self.client.heard = 0
        self._hear_the_last()
        self.client.send(wire.TERMINATE)

    def _begin(self, *period):
        self.client.period = Period(*period)
        self.periods.append(self.client.period)

    def _listen(self, ahead, before):
        """On others than before. Until that is answered it may hear of both."""
        others = sorted(set(CHANNELS) - before)
        channels = set(self.dice.sample(others, self.dice.randint(1, min(2, len(others)))))
        self._begin(before | channels)
        text = ahead + "".join(f"LISTEN {name};" for name in sorted(channels))
        if wire.errors_of(self._ask(wire.query(text))):
            raise AssertionError(f"refused: {text}")
        self._begin(channels, time.monotonic(), self.client.period.warned())

    def move(self):
        self._listen("UNLISTEN *;", self.client.period.channels)

    def more(self):
        """On one more, and on what it listens on as before."""
        period = self.client.period
        others = sorted(set(CHANNELS) - period.channels)
        if len(others) < 2:  # it must be able to move
            return
        name = self.dice.choice(others)
        period.channels.add(name)
        if wire.errors_of(self._ask(wire.query(f"LISTEN {name}"))):
            raise AssertionError(f"refused: LISTEN {name}")
        period.since[name] = time.monotonic()

    def leave(self):
        self.client.vanish() if self.dice.random() < 0.5 else self.client.close()
        raise chaos_load.Ended

    def wait(self, seconds=0.05):
        messages = []
        try:
            self.client.wait(seconds, messages)
        except wire.Closed:
            self._note_end(messages)
            raise chaos_load.Ended from None

    def in_transaction(self):
        """Nothing is told in it."""
        if wire.errors_of(self._ask(wire.query("BEGIN"))):
            return
        told = len(self.client.period.told)
        time.sleep(self.dice.uniform(0, 0.02))
        self.simple()
        if len(self.client.period.told) != told:
            raise AssertionError(f"told in a transaction: {self.client.period.told[told:]}")
        self._ask(wire.query("COMMIT"))

    def _hear_the_last(self):
        """It is sent again and again, so that all hear it."""
        period, end = self.client.period, time.monotonic() + LAST_SECONDS_MAX
        while not period.lasts >= period.channels:
            if time.monotonic() > end:
                raise AssertionError(f"heard the last on {period.lasts} of {period.channels} only")
            self.wait()


class Notifier(chaos_load.Worker):
    """One client after the other that notifies, in all the ways that there are."""

    def __init__(self, load, number):
        super().__init__(load, number)
        self.name = f"{self.service} {number}"
        self.done, self.unknown = {}, {}
        self._place = 0

    def _one_connection(self):
        self.connects += 1
        self.client = chaos_load.Client(self.load.port)
        self.client.send(wire.startup({"user": f"client{self.number}", "database": self.service}))
        self._until("Z")
        while not self.load.over.is_set():
            self._notify()
            time.sleep(self.load.think)
        self.client.send(wire.TERMINATE)

    def _notify(self):
        self._place += 1
        place, sent = self._place, Sent(self.dice.choice(CHANNELS), time.monotonic())
        payload = f"{self.name} {place}"
        parts = self.dice.choice((
            [wire.query(f"NOTIFY {sent.channel}, '{payload}'")],
            [wire.query(f"SELECT pg_notify('{sent.channel}', '{payload}')")],
            [wire.parse("", f"SELECT pg_notify('{sent.channel}', $1)"),
             wire.bind(parameters=[payload]), wire.execute(), wire.SYNC]))
        end = self.dice.choice(("", "", "COMMIT", "ROLLBACK"))
        if end:
            for before in ([wire.query("BEGIN")], parts):
                if wire.errors_of(self._ask(*before)):
                    raise AssertionError("a transaction that goes on in spite of an error")
            parts = [wire.query(end)]
        if end == "ROLLBACK":
            self._ask(*parts)
            return
        self.unknown[place] = sent
        if wire.errors_of(self._ask(*parts)):
            del self.unknown[place]
        else:
            self.done[place] = self.unknown.pop(place)


class Load:
    """All of them, until `finish`; for chaos_load's clients the load, too."""

    def __init__(self, case, port, seed):
        self.case, self.port, self.seed, self.think = case, port, seed, 0.005
        self.over = threading.Event()
        # Who notifies ends first, so that there is a last one.
        notifying = types.SimpleNamespace(port=port, seed=seed, think=0.002,
                                          over=threading.Event())
        for one in (self.over, notifying.over):
            case.addCleanup(one.set)
        self.silence = notifying.over.set
        self.hearers = [Hearer(self, FIRST_HEARER + n) for n in range(HEARERS)]
        self.notifiers = [Notifier(notifying, FIRST_NOTIFIER + n) for n in range(NOTIFIERS)]
        self.workers = self.hearers + self.notifiers
        self.hearing = [harness.Background(one.run) for one in self.hearers]
        self.notifying = [harness.Background(one.run) for one in self.notifiers]

    def wait_until_all_hear(self, seconds=30):
        before = [one.heard for one in self.hearers]

        def heard():
            self.assert_no_complaint()
            return all(one.heard > then for one, then in zip(self.hearers, before, strict=True))

        self.case.wait_until(heard, "all to hear", seconds)

    def assert_no_complaint(self):
        self.case.assertEqual([text for one in self.workers for text in one.complaints], [],
                              f"seed {self.seed}")

    def finish(self):
        """Ends the clients; whatever is wrong with what they heard is a failure."""
        self.silence()
        for one in self.notifying:
            one.result(chaos_load.HANG_SECONDS + 30)
        self.over.set()
        last = "".join(f'NOTIFY "{prefix}{name}", \'{LAST}\';'
                       for prefix in PREFIXES.values() for name in CHANNELS)

        def over():
            self.case.postgres.run(last)
            return all(one.done() for one in self.hearing)

        self.case.wait_until(over, "all to hear the last", LAST_SECONDS_MAX + 10)
        for one in self.hearing:
            one.result()
        self.states = sum((one.states for one in self.workers), collections.Counter())
        self.assert_no_complaint()
        for one in self.hearers:
            senders = {other.name: other for other in self.notifiers
                       if other.service == one.service}
            faults = [found for period in one.periods for found in period.faults(senders)]
            self.case.assertEqual(faults, [], f"seed {self.seed}, client {one.number}")
        # Else there was nothing to be looked at.
        self.case.assertGreater(self.warnings(), 0)

    def warnings(self):
        return sum(channel == WARNED for one in self.hearers for period in one.periods
                   for channel, _ in period.told)

    def examples(self):
        """One error of each SQLSTATE."""
        return {state: error for one in self.workers for state, error in one.examples.items()}

    def summary(self):
        periods = [period for one in self.hearers for period in one.periods]
        return (f"{sum(len(one.done) for one in self.notifiers)} notified, "
                f"{sum(len(one.unknown) for one in self.notifiers)} of them perhaps; "
                f"{sum(len(one.told) for one in periods)} heard in {len(periods)} periods, "
                f"{self.warnings()} warnings, {dict(self.states)}")
