"""The password of schemux's own login, where it ends after a while: a program that prints it, and a
file that somebody writes anew.
"""

import stat

import psycopg

import harness

ROLE = "short_lived"


class ShortLived(harness.Case):
    own_schemux = False

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.lab.postgres.run(f"SET password_encryption = 'scram-sha-256';"
                             f"CREATE ROLE {ROLE} LOGIN PASSWORD 'first' IN ROLE app")
        hba = cls.lab.postgres.data / "pg_hba.conf"
        cls.hba_before = hba.read_text()
        hba.write_text(f"host all {ROLE} 127.0.0.1/32 scram-sha-256\n" + cls.hba_before)
        cls.lab.postgres.run("SELECT pg_reload_conf()")

    @classmethod
    def tearDownClass(cls):
        (cls.lab.postgres.data / "pg_hba.conf").write_text(cls.hba_before)
        cls.lab.postgres.run(f"SELECT pg_reload_conf(); DROP ROLE {ROLE}")
        super().tearDownClass()

    def setUp(self):
        super().setUp()
        self.word = self.lab.folder / f"word-{self._testMethodName[:30]}"
        self.change("first")

    def change(self, password, of_role=True):
        if of_role:
            self.postgres.run("SET password_encryption = 'scram-sha-256';"
                              f"ALTER ROLE {ROLE} PASSWORD '{password}'")
        self.word.write_text(password + "\n")
        self.word.chmod(0o600)

    def program(self, text):
        file = self.word.with_suffix(".sh")
        file.write_text("#!/bin/sh\n" + text)
        file.chmod(file.stat().st_mode | stat.S_IXUSR)
        return [str(file), str(self.word)]

    def schemux_with(self, **backend):
        """One backend at a time, which lives for one lease."""
        return self.start_schemux({
            "backend": {"dsn": self.postgres.dsn(ROLE), **backend},
            "pool": {"max_connections": 1, "acquire_timeout": "8s"}})

    def end_backends(self):
        self.postgres.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                          "WHERE usename = %s", (ROLE,))
        self.wait_until(lambda: not self.postgres.backends(ROLE), "the backends to end")

    def rows(self, instance, sql="SELECT count(*) FROM pg_roles WHERE rolname = 'app'"):
        with psycopg.connect(instance.dsn(), autocommit=True) as connection:
            return connection.execute(sql).fetchall()

    def test_a_program_is_asked_again_when_its_password_is_refused(self):
        runs = self.word.with_suffix(".runs")
        instance = self.schemux_with(
            password_command=self.program(f'echo run >> {runs}\ncat "$1"\n'))
        self.assertEqual(self.rows(instance), [(1,)])
        self.end_backends()
        self.assertEqual(self.rows(instance), [(1,)])
        self.assertEqual(runs.read_text().count("run"), 1, "one password serves many connections")
        self.change("second")
        self.end_backends()
        self.assertEqual(self.rows(instance), [(1,)])
        self.assertEqual(runs.read_text().count("run"), 2)

    def test_a_file_is_read_again_when_its_password_is_refused(self):
        instance = self.schemux_with(password_file=str(self.word))
        self.assertEqual(self.rows(instance), [(1,)])
        self.change("third")
        self.end_backends()
        self.assertEqual(self.rows(instance), [(1,)])

    def test_waiting_clients_get_the_servers_error_when_the_new_one_is_wrong_too(self):
        instance = self.schemux_with(password_command=self.program('cat "$1"\n'))
        self.assertEqual(self.rows(instance), [(1,)])
        self.change("fourth")
        self.change("wrong", of_role=False)
        self.end_backends()
        with self.assertRaises(psycopg.Error) as caught:
            self.rows(instance)
        self.assertIn(f'password authentication failed for user "{ROLE}"', str(caught.exception))
        self.change("fourth")
        self.wait_until(lambda: self.works(instance), "the right one")

    def works(self, instance):
        try:
            return self.rows(instance) == [(1,)]
        except psycopg.Error:
            return False

    def test_a_program_that_fails_is_in_the_log_and_tried_again(self):
        instance = self.schemux_with(password_command=self.program(
            f'test -e {self.word}.ready || {{ echo "top secret"; exit 7; }}\ncat "$1"\n'))
        self.wait_until(lambda: instance.log_count("no_backend_password") > 0 or
                        not self.works(instance), "an attempt")
        self.wait_until(lambda: instance.log_count("no_backend_password") > 0, "the log")
        text = instance.log.read_text()
        self.assertIn("ended with status 7", text)
        self.assertNotIn("top secret", text)
        self.word.with_name(self.word.name + ".ready").touch()
        self.wait_until(lambda: self.works(instance), "the password")

    def test_a_reload_may_bring_another_program(self):
        instance = self.schemux_with(password_command=self.program('cat "$1"\n'))
        self.assertEqual(self.rows(instance), [(1,)])
        instance.config["backend"]["password_command"] = ["/bin/false"]
        instance.write_config()
        instance.reload()
        self.assertFalse(self.works(instance))
        instance.config["backend"]["password_command"] = ["/bin/cat", str(self.word)]
        instance.write_config()
        instance.reload()
        self.wait_until(lambda: self.works(instance), "the password")
