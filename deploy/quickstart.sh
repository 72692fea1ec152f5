#!/usr/bin/env bash
# Quick start on Debian 12: installs what is missing, builds schemux, and runs `schemux dev`, a
# complete schemux on a throwaway PostgreSQL of its own. Nothing is left running at the end.
#
#   ./deploy/quickstart.sh          until Ctrl-C
#   ./deploy/quickstart.sh --check  runs the demo queries, prints their results, exits 0 if right
#
# Other arguments go to `schemux dev` too. Works as root, or as a user who may use sudo, which is
# asked for only when a package is missing.
set -euo pipefail

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
program="$repository/build/release/schemux"
# shellcheck source=deploy/lib/debian.sh
source "$repository/deploy/lib/debian.sh"

build() {
    local jobs
    jobs=$(parallel_jobs)
    cd "$repository"
    if [[ -x $program ]]; then
        say "bringing build/release/schemux up to date (seconds, if little has changed)"
    else
        say "building schemux with $jobs jobs (2-6 minutes the first time)"
    fi
    # To stderr: stdout is for the results of --check.
    if [[ ! -e build/release/build.ninja ]]; then cmake --preset release >&2; fi
    cmake --build --preset release --parallel "$jobs" --target schemux >&2
}

if [[ ${1:-} == -h || ${1:-} == --help ]]; then
    sed -n '2,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
    exit 0
fi
started=$(pwd)
install_packages "${build_packages[@]}"
build
say "running: schemux dev $*"
cd "$started"
# exec: signals go to schemux itself, which stops its PostgreSQL before it ends.
exec "$program" dev "$@"
