"""The programs of deploy/examples/patterns, as their README says to run them."""

import os
import pathlib
import subprocess

import harness
import node_test
import server

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "deploy" / "examples" / "patterns"


class Examples(harness.Case):
    own_schemux = False

    @classmethod
    def setUpClass(cls):
        node_test.Node.install()
        super().setUpClass()

    def serve(self, pattern):
        """The pattern's own configuration, on a database of its own; the port."""
        database = f"example_{pattern}"
        self.postgres.run(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)", dbname="postgres")
        self.postgres.run(f"CREATE DATABASE {database} OWNER app", dbname="postgres")
        self.addCleanup(self.postgres.run, f"DROP DATABASE {database} WITH (FORCE)",
                        dbname="postgres")
        self.dsn = self.postgres.dsn("app", database)
        self.assert_program(self.run_program(server.POSTGRES_BIN / "psql", "-qv", "ON_ERROR_STOP=1",
                                             "-f", FOLDER / pattern / "schema.sql", self.dsn))
        port = server.free_port()
        environment = {**os.environ, "SCHEMUX_PORT": str(port), "SCHEMUX_DSN": self.dsn,
                       "PGSSLMODE": "disable"}
        process = subprocess.Popen(
            [self.lab.binary, "serve", "--config", FOLDER / pattern / "schemux.yaml"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env=environment)
        self.addCleanup(process.wait)
        self.addCleanup(process.terminate)
        self.wait_until(lambda: self.reaches(port), "schemux to listen")
        return port

    @staticmethod
    def reaches(port):
        try:
            server.socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            return False
        return True

    def run_example(self, program, url):
        command = "/usr/bin/python3" if program.endswith(".py") else "node"
        finished = self.run_program(
            command, FOLDER / program,
            env={**os.environ, "DATABASE_URL": url, "NODE_PATH": node_test.FOLDER / "node_modules"})
        self.assert_program(finished)
        return finished.stdout.splitlines()

    def url(self, port, path=""):
        return f"postgresql://app@127.0.0.1:{port}{path}"

    def test_standalone(self):
        port = self.serve("standalone")
        url = self.url(port, "/notes")
        self.assertEqual(self.run_example("standalone/app.py", url), ["1 from Python"])
        self.assertEqual(self.run_example("standalone/app.js", url),
                         ["2 from JavaScript", "1 from Python"])

    def test_shared_pool(self):
        port = self.serve("shared_pool")
        self.assertEqual(self.run_example("shared_pool/users.py", self.url(port, "/users")),
                         ["1 alice@example.com"])
        self.assertEqual(self.run_example("shared_pool/orders.js", self.url(port, "/orders")),
                         ["alice@example.com 1 42"])

    def test_dual_mode(self):
        port = self.serve("dual_mode")
        direct = self.url(self.postgres.port, "/example_dual_mode?options=-csearch_path%3Dtasks")
        via = []
        for program in ("app.py", "app.js"):
            for url in (self.url(port, "/tasks"), direct):
                self.run_example(f"dual_mode/{program}", url)
                via.append(url == direct)
        rows = self.postgres.run("SELECT via = 'tasks' FROM tasks.tasks ORDER BY id",
                                 dbname="example_dual_mode")
        self.assertEqual([one for one, in rows], via)

    def test_saas(self):
        port = self.serve("saas")
        self.assertEqual(self.run_example("saas/app.py", self.url(port)),
                         ["acme [('acme', 1)]", "globex [('globex', 1)]"])
        self.assertEqual(self.run_example("saas/app.js", self.url(port)),
                         ['acme [{"customer":"acme","count":2}]',
                          'globex [{"customer":"globex","count":2}]'])
