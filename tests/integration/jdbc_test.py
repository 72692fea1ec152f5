"""pgjdbc; the checks themselves are in jdbc/JdbcChecks.java."""

import pathlib
import re
import shutil

import harness

SOURCE = pathlib.Path(__file__).resolve().parent / "jdbc" / "JdbcChecks.java"
DRIVER = pathlib.Path("/usr/share/java/postgresql.jar")
NAMES = re.findall(r"^    static void (\w+)\(\)", SOURCE.read_text(), re.MULTILINE)


class Jdbc(harness.Case):
    config = {"pool": {"max_connections": 3, "acquire_timeout": "30s"}}

    @classmethod
    def setUpClass(cls):
        if shutil.which("javac") is None or not DRIVER.is_file():
            raise AssertionError("javac or the driver is missing (Debian packages "
                                 "openjdk-17-jdk-headless, libpostgresql-jdbc-java)")
        super().setUpClass()
        cls.classes = cls.schemux.folder / "classes"
        compiled = cls.run_program(cls, "javac", "-cp", DRIVER, "-d", cls.classes, SOURCE)
        if compiled.returncode != 0:
            raise AssertionError(f"javac failed:\n{compiled.stderr}")

    def check(self, name):
        self.assert_program(self.run_program(
            "java", "-Xshare:auto", "-XX:TieredStopAtLevel=1", "-cp", f"{self.classes}:{DRIVER}",
            "JdbcChecks", name, self.schemux.port))


def _add(name):
    def test(self):
        self.check(name)

    test.__name__ = "test_" + re.sub("([A-Z])", lambda found: "_" + found[1].lower(), name)
    setattr(Jdbc, test.__name__, test)


for _name in NAMES:
    _add(_name)


JdbcInSessionMode = harness.in_session_mode(Jdbc)
