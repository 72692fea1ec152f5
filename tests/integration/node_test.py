"""node-postgres and postgres.js; the checks themselves are in node/checks.js."""

import fcntl
import pathlib
import re
import shutil

import harness

FOLDER = pathlib.Path(__file__).resolve().parent / "node"
NAMES = re.findall(r"^  async (\w+)\(\)", (FOLDER / "checks.js").read_text(), re.MULTILINE)


class Node(harness.Case):
    config = {"pool": {"max_connections": 3, "acquire_timeout": "30s"}}

    @classmethod
    def setUpClass(cls):
        cls.install()
        super().setUpClass()

    @classmethod
    def install(cls):
        """Into node/node_modules, once; a failure is a failure of the tests."""
        if shutil.which("npm") is None:
            raise AssertionError("npm is not installed (Debian package npm)")
        with open(FOLDER / "package.json", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            wanted = FOLDER / "package.json"
            done = FOLDER / "node_modules" / ".installed"
            if done.is_file() and done.read_text() == wanted.read_text():
                return
            installed = cls.run_program(
                cls, "npm", "install", "--no-package-lock", "--no-audit", "--no-fund",
                "--ignore-scripts", cwd=FOLDER, seconds=300)
            if installed.returncode != 0:
                raise AssertionError(f"npm install failed:\n{installed.stderr[-2000:]}")
            done.write_text(wanted.read_text())

    def check(self, name):
        self.assert_program(self.run_program("node", FOLDER / "checks.js", name,
                                             self.schemux.port, cwd=FOLDER))


def _add(name):
    def test(self):
        self.check(name)

    test.__name__ = f"test_{name}"
    setattr(Node, test.__name__, test)


for _name in NAMES:
    _add(_name)


NodeInSessionMode = harness.in_session_mode(Node)
