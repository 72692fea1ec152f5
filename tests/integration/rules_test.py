"""Who must prove how who it is: rules by origin, service and user, pg_hba.conf files, users of
files, md5, and what the names of certificates may be mapped to.
"""

import os
import pwd
import socket
import struct

import psycopg

import harness
import server
import tls_test
import wire

# What a header of the PROXY protocol, version 2, begins with.
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
PASSWORDS = {"alice": "alices word", "bob": "bobs word", "carol": "carols word"}
USERS = [{"name": name, "password": word} for name, word in PASSWORDS.items()]


def config(**auth):
    return {"auth": {"method": "reject", "users": USERS, **auth}}


class RulesCase(harness.Case):
    """`methods`: what the first message of a login asks for, by its number."""

    asked = {0: "trust", 3: "password", 5: "md5", 10: "scram-sha-256"}

    def answer(self, user="alice", service="users", **more):
        """The method that a client is asked for, or the SQLSTATE that refuses it."""
        with wire.Wire(self.schemux.port, **more) as client:
            client.send(wire.startup({"user": user, "database": service}))
            first = client.read()
        if first.kind == "E":
            return first.error["C"]
        number, = struct.unpack_from("!I", first.body)
        return self.asked[number]

    def refusal(self, user="alice", service="users"):
        client = self.raw()
        client.send(wire.startup({"user": user, "database": service}))
        return wire.errors_of(client.read_to_end())[0]

    def log_in(self, user="alice", service="users", password=None, **more):
        connection = psycopg.connect(self.schemux.dsn(service, user=user), autocommit=True,
                                     password=password or PASSWORDS[user], **more)
        self.addCleanup(connection.close)
        return connection


class Rules(RulesCase):
    config = config(rules=[
        {"users": ["carol"], "method": "reject"},
        {"type": "host", "addresses": ["127.0.0.1"], "services": ["orders"], "users": ["alice"],
         "method": "trust"},
        {"type": "hostssl", "method": "scram-sha-256"},
        {"type": "host", "services": ["users"], "method": "scram-sha-256"},
        {"type": "host", "services": ["legacy"], "users": ["bob"], "method": "md5"},
    ])

    def test_the_first_rule_that_fits_decides(self):
        self.assertEqual(self.answer("alice", "users"), "scram-sha-256")
        self.assertEqual(self.answer("alice", "orders"), "trust")
        self.assertEqual(self.answer("bob", "orders"), "28000")
        self.assertEqual(self.answer("bob", "legacy"), "md5")
        self.assertEqual(self.answer("carol", "users"), "28000")

    def test_logins_by_each_of_them(self):
        for user, service in (("alice", "users"), ("alice", "orders"), ("bob", "legacy")):
            rows = self.log_in(user, service).execute("SELECT service FROM who").fetchall()
            self.assertEqual(rows, [(service,)])
        for user, service in (("alice", "users"), ("bob", "legacy")):
            with self.assertRaises(psycopg.OperationalError) as caught:
                self.log_in(user, service, password="wrong")
            self.assertIn(f'password authentication failed for user "{user}"',
                          str(caught.exception))

    def test_refusals_say_who_came_from_where_and_that_no_rule_fits(self):
        error = self.refusal("bob", "orders")
        self.assertEqual((error["S"], error["C"]), ("FATAL", "28000"))
        self.assertEqual(error["M"], 'no pg_hba.conf entry for host "127.0.0.1", user "bob", '
                                     'database "orders", no encryption')
        self.assertIn("auth.rules", error["H"])
        self.wait_until(lambda: any(
            line.get("event") == "login_refused" and line["address"] == "127.0.0.1"
            for line in self.schemux.log_lines()), "the log")
        self.assertEqual(self.refusal("carol")["M"],
                         'pg_hba.conf rejects connection for host "127.0.0.1", user "carol", '
                         'database "users", no encryption')

    def test_services_and_users_that_do_not_exist_are_told_nothing(self):
        """Their rules are those of everybody; what the names are worth is seen behind the proof."""
        self.assertEqual(self.answer("nobody", "users"), "scram-sha-256")
        self.assertEqual(self.answer("alice", "nothing"), self.answer("bob", "orders"))

    def test_a_reload_takes_other_rules_for_who_comes_then(self):
        instance = self.start_schemux(self.config)
        before = psycopg.connect(instance.dsn("orders", user="alice"), autocommit=True)
        self.addCleanup(before.close)
        instance.config["auth"]["rules"] = [{"users": ["alice"], "method": "reject"}]
        instance.write_config()
        instance.reload()
        with self.assertRaises(psycopg.OperationalError) as caught:
            psycopg.connect(instance.dsn("orders", user="alice"))
        self.assertIn("rejects connection", str(caught.exception))
        self.assertEqual(before.execute("SELECT 1").fetchone(), (1,))


