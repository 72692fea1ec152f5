# What quickstart.sh, tests/run.sh and .ci/run share, to be sourced: messages, Debian's packages,
# how many compilers at once. Sourcing it changes nothing. Works as root, or with sudo where that
# may be used.
# shellcheck shell=bash

# What the daemon is built from and what its throwaway PostgreSQL needs.
# shellcheck disable=SC2034 # for the script that sources this
build_packages=(
    g++ cmake ninja-build ccache
    libboost1.81-dev libpq-dev libyaml-cpp-dev prometheus-cpp-dev libspdlog-dev libssl-dev
    libcli11-dev liburing-dev
    postgresql-15 postgresql-client-15
)

say() { printf '==> %s\n' "$*" >&2; }
fail() {
    printf '%s: %s\n' "$(basename "$0")" "$*" >&2
    exit 1
}

is_installed() {
    [[ $(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null) == installed ]]
}

# Sets as_root to the words that run a command as root: none, or sudo.
find_root() {
    as_root=()
    if [[ $(id -u) -eq 0 ]]; then return; fi
    if command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [[ -t 0 ]]; }; then
        as_root=(sudo)
        return
    fi
    fail "these packages are missing, and installing them needs root or sudo:
    apt-get install --no-install-recommends $*"
}

# Debian starts a PostgreSQL of its own with the package. Only its programs are needed, so that is
# prevented, but only where there was none: nobody's existing set-up is touched.
without_main_cluster() {
    local folder=/etc/postgresql-common/createcluster.d
    if is_installed postgresql-15; then return; fi
    "${as_root[@]}" mkdir -p "$folder"
    printf 'create_main_cluster = false\n' |
        "${as_root[@]}" tee "$folder/schemux-quickstart.conf" >/dev/null
}

# install_packages <package>...: those that are missing, if any.
install_packages() {
    local package missing=()
    for tool in apt-get dpkg-query; do
        command -v "$tool" >/dev/null ||
            fail "this script is for Debian 12; elsewhere see README.md for what to install"
    done
    for package in "$@"; do is_installed "$package" || missing+=("$package"); done
    if [[ ${#missing[@]} -eq 0 ]]; then return; fi
    find_root "${missing[*]}"
    say "installing ${missing[*]} (1-5 minutes, up to 700 MB with all they need)"
    without_main_cluster
    local apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -o Acquire::Retries=3)
    # Twice: a mirror may be replacing its lists just now.
    for _ in 1 2; do
        "${apt[@]}" update >&2 || true
        # --no-remove: another Boost's development files, for instance, are for their owner to
        # remove.
        if "${apt[@]}" install -y --no-install-recommends --no-remove "${missing[@]}" \
            </dev/null >&2; then
            return
        fi
    done
    fail "apt-get could not install: ${missing[*]}"
}

# As many compilers as there are processors and memory for: one needs up to 1.5 GB.
parallel_jobs() {
    local processors memory_kb by_memory
    processors=$(nproc)
    memory_kb=$(awk '/^MemAvailable:/ { print $2 }' /proc/meminfo)
    by_memory=$((memory_kb / 1500000))
    if [[ $by_memory -lt 1 ]]; then by_memory=1; fi
    echo $((processors < by_memory ? processors : by_memory))
}
