"""Passwords on both sides: clients log in by SCRAM, schemux logs in as PostgreSQL asks."""

import asyncio
import base64
import hashlib
import hmac
import os
import struct

import asyncpg
import psycopg
import psycopg2

import harness
import server
import wire

MECHANISM = b"SCRAM-SHA-256"
PASSWORD = "pen cil, 'quoted' {{tables.x}} ä"


def initial_response(data, mechanism=MECHANISM):
    size = struct.pack("!i", -1 if data is None else len(data))
    return wire.message("p", wire.cstr(mechanism) + size + (data or b""))


def response(data):
    return wire.message("p", data)


def challenge_for(port, user, database="users", nonce=b"clientnonce"):
    """The server's first SCRAM message: nonce, salt and iterations."""
    with wire.Wire(port) as client:
        client.send(wire.startup({"user": user, "database": database}))
        client.read()
        client.send(initial_response(b"n,,n=,r=" + nonce))
        text = client.read().body[4:].decode()
    return dict(part.split("=", 1) for part in text.split(","))


def client_final(password, first, challenge):
    """As RFC 5802 computes it."""
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(challenge["s"]),
                                 int(challenge["i"]))
    key = hmac.digest(salted, b"Client Key", "sha256")
    bare = "c=biws,r=" + challenge["r"]
    server_first = ",".join(f"{name}={challenge[name]}" for name in "rsi")
    text = f"{first},{server_first},{bare}".encode()
    signature = hmac.digest(hashlib.sha256(key).digest(), text, "sha256")
    proof = bytes(a ^ b for a, b in zip(key, signature, strict=True))
    return f"{bare},p={base64.b64encode(proof).decode()}".encode()


