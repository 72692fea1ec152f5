"""Mistakes of other products with TLS and with passwords at a warm pool, one test each.
tests/CVES.md lists them all.
"""

import contextlib
import os
import pwd
import unittest

import psycopg

import attacks
import certificates
import tls_test
import wire


class Certified(attacks.Attacked, tls_test.TlsCase):
    """Clients log in by their certificates: whoever speaks inside of TLS is known."""

    mode = "require"
    auth = {"method": "cert"}

    @classmethod
    def listener(cls, port, **more):
        return super().listener(port, client_ca=str(cls.authority.certificate), **more)

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.clients = {user: cls.authority.sign(user, f"client-{user}")
                       for user in ("alice", "bob")}

    def handshake(self, client, user):
        """As `user`; the socket is inside of TLS then."""
        context = self.context()
        context.load_cert_chain(*map(str, self.clients[user]))
        client.socket = context.wrap_socket(client.socket, server_hostname="localhost")

    def log_in(self, user="alice", service="users", **more):
        client = self.raw()
        client.send(wire.SSL_REQUEST)
        self.assertEqual(client.read_exactly(1), b"S")
        self.handshake(client, user)
        client.login(service, user, **more)
        return client

    def inject(self, ahead, behind):
        """Somebody in between says `ahead` of the victim's handshake and `behind` in its name."""
        name, sql = self.canary()
        login = wire.startup({"user": "alice", "database": "users"}) + wire.query(sql)
        for injected in (login, wire.query(sql), wire.startup({"user": "alice"})[:7], b"\0", b"p"):
            client = self.raw()
            for part in ahead[:-1]:
                client.send(part)
                self.assertEqual(client.read_exactly(1), b"N")
            client.send(ahead[-1] + injected)
            messages = []
            with contextlib.suppress(OSError, wire.Closed):
                if behind:
                    self.handshake(client, "alice")
                    client.send(behind)
                messages = client.read_to_end()
            self.assertFalse({"R", "Z", "K", "C"} & {one.kind for one in messages}, injected)
            if messages:
                error, = wire.errors_of(messages)
                self.assertEqual((error["S"], error["C"], error["M"]), (
                    "FATAL", "08P01", "received unencrypted data after SSL request"))
            if not behind:
                self.assertTrue(messages)
        self.assert_not_run(name)
        self.unharmed()

    def test_canary_runs_inside_of_tls(self):
        """What the other tests say was not run would be."""
        name, sql = self.canary()
        self.assertEqual(wire.kinds(self.log_in().ask(sql)), "CZ")
        self.assertEqual(self.postgres.run("SELECT to_regclass(%s)::text", (f"public.{name}",)),
                         [(name,)])

    def test_cve_2021_3935_plaintext_in_front_of_tls_is_not_the_clients(self):
        """What came behind the request for TLS, in clear, was taken for the client's own once it
        had shown its certificate; here it ends the connection."""
        self.inject([wire.SSL_REQUEST], b"")

    def test_cve_2021_43766_injection_ahead_of_a_victims_handshake(self):
        """The same where the victim goes on with its handshake and its login."""
        self.inject([wire.SSL_REQUEST], wire.startup({"user": "alice", "database": "users"}))

    def test_cve_2021_23214_injection_behind_two_requests(self):
        """The same behind another request that was declined."""
        self.inject([wire.GSS_REQUEST, wire.SSL_REQUEST], b"")
        self.inject([wire.GSS_REQUEST, wire.SSL_REQUEST],
                    wire.startup({"user": "alice", "database": "users"}))