class HbaFile(RulesCase):
    """A unix socket and an address, with rules in PostgreSQL's own words."""

    own_schemux = False

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.me = pwd.getpwuid(os.geteuid()).pw_name
        cls.file = cls.lab.folder / "rules.conf"
        cls.users_file = cls.lab.folder / "userlist.txt"
        cls.users_file.write_text('; of PgBouncer\n"dora" "doras ""word"""\n"erik" "' +
                                  cls.md5_of("erik", "eriks word") + '"\n')
        cls.users_file.chmod(0o600)
        cls.file.write_text(
            "# TYPE DATABASE USER ADDRESS METHOD\n"
            "local  users,orders  all                 peer map=system\n"
            "host   all  erik  127.0.0.1  255.255.255.255  md5\n"
            'host   "users"  all  127.0.0.0/8  scram-sha-256\n'
            "host   all  all  all  reject\n")
        cls.schemux = cls.lab.schemux(config(
            hba_file=str(cls.file), users_file=str(cls.users_file),
            maps=[{"name": "system", "identity": cls.me, "user": "alice"}]),
            start=False, name=cls.__name__)
        cls.schemux.config["listen"].append({"unix_socket_dir": str(cls.schemux.folder),
                                             "port": cls.schemux.port})
        cls.schemux.write_config()
        cls.schemux.start()

    @classmethod
    def md5_of(cls, user, password):
        """As PostgreSQL itself makes it."""
        cls.lab.postgres.run(f"SET password_encryption = 'md5'; CREATE ROLE hba_{user};"
                             f"ALTER ROLE hba_{user} RENAME TO {user};"
                             f"ALTER ROLE {user} PASSWORD '{password}'")
        made = cls.lab.postgres.run("SELECT rolpassword FROM pg_authid WHERE rolname = %s",
                                    (user,))[0][0]
        cls.lab.postgres.run(f"DROP ROLE {user}")
        return made

    def local(self, user, service="users"):
        return psycopg.connect(host=str(self.schemux.folder), port=self.schemux.port, user=user,
                               dbname=service, autocommit=True)

    def test_the_file_decides(self):
        self.assertEqual(self.answer("alice", "users"), "scram-sha-256")
        self.assertEqual(self.answer("alice", "orders"), "28000")
        self.assertEqual(self.answer("erik", "orders"), "md5")
        self.assertEqual(self.answer("alice", "replication"), "28000")

    def test_users_of_both_places_log_in(self):
        for user, service, word in (("alice", "users", None), ("dora", "users", 'doras "word"'),
                                    ("erik", "legacy", "eriks word")):
            self.assertEqual(self.log_in(user, service, word).execute("SELECT 1").fetchone(), (1,))
            with self.assertRaises(psycopg.OperationalError):
                self.log_in(user, service, "wrong")

    def test_the_system_says_who_is_at_the_socket(self):
        with self.local("alice") as connection:
            self.assertEqual(connection.execute("SELECT service FROM who").fetchone(), ("users",))
        for user in ("bob", self.me):
            with self.assertRaises(psycopg.OperationalError) as caught:
                self.local(user)
            self.assertIn("Peer authentication failed", str(caught.exception))
        with self.assertRaises(psycopg.OperationalError) as caught:
            self.local("alice", "legacy")
        self.assertIn('no pg_hba.conf entry for host "[local]"', str(caught.exception))

    def test_a_bad_file_keeps_the_old_rules_and_is_named(self):
        good = self.file.read_text()
        self.file.write_text(good + "host all all all kerberos\nlocal all\n")
        self.addCleanup(self.file.write_text, good)
        failed = self.schemux.log_count("reload_failed")
        self.schemux.reload()
        self.assertEqual(self.schemux.log_count("reload_failed"), failed + 1)
        self.assertEqual(self.answer("alice", "users"), "scram-sha-256")
        finished = self.run_program(self.schemux.binary, "check-config", "--config",
                                    self.schemux.config_file)
        self.assertEqual(finished.returncode, 78)
        self.assertIn(f"{self.file} line 6: 'kerberos' is no method", finished.stderr)
        self.assertIn(f"{self.file} line 7: the line ends before", finished.stderr)


