#!/usr/bin/env python3
# The newest PgBouncer and Odyssey that Debian packages, unpacked from its later release into a
# folder of their own, where they run under chroot. The folder (250 MB, a minute) is kept between
# runs; remove it to have newer ones.
#   tests/bench/peers.py [DIR]      makes it, and tells what is in it
# It knows Debian; it must not know how a peer is configured.

import os
import shutil
import subprocess
import sys

RELEASE = "forky"
PACKAGES = ("pgbouncer", "odyssey")
PROGRAMS = {"pgbouncer": "/usr/sbin/pgbouncer", "odyssey": "/usr/bin/odyssey"}
SCRIPTS = "/usr/share/debootstrap/scripts"
FOLDER = os.environ.get("SCHEMUX_BENCH_PEERS", "/var/tmp/schemux-bench-peers")
MIRROR = os.environ.get("SCHEMUX_DEBIAN_MIRROR", "http://deb.debian.org/debian")


class Unavailable(Exception):
    """Why there are no newer peers here, in one line."""


def complete(root):
    return all(os.path.exists(root + program) for program in PROGRAMS.values())


def make(root):
    """The folder, made if need be; processes in it need root as well, for chroot."""
    root = os.path.abspath(root)
    if os.geteuid() != 0:
        raise Unavailable("chroot needs root")
    if complete(root):
        return root
    if not shutil.which("debootstrap"):
        raise Unavailable("debootstrap is not installed")
    print(f"bench: unpacking {' and '.join(PACKAGES)} of Debian {RELEASE} into {root}",
          file=sys.stderr, flush=True)
    # An older debootstrap does not know the newest release's name: all are made alike.
    script = os.path.join(SCRIPTS, RELEASE)
    script = script if os.path.exists(script) else os.path.join(SCRIPTS, "sid")
    unfinished = root + ".new"
    shutil.rmtree(unfinished, ignore_errors=True)
    # Its mounts are gone with the namespace, also if it dies: nothing then lies below `unfinished`.
    done = subprocess.run(
        ["unshare", "--mount", "debootstrap", "--variant=minbase",
         "--include=" + ",".join(PACKAGES), RELEASE, unfinished, MIRROR, script],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        check=False)
    if done.returncode != 0 or not complete(unfinished):
        shutil.rmtree(unfinished, ignore_errors=True)
        lines = done.stdout.strip().splitlines() or ["no word of why"]
        raise Unavailable(f"debootstrap of {RELEASE} failed: {lines[-1]}")
    shutil.rmtree(root, ignore_errors=True)
    os.rename(unfinished, root)
    return root


def main(arguments):
    try:
        root = make(arguments[0] if arguments else FOLDER)
    except Unavailable as reason:
        raise SystemExit(f"bench: no newer peers: {reason}") from None
    for program in PROGRAMS.values():
        shown = subprocess.run(["chroot", root, program, "--version"], capture_output=True,
                               text=True, check=True)
        print(f"{root}{program}: {shown.stdout.splitlines()[0]}")


if __name__ == "__main__":
    main(sys.argv[1:])
