"""TLS between clients and schemux: what comes through it, who is let in, and what is refused."""

import asyncio
import os
import pwd
import socket
import ssl
import struct
import threading
import time

import asyncpg
import psycopg

import certificates
import harness
import server
import wire

USERS = [{"name": "alice", "password": "alices word"}, {"name": "bob", "password": "bobs word"}]
SCRAM = {"method": "scram-sha-256", "users": USERS}
SERVICES = ("users", "orders", "legacy")


class TlsCase(harness.Case):
    """One address with TLS as `mode` and `tls` say, and an authority to make certificates."""

    mode = "require"
    tls = {}
    auth = SCRAM
    rsa = False

    @classmethod
    def setUpClass(cls):
        cls.authority = certificates.Authority(cls.lab.folder / f"ca-{cls.__name__}")
        cls.certificate, cls.key = cls.authority.sign("localhost", "server", rsa=cls.rsa)
        cls.config = {**cls.config, "auth": cls.auth}
        cls.own_schemux = False
        super().setUpClass()
        cls.schemux = cls.lab.schemux(cls.config, start=False, name=cls.__name__)
        cls.schemux.config["listen"] = [cls.listener(cls.schemux.port)]
        cls.schemux.write_config()
        cls.schemux.start()

    @classmethod
    def listener(cls, port, **more):
        return {"address": "127.0.0.1", "port": port,
                "tls": {"mode": cls.mode, "certificate": str(cls.certificate),
                        "key": str(cls.key), **cls.tls, **more}}

    def dsn(self, service="users", user="alice", **more):
        words = {"password": f"{user}s word", "sslmode": "require", **more}
        return self.schemux.dsn(service, user=user) + "".join(
            f" {name}='{value}'" for name, value in words.items())

    def connect(self, *arguments, **more):
        connection = psycopg.connect(self.dsn(*arguments, **more), autocommit=True)
        self.addCleanup(connection.close)
        return connection

    def refusal(self, *arguments, **more):
        with self.assertRaises(psycopg.OperationalError) as caught:
            psycopg.connect(self.dsn(*arguments, **more))
        return str(caught.exception)

    def context(self, alpn="postgresql", version=None):
        """A client of Python's own."""
        context = ssl.create_default_context(cafile=str(self.authority.certificate))
        if alpn:
            context.set_alpn_protocols([alpn])
        if version:
            context.maximum_version = version
        return context

    def plain_socket(self):
        client = socket.create_connection(("127.0.0.1", self.schemux.port), timeout=30)
        self.addCleanup(client.close)
        return client

    def asked_socket(self):
        """Behind an SSLRequest that was answered 'S'."""
        client = self.plain_socket()
        client.sendall(wire.SSL_REQUEST)
        self.assertEqual(client.recv(1), b"S")
        return client


