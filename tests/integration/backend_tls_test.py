"""TLS between schemux and PostgreSQL: sslmode and its kin mean what they mean to libpq."""

import contextlib
import os
import signal
import socket
import ssl
import struct
import threading

import psycopg

import certificates
import harness
import server
import wire

HBA = """local all all trust
hostssl all secret_app 127.0.0.1/32 scram-sha-256
hostnossl all plain_app 127.0.0.1/32 trust
hostssl all tls_app 127.0.0.1/32 trust
hostssl all cert_app 127.0.0.1/32 cert
host all postgres,app 127.0.0.1/32 trust
"""


def refused_as(port, service="users"):
    """What a client is told that gets no backend."""
    client = wire.Wire(port)
    client.send(wire.startup({"user": "alice", "database": service}))
    error, = wire.errors_of(client.read_to_end())
    client.close()
    return error


class TlsPostgres(harness.Case):
    """A PostgreSQL of its own that speaks TLS, with a certificate for 127.0.0.1 and localhost."""

    own_schemux = False

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.authority = certificates.Authority(cls.lab.folder / "ca-postgres")
        cls.stranger = certificates.Authority(cls.lab.folder / "ca-stranger")
        cls.server = server.Postgres(cls.lab.folder / "postgres-tls")
        cls.server.create()
        certificate, key = cls.authority.sign("postgres", "server")
        for path, name in ((certificate, "server.crt"), (key, "server.key"),
                           (cls.authority.certificate, "ca.crt")):
            to = cls.server.data / name
            to.write_bytes(path.read_bytes())
            if cls.server.user is not None:
                os.chown(to, *cls.server.user)
            to.chmod(0o600)
        with open(cls.server.data / "postgresql.conf", "a", encoding="ascii") as settings:
            settings.write("ssl = on\nssl_ca_file = 'ca.crt'\n")
        (cls.server.data / "pg_hba.conf").write_text(HBA)
        cls.server.start()
        for role in ("app", "plain_app", "tls_app", "cert_app"):
            cls.server.run(f"CREATE ROLE {role} LOGIN", dbname="postgres")
        cls.server.run("CREATE ROLE secret_app LOGIN PASSWORD 'pool secret'", dbname="postgres")
        cls.server.run("CREATE DATABASE app OWNER app", dbname="postgres")

    @classmethod
    def tearDownClass(cls):
        cls.server.stop(signal.SIGQUIT)

    def dsn(self, user="app", **words):
        return f"host=127.0.0.1 port={self.server.port} dbname=app user={user} " + " ".join(
            f"{name}={value}" for name, value in words.items())

    def instance(self, user="app", workers=1, **words):
        return self.start_schemux({"backend": {"dsn": self.dsn(user, **words)}, "workers": workers})

    def encrypted(self, instance):
        """Whether PostgreSQL says so of the backend that serves."""
        with psycopg.connect(instance.dsn("legacy"), autocommit=True) as client:
            return client.execute(
                "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone()[0]

    def refusal(self, **words):
        return refused_as(self.instance(**words).port)

    def direct_front(self, alpn):
        """A port that takes TLS at once and passes on what comes, as PostgreSQL 17 itself does."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.authority.folder / "server.crt",
                                self.authority.folder / "server.key")
        if alpn:
            context.set_alpn_protocols([alpn])
        listener = socket.create_server(("127.0.0.1", server.free_port()))
        self.addCleanup(listener.close)

        def pass_on(source, to):
            with contextlib.suppress(OSError):
                while True:
                    data = source.recv(65536)
                    if not data:
                        break
                    to.sendall(data)
                to.shutdown(socket.SHUT_WR)

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    with contextlib.suppress(OSError):
                        client = context.wrap_socket(client, server_side=True)
                        there = socket.create_connection(("127.0.0.1", self.server.port))
                        for source, to in ((client, there), (there, client)):
                            threading.Thread(target=pass_on, args=(source, to),
                                             daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        return listener.getsockname()[1]

    def test_tls_may_begin_at_once(self):
        for alpn, served in (("postgresql", True), (None, False)):
            port = self.direct_front(alpn)
            instance = self.start_schemux({
                "backend": {"dsn": f"host=127.0.0.1 port={port} dbname=app user=plain_app "
                                   "sslmode=verify-full sslrootcert="
                                   f"{self.authority.certificate}", "tls_negotiation": "direct"},
                "pool": {"acquire_timeout": "5s"}})
            if served:
                with psycopg.connect(instance.dsn("legacy"), autocommit=True) as client:
                    self.assertEqual(client.execute("SELECT 1").fetchone(), (1,))
            else:
                self.assertIn("did not name PostgreSQL's protocol",
                              refused_as(instance.port)["M"])

    def test_newer_servers_take_tls_at_once(self):
        """Those before 17 take it for a packet of 369 million bytes."""
        instance = self.start_schemux({
            "backend": {"dsn": self.dsn(sslmode="require"), "tls_negotiation": "direct"},
            "pool": {"acquire_timeout": "2s"}})
        if server.major() >= 17:
            self.assertTrue(self.encrypted(instance))
        else:
            self.assertEqual(refused_as(instance.port)["C"], "08006")

    def test_each_sslmode(self):
        for sslmode, encrypted in (("disable", False), ("allow", False), ("prefer", True),
                                   ("require", True)):
            self.assertEqual(self.encrypted(self.instance(sslmode=sslmode)), encrypted, sslmode)

    def test_allow_and_prefer_go_the_other_way_where_the_first_is_closed(self):
        self.assertTrue(self.encrypted(self.instance("tls_app", sslmode="allow")))
        self.assertFalse(self.encrypted(self.instance("plain_app", sslmode="prefer")))
        error = self.refusal(user="plain_app", sslmode="require")
        self.assertEqual(error["C"], "28000")

    def test_the_server_is_verified(self):
        good = {"sslrootcert": self.authority.certificate}
        for sslmode in ("verify-ca", "verify-full", "require"):
            self.assertTrue(self.encrypted(self.instance(sslmode=sslmode, **good)))
        for sslmode in ("verify-ca", "verify-full", "require"):
            error = self.refusal(sslmode=sslmode, sslrootcert=self.stranger.certificate)
            self.assertEqual(error["C"], "08006")
            self.assertIn("certificate verify failed", error["M"])

    def test_verify_full_means_this_host(self):
        root = self.authority.certificate
        named = f"host=localhost hostaddr=127.0.0.1 port={self.server.port} dbname=app user=app"
        other = named.replace("localhost", "db.example")
        for words, served in ((f"{named} sslmode=verify-full sslrootcert={root}", True),
                              (f"{other} sslmode=verify-ca sslrootcert={root}", True),
                              (f"{other} sslmode=verify-full sslrootcert={root}", False)):
            instance = self.start_schemux({"backend": {"dsn": words}})
            if served:
                self.assertTrue(self.encrypted(instance))
            else:
                self.assertIn("hostname mismatch", refused_as(instance.port)["M"])

    def test_a_revoked_server_is_not_believed(self):
        revoked = self.authority.revoke(self.authority.folder / "server.crt")
        error = self.refusal(sslmode="verify-ca", sslrootcert=self.authority.certificate,
                             sslcrl=revoked)
        self.assertIn("revoked", error["M"])

    def test_scram_is_bound_to_the_channel(self):
        word = self.lab.folder / "tls-pool.password"
        word.write_text("pool secret\n")
        word.chmod(0o600)
        for binding in ("require", "prefer", "disable"):
            instance = self.start_schemux({"backend": {
                "dsn": self.dsn("secret_app", sslmode="require", channel_binding=binding),
                "password_file": str(word)}})
            self.assertTrue(self.encrypted(instance), binding)
        # trust proves nothing, so there is nothing that could be bound.
        error = self.refusal(user="tls_app", sslmode="require", channel_binding="require")
        self.assertIn("channel binding is required", error["M"])

    def test_a_clients_own_proof_is_bound_to_the_channel_too(self):
        """schemux has her verifier only: what it proves to PostgreSQL are the keys of her login."""
        stored, = self.server.run(
            "SELECT rolpassword FROM pg_authid WHERE rolname = 'secret_app'")[0]
        instance = self.start_schemux({
            "backend": {"dsn": self.dsn(sslmode="require", channel_binding="require")},
            "auth": {"method": "scram-sha-256",
                     "users": [{"name": "secret_app", "scram_verifier": stored}]},
            "services": [{"name": "own", "role": "client"}]})
        with psycopg.connect(host="127.0.0.1", port=instance.port, dbname="own",
                             user="secret_app", password="pool secret") as client:
            self.assertEqual(client.execute(
                "SELECT session_user::text, ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
                .fetchone(), ("secret_app", True))

    def test_a_certificate_of_ours_logs_in(self):
        certificate, key = self.authority.sign("cert_app", "client")
        words = {"sslmode": "require", "sslcert": certificate, "sslkey": key}
        self.assertTrue(self.encrypted(self.instance("cert_app", **words)))
        self.assertEqual(self.refusal(user="cert_app", sslmode="require")["C"], "28000")

    def test_large_answers_and_many_clients(self):
        instance = self.instance(sslmode="require", workers=2)
        wrong = []

        def ask(number):
            with psycopg.connect(instance.dsn("legacy"), autocommit=True) as client:
                for turn in range(20):
                    text = f"{number}-{turn}-" + "x" * (turn * 20_000)
                    row = client.execute("SELECT %s, pg_backend_pid() > 0", (text,)).fetchone()
                    if row != (text, True):
                        wrong.append(number)

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(wrong, [])
        with psycopg.connect(instance.dsn("legacy")) as client:
            rows = client.execute("SELECT n FROM generate_series(1, 100000) n").fetchall()
            self.assertEqual(len(rows), 100_000)

    def test_cancels_go_over_tls_and_hit(self):
        instance = self.instance(sslmode="verify-full", sslrootcert=self.authority.certificate)
        with psycopg.connect(instance.dsn("legacy"), autocommit=True) as client:
            self.assert_cancelled(client, self.server)

    def test_the_shared_listener_listens_over_tls(self):
        instance = self.start_schemux({
            "backend": {"dsn": self.dsn(sslmode="require")},
            "services": [{"name": "legacy", "session_features": {"listen": "share"}}]})
        with psycopg.connect(instance.dsn("legacy"), autocommit=True) as listens, \
                psycopg.connect(instance.dsn("legacy"), autocommit=True) as speaks:
            listens.execute("LISTEN news")
            for number in range(50):
                speaks.execute(f"NOTIFY news, '{number}'")
            heard = []
            for notification in listens.notifies():
                heard.append(notification.payload)
                if len(heard) == 50:
                    break
            self.assertEqual(heard, [str(number) for number in range(50)])

    def test_a_reload_without_a_change_keeps_the_backends(self):
        instance = self.instance(sslmode="verify-ca", sslrootcert=self.authority.certificate)
        pid = "SELECT pg_backend_pid()"
        with psycopg.connect(instance.dsn("legacy"), autocommit=True) as client:
            before = client.execute(pid).fetchone()
            instance.reload()
            self.assertEqual(client.execute(pid).fetchone(), before)


class ServersThatLie(harness.Case):
    """Something else at the server's address."""

    own_schemux = False

    def behind(self, answer, after=b"", **words):
        """A server that answers an SSLRequest so; what a client of schemux is told."""
        listener = socket.create_server(("127.0.0.1", server.free_port()))
        self.addCleanup(listener.close)

        def serve():
            while True:
                try:
                    peer, _ = listener.accept()
                except OSError:
                    return
                with peer:
                    if peer.recv(8) == struct.pack("!II", 8, 80877103):
                        peer.sendall(answer)
                        peer.settimeout(5)
                        try:
                            while peer.recv(4096):
                                peer.sendall(after)
                        except OSError:
                            pass

        threading.Thread(target=serve, daemon=True).start()
        dsn = f"host=127.0.0.1 port={listener.getsockname()[1]} dbname=app user=app " + " ".join(
            f"{name}={value}" for name, value in words.items())
        instance = self.start_schemux({"backend": {"dsn": dsn},
                                       "pool": {"acquire_timeout": "1s", "connect_timeout": "2s"}})
        error = refused_as(instance.port)
        return error["M"] + " " + error.get("D", "")

    def test_bytes_in_front_of_the_handshake_are_not_taken(self):
        """CVE-2021-23222 and CVE-2021-43767: somebody in between answers first."""
        message = self.behind(b"S" + wire.message("E", b"SFATAL\0C28P01\0Mgive me more\0\0"),
                              sslmode="prefer")
        self.assertIn("unencrypted bytes in front of TLS", message)

    def test_no_tls_where_it_is_required(self):
        self.assertIn("does not speak TLS", self.behind(b"N", sslmode="require"))

    def test_what_is_no_handshake(self):
        page = b"HTTP/1.1 400\r\n\r\n"
        self.assertIn("failed", self.behind(b"S", after=page, sslmode="require"))
        self.assertIn("does not know what TLS is", self.behind(b"E", sslmode="require"))