class ScramLogin(harness.Case):
    config = {"workers": 2}
    environment = {"SCHEMUX_TEST_ALICE": PASSWORD}

    @classmethod
    def setUpClass(cls):
        cls.file = cls.lab.folder / "bob.password"
        cls.file.write_text("bobs word\n")
        cls.file.chmod(0o600)
        cls.lab.postgres.run("SET password_encryption = 'scram-sha-256';"
                             "CREATE ROLE carol PASSWORD 'carols word'")
        verifier = cls.lab.postgres.run(
            "SELECT rolpassword FROM pg_authid WHERE rolname = 'carol'")[0][0]
        cls.config = {**cls.config, "auth": {"method": "scram-sha-256", "users": [
            {"name": "alice", "password": "${SCHEMUX_TEST_ALICE}"},
            {"name": "bob", "password_file": str(cls.file)},
            {"name": "carol", "scram_verifier": verifier}]},
            "services": [{"name": "users", "schema": "users"},
                         {"name": "orders", "schema": "orders", "users": ["bob"]}]}
        super().setUpClass()

    def words(self):
        return {"alice": PASSWORD, "bob": "bobs word", "carol": "carols word"}

    def refusal(self, user, password):
        with self.assertRaises(psycopg.OperationalError) as caught:
            psycopg.connect(self.schemux.dsn("users", user=user), password=password)
        return str(caught.exception)

    def test_each_source_of_a_password_lets_its_user_in(self):
        for user, password in self.words().items():
            for _ in range(2):
                with psycopg.connect(self.schemux.dsn("users", user=user),
                                     password=password) as connection:
                    rows = connection.execute("SELECT service FROM {{tables.who}}").fetchall()
                    self.assertEqual(rows, [("users",)])

    def test_drivers_log_in(self):
        with psycopg2.connect(self.schemux.dsn("users", user="alice"), password=PASSWORD):
            pass
        shown = self.run_program(
            *server.program("psql"), "-XAt", self.schemux.dsn("users", user="alice"),
            "-c", "SELECT 1", env={**os.environ, "PGPASSWORD": PASSWORD})
        self.assertEqual(shown.stdout, "1\n", shown.stderr)

        async def with_asyncpg():
            connection = await asyncpg.connect(host="127.0.0.1", port=self.schemux.port,
                                               user="bob", password="bobs word",
                                               database="orders", ssl=False)
            value = await connection.fetchval("SELECT service FROM {{tables.who}}")
            await connection.close()
            return value

        self.assertEqual(asyncio.run(with_asyncpg()), "orders")

    def test_wrong_password_and_unknown_user_read_as_at_postgresql(self):
        with self.assertRaises(psycopg.OperationalError) as direct:
            psycopg.connect(self.postgres.dsn("secret_app"), password="wrong")
        expected = str(direct.exception).split("FATAL:  ")[1].splitlines()[0]
        for user in ("alice", "bob", "carol", "nobody", "postgres"):
            message = self.refusal(user, "wrong")
            self.assertEqual(message.split("FATAL:  ")[1].splitlines()[0],
                             expected.replace("secret_app", user))

    def test_error_is_fatal_28p01_on_the_wire(self):
        with wire.Wire(self.schemux.port) as client:
            client.send(wire.startup({"user": "alice", "database": "users"}))
            client.read()
            first = "n=,r=clientnonce"
            client.send(initial_response(b"n,," + first.encode()))
            text = client.read().body[4:].decode()
            challenge = dict(part.split("=", 1) for part in text.split(","))
            client.send(response(client_final("wrong", first, challenge)))
            error, = wire.errors_of(client.read_to_end())
        self.assertEqual((error["S"], error["C"]), ("FATAL", "28P01"))

    def test_service_is_refused_only_after_the_password(self):
        with self.assertRaises(psycopg.OperationalError) as caught:
            psycopg.connect(self.schemux.dsn("orders", user="alice"), password=PASSWORD)
        self.assertIn("permission denied for database", str(caught.exception))
        with self.assertRaises(psycopg.OperationalError) as caught:
            psycopg.connect(self.schemux.dsn("nowhere", user="alice"), password=PASSWORD)
        self.assertIn('database "nowhere" does not exist', str(caught.exception))
        for service in ("orders", "nowhere", "users"):
            with self.assertRaises(psycopg.OperationalError) as caught:
                psycopg.connect(self.schemux.dsn(service, user="alice"), password="wrong")
            self.assertIn("password authentication failed", str(caught.exception))

    def test_unknown_users_cannot_be_told_from_known_ones(self):
        known = challenge_for(self.schemux.port, "alice")
        unknown = challenge_for(self.schemux.port, "nobody")
        self.assertEqual(unknown["s"], challenge_for(self.schemux.port, "nobody")["s"])
        self.assertNotEqual(unknown["s"], challenge_for(self.schemux.port, "somebody")["s"])
        self.assertEqual((len(known["s"]), known["i"]), (len(unknown["s"]), unknown["i"]))
        self.assertEqual(len(known["r"]), len(unknown["r"]))
        # Derived once: another derivation would have another salt.
        self.assertEqual(known["s"], challenge_for(self.schemux.port, "alice")["s"])
        self.assertNotEqual(known["r"], challenge_for(self.schemux.port, "alice")["r"])

    def test_odd_exchanges_are_refused_as_by_postgresql(self):
        """The same bytes to both, up to where the client proves something."""
        first = b"n,,n=,r=clientnonce"
        odd = {
            "query instead": [wire.query("SELECT 1")],
            "terminate": [wire.TERMINATE],
            "unknown type": [b"\xff"],
            "length 0": [b"p\0\0\0\0"],
            "length 3": [b"p\0\0\0\3"],
            "length 2^31": [b"p\x80\0\0\0"],
            "length 2^32-1": [b"p\xff\xff\xff\xff"],
            "too long": [b"p\0\0\4\5"],
            "unknown mechanism": [initial_response(first, b"PLAIN")],
            "plus": [initial_response(first, b"SCRAM-SHA-256-PLUS")],
            "empty": [initial_response(b"")],
            "no nonce": [initial_response(b"n,,n=")],
            "bad flag": [initial_response(b"x,,n=,r=abc")],
            "wrong order": [initial_response(b"n,,r=abc,n=")],
            "authzid": [initial_response(b"n,a=root,n=,r=abc")],
            "extension": [initial_response(b"n,,m=x,n=,r=abc")],
            "binding": [initial_response(b"p=tls-unique,,n=,r=abc")],
            "final empty": [initial_response(first), response(b"")],
            "final of another type": [initial_response(first), wire.SYNC],
            "unprintable nonce": [initial_response(b"n,,n=,r=a\x01b")],
            "final of another exchange": [initial_response(first), response(
                b"c=biws,r=clientnonceother,p=" + base64.b64encode(bytes(32)))],
            "final with another binding": [initial_response(first), response(
                b"c=eSws,r=clientnonceother,p=" + base64.b64encode(bytes(32)))],
            "final without proof": [initial_response(first), response(b"c=biws,r=x")],
            "final with a short proof": [initial_response(first), response(
                b"c=biws,r=x,p=AAAA")],
            "no initial data, then nothing": [initial_response(None), response(b"")],
            "no initial data, then a query": [initial_response(None), wire.query("SELECT 1")],
        }
        for name, messages in odd.items():
            with self.subTest(name):
                told = []
                for port, user, database in ((self.postgres.port, "secret_app", "app"),
                                             (self.schemux.port, "alice", "users")):
                    with wire.Wire(port) as client:
                        client.send(wire.startup({"user": user, "database": database}))
                        client.read()
                        for one in messages[:-1]:
                            client.send(one)
                            client.read()
                        client.send(messages[-1])
                        errors = wire.errors_of(client.read_to_end())
                    told.append([(one["S"], one["C"], one["M"].replace(user, "U"))
                                 for one in errors])
                self.assertEqual(told[1], told[0])

    def test_storm_of_right_and_wrong_passwords(self):
        def log_in(number):
            user = ("alice", "bob", "carol")[number % 3]
            right = number % 2 == 0
            try:
                psycopg.connect(self.schemux.dsn("users", user=user),
                                password=self.words()[user] if right else "wrong").close()
                return right
            except psycopg.OperationalError as error:
                return not right and "password authentication failed" in str(error)

        running = [harness.Background(log_in, number) for number in range(60)]
        self.assertTrue(all(one.result() for one in running))

    def test_reload_changes_one_password_and_keeps_the_other_keys(self):
        instance = self.start_schemux(self.config, start=False)
        instance.environment = self.environment
        word = self.lab.folder / "changing.password"
        word.write_text("first word")
        word.chmod(0o600)
        instance.config["auth"]["users"] = [
            {"name": "alice", "password": "${SCHEMUX_TEST_ALICE}"},
            {"name": "bob", "password_file": str(word)}]
        instance.write_config()
        instance.start()
        salts = {user: challenge_for(instance.port, user)["s"] for user in ("alice", "nobody")}
        psycopg.connect(instance.dsn("users", user="bob"), password="first word").close()
        word.write_text("second word")
        instance.reload()
        psycopg.connect(instance.dsn("users", user="bob"), password="second word").close()
        with self.assertRaises(psycopg.OperationalError):
            psycopg.connect(instance.dsn("users", user="bob"), password="first word")
        self.assertEqual(
            {user: challenge_for(instance.port, user)["s"] for user in salts}, salts)
        word.write_text("")
        instance.reload()
        self.assertEqual(instance.log_count("reload_failed"), 1)
        psycopg.connect(instance.dsn("users", user="bob"), password="second word").close()

    def test_refused_logins_are_counted_by_why(self):
        def counted():
            return [self.schemux.metric("schemux_client_login_failures_total", reason=reason)
                    for reason in ("credentials", "service", "limit", "other")]

        before = counted()
        self.refusal("alice", "wrong")
        self.refusal("nobody", "wrong")
        for service in ("orders", "nowhere"):
            with self.assertRaises(psycopg.OperationalError):
                psycopg.connect(self.schemux.dsn(service, user="alice"), password=PASSWORD)
        self.assertEqual([now - then for now, then in zip(counted(), before)], [2, 2, 0, 0])

    def test_refused_logins_are_in_the_log_without_the_password(self):
        self.refusal("alice", "hunter-two")
        self.wait_until(lambda: self.schemux.log_count("login_refused"))
        text = self.schemux.log.read_text()
        for word in ("hunter-two", PASSWORD, "bobs word", "SCRAM-SHA-256$"):
            self.assertNotIn(word, text)