class Encrypted(TlsCase):
    tls = {"min_version": "1.2"}
    rsa = True

    def test_queries_answers_and_errors_come_through(self):
        for service in SERVICES:
            connection = self.connect(service, sslmode="verify-full",
                                      sslrootcert=self.authority.certificate)
            self.assertTrue(connection.pgconn.ssl_in_use)
            rows = connection.execute("SELECT service FROM {{tables.who}}").fetchall()
            self.assertEqual(rows, [(service,)])
            with self.assertRaises(psycopg.errors.DivisionByZero):
                connection.execute("SELECT 1/0")
            rows = connection.execute("SELECT %s::int + 1", (41,)).fetchall()
            self.assertEqual(rows, [(42,)])

    def test_large_rows_and_many_small_ones_arrive_whole(self):
        connection = self.connect()
        text, = connection.execute("SELECT repeat('0123456789', 700000)").fetchone()
        self.assertEqual((len(text), text[-10:]), (7_000_000, "0123456789"))
        rows = connection.execute("SELECT n, 'row ' || n FROM generate_series(1, 50000) n")
        self.assertEqual(sum(number for number, _ in rows), 1_250_025_000)
        sent = "x" * 900_000
        length, = connection.execute("SELECT length(%s)", (sent,)).fetchone()
        self.assertEqual(length, 900_000)

    def test_copy_goes_both_ways(self):
        connection = self.connect()
        connection.execute("CREATE TEMP TABLE copied (n int, t text)")
        with connection.cursor().copy("COPY copied FROM STDIN") as copy:
            for number in range(20_000):
                copy.write_row((number, f"line {number}"))
        with connection.cursor().copy("COPY copied TO STDOUT") as copy:
            self.assertEqual(sum(1 for _ in copy.rows()), 20_000)

    def test_answers_go_to_who_asked(self):
        wrong = []

        def ask(number):
            service = SERVICES[number % 3]
            with psycopg.connect(self.dsn(service), autocommit=True) as connection:
                for turn in range(60):
                    nonce = f"{number}-{turn}-" + "x" * (turn * 300)
                    row = connection.execute("SELECT %s, service FROM {{tables.who}}",
                                             (nonce,)).fetchone()
                    if row != (nonce, service):
                        wrong.append(row)

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(wrong, [])

    def test_a_query_can_be_cancelled(self):
        self.assert_cancelled(self.connect(), self.postgres)

    def test_scram_is_bound_to_the_channel(self):
        connection = self.connect(channel_binding="require")
        self.assertEqual(connection.execute("SELECT 1").fetchone(), (1,))
        self.assertIn("password authentication failed",
                      self.refusal(password="wrong", channel_binding="require"))

    def test_unencrypted_clients_are_refused(self):
        self.assertIn("must be encrypted", self.refusal(sslmode="disable"))
        client = self.raw()
        client.send(wire.startup({"user": "alice", "database": "users"}))
        error, = wire.errors_of(client.read_to_end())
        self.assertEqual((error["S"], error["C"]), ("FATAL", "28000"))

    def test_bytes_in_front_of_the_handshake_are_not_taken(self):
        """CVE-2021-3935 and its like: somebody in between adds a packet of his own."""
        client = self.plain_socket()
        client.sendall(wire.SSL_REQUEST + wire.startup({"user": "alice", "database": "users"}))
        got = client.recv(1000)
        self.assertTrue(got.startswith(b"E") and b"C08P01\0" in got, got)
        self.assertEqual(client.recv(1000), b"")

    def test_a_second_request_for_encryption_is_no_packet(self):
        client = self.context().wrap_socket(self.asked_socket(), server_hostname="localhost")
        client.sendall(wire.SSL_REQUEST)
        got = client.recv(1000)
        self.assertTrue(got.startswith(b"E") and b"C0A000\0" in got, got)

    def test_tls_may_come_at_once_if_it_names_the_protocol(self):
        client = self.context().wrap_socket(self.plain_socket(), server_hostname="localhost")
        self.assertEqual(client.selected_alpn_protocol(), "postgresql")
        client.sendall(wire.startup({"user": "alice", "database": "users"}))
        got = client.recv(1000)
        self.assertTrue(got.startswith(b"R") and b"SCRAM-SHA-256-PLUS\0" in got, got)
        nameless = self.context(alpn=None).wrap_socket(self.plain_socket(),
                                                       server_hostname="localhost")
        self.assertEqual(nameless.recv(1000), b"")

    def test_another_protocol_is_refused_in_the_handshake(self):
        with self.assertRaises(ssl.SSLError):
            self.context(alpn="h2").wrap_socket(self.asked_socket(), server_hostname="localhost")

    def test_sessions_are_resumed(self):
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = self.context(version=version)
            first = context.wrap_socket(self.asked_socket(), server_hostname="localhost")
            first.sendall(wire.startup({"user": "alice", "database": "users"}))
            self.assertTrue(first.recv(1000).startswith(b"R"))
            self.assertFalse(first.session_reused)
            again = context.wrap_socket(self.asked_socket(), server_hostname="localhost",
                                        session=first.session)
            self.assertTrue(again.session_reused, version)

    def test_what_is_no_handshake_ends_its_connection_alone(self):
        other = self.connect()
        failed = self.schemux.log_count("tls_failed")
        for bytes_sent in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff" + bytes(300),
                           b"\x16\x03\x01\x00\x05hello"):
            client = self.asked_socket()
            client.sendall(bytes_sent)
            client.shutdown(socket.SHUT_WR)
            while client.recv(1000):
                pass
        self.wait_until(lambda: self.schemux.log_count("tls_failed") > failed, "the log")
        self.assertGreater(self.schemux.metric("schemux_tls_handshakes_total", result="failed"), 0)
        self.assertGreater(self.schemux.metric("schemux_tls_handshakes_total", result="ok"), 0)
        end = self.schemux.metric("schemux_tls_certificate_not_after_timestamp_seconds")
        self.assertTrue(time.time() < end < time.time() + 3 * 86_400, end)
        self.assertEqual(other.execute("SELECT 1").fetchone(), (1,))

    def test_an_endless_handshake_is_ended(self):
        """Records that carry a ClientHello of 16 MB, which never comes to its end."""
        client = self.asked_socket()
        record = b"\x16\x03\x01\x40\x00"
        try:
            client.sendall(record + b"\x01\xff\xff\xfa\x03\x03" + bytes(0x4000 - 6))
            for _ in range(1000):
                client.sendall(record + bytes(0x4000))
            self.fail("16 MB were taken before a login")
        except OSError:
            pass

    def test_a_query_and_a_goodbye_that_wait_are_heard(self):
        """As without TLS: what comes in front of a Terminate is run, also where its client has gone
        before it had a backend. Whether it said goodbye stands in bytes that nobody has read."""
        instance = self.start_schemux(start=False)
        instance.config = {**self.schemux.config, "pool": {"max_connections": 1},
                           "listen": [self.listener(instance.port)]}
        instance.config["http"]["port"] = instance.http_port
        instance.write_config()
        instance.start()
        port = instance.port
        holder = psycopg.connect(self.dsn().replace(str(self.schemux.port), str(port)))
        self.addCleanup(holder.close)
        holder.execute("SELECT 1")
        done = psycopg.connect(self.dsn().replace(str(self.schemux.port), str(port)),
                               autocommit=True)
        done.pgconn.send_query(b"INSERT INTO {{tables.ledger}} (nonce) VALUES ('goodbye-tls')")
        self.wait_until(lambda: instance.metric("schemux_clients_waiting",
                                                service="users") == 1, "the wait")
        done.close()  # libpq says Terminate
        holder.rollback()
        # Other tests count what is in there.
        self.addCleanup(self.postgres.run, "DELETE FROM users.ledger WHERE nonce = 'goodbye-tls'")
        count = "SELECT count(*) FROM users.ledger WHERE nonce = 'goodbye-tls'"
        self.wait_until(lambda: self.postgres.run(count)[0][0] == 1, "the INSERT")

    def test_asyncpg_comes_in_by_tls(self):
        async def ask():
            connection = await asyncpg.connect(
                host="127.0.0.1", port=self.schemux.port, user="bob", password="bobs word",
                database="orders", ssl=self.context(alpn=None))
            values = [await connection.fetchval("SELECT $1::int + $2::int", n, 1)
                      for n in range(20)]
            await connection.close()
            return values

        self.assertEqual(asyncio.run(ask()), list(range(1, 21)))


