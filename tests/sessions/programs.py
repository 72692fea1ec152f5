"""Random session programs: each is made from its seed and the features that it may have, alone.

Two to four clients take turns in an order that the program fixes; a turn is one write with its
answers (player.py). The steps are in steps.py. It must not know what is right.
"""

import random

import place  # first: it makes the others known
import bed
import features
import notation
import steps  # noqa: F401  (fills features.STEPS)

TURNS_MIN, TURNS_MAX = 10, 50
# A client goes on, and a program is about some features only: what it is about meets more often.
GOES_ON = 0.5
FEATURE = 0.6


class Client:
    """What is known of a client when its program is written. `doomed`: its transaction will be
    rolled back; `risky`: what was said in it may have failed unforeseen."""

    def __init__(self, name, service):
        self.name = name
        self.service = service
        self.connect({})

    def connect(self, startup):
        self.startup = startup
        self.prepared = {}
        self.stays = set()
        self.ever_drawn = set()
        self.holds = self.seeded = False
        self.idle()

    def idle(self):
        self.state = "idle"
        self.doomed = self.risky = False
        self.savepoints = []
        self.portals = set()
        self.drawn = set()

    def begin(self, doomed):
        self.state = "open"
        self.doomed = doomed

    def fail(self):
        if self.state == "open":
            self.state = "failed"
            self.risky = True

    def drew(self, sequence):
        self.ever_drawn.add(sequence)
        if self.state == "open":
            self.drawn.add(sequence)


class Generator:
    def __init__(self, seed, chosen):
        self.rng = random.Random(seed)
        self.features = self._some_of(chosen)
        self.lines = []
        self._steps = [one for one in features.STEPS if one.feature in self.features]

    def _some_of(self, chosen):
        always = {"local", "settings", "transactions"}
        some = {one for one in sorted(chosen) if self.rng.random() < FEATURE or one in always}
        for pair in features.NEVER_WITH.items():
            if some.issuperset(pair):
                some.remove(self.rng.choice(pair))
        return frozenset(some)

    def chance(self, probability):
        return self.rng.random() < probability

    @staticmethod
    def q(text):
        return notation.quoted(text.encode()) if text else '""'

    @staticmethod
    def schema(client):
        return bed.SERVICES[client.service]

    def query(self, client, sql):
        self.lines.append(f"{client.name} Q {self.q(sql)}")

    def extended(self, client, *messages):
        self.lines.append(f"{client.name} " + " ; ".join([*messages, "S"]))

    def say(self, client, sql):
        """One statement, either way."""
        if self.chance(0.65):
            self.query(client, sql)
        else:
            self.extended(client, f'P "" {self.q(sql)}', 'B "" ""', 'E ""')

    def login(self, client):
        startup = {}
        if "startup" in self.features:
            for name in self.rng.sample(tuple(features.SETTINGS), self.rng.randrange(4)):
                startup[name] = self.rng.choice(features.SETTINGS[name])
        if "roles" in self.features and self.chance(0.3):
            startup["role"] = features.OTHER_ROLE
        words, options = [f"@{client.name}", f"service={client.service}"], []
        for name, value in startup.items():
            if self.chance(0.3) and " " not in value and name != "search_path":
                options.append(f"-c {name}={value}" if self.chance(0.6) else f"--{name}={value}")
            else:
                words.append(f'{name}={self.q(value)}')
        if options:
            words.append(f'options={self.q(" ".join(options))}')
        self.lines.append(" ".join(words))
        client.connect(startup)

    def turn(self, client):
        fitting = [one for one in self._steps if client.state in one.when]
        chosen, = self.rng.choices(fitting, [one.weight for one in fitting])
        chosen.act(self, client)

    def program(self, name):
        clients = [Client(str(number + 1), self.rng.choice(place.SERVICES))
                   for number in range(self.rng.randrange(2, place.CLIENTS_MAX + 1))]
        for client in clients:
            self.login(client)
        client = clients[0]
        for _ in range(self.rng.randrange(TURNS_MIN, TURNS_MAX)):
            client = client if self.chance(GOES_ON) else self.rng.choice(clients)
            self.turn(client)
        return notation.Script(name, self.lines)


def generate(seed, chosen):
    return Generator(seed, chosen).program(f"seed {seed}")
