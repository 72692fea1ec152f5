"""Who is refused learns nothing by it: neither the words nor the time of a refusal tell whether
there is such a user, or such a service.
"""

import random
import unittest

import attacks
import auth_test
import crowds
import harness
import wire

# Beyond it two samples are said to differ (dudect).
T_MAX = 4.5
SCRAM_LOGINS = 2000
PASSWORD_LOGINS = 400
WARM_UP = 50
ATTEMPTS = 3
# (user, service), all of the same length: one that may, a user and services that there are not, and
# a service that is others' alone.
CASES = (("alice", "users1"), ("mallo", "users1"), ("alice", "users9"), ("mallo", "users9"),
         ("alice", "others"), ("mallo", "others"))
SERVICES = [{"name": "users1", "schema": "users"},
            {"name": "orders", "schema": "orders", "users": ["bob"]},
            {"name": "others", "users": ["bob"]}]


class Refusals(attacks.Attacked):
    config = {**attacks.Attacked.config, "services": SERVICES}

    def differences(self, measure, count):
        """Of each of the times that `measure` has of a login: t of known against unknown users, as
        it is and without what took longest."""
        times = {"alice": [], "mallo": []}
        for number in range(-WARM_UP, count // 2):
            for user in random.sample(sorted(times), 2):
                with self.connect() as client:
                    took = measure(client, user, "users1")
                if number >= 0:
                    times[user].append(took)
        for part in zip(zip(*times["alice"]), zip(*times["mallo"])):
            one, other = map(list, part)
            means = [sum(sample) / len(sample) * 1e6 for sample in (one, other)]
            yield crowds.welch(one, other), crowds.welch(*crowds.cropped(one, other)), means

    def look_alike(self, measure, count):
        """A sample of noise alone is beyond the bound once in 100,000 times, one with a difference
        again and again: only then it fails."""
        for _ in range(ATTEMPTS):
            found = list(zip(self.parts, self.differences(measure, count)))
            for name, (t, t_cropped, means) in found:
                print(f"    {name}: t = {t:.2f}, {t_cropped:.2f} without the slowest tenth; means "
                      f"{means[0]:.1f} and {means[1]:.1f} us")
            if all(abs(t) < T_MAX for _, (t, _, _) in found):
                break
        else:
            self.fail(f"{ATTEMPTS} samples of {count} logins tell known from unknown users")
        self.unharmed()

    def same_words(self, log_in):
        """`log_in` has a transcript of a refused login, without what is random in it."""
        told = {case: log_in(*case) for case in CASES}
        for case, transcript in told.items():
            self.assertEqual(transcript, told[CASES[0]], case)
        error = told[CASES[0]][-1]
        self.assertIn("C=28P01", error)
        self.assertIn('M=password authentication failed for user "USER__"', error)
        self.unharmed()

    @staticmethod
    def outline(message, user):
        """All fields of an error, everything of another message."""
        if message.kind != "E":
            return [message.kind, message.body]
        return [f"{name}={value.replace(user, 'USER__')}" for name, value in message.error.items()]


class Scram(Refusals):
    parts = ("server-first", "refusal")

    def connect(self):
        return wire.Wire(self.schemux.port)

    @harness.full_only
    def test_time_of_a_refusal_tells_nothing(self):
        self.look_alike(crowds.failing_scram, SCRAM_LOGINS)

    def transcript(self, user, service):
        with self.connect() as client:
            client.send(wire.startup({"user": user, "database": service}))
            asked = client.read()
            client.send(auth_test.initial_response(b"n,," + attacks.FIRST.encode()))
            first = client.read()
            challenge = attacks.challenge_in(first)
            self.assertTrue(challenge["r"].startswith("clientnonce"))
            client.send(attacks.scram_final(challenge, "wrong"))
            rest = client.read_to_end()
        shape = [list(challenge), len(challenge["r"]), len(challenge["s"]), challenge["i"],
                 len(first.body)]
        return [self.outline(asked, user), shape, *(self.outline(one, user) for one in rest)]

    def test_words_of_a_refusal_tell_nothing(self):
        self.same_words(self.transcript)

    def test_nothing_but_names_and_what_is_random_differs_between_two_logins(self):
        """The same user twice has the same salt, and another nonce; so has one that is none."""
        for user in ("alice", "mallo"):
            one, other = (auth_test.challenge_for(self.schemux.port, user, "users1")
                          for _ in range(2))
            self.assertEqual((one["s"], one["i"]), (other["s"], other["i"]))
            self.assertNotEqual(one["r"], other["r"])


class Password(Refusals):
    config = {**Refusals.config, "auth": {"method": "password", "users": attacks.USERS}}
    own_schemux = False
    parts = ("refusal",)

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.schemux = cls.lab.schemux(cls.config, start=False, name=cls.__name__)
        cls.folder = cls.schemux.folder / "socket"
        cls.folder.mkdir()
        cls.schemux.config["listen"] = [{"unix_socket_dir": str(cls.folder),
                                         "port": cls.schemux.port}]
        cls.schemux.write_config()
        cls.schemux.start()

    def connect(self):
        return wire.Wire(self.schemux.port, folder=self.folder)

    def log_in(self, user="alice", service="users1", **more):
        client = self.connect()
        self.addCleanup(client.close)
        client.send(wire.startup({"user": user, "database": service, **more}))
        client.read()
        client.send(wire.message("p", f"{user}s word\0".encode()))
        client.finish_login()
        return client

    @harness.full_only
    def test_time_of_a_refusal_tells_nothing(self):
        self.look_alike(lambda *login: (crowds.failing_password(*login),), PASSWORD_LOGINS)

    def transcript(self, user, service):
        with self.connect() as client:
            client.send(wire.startup({"user": user, "database": service}))
            asked = client.read()
            client.send(wire.message("p", b"wrong\0"))
            rest = client.read_to_end()
        return [self.outline(asked, user), *(self.outline(one, user) for one in rest)]

    def test_words_of_a_refusal_tell_nothing(self):
        self.same_words(self.transcript)


if __name__ == "__main__":
    unittest.main()