class WarmPool(attacks.Attacked):
    """Backends are there already: what let their last client in counts for nobody else."""

    own_schemux = False

    def setUp(self):
        pass  # each method has a schemux, and a bystander, of its own

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.authority = certificates.Authority(cls.lab.folder / "ca-warm")
        certificate, key = map(str, cls.authority.sign("localhost", "server"))
        cls.tls = {"mode": "require", "certificate": certificate, "key": key,
                   "client_ca": str(cls.authority.certificate)}

    def warm(self, method, unix=False, tls=False):
        """A schemux, words of how to get to it, and who has a backend there."""
        me = pwd.getpwuid(os.getuid()).pw_name
        auth = {"method": method, **({} if method in ("cert", "peer") else {
            "users": attacks.USERS})}
        instance = self.start_schemux({"auth": auth, "pool": {"max_connections": 1}}, start=False)
        if unix:
            folder = instance.folder / "socket"
            folder.mkdir()
            instance.config["listen"] = [{"unix_socket_dir": str(folder), "port": instance.port}]
        elif tls:
            instance.config["listen"] = [{"address": "127.0.0.1", "port": instance.port,
                                          "tls": self.tls}]
        instance.write_config()
        instance.start()
        words = {"host": str(folder) if unix else "127.0.0.1", "port": instance.port,
                 "dbname": "users", "sslmode": "require" if tls else "disable",
                 "user": me if method == "peer" else "alice", "password": "alices word"}
        if method == "cert":
            words |= self.files("alice")
        return instance, words

    def files(self, user):
        certificate, key = self.authority.sign(user, f"warm-{user}")
        return {"sslcert": str(certificate), "sslkey": str(key)}

    def told(self, **words):
        with self.assertRaises(psycopg.OperationalError) as caught:
            psycopg.connect(**words).close()
        return str(caught.exception)

    def check(self, method, wrong, **where):
        instance, words = self.warm(method, **where)
        pid = "SELECT pg_backend_pid()"
        with psycopg.connect(**words, autocommit=True) as holder:
            backend = holder.execute(pid).fetchone()
            for changes, expected in wrong:
                for _ in range(3):
                    self.assertIn(expected, self.told(**{**words, **changes}))
                    self.assertEqual(holder.execute(pid).fetchone(), backend)
            with psycopg.connect(**words, autocommit=True) as again:
                self.assertEqual(again.execute(pid).fetchone(), backend)
        self.assertEqual(instance.metric("schemux_backend_connections_opened_total"), 1)
        self.assertIsNone(instance.process.poll())

    def test_cve_2025_46801_wrong_password_at_a_warm_pool(self):
        """At a connection that was there already a password was compared with itself; here every
        method asks each client anew."""
        failed = 'password authentication failed for user "{}"'
        wrong = [({"password": "wrong"}, failed.format("alice")),
                 ({"password": "bobs word"}, failed.format("alice")),
                 ({"password": "alices word "}, failed.format("alice")),
                 ({"user": "bob"}, failed.format("bob")),
                 ({"user": "nobody"}, failed.format("nobody")),
                 ({"user": "app"}, failed.format("app"))]
        for method in ("scram-sha-256", "password"):
            for where in ({}, {"tls": True}, {"unix": True}):
                if method == "password" and not where:
                    continue  # is refused by the configuration
                with self.subTest(method=method, **where):
                    self.check(method, wrong, **where)

    def test_cve_2025_46801_another_name_at_a_warm_pool(self):
        """The same of the methods that ask for no password."""
        certified = 'certificate authentication failed for user "{}"'
        self.check("cert", [({"user": "bob"}, certified.format("bob")),
                            (self.files("bob"), certified.format("alice")),
                            ({"user": "nobody"}, certified.format("nobody"))], tls=True)
        self.check("peer", [({"user": "alice"}, 'Peer authentication failed for user "alice"'),
                            ({"user": "app"}, 'Peer authentication failed for user "app"')],
                   unix=True)


