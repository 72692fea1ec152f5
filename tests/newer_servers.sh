#!/usr/bin/env bash
# The integration tests and the wire scripts against PostgreSQL 17 and 18 of Debian's later
# releases, each in a system of its own that debootstrap makes (500 MB and a minute each; kept
# between runs).
#
#   tests/newer_servers.sh --schemux PATH [--roots FOLDER] [--versions "17 18"]
#                          [--suites "integration wire"] [-- OPTIONS OF THEIR RUN.PY]
#
# The client matrix (--suites clients) runs there too, with what tests/run.sh installs for it.
#
# Needs root (debootstrap, chroot, bind mounts in a mount namespace of its own), the Debian package
# debootstrap and a mirror. Not part of the fast path. Where it cannot run it says why and ends with
# status 3; nothing passes without having run.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
roots=${SCHEMUX_NEWER_ROOTS:-/var/tmp/schemux-newer-servers}
mirror=${SCHEMUX_DEBIAN_MIRROR:-http://deb.debian.org/debian}
versions="17 18"
suites="integration wire"
schemux=""

usage() {
    sed -n '2,13p' "$0" | cut -c3-
}

cannot() {
    echo "newer_servers: cannot run: $*" >&2
    exit 3
}

while [ $# -gt 0 ]; do
    case $1 in
        --schemux) schemux=$(realpath "$2"); shift 2 ;;
        --roots) roots=$2; shift 2 ;;
        --versions) versions=$2; shift 2 ;;
        --suites) suites=$2; shift 2 ;;
        --help) usage; exit 0 ;;
        --) shift; break ;;
        *) usage >&2; exit 2 ;;
    esac
done
[ -x "$schemux" ] || { usage >&2; exit 2; }
[ "$(id -u)" = 0 ] || cannot "it needs root, for debootstrap and chroot"
unshare --mount true 2>/dev/null || cannot "no mount namespace may be made here"

# The release of Debian that has this version of PostgreSQL.
release_of() {
    case $1 in
        17) echo trixie ;;
        18) echo forky ;;
        *) cannot "no release is known to have PostgreSQL $1" ;;
    esac
}

make_root() {
    local version=$1 root=$2 release script
    [ -x "$root/usr/lib/postgresql/$version/bin/postgres" ] && return
    command -v debootstrap >/dev/null || cannot "debootstrap is not installed"
    release=$(release_of "$version")
    mkdir -p "$roots"
    rm -rf "$root.new"
    # An older debootstrap does not know the newest release's name: all are made alike.
    script=/usr/share/debootstrap/scripts/$release
    [ -e "$script" ] || script=/usr/share/debootstrap/scripts/sid
    debootstrap --variant=minbase --include="postgresql-$version" "$release" "$root.new" \
        "$mirror" "$script" >"$roots/$version.log" 2>&1 ||
        cannot "debootstrap of $release failed: $(tail -1 "$roots/$version.log")"
    mv "$root.new" "$root"
}

status=0
for version in $versions; do
    root=$roots/$version
    make_root "$version" "$root"
    echo "PostgreSQL $version ($(chroot "$root" "/usr/lib/postgresql/$version/bin/postgres" -V))"
    for suite in $suites; do
        # The mounts are gone with the namespace. The tests and that system share /tmp.
        # shellcheck disable=SC2016
        unshare --mount bash -c '
            mount --bind /tmp "$1/tmp" && mount --rbind /dev "$1/dev" &&
                mount -t proc proc "$1/proc" || exit
            root=$1; shift
            exec env TMPDIR=/tmp /usr/bin/python3 "$@" --postgres "'"$version"':$root"
        ' newer "$root" "$here/$suite/run.py" --schemux "$schemux" "$@" || status=1
    done
done
exit "$status"