class AsTheClientLikes(TlsCase):
    mode = "prefer"
    auth = {"method": "trust"}

    def test_with_and_without(self):
        for sslmode, encrypted in (("disable", False), ("allow", False), ("prefer", True),
                                   ("require", True)):
            connection = self.connect(sslmode=sslmode)
            self.assertEqual(connection.pgconn.ssl_in_use, encrypted, sslmode)
            self.assertEqual(connection.execute("SELECT 1").fetchone(), (1,))

    def test_client_versions(self):
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            client = self.context(version=version).wrap_socket(self.asked_socket(),
                                                               server_hostname="localhost")
            self.assertEqual(client.version().replace(".", "_"), version.name)

    def test_a_reload_renews_the_certificate_for_who_comes_then(self):
        before = self.connect()
        old_key, old = self.key.read_bytes(), self.certificate.read_bytes()
        certificate, key = self.authority.sign("second.example", "second")
        self.key.write_bytes(key.read_bytes())
        self.certificate.write_bytes(certificate.read_bytes())
        self.schemux.reload()
        client = self.context().wrap_socket(self.asked_socket(), server_hostname="localhost")
        self.assertEqual(dict(part[0] for part in client.getpeercert()["subject"])["commonName"],
                         "second.example")
        self.assertEqual(before.execute("SELECT 1").fetchone(), (1,))
        # One that does not fit the key is not taken.
        self.certificate.write_bytes(old)
        failed = self.schemux.log_count("reload_failed")
        self.schemux.reload()
        self.assertEqual(self.schemux.log_count("reload_failed"), failed + 1)
        client = self.context().wrap_socket(self.asked_socket(), server_hostname="localhost")
        self.assertEqual(dict(part[0] for part in client.getpeercert()["subject"])["commonName"],
                         "second.example")
        self.key.write_bytes(old_key)
        self.schemux.reload()


    def test_other_files_are_taken_without_a_signal(self):
        """As programs that renew certificates leave them: one file after the other."""
        old_key, old = self.key.read_bytes(), self.certificate.read_bytes()
        certificate, key = self.authority.sign("third.example", "third")

        def name():
            client = self.context().wrap_socket(self.asked_socket(), server_hostname="localhost")
            subject = dict(part[0] for part in client.getpeercert()["subject"])
            client.close()
            return subject["commonName"]

        first = name()
        self.certificate.write_bytes(certificate.read_bytes())
        self.wait_until(lambda: self.schemux.log_count("certificate_not_renewed") > 0, "the log")
        self.assertEqual(name(), first)
        self.key.write_bytes(key.read_bytes())
        self.wait_until(lambda: name() == "third.example", "the new certificate")
        self.key.write_bytes(old_key)
        self.certificate.write_bytes(old)
        self.schemux.reload()
        self.assertEqual(name(), first)


