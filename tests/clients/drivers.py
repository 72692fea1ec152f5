"""Which drivers there are, how their programs are built and started, and what differs.

It must not know how results are judged.
"""

import dataclasses
import os
import pathlib
import subprocess

BUILT = pathlib.Path(__file__).resolve().parents[2] / "build" / "clients"
ODBC = "/usr/lib/x86_64-linux-gnu/odbc/psqlodbcw.so"
PROGRAMS = pathlib.Path(__file__).resolve().parent / "programs"


@dataclasses.dataclass
class Driver:
    """`command`: the program and its arguments; `{out}` is a folder for what `build` makes."""

    name: str
    command: list
    build: list = dataclasses.field(default_factory=list)
    folder: pathlib.Path = PROGRAMS
    environment: dict = dataclasses.field(default_factory=dict)
    # {(check, mode): id of core/EXCEPTIONS.md}: must fail there, and only there.
    differs: dict = dataclasses.field(default_factory=dict)
    smoke: bool = False

    def prepare(self, folder, seconds):
        """The command line of the program, built if it has to be."""
        out = folder / self.name
        out.mkdir(exist_ok=True)
        for step in self.build:
            done = subprocess.run([part.format(out=out) for part in step], cwd=self.folder,
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, text=True, timeout=seconds, check=False,
                                  env={**os.environ, **self.environment})
            if done.returncode != 0:
                raise AssertionError(f"{self.name} was not built:\n{done.stdout[-3000:]}")
        return [part.format(out=out) for part in self.command]


def python(name, **more):
    return Driver(name, ["/usr/bin/python3", "-B", f"python/{name}_program.py"], **more)


def node(name, program, **more):
    return Driver(f"node_{name}", ["node", program], folder=PROGRAMS / "node",
                  build=[["/usr/bin/python3", "-B", "install.py"]], **more)


def go(name, **more):
    return Driver(name, ["{out}/program"],
                  build=[["go", "build", "-o", "{out}/program", "main.go", f"{name}.go"]],
                  folder=PROGRAMS / "go",
                  environment={"GO111MODULE": "off", "GOPATH": "/usr/share/gocode", "GOFLAGS": ""},
                  **more)


# Debian's own toolchain, whatever else comes first in PATH: its packages are made for that one.
# Built where the next run finds it again.
RUST = Driver("rust", [str(BUILT / "rust/debug/client")], folder=PROGRAMS / "rust",
              build=[["/usr/bin/cargo", "build", "--quiet", "--offline"]],
              environment={"PATH": "/usr/bin:/bin", "CARGO_HOME": str(BUILT / "cargo"),
                           "CARGO_TARGET_DIR": str(BUILT / "rust")})

DRIVERS = [
    python("pg8000", smoke=True),
    python("sqlalchemy", smoke=True),
    python("django"),
    Driver("ruby", ["ruby", "ruby.rb"]),
    Driver("perl", ["perl", "perl.pl"], smoke=True),
    Driver("php", ["php", "php.php"]),
    # lastInsertId() outside a transaction asks for lastval() in a statement of its own.
    Driver("php_pdo", ["php", "php_pdo.php"],
           differs={("last_insert_id", "transaction"): "E3"}),
    go("libpq"),
    go("pgx"),
    Driver("pqxx", ["{out}/program"], folder=PROGRAMS,
           build=[["g++", "-std=c++17", "pqxx.cpp", "-o", "{out}/program", "-lpqxx", "-lpq"]]),
    RUST,
    python("odbc", environment={"SCHEMUX_ODBC_DRIVER": ODBC}),
    node("pg", "node_pg.js"),
    node("postgres_js", "postgres_js.js"),
    node("orms", "orms.js"),
]
