"""Kills, stops, restarts and a network that fails, under a load whose every answer is checked
(chaos_load.py) and behind a proxy that fails on purpose (support/chaos_proxy.py): no wrong answer,
nothing run twice, no slot lost, never more connections than the bound. What one fault alone does
is in outage_test.py. SCHEMUX_CHAOS_SEEDS is how many seeds, or `first-last`, to repeat one.
"""

import contextlib
import os
import random
import signal
import time

import chaos_case
import chaos_listen
import chaos_load
import chaos_proxy
import harness

# What a client may be told when its server is lost: the server's own words, or 08006.
LOST = {"57P01", "57P02", "57P03", "08006"}
# With a connection of which nothing is heard any more it is the transaction's time that ends it.
CUT_OFF = LOST | {"25P04", chaos_load.SYNC_LOST}


WORKERS = (4, 2, 1)  # by the seed


def seeds():
    text = os.environ.get("SCHEMUX_CHAOS_SEEDS", "2")
    if "-" in text:
        first, last = text.split("-")
        return range(int(first), int(last) + 1)
    return range(1, int(text) + 1)


class Chaos(chaos_case.UnderChaos):

    # ---- what befalls the server ------------------------------------------------------------

    def terminate(self, dice):
        pids = self.postgres.backends()
        if pids:
            self.postgres.run("SELECT pg_terminate_backend(%s)", (dice.choice(sorted(pids)),))

    def freeze(self, dice):
        """A backend that answers nothing for a while."""
        pids = self.postgres.backends()
        if not pids:
            return
        pid = dice.choice(sorted(pids))
        try:
            os.kill(pid, signal.SIGSTOP)
            time.sleep(dice.uniform(0.1, 1))
        except ProcessLookupError:
            return
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def crash(self, dice):
        """PostgreSQL ends all sessions when one of its processes is killed."""
        pids = self.postgres.backends()
        if not pids:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(dice.choice(sorted(pids)), signal.SIGKILL)
        self.wait_until(self.postgres_answers, "PostgreSQL to recover")

    def restart(self, how, dice):
        self.postgres.stop(how)
        time.sleep(dice.uniform(0, 0.5))
        self.postgres.start()

    def server_faults(self, dice, count):
        """In any order, each at least once."""
        kinds = [self.terminate, self.freeze, self.crash,
                 lambda d: self.restart(signal.SIGINT, d),
                 lambda d: self.restart(signal.SIGQUIT, d)]
        more = [self.terminate, self.terminate, self.freeze]
        chosen = kinds + [dice.choice(more) for _ in range(count - len(kinds))]
        dice.shuffle(chosen)
        return chosen

    # ---- with one seed ----------------------------------------------------------------------

    def failing_server(self, seed):
        """The network is fine, so that the server, too, never has more than the bound."""
        self.endure_server(seed, clients=8, mode="transaction")

    def failing_server_of_sessions(self, seed):
        self.endure_server(seed, clients=chaos_case.BOUND - 1, mode="session")

    def endure_server(self, seed, clients, mode):
        dice = random.Random(seed)
        proxy = self.proxy(seed)
        instance = self.behind(proxy, workers=WORKERS[seed % len(WORKERS)], mode=mode)
        watch = chaos_case.Watch(self.postgres)
        load = chaos_load.Load(self, instance.port, seed, clients)
        load.wait_until_all_are_served()
        for fault in self.server_faults(dice, 6 if self.lab.smoke else 14):
            fault(dice)
            load.wait_until_all_are_served()
        load.finish()
        watch.finish()
        took = self.assert_at_rest(instance, proxy)
        print(f"    seed {seed}: {load.summary()}; at most {watch.most} on the server, "
              f"{proxy.most_open} in the proxy; all {chaos_case.BOUND} slots after {took:.2f} s")
        self.told(load, LOST)
        self.assertLessEqual(watch.most, chaos_case.BOUND)
        self.assertGreater(watch.looks, 20)

    def failing_network(self, seed):
        proxy = self.proxy(seed)
        instance = self.behind(proxy, workers=WORKERS[seed % len(WORKERS)],
                               transaction_timeout="2s", connect_timeout="2s",
                               acquire_timeout="60s")
        load = chaos_load.Load(self, instance.port, seed)
        load.wait_until_all_are_served()
        faults = [proxy.draw() for _ in range(10 if self.lab.smoke else 25)]
        try:
            for fault in faults:
                proxy.suffer(fault)
                if fault.amount < 0.2:
                    self.terminate(random.Random(fault.seconds))
            load.wait_until_all_are_served()
            load.finish()
            took = self.assert_at_rest(instance, proxy)
            self.told(load, CUT_OFF)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}, faults {faults}") from error
        print(f"    seed {seed}: {load.summary()}; {dict(proxy.faults)}; at most "
              f"{proxy.most_open} open; all {chaos_case.BOUND} slots after {took:.2f} s")


    def terminate_listener(self, _dice):
        self.postgres.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                          "WHERE usename = 'app' AND query ~ '^(UN)?LISTEN .*;$'")

    def listeners_faults(self, dice, proxy):
        """In any order. Not among them: a connection of which nothing is heard any more and that
        nobody ends, for then nobody can know that anything was missed."""
        network = [lambda _, way=way: proxy.end(way, dice.random()) for way in (
            chaos_proxy.RESET, chaos_proxy.FIN, chaos_proxy.HALF_TO_CLIENT,
            chaos_proxy.HALF_TO_SERVER)]
        network += [lambda _, what=what: proxy.suffer(chaos_proxy.Fault(
            what, dice.uniform(0.05, 0.4), dice.random())) for what in (
            "delay", "split", "stall", "cut", "cut", "refuse", "hang_up", "reset_all")]
        server = [self.terminate, self.freeze, self.crash,
                  lambda d: self.restart(dice.choice((signal.SIGINT, signal.SIGQUIT)), d)]
        chosen = [self.terminate_listener] * 2 + dice.sample(server, 3) + dice.sample(network, 7)
        dice.shuffle(chosen)
        return chosen

    def failing_listener(self, seed):
        """Who listens with others misses nothing without a word, and hears what is for him alone.
        The faults are those of both, and the listener's own."""
        dice, proxy = random.Random(seed), self.proxy(seed)
        instance = self.behind(proxy, workers=WORKERS[seed % len(WORKERS)],
                               services=chaos_listen.CONFIG, transaction_timeout="2s",
                               connect_timeout="2s", acquire_timeout="60s")
        load = chaos_load.Load(self, instance.port, seed, clients=3, think=0.01)
        listening = chaos_listen.Load(self, instance.port, seed)
        listening.wait_until_all_hear()
        faults = self.listeners_faults(dice, proxy)
        # A listener that is lost again and again comes back after 2 s: some at a time.
        for at in range(0, len(faults), 3):
            for fault in faults[at:at + 3]:
                fault(dice)
            listening.wait_until_all_hear()
        listening.finish()
        load.finish()
        took = self.assert_at_rest(instance, proxy, beyond=1)
        print(f"    seed {seed}: {listening.summary()}; {load.summary()}; at most "
              f"{proxy.most_open} open; all {chaos_case.BOUND} slots after {took:.2f} s")
        for one in (load, listening):
            self.told(one, CUT_OFF)


def add_tests():
    """A test for each seed, so that each has its time and is run alone by its name."""
    for seed in seeds():
        for what in (Chaos.failing_server, Chaos.failing_server_of_sessions,
                     Chaos.failing_network, Chaos.failing_listener):
            def test(self, what=what, seed=seed):
                what(self, seed)

            setattr(Chaos, f"test_{what.__name__}_{seed}",
                    test if seed == 1 and what is not Chaos.failing_server_of_sessions
                    else harness.full_only(test))


add_tests()