class NewestOnly(TlsCase):
    tls = {"min_version": "1.3"}
    auth = {"method": "trust"}

    def test_older_clients_are_refused(self):
        with self.assertRaises(ssl.SSLError):
            self.context(version=ssl.TLSVersion.TLSv1_2).wrap_socket(
                self.asked_socket(), server_hostname="localhost")
        self.assertEqual(self.connect().execute("SELECT 1").fetchone(), (1,))


class ClientCertificates(TlsCase):
    mode = "verify-ca"
    auth = {"method": "trust"}
    revoked = False

    @classmethod
    def setUpClass(cls):
        cls.stranger = certificates.Authority(cls.lab.folder / f"other-{cls.__name__}")
        super().setUpClass()

    @classmethod
    def listener(cls, port, **more):
        return super().listener(port, client_ca=str(cls.authority.certificate), **more)

    def files(self, authority, name):
        certificate, key = authority.sign(name, f"client-{name}")
        return {"sslcert": certificate, "sslkey": key}

    def test_only_who_has_one_of_the_authority_gets_in(self):
        self.connect(**self.files(self.authority, "anybody"))
        for files in ({}, self.files(self.stranger, "alice")):
            self.assertIn("alert", self.refusal(**files))

    def test_a_revoked_one_is_refused(self):
        files = self.files(self.authority, "carol")
        self.connect(**files)
        revoked = self.authority.revoke(files["sslcert"])
        self.schemux.config["listen"] = [self.listener(self.schemux.port, crl=str(revoked))]
        self.schemux.write_config()
        self.schemux.reload()
        self.assertIn("alert", self.refusal(**files))
        self.connect(**self.files(self.authority, "dora"))


class NamedCertificates(ClientCertificates):
    mode = "verify-full"

    def test_only_who_has_one_of_the_authority_gets_in(self):
        self.connect(**self.files(self.authority, "alice"))
        self.assertIn('certificate authentication failed for user "alice"',
                      self.refusal(**self.files(self.authority, "bob")))

    def test_a_revoked_one_is_refused(self):
        files = self.files(self.authority, "alice")
        revoked = self.authority.revoke(files["sslcert"])
        self.schemux.config["listen"] = [self.listener(self.schemux.port, crl=str(revoked))]
        self.schemux.write_config()
        self.schemux.reload()
        self.assertIn("alert", self.refusal(**files))


class CertificateLogin(ClientCertificates):
    mode = "require"
    auth = {"method": "cert"}

    def test_only_who_has_one_of_the_authority_gets_in(self):
        self.connect(**self.files(self.authority, "alice"))
        self.assertIn('certificate authentication failed for user "alice"',
                      self.refusal(**self.files(self.authority, "bob")))
        self.assertIn("connection requires a valid client certificate", self.refusal())
        self.assertIn("alert", self.refusal(**self.files(self.stranger, "alice")))

    def test_a_revoked_one_is_refused(self):
        files = self.files(self.authority, "alice")
        self.connect(**files)
        revoked = self.authority.revoke(files["sslcert"])
        self.schemux.config["listen"] = [self.listener(self.schemux.port, crl=str(revoked))]
        self.schemux.write_config()
        self.schemux.reload()
        self.assertIn("alert", self.refusal(**files))


