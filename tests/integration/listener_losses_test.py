"""What the shared listener's losses must not do: a notification that is lost without a word, a
session that does not answer and is kept, one at a server that was left. Beside
shared_listener_test.py, which has the plain cases.
"""

import select
import signal
import threading

import listener_proxy
import wire
from listen_test import told
from shared_listener_test import SERVICES, BehindProxy, Moving, warnings


class SilentLoss(BehindProxy):
    def heard_behind(self, ask):
        """What a client is told that asks so while the listener is away for a moment."""
        client = self.listening("a")
        link = self.relay.listener()
        connected = self.instance.log_count("listener_connected")
        link.silent = True  # what is notified from here on does not come
        ask(client)
        self.wait_until(lambda: link.unheard > 0, "the listener to be asked")
        self.postgres.run("NOTIFY a, 'lost'")
        link.close()
        messages = client.read_ready()
        self.wait_until(lambda: self.instance.log_count("listener_connected") > connected)
        self.postgres.run("NOTIFY a, 'last'")
        while ("a", "last") not in told(messages):
            messages.append(client.read())
        return messages

    def assert_loss_is_told(self, messages):
        self.assertTrue(("a", "lost") in told(messages) or warnings(messages),
                        "'lost' did not come, and no warning did")

    def test_listen_on_another_channel_under_way(self):
        self.assert_loss_is_told(self.heard_behind(
            lambda client: client.send(wire.query("LISTEN b"))))

    def test_notify_of_its_own_under_way(self):
        self.assert_loss_is_told(self.heard_behind(
            lambda client: client.send(wire.query("NOTIFY a, 'own'"))))

    def test_listen_on_another_channel_while_it_is_away(self):
        client = self.listening("a")
        self.relay.refusing = True
        self.relay.listener().close()
        self.wait_until(lambda: self.relay.refused > 2, "it to be away")
        self.postgres.run("NOTIFY a, 'lost'")
        client.send(wire.query("LISTEN b"))
        self.wait_until(lambda: self.instance.metric("schemux_listener_channels") == 2, "b", 2)
        self.relay.refusing = False
        messages = client.read_ready()
        self.postgres.run("NOTIFY a, 'last'")
        while ("a", "last") not in told(messages):
            messages.append(client.read())
        self.assert_loss_is_told(messages)


class HalfOpen(BehindProxy):
    def test_connection_on_which_a_listen_is_not_answered_is_given_up(self):
        self.listening("a")
        self.relay.silence()
        self.listen_in_vain(self.client("orders"), "b")
        self.wait_until(lambda: self.instance.metric("schemux_listener_lost_total") > 0,
                        "another connection", 15)


class HeldLink(listener_proxy.Link):
    def _to_client(self):
        if self.owner.hold:
            self.owner.hold = False
            self.owner.held.set()
            self.owner.go.wait(4)
        super()._to_client()


class Holding(listener_proxy.ListenerProxy):
    """The next connection's login is not answered until `go` is set."""

    link = HeldLink

    def __init__(self, target_port):
        self.hold, self.held, self.go = False, threading.Event(), threading.Event()
        super().__init__(target_port)


class Race(Moving):
    attrs = "read-write"

    def start_in_front(self):
        self.relay = Holding(self.old.port)
        self.addCleanup(self.relay.close)
        ports = f"{self.new.port},{self.relay.port}"
        self.instance = self.start_schemux({
            "backend": {"dsn": f"host=127.0.0.1,127.0.0.1 port={ports} dbname=app user=app "
                               f"target_session_attrs={self.attrs}"},
            "services": SERVICES, "workers": 2,
            "pool": {"max_connections": 3, "acquire_timeout": "60s"}})

    def test_move_while_the_listener_logs_in(self):
        clients, writing = self.listening(), self.wire("users", self.instance)
        self.assertEqual(self.insert(writing), [])
        self.follow()
        # Its connection is lost, and it logs in at what is still the primary.
        self.relay.hold = True
        self.relay.listener().close()
        self.assertTrue(self.relay.held.wait(10))
        self.old.run("ALTER SYSTEM SET default_transaction_read_only = on")
        self.old.run("SELECT pg_reload_conf()")
        self.promote()
        self.wait_until(lambda: not self.insert(writing), "a write to be taken")
        self.relay.go.set()
        self.wait_until(lambda: self.instance.metric("schemux_listener_connections") == 1)
        for client in clients:
            heard = []
            for number in range(50):
                self.new.run(f"NOTIFY jobs, '{number}'")
                while not told(heard) and select.select([client.socket], [], [], 0.2)[0]:
                    heard.append(client.read())
                if told(heard):
                    break
            self.assertTrue(told(heard), f"nothing of the new primary in 10 s; {heard}; "
                            f"the old one still has {self.old.backends()}")


class Spurious(Moving):
    def test_listener_that_is_there_already_is_not_ended(self):
        clients, asking = self.listening(), self.wire("users", self.instance)
        self.old.stop(signal.SIGQUIT)
        self.promote()
        self.assert_moved(clients)
        lost = self.instance.metric("schemux_listener_lost_total")
        self.assertEqual(self.port_of(asking), self.new.port)
        self.wait_until(lambda: self.instance.metric("schemux_primary_moves_total") == 1)
        self.new.run("NOTIFY jobs, 'still'")
        messages = []
        while not told(messages):
            messages.append(clients[0].read())
        self.assertEqual(self.instance.metric("schemux_listener_lost_total"), lost)