class Secrets(attacks.Attacked):
    """What is configured, and what of it is shown."""

    words = ("alices canary", "bobs canary", "pool secret")

    @classmethod
    def setUpClass(cls):
        cls.postgres = cls.lab.postgres
        cls.postgres.run("GRANT app TO secret_app")
        cls.config = {
            "auth": {"method": "scram-sha-256", "users": [
                {"name": "alice", "password": cls.words[0]},
                {"name": "bob", "password": cls.words[1]}]},
            "backend": {"dsn": cls.postgres.dsn("secret_app") + " password='pool secret'"},
            "pool": {"acquire_timeout": "2s"},
            "services": attacks.SERVICES}
        super().setUpClass()

    def log_in(self, user="alice", service="users", **more):
        client = self.raw()
        attacks.scram_login(client, user, service, f"{user}s canary", **more)
        return client

    def test_cve_2023_22332_secrets_where_the_state_is_shown(self):
        """The state of the process was shown with the passwords in it; here no page, log or error
        has one, whatever goes wrong."""
        client = self.log_in()
        told = [repr(client.ask("SELECT current_setting('nonsense')"))]
        for user, word in (("alice", "alices canary no"), ("nobody", "bobs canary no")):
            other = self.raw()
            other.send(attacks.scram_final(attacks.begin_scram(other, user, "users"), word))
            told.append(repr(wire.errors_of(other.read_to_end())))
        odd = self.raw()
        odd.send(wire.startup({"user": "bobs canary no", "database": "alices canary no"}))
        odd.read()
        odd.close()
        self.postgres.run("ALTER ROLE secret_app PASSWORD 'another secret'")
        self.addCleanup(self.postgres.run, "ALTER ROLE secret_app PASSWORD 'pool secret'")
        for pid in self.postgres.backends("secret_app"):
            self.postgres.run("SELECT pg_terminate_backend(%s)", (pid,))
        self.wait_until(lambda: not self.postgres.backends("secret_app"))
        self.assertEqual(wire.sqlstates(self.log_in("bob", "orders").ask("SELECT 1")), ["28P01"])
        self.schemux.reload()
        for path in ("/", "/metrics", "/readyz", "/livez", "/config", "/debug"):
            told.append(self.schemux.get(path)[1])
        shown = self.run_program(self.schemux.binary, "check-config", "--config",
                                 self.schemux.config_file)
        told += [shown.stdout, shown.stderr, self.schemux.log.read_text()]
        command = open(f"/proc/{self.schemux.process.pid}/cmdline", encoding="utf-8").read()
        for text in [*told, command]:
            for word in self.words:
                self.assertNotIn(word, text)
        self.postgres.run("ALTER ROLE secret_app PASSWORD 'pool secret'")
        self.wait_until(lambda: not wire.sqlstates(self.bystander.ask("SELECT 1")))
        self.unharmed()


class Defaults(attacks.Attacked):
    """What a configuration may say, and what it says where it is silent."""

    config = {"auth": {"method": "trust", "users": attacks.USERS}}

    def errors(self, **changes):
        instance = self.start_schemux({**self.config, **changes}, start=False)
        checked = self.run_program(instance.binary, "check-config", "--config",
                                   instance.config_file)
        self.assertEqual(checked.returncode, 78, checked.stdout)
        return checked.stdout + checked.stderr

    def test_cve_2025_22248_nobody_is_trusted_by_default(self):
        """An image let a user for its own maintenance in without a password, from anywhere; here
        trust is for this machine alone, and nobody has a name that was not given."""
        everywhere = [{"address": "0.0.0.0", "port": 6432}]
        self.assertIn("trust", self.errors(listen=everywhere, auth={"method": "trust"}))
        for user in ("postgres", "app", "sr_check_user", "pgpool", "pgbouncer", "schemux", "admin",
                     "monitor", "stats", "repmgr", "root"):
            client = self.raw()
            client.send(wire.startup({"user": user, "database": "users"}))
            self.refused(client, "28000")
        self.unharmed()

    def test_cve_2026_6478_md5_is_asked_for_by_nobody_unasked(self):
        """Answers to md5 were compared in a time that told something of them; here they are in
        constant time, and only where a configuration asks for md5, which is warned about; its hash
        is nobody's password elsewhere."""
        hashed = "md5" + "0123456789abcdef" * 2
        self.assertIn("password", self.errors(auth={"method": "scram-sha-256", "users": [
            {"name": "alice", "password": hashed}]}))
        instance = self.start_schemux({"auth": {"method": "md5", "users": [
            {"name": "alice", "password": hashed}]}})
        self.assertIn("md5 can be broken", instance.log.read_text())
        for answer in (hashed, hashed[3:], "md5" + "0" * 32, ""):
            client = self.raw(instance)
            client.send(wire.startup({"user": "alice", "database": "users"}))
            self.assertEqual(client.read().body[:4], b"\0\0\0\5")
            client.send(wire.message("p", wire.cstr(answer)))
            self.refused(client, "28P01")
        self.unharmed()


if __name__ == "__main__":
    unittest.main()