class PasswordLogin(TlsCase):
    mode = "prefer"
    auth = {"method": "password", "users": USERS}

    def test_the_password_is_asked_for_under_tls_only(self):
        self.assertEqual(self.connect().execute("SELECT 1").fetchone(), (1,))
        for user in ("alice", "nobody"):
            self.assertIn(f'password authentication failed for user "{user}"',
                          self.refusal("users", user, password="wrong"))
        self.assertIn("over TLS", self.refusal(sslmode="disable"))

    def test_odd_answers_are_refused(self):
        odd = {b"p\0\0\0\5\0": "28P01", b"p\0\0\0\4": "08P01", b"Q\0\0\0\5\0": "08P01",
               b"p\0\0\0\x0aabc\0de": "08P01", b"p\0\1\0\0": "28P01"}
        for answer, code in odd.items():
            client = self.context().wrap_socket(self.asked_socket(), server_hostname="localhost")
            client.sendall(wire.startup({"user": "alice", "database": "users"}))
            self.assertEqual(client.recv(1000), b"R" + struct.pack("!II", 8, 3))
            client.sendall(answer)
            got = client.recv(1000)
            self.assertIn(b"C" + code.encode() + b"\0", got, answer)


class PeerLogin(harness.Case):
    own_schemux = False

    def test_the_system_says_who_it_is(self):
        instance = self.start_schemux({"auth": {"method": "peer"}}, start=False)
        folder = instance.folder / "socket"
        folder.mkdir()
        instance.config["listen"] = [{"unix_socket_dir": str(folder), "port": instance.port}]
        instance.write_config()
        instance.start()
        name = pwd.getpwuid(os.getuid()).pw_name
        words = f"host={folder} port={instance.port} dbname=users"
        with psycopg.connect(f"{words} user={name}") as connection:
            self.assertEqual(connection.execute("SELECT 1").fetchone(), (1,))
        with self.assertRaises(psycopg.OperationalError) as caught:
            psycopg.connect(f"{words} user=somebody")
        self.assertIn('Peer authentication failed for user "somebody"', str(caught.exception))


class Refused(harness.Case):
    own_schemux = False

    def errors(self, listener, auth=None):
        instance = self.start_schemux({"auth": auth or {"method": "trust"}}, start=False)
        instance.config["listen"] = [{"address": "127.0.0.1", "port": instance.port, **listener}]
        instance.write_config()
        checked = self.run_program(instance.binary, "check-config", "--config",
                                   instance.config_file)
        self.assertEqual(checked.returncode, 78, checked.stdout)
        return checked.stdout + checked.stderr

    def test_files_that_do_not_serve_are_named_at_their_key(self):
        authority = certificates.Authority(self.lab.folder / "ca-refused")
        certificate, key = map(str, authority.sign("one"))
        _, other_key = map(str, authority.sign("two"))
        good = {"mode": "require", "certificate": certificate, "key": key}
        cases = {
            "listen[0].tls.certificate: cannot use": {**good, "certificate": "/nowhere.crt"},
            "listen[0].tls.key: cannot use": {**good, "key": "/nowhere.key"},
            f"listen[0].tls.key: cannot use {other_key}: key values mismatch":
                {**good, "key": other_key},
            "listen[0].tls.client_ca: cannot use": {**good, "client_ca": key},
            "listen[0].tls.crl: cannot use": {**good, "client_ca": certificate, "crl": key},
            "listen[0].tls.ciphers: OpenSSL knows none": {**good, "ciphers": "nonsense"},
            "listen[0].tls.client_ca: mode verify-ca": {**good, "mode": "verify-ca"},
            "listen[0].tls.mode: required key is missing": {"certificate": certificate},
        }
        for message, tls in cases.items():
            self.assertIn(message, self.errors({"tls": tls}))

    def test_methods_that_nobody_could_pass(self):
        users = [{"name": "alice", "password": "word"}]
        for auth, message in (({"method": "password", "users": users}, "password needs tls"),
                              ({"method": "cert"}, "cert needs tls with client_ca"),
                              ({"method": "peer"}, "peer is for unix sockets only")):
            self.assertIn(message, self.errors({}, auth))
