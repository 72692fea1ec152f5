"""Installs package.json's packages beside it, once; npm needs its registry for that."""

import pathlib
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent


def main():
    wanted = (HERE / "package.json").read_text()
    done = HERE / "node_modules" / ".installed"
    if done.is_file() and done.read_text() == wanted:
        return
    if shutil.which("npm") is None:
        sys.exit("npm is not installed (Debian package npm)")
    subprocess.run(["npm", "install", "--no-package-lock", "--no-audit", "--no-fund",
                    "--ignore-scripts"], cwd=HERE, check=True)
    done.write_text(wanted)


main()
