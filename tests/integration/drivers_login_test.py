"""Drivers log in by every method, with and without TLS, and are refused where they must be.

The programs are in logins/ and in node/; what is said by psql and Python's drivers is here.
"""

import asyncio
import os
import pathlib
import shutil
import ssl
import subprocess

import asyncpg
import psycopg

import attacks
import certificates
import harness
import node_test
import server

FOLDER = pathlib.Path(__file__).resolve().parent
DRIVER = "/usr/share/java/postgresql.jar"
ASK = "SELECT service FROM {{tables.who}}"
GO = {"GO111MODULE": "off", "GOPATH": "/usr/share/gocode", "GOFLAGS": ""}
# Where, and how the driver is told to go there; psql's words for all of them.
WAYS = {
    "scram": ("plain", {"SSLMODE": "disable"}),
    "scram_over_tls": ("scram", {"SSLMODE": "require"}),
    "scram_verified": ("scram", {"SSLMODE": "verify-full"}),
    "scram_bound": ("scram", {"SSLMODE": "verify-full", "BINDING": "require"}),
    "password_over_tls": ("password", {"SSLMODE": "verify-full"}),
    "certificate": ("cert", {"SSLMODE": "verify-full"}),
}
BINDING = {"psql", "psycopg", "node"}  # the others, in these versions, know none
NOTHING = {name: "" for name in ("PASSWORD", "CERT", "KEY", "KEY_DER", "BINDING")}


def libpq_words(told):
    words = {"host": "HOST", "port": "PORT", "user": "LOGIN", "password": "PASSWORD",
             "sslmode": "SSLMODE", "sslrootcert": "ROOT", "sslcert": "CERT", "sslkey": "KEY",
             "channel_binding": "BINDING"}
    return "dbname=users " + " ".join(
        f"{word}='{told[name]}'" for word, name in words.items() if told[name])


class Logins(harness.Case):
    own_schemux = False

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.folder = cls.lab.folder / "logins"
        cls.authority = certificates.Authority(cls.folder)
        files = cls.authority.sign("localhost", "server", rsa=True)
        tls = dict(zip(("certificate", "key"), map(str, files)), mode="require",
                   client_ca=str(cls.authority.certificate))
        cls.files = {}
        for user in ("alice", "bob"):
            certificate, key = cls.authority.sign(user)
            der = key.with_suffix(".der")
            subprocess.run(["openssl", "pkcs8", "-topk8", "-nocrypt", "-outform", "DER", "-in",
                            key, "-out", der], check=True)
            cls.files[user] = {"CERT": certificate, "KEY": key, "KEY_DER": der}
        users = {"users": attacks.USERS}
        cls.instances = {name: cls.start(name, auth, listener) for name, auth, listener in (
            ("plain", {"method": "scram-sha-256", **users}, {}),
            ("scram", {"method": "scram-sha-256", **users}, {"tls": tls}),
            ("password", {"method": "password", **users}, {"tls": tls}),
            ("cert", {"method": "cert"}, {"tls": tls}))}
        cls.programs = {}

    @classmethod
    def start(cls, name, auth, listener):
        instance = cls.lab.schemux({"auth": auth}, start=False, name=f"logins-{name}")
        instance.config["listen"] = [{"address": "127.0.0.1", "port": instance.port, **listener}]
        instance.write_config()
        return instance.start()

    @classmethod
    def tearDownClass(cls):
        statuses = [instance.stop() for instance in cls.instances.values()]
        for instance in cls.instances.values():
            cls.lab.forget(instance)
        if any(statuses):
            raise AssertionError(f"schemux ended with {statuses}")

    # ---- what a driver says: its answer and its error ----------------------------------------

    def run_with(self, told, *command, **more):
        done = self.run_program(*command, env={**os.environ, **{
            name: str(value) for name, value in told.items()}}, **more)
        return done.stdout.strip(), done.stderr

    def built(self, name, *command, environment=None):
        """Once for all tests."""
        if name not in self.programs:
            self.assert_program(self.run_program(
                *command, env={**os.environ, **(environment or {})}, cwd=FOLDER / "logins"))
            self.programs[name] = True

    def psql(self, told):
        return self.run_with(told, *server.program("psql"), "-XAt", libpq_words(told), "-c", ASK)

    def psycopg(self, told):
        try:
            with psycopg.connect(libpq_words(told)) as connection:
                return connection.execute(ASK).fetchone()[0], ""
        except psycopg.OperationalError as error:
            return "", str(error)

    def asyncpg(self, told):
        context = False
        if told["SSLMODE"] != "disable":
            context = ssl.create_default_context(cafile=str(told["ROOT"]))
            context.check_hostname = told["SSLMODE"] == "verify-full"
            if told["CERT"]:
                context.load_cert_chain(told["CERT"], told["KEY"])

        async def ask():
            connection = await asyncpg.connect(
                host=told["HOST"], port=told["PORT"], user=told["LOGIN"], ssl=context,
                password=told["PASSWORD"] or None, database="users")
            try:
                return await connection.fetchval(ASK)
            finally:
                await connection.close()

        try:
            return asyncio.run(ask()), ""
        except (asyncpg.PostgresError, OSError) as error:
            return "", str(error)

    def node(self, told):
        node_test.Node.install()
        return self.run_with(told, "node", "login.js", cwd=node_test.FOLDER)

    def postgres_js(self, told):
        node_test.Node.install()
        return self.run_with(told, "node", "login_postgres_js.js", cwd=node_test.FOLDER)

    def go(self, told, *arguments):
        program = self.folder / "login-go"
        self.built("go", "go", "build", "-o", program, "login.go", environment={
            **GO, "GOCACHE": str(self.folder / "go-cache")})
        return self.run_with(told, program, *arguments)

    def pgx(self, told):
        return self.go(told)

    def pq(self, told):
        return self.go(told, "pq")

    def jdbc(self, told):
        if shutil.which("javac") is None:
            self.fail("javac is missing (Debian package openjdk-17-jdk-headless)")
        self.built("jdbc", "javac", "-d", self.folder, "Login.java")
        return self.run_with(told, "java", "-Xshare:auto", "-XX:TieredStopAtLevel=1", "-cp",
                             f"{self.folder}:{DRIVER}", "Login")

    # ---- what must come of it ----------------------------------------------------------------

    def check(self, driver, way):
        where, words = WAYS[way]
        ask = getattr(self, driver)
        told = {**NOTHING, **words, "HOST": "127.0.0.1", "PORT": self.instances[where].port,
                "ROOT": self.authority.certificate, "LOGIN": "alice"}
        if where == "cert":
            right, wrong = self.files["alice"], self.files["bob"]
            refusal = 'certificate authentication failed for user "alice"'
        else:
            right, wrong = {"PASSWORD": "alices word"}, {"PASSWORD": "bobs word"}
            refusal = 'password authentication failed for user "alice"'
        self.assertEqual(ask({**told, **right}), ("users", ""))
        answer, error = ask({**told, **wrong})
        self.assertEqual(answer, "")
        self.assertIn(refusal, error)
        self.assertEqual(ask({**told, **right}), ("users", ""))


def _add(driver, way):
    def test(self):
        self.check(driver, way)

    test.__name__ = f"test_{driver}_{way}"
    setattr(Logins, test.__name__, test)


for _driver in ("psql", "psycopg", "asyncpg", "node", "postgres_js", "pgx", "pq", "jdbc"):
    for _way in WAYS:
        if _way != "scram_bound" or _driver in BINDING:
            _add(_driver, _way)