class BackendLogin(harness.Case):
    own_schemux = False

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.word = cls.lab.folder / "pool.password"
        cls.word.write_text("pool secret\n")
        cls.word.chmod(0o600)
        cls.postgres.run("GRANT app TO secret_app, md5_app, clear_app")

    def backend(self, user, **more):
        return {"backend": {"dsn": self.postgres.dsn(user), "password_file": str(self.word),
                            **more}}

    def served_as(self, changes):
        client = self.wire("orders", self.start_schemux(changes))
        return client.rows("SELECT current_user, service FROM {{tables.who}}")

    def test_every_method_that_postgresql_asks_for(self):
        for user in ("secret_app", "md5_app", "clear_app", "app"):
            with self.subTest(user):
                self.assertEqual(self.served_as(self.backend(user)), [[user, "orders"]])

    def test_only_the_required_method_is_used(self):
        methods = {"secret_app": "scram-sha-256", "md5_app": "md5", "clear_app": "password",
                   "app": "none"}
        for user, method in methods.items():
            with self.subTest(user):
                changes = self.backend(user, require_auth=[method])
                self.assertEqual(self.served_as(changes), [[user, "orders"]])
                others = [other for other in methods.values() if other != method]
                instance = self.start_schemux(self.backend(user, require_auth=others))
                client = self.raw(instance)
                client.send(wire.startup({"user": "alice", "database": "users"}))
                error, = wire.errors_of(client.read_to_end())
                self.assertEqual(error["C"], "28000")
                self.assertIn("not accepted", error["M"])

    def test_wrong_passwords_are_told_with_postgresqls_own_error(self):
        self.word_of_nobody = self.lab.folder / "wrong.password"
        self.word_of_nobody.write_text("wrong")
        for user in ("secret_app", "md5_app", "clear_app"):
            with self.subTest(user):
                instance = self.start_schemux({"backend": {
                    "dsn": self.postgres.dsn(user), "password_file": str(self.word_of_nobody)}})
                client = self.raw(instance)
                client.send(wire.startup({"user": "alice", "database": "users"}))
                error, = wire.errors_of(client.read_to_end())
                self.assertEqual(error["C"], "28P01")
