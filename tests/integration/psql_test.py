"""psql as people use it: simple queries, \\copy, error carets, Ctrl-C."""

import os
import signal
import subprocess

import harness
import server


class Psql(harness.Case):
    def psql(self, service, *commands, text=None, options=()):
        """psql's finished process; `commands` by -c, `text` as its input."""
        command = [*server.program("psql"), "-X", "-A", "-t", "-q", *options,
                   self.schemux.dsn(service)]
        for one in commands:
            command += ["-c", one]
        return subprocess.run(command, input=text, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True, timeout=60, check=False,
                              env={**os.environ, "PGOPTIONS": "", "LC_ALL": "C"})

    def lines(self, service, *commands, **more):
        finished = self.psql(service, *commands, **more)
        self.assert_program(finished)
        return finished.stdout.splitlines()

    def test_each_service_sees_its_own_schema(self):
        for service in ("users", "orders", "legacy"):
            for name in ("{{tables.who}}", "<<tables.who>>", "who", "{{schema}}.who"):
                expected = [service]
                self.assertEqual(self.lines(service, f"SELECT service FROM {name}"), expected,
                                 f"{service} {name}")

    def test_templates_are_left_alone_in_literals_comments_and_identifiers(self):
        text = ("SELECT '{{tables.who}}' /* {{tables.x}} */, $$<<tables.y>>$$, "
                '1 AS "{{schema}}" -- {{tables.z}}')
        self.assertEqual(self.lines("users", text), ["{{tables.who}}|<<tables.y>>|1"])

    def test_unknown_service_is_a_connection_failure(self):
        finished = self.psql("nobody", "SELECT 1")
        self.assertEqual(finished.returncode, 2)
        self.assertIn('FATAL:  database "nobody" does not exist', finished.stderr)

    def test_caret_points_into_the_clients_own_text(self):
        text = ("SELECT w.service,\n  w.nothing FROM {{tables.who}} w "
                "JOIN {{tables.items}} i ON true")
        error = self.psql("users", text).stderr
        self.assertIn("LINE 2:   w.nothing FROM", error)
        caret = [line for line in error.splitlines() if line.strip() == "^"]
        self.assertEqual(caret, [" " * len("LINE 2:   ") + "^"])

    def test_caret_behind_templates_and_wide_characters(self):
        for service in ("users", "legacy"):
            text = "SELECT 'äöü€', 1 FROM {{tables.who}} a, <<tables.who>> b WHERE oops"
            error = self.psql(service, text).stderr
            at = error.splitlines()
            caret = next(index for index, line in enumerate(at) if line.strip() == "^")
            self.assertEqual(at[caret - 1][len(at[caret]) - 1:], "oops", error)

    def test_errverbose_names_sqlstate_and_position(self):
        text = "SELECT 1 FROM {{tables.who}} WHERE missing;\n\\errverbose\n"
        finished = self.psql("users", text=text)
        self.assertIn("ERROR:  42703", finished.stderr)
        self.assertIn("LINE 1: SELECT 1 FROM {{tables.who}} WHERE missing;", finished.stderr)

    def test_unknown_template_is_a_syntax_error_and_the_session_goes_on(self):
        finished = self.psql("users", text="SELECT 1 FROM {{tabels.who}};\nSELECT 2;\n")
        self.assertIn("{{tabels.who}}", finished.stderr)
        self.assertIn("LINE 1:", finished.stderr)
        self.assertEqual(finished.stdout.split(), ["2"])

    def test_foreign_schema_must_be_allowed(self):
        finished = self.psql("users", "SELECT * FROM {{tables.orders.who}}", "SELECT 3")
        self.assertIn("orders", finished.stderr)
        self.assertEqual(finished.stdout.split(), ["3"])

    def test_copy_in_and_out_with_backslash_copy(self):
        with self.temporary_table("number int, body text", "orders") as table:
            source = self.schemux.folder / "copy.tsv"
            rows = [f"{number}\tbody {number}" for number in range(5000)]
            source.write_text("\n".join(rows) + "\n")
            back = self.schemux.folder / "back.tsv"
            self.lines("orders", f"\\copy {table} FROM '{source}'",
                       f"\\copy (SELECT * FROM {{{{tables.{table}}}}} ORDER BY 1) TO '{back}'")
            self.assertEqual(back.read_text(), source.read_text())
            self.assertEqual(self.postgres.run(f"SELECT count(*) FROM orders.{table}"), [(5000,)])

    def test_copy_from_stdin_in_a_script(self):
        with self.temporary_table("number int, body text") as table:
            text = (f"COPY {{{{tables.{table}}}}} FROM STDIN;\n1\tone\n2\ttwo\n\\.\n"
                    "SELECT 'after';\n")
            self.assertEqual(self.lines("users", text=text), ["after"])
            self.assertEqual(self.postgres.run(f"SELECT count(*) FROM users.{table}"), [(2,)])

    def test_copy_error_in_the_data_leaves_the_session_usable(self):
        with self.temporary_table("number int") as table:
            text = f"COPY {table} FROM STDIN;\n1\nnot a number\n\\.\nSELECT 'after';\n"
            finished = self.psql("users", text=text)
            self.assertIn("invalid input syntax for type integer", finished.stderr)
            self.assertEqual(finished.stdout.split(), ["after"])

    def test_large_result_arrives_whole(self):
        count = 200_000
        lines = self.lines("users", f"SELECT n, md5(n::text) FROM generate_series(1, {count}) n",
                           "SELECT 'end'")
        self.assertEqual(len(lines), count + 1)
        self.assertEqual(lines[-1], "end")
        self.assertEqual([line.split("|")[0] for line in lines[:-1]],
                         [str(number) for number in range(1, count + 1)])

    def test_single_value_of_many_megabytes(self):
        lines = self.lines("users", "SELECT repeat('x', 20000000)")
        self.assertEqual([len(line) for line in lines], [20_000_000])

    def test_several_statements_in_one_text(self):
        text = "SELECT 1; SELECT service FROM {{tables.who}}; SELECT 3"
        self.assertEqual(self.lines("users", text), ["1", "users", "3"])

    def test_error_in_the_middle_of_several_statements_undoes_them(self):
        with self.temporary_table("number int") as table:
            finished = self.psql("users", f"INSERT INTO {table} VALUES (1); SELECT 1/0; SELECT 2")
            self.assertIn("division by zero", finished.stderr)
            self.assertEqual(self.postgres.run(f"SELECT count(*) FROM users.{table}"), [(0,)])

    def test_transaction_with_savepoint(self):
        with self.temporary_table("number int") as table:
            text = (f"BEGIN;\nINSERT INTO {table} VALUES (1);\nSAVEPOINT a;\nSELECT 1/0;\n"
                    f"ROLLBACK TO a;\nINSERT INTO {{{{tables.{table}}}}} VALUES (2);\nCOMMIT;\n"
                    f"SELECT number FROM {table} ORDER BY 1;\n")
            finished = self.psql("users", text=text)
            self.assertEqual(finished.stdout.split(), ["1", "2"])

    def test_describe_commands_work(self):
        listed = "\n".join(self.lines("orders", "\\dt"))
        self.assertIn("orders|who|table", listed)
        self.assertNotIn("users|who", listed)
        self.assertIn("name|text", "\n".join(self.lines("orders", "\\d items")))

    def test_gexec_gset_and_prepared_parameters(self):
        text = ("SELECT service AS s FROM {{tables.who}} \\gset\n\\echo :s\n"
                "SELECT 'SELECT 7' \\gexec\n")
        self.assertEqual(self.lines("users", text=text), ["users", "7"])

    def test_interrupt_cancels_the_statement_and_the_backend_serves_on(self):
        command = [*server.program("psql"), "-X", "-A", "-t", "-q", self.schemux.dsn("users")]
        psql = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True)
        self.addCleanup(psql.kill)
        psql.stdin.write("SELECT pg_sleep(60) AS interrupted;\n")
        psql.stdin.flush()
        self.wait_until(lambda: self.postgres.run(
            "SELECT 1 FROM pg_stat_activity WHERE state = 'active' AND usename = 'app' "
            "AND query LIKE '%interrupted%'"), "the statement to run")
        psql.send_signal(signal.SIGINT)
        # psql that reads a script ends at Ctrl-C; the error shows that PostgreSQL was told.
        _, error = psql.communicate(timeout=30)
        self.assertIn("canceling statement due to user request", error)
        self.assertEqual(self.lines("users", "SELECT 1"), ["1"])

    def test_pg_dump_of_one_schema(self):
        finished = self.run_program(*server.program("pg_dump"), "--schema=orders",
                                    "--schema-only", self.schemux.dsn("orders"))
        self.assert_program(finished)
        self.assertIn("CREATE TABLE orders.who", finished.stdout)