class Md5(RulesCase):
    config = {"auth": {"method": "md5", "users": USERS}}

    def test_a_wrong_answer_and_an_unknown_user_get_the_same_words(self):
        said = []
        for user in ("alice", "nobody"):
            client = self.raw()
            client.send(wire.startup({"user": user, "database": "users"}))
            asked = client.read()
            self.assertEqual((asked.kind, asked.body[:4], len(asked.body)),
                             ("R", b"\0\0\0\5", 8))
            client.send(wire.message("p", b"md5" + b"0" * 32 + b"\0"))
            said.append(wire.errors_of(client.read_to_end())[0])
        self.assertEqual([error["C"] for error in said], ["28P01", "28P01"])
        self.assertEqual(said[0]["M"].replace("alice", "x"), said[1]["M"].replace("nobody", "x"))

    def test_salts_are_new_each_time(self):
        salts = set()
        for _ in range(20):
            with wire.Wire(self.schemux.port) as client:
                client.send(wire.startup({"user": "alice", "database": "users"}))
                salts.add(client.read().body[4:])
        self.assertGreater(len(salts), 15)

    def test_it_is_warned_about(self):
        finished = self.run_program(self.schemux.binary, "check-config", "--config",
                                    self.schemux.config_file)
        self.assertEqual(finished.returncode, 0)
        self.assertIn("md5 can be broken", finished.stderr + finished.stdout)


class CertificateRules(tls_test.TlsCase):
    """Certificates for some, passwords for others; names that are mapped."""

    mode = "prefer"
    auth = {"method": "reject", "users": tls_test.USERS, "rules": [
        {"type": "hostssl", "services": ["orders"], "method": "cert", "map": "machines"},
        {"type": "hostssl", "users": ["bob"], "method": "scram-sha-256",
         "client_certificate": "verify-full"},
        {"type": "hostssl", "users": ["alice"], "method": "scram-sha-256",
         "client_certificate": "verify-ca"}],
        "maps": [{"name": "machines", "identity": "*.machines.example", "user": "*"},
                 {"name": "machines", "identity": "spiffe://example/ns/*", "user": "*"}]}

    @classmethod
    def listener(cls, port, **more):
        return super().listener(port, client_ca=str(cls.authority.certificate), **more)

    def with_certificate(self, name, alternatives=(), **more):
        certificate, key = self.authority.sign(name, f"rule-{name}", alternatives=alternatives)
        return {"sslcert": certificate, "sslkey": key, **more}

    def test_who_has_one_and_who_has_none(self):
        self.assertIn("no pg_hba.conf entry", self.refusal("users", "alice", sslmode="disable"))
        self.assertIn("requires a valid client certificate", self.refusal("users", "alice"))
        anybodys = self.with_certificate("somebody")
        self.assertEqual(self.connect("users", "alice", **anybodys).execute("SELECT 1").fetchone(),
                         (1,))
        self.assertIn("certificate authentication failed",
                      self.refusal("users", "bob", **anybodys))
        self.connect("users", "bob", **self.with_certificate("bob"))
        self.assertIn("password authentication failed", self.refusal(
            "users", "bob", password="wrong", **self.with_certificate("bob")))

    def test_common_and_alternative_names_are_mapped(self):
        self.connect("orders", "alice", password="", **self.with_certificate(
            "alice.machines.example"))
        self.connect("orders", "bob", password="", **self.with_certificate(
            "pod-7", alternatives=("DNS:x.example", "URI:spiffe://example/ns/bob")))
        for name, alternatives in (("alice", ()), ("bob.machines.example", ()),
                                   ("x", ("DNS:alice",)), ("y", ("URI:spiffe://other/ns/alice",))):
            self.assertIn("certificate authentication failed for user \"alice\"",
                          self.refusal("orders", "alice", password="",
                                       **self.with_certificate(name, alternatives)), name)


class ServerNames(tls_test.TlsCase):
    """The name by which a client calls the server selects the service."""

    @classmethod
    def setUpClass(cls):
        cls.config = {"services": [
            {"name": "users", "schema": "users", "server_names": ["users.db.example"]},
            {"name": "orders", "schema": "orders", "users": ["bob"],
             "server_names": ["orders.db.example", "shop.db.example"]},
            {"name": "t_*", "schema": "*", "server_names": ["*.tenants.example"]},
            {"name": "legacy"}]}
        super().setUpClass()

    def service_of(self, name, database, user="bob"):
        connection = self.connect(database, user, host=name, hostaddr="127.0.0.1")
        return connection.execute("SELECT service FROM who").fetchone()[0]

    def test_it_takes_the_databases_place(self):
        self.assertEqual(self.service_of("users.db.example", "whatever"), "users")
        self.assertEqual(self.service_of("Shop.DB.example", "users"), "orders")
        self.assertEqual(self.service_of("other.example", "legacy"), "legacy")
        self.assertEqual(self.service_of("127.0.0.1", "legacy"), "legacy")

    def test_a_star_is_the_patterns(self):
        self.assertEqual(self.service_of("orders.tenants.example", "users"), "orders")
        self.assertIn('database "t_nobody" does not exist', self.refusal(
            "users", "bob", host="nobody.tenants.example", hostaddr="127.0.0.1"))

    def test_it_opens_no_door_that_is_shut(self):
        self.assertIn("permission denied", self.refusal(
            "users", "alice", host="orders.db.example", hostaddr="127.0.0.1"))


class Proxied(RulesCase):
    """Clients of a load balancer that says for whom it comes."""

    config = {**config(rules=[
        {"addresses": ["10.1.0.0/16", "2001:db8::/32"], "method": "scram-sha-256"}]),
        "limits": {"max_clients_per_address": 2}}

    @classmethod
    def setUpClass(cls):
        cls.own_schemux = False
        super().setUpClass()
        cls.schemux = cls.lab.schemux(cls.config, start=False, name=cls.__name__)
        cls.plain_port = server.free_port()
        cls.schemux.config["listen"][0]["proxies"] = ["127.0.0.1"]
        cls.schemux.config["listen"].append({"address": "127.0.0.1", "port": cls.plain_port,
                                             "proxies": ["10.9.9.9"]})
        cls.schemux.write_config()
        cls.schemux.start()

    def header(self, address, command=0x21):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        packed = socket.inet_pton(family, address)
        there = bytes(len(packed))
        body = packed + there + struct.pack("!HH", 40_000, 6432)
        kind = 0x21 if ":" in address else 0x11
        return SIGNATURE + bytes((command, kind)) + struct.pack("!H", len(body)) + body

    def client(self, address, rest=b"", pieces=1):
        client = self.raw()
        sent = self.header(address) + rest
        for at in range(0, len(sent), -(-len(sent) // pieces)):
            client.send(sent[at:at + -(-len(sent) // pieces)])
        return client

    startup = wire.startup({"user": "alice", "database": "users"})

    def test_the_address_is_what_the_proxy_says(self):
        for address, kind in (("10.1.2.3", "R"), ("2001:db8::7", "R"), ("10.2.0.1", "E")):
            for pieces in (1, 5, 1000):
                client = self.client(address, self.startup, pieces)
                message = client.read()
                self.assertEqual(message.kind, kind, (address, message))
                if kind == "E":
                    self.assertIn(f'for host "{address}"', message.error["M"])
                client.close()

    def test_the_limit_for_each_address_counts_the_clients(self):
        first = [self.client("10.1.7.7", self.startup) for _ in range(2)]
        for client in first:
            self.assertEqual(client.read().kind, "R")
        third = self.client("10.1.7.7", self.startup)
        error, = wire.errors_of(third.read_to_end())
        self.assertEqual((error["C"], error["M"]),
                         ("53300", "too many connections from this address"))
        self.assertEqual(self.client("10.1.7.8", self.startup).read().kind, "R")
        first[0].close()
        self.wait_until(lambda: self.client("10.1.7.7", self.startup).read().kind == "R",
                        "room for one more")

    def test_a_balancers_own_look_is_no_client(self):
        client = self.raw()
        client.send(self.header("10.1.2.3", command=0x20) + self.startup)
        error, = wire.errors_of(client.read_to_end())
        self.assertIn('for host "127.0.0.1"', error["M"])

    def test_what_is_no_header_is_closed_without_a_word(self):
        for sent in (self.startup, b"PROXY TCP4 10.1.2.3 10.1.2.4 1 2\r\n",
                     self.header("10.1.2.3")[:13] + b"\xff" * 20):
            client = self.raw()
            client.send(sent)
            self.assertEqual(client.read_to_end(), [])
        self.wait_until(lambda: self.schemux.log_count("proxy_header_refused") > 0, "the log")

    def test_nobody_else_is_served_there(self):
        with wire.Wire(self.plain_port) as client:
            client.send(self.header("10.1.2.3") + self.startup)
            self.assertEqual(client.read_to_end(), [])
        self.wait_until(lambda: self.schemux.log_count("no_proxy") > 0, "the log")
