#!/usr/bin/env bash
# Installs what is missing, builds schemux with warnings as errors, and runs everything that tests
# it: unit tests, the checks of tests/tidy, the lexer against PostgreSQL's own scanner, the
# simulation of whole sessions, the integration tests on a real PostgreSQL, raw messages and random
# programs of several sessions to it with and without schemux between, and the drivers of many
# languages.
#
#   ./tests/run.sh             everything
#   ./tests/run.sh --smoke     of the integration tests only the quick ones, no client matrix,
#                              fewer cases, seeds, wire scripts and session programs
#   ./tests/run.sh --fuzz N    only the fuzz targets, each for N seconds (tests/fuzz/README.md)
#   ./tests/run.sh --asan      built with AddressSanitizer and UndefinedBehaviorSanitizer
#   ./tests/run.sh --tsan      built with ThreadSanitizer; only what has threads, and --smoke
#   ./tests/run.sh --no-build  as it was last built, nothing installed
#   ./tests/run.sh --filter P  only unit tests whose name matches, as --gtest_filter takes it
#
# The first run takes about 10 minutes on two processors, later ones as long as the tests do. Each
# part tells its counts; the last line is 'N passed, N failed' of all of them. Exit status 0 means
# that something ran and nothing failed.
set -euo pipefail

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$repository"
# shellcheck source=deploy/lib/debian.sh
source deploy/lib/debian.sh

# Debian's, whatever else comes first in PATH: Debian's client libraries are there.
python=/usr/bin/python3
unit_test_seconds=300
lexer_seconds=600
simulation_seconds=900
integration_seconds=2400
wire_seconds=1500
sessions_seconds=900
clients_seconds=900

test_packages=(
    libgtest-dev libgmock-dev libpg-query-dev postgresql-server-dev-15 libnss-wrapper
    openssl python3 python3-psycopg python3-psycopg2 python3-psycopg-pool python3-asyncpg
    python3-sqlalchemy python3-django python3-yaml libpostgresql-jdbc-java
)

# For the status page: 60 MB, without a desktop's part of Chromium.
browser_packages=(chromium-headless-shell)

# For the drivers of tests/clients: 450 MB, about a minute and a half.
client_packages=(
    python3-pg8000 python3-alembic python3-pyodbc odbc-postgresql
    ruby-pg libdbd-pg-perl php-cli php-pgsql libpqxx-dev
    golang-go golang-github-jackc-pgx-v4-dev golang-github-lib-pq-dev
    cargo librust-tokio-postgres-dev librust-tokio-dev librust-futures-util-dev
)

fuzz_packages=(clang-14 libclang-rt-14-dev)

preset=dev
unit_folders=(protocol core config daemon)
build=yes
fuzz_seconds=
filter=
smoke=no
integration_options=()
wire_options=()
sessions_options=()
lexer_cases=1000000
simulation_seeds=5000
passed=0
failed=0

usage() { sed -n '2,19s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; }

read_arguments() {
    while [[ $# -gt 0 ]]; do
        case $1 in
            --smoke)
                smoke=yes
                integration_options+=(--smoke)
                wire_options+=(--smoke)
                sessions_options+=(--smoke)
                lexer_cases=200000
                simulation_seeds=500
                ;;
            --asan)
                preset=asan
                wire_options+=(--smoke)
                sessions_options+=(--smoke)
                lexer_cases=200000
                simulation_seeds=500
                ;;
            --tsan)
                preset=tsan
                unit_folders=(core daemon)
                integration_options+=(--smoke)
                for module in auth cancel config http identities isolation_start ownership \
                    patterns schemas service_lists clusters client_roles; do
                    integration_options+=(--only "${module}_test")
                done
                ;;
            --fuzz)
                [[ ${2-} =~ ^[0-9]+$ ]] || fail "--fuzz needs a number of seconds"
                fuzz_seconds=$2
                preset=fuzz
                shift
                ;;
            --no-build) build=no ;;
            --filter)
                [[ $# -ge 2 ]] || fail "--filter needs a pattern"
                filter=$2
                shift
                ;;
            -h | --help)
                usage
                exit 0
                ;;
            *) fail "unknown argument: $1 (see --help)" ;;
        esac
        shift
    done
}

install_what_is_missing() {
    if [[ -n $fuzz_seconds ]]; then
        install_packages "${build_packages[@]}" "${fuzz_packages[@]}"
        return
    fi
    local packages=("${build_packages[@]}" "${test_packages[@]}")
    if [[ $preset != tsan && $smoke == no ]]; then packages+=("${browser_packages[@]}"); fi
    if [[ $preset == dev && $smoke == no ]]; then packages+=("${client_packages[@]}"); fi
    command -v javac >/dev/null || packages+=(default-jdk-headless)
    command -v node >/dev/null || packages+=(nodejs)
    command -v npm >/dev/null || packages+=(npm)
    install_packages "${packages[@]}"
}

# promtool reads our metrics as Prometheus would, and Prometheus itself what deploy/monitoring has.
# Debian's package would also start a server, so only its files are taken, below build/.
fetch_promtool() {
    local folder=build/tools
    if [[ -x $folder/usr/bin/promtool ]] || command -v promtool >/dev/null; then return; fi
    say "fetching promtool (half a minute)"
    mkdir -p "$folder"
    rm -f "$folder"/prometheus_*.deb
    if ! download prometheus "$folder"; then
        find_root "prometheus"
        "${as_root[@]}" apt-get -q update >&2
        download prometheus "$folder" || fail "apt-get could not download prometheus"
    fi
    dpkg -x "$folder"/prometheus_*.deb "$folder"
    rm -f "$folder"/prometheus_*.deb
}

# download <package> <folder>
download() (cd "$2" && apt-get -q download "$1" >&2)

build_everything() {
    local jobs targets=(all)
    jobs=$(parallel_jobs)
    if [[ $preset == tsan ]]; then targets=(schemux core_tests daemon_tests); fi
    if [[ -n $filter ]]; then targets=(unit_tests); fi
    if [[ -e build/$preset/build.ninja ]]; then
        say "bringing build/$preset up to date (seconds, if little has changed)"
    else
        say "building build/$preset with $jobs jobs (5-8 minutes the first time)"
        cmake --preset "$preset" >&2
    fi
    cmake --build --preset "$preset" --parallel "$jobs" --target "${targets[@]}" >&2
}

# count <part> <passed> <failed>
count() {
    printf '%s: %d passed, %d failed\n' "$1" "$2" "$3"
    passed=$((passed + $2))
    failed=$((failed + $3))
}

# count_from <part> <log> <exit status>: from the part's own last line of counts. A part that ended
# badly, or without saying anything, has failed whatever it counted before.
count_from() {
    local part=$1 log=$2 status=$3 counts
    counts=$(sed -n "s/^$part: \([0-9]*\) passed, \([0-9]*\) failed.*/\1 \2/p" "$log" | tail -n 1)
    local good=${counts% *} bad=${counts#* }
    good=${good:-0} bad=${bad:-0}
    if [[ $bad -eq 0 && ($status -ne 0 || -z $counts) ]]; then
        printf '%s ended with status %d\n' "$part" "$status"
        bad=1
    fi
    count "$part" "$good" "$bad"
}

run_unit_tests() {
    local folder log status good bad
    mkdir -p "build/$preset/logs"
    say "unit tests (less than a minute)"
    for folder in "${unit_folders[@]}"; do
        log=build/$preset/logs/$folder.log
        status=0
        timeout --kill-after=10 "$unit_test_seconds" "build/$preset/tests/${folder}_tests" \
            --gtest_brief=1 --gtest_color=no --gtest_filter="${filter:-*}" \
            </dev/null >"$log" 2>&1 || status=$?
        good=$(sed -n 's/^\[  PASSED  \] \([0-9]*\) tests\{0,1\}\.$/\1/p' "$log" | tail -n 1)
        bad=$(sed -n 's/^\[  FAILED  \] \([0-9]*\) tests\{0,1\}, listed below:$/\1/p' "$log" |
            tail -n 1)
        good=${good:-0} bad=${bad:-0}
        if [[ $status -ne 0 ]]; then
            cat "$log"
            printf '%s_tests ended with status %d\n' "$folder" "$status"
            if [[ $bad -eq 0 ]]; then bad=1; fi
        fi
        count "$folder" "$good" "$bad"
    done
}

# run_part <part> <seconds> <command>...: shows the output and counts what its last line tells.
run_part() {
    local part=$1 seconds=$2 log=build/$preset/logs/$1.log status=0
    shift 2
    timeout --kill-after=30 "$seconds" "$@" </dev/null 2>&1 | tee "$log" |
        { grep -v "^$part: " || true; } || status=${PIPESTATUS[0]}
    count_from "$part" "$log" "$status"
}

# Two targets at once, and as much again for the corpora and a slow machine.
run_fuzz_targets() {
    mkdir -p "build/$preset/logs"
    say "fuzzing each target for $fuzz_seconds seconds"
    run_part fuzz $((fuzz_seconds * 8 + 1200)) "$python" tests/fuzz/run.py \
        --build "build/$preset" --seconds "$fuzz_seconds"
}

# A function, so that the script may change while it runs: bash has read all of it by then.
main() {
    read_arguments "$@"
    if [[ $build == yes ]]; then
        install_what_is_missing
        build_everything
    fi
    if [[ -n $fuzz_seconds ]]; then
        run_fuzz_targets
        printf '%d passed, %d failed\n' "$passed" "$failed"
        [[ $failed -eq 0 && $passed -gt 0 ]]
        return
    fi
    run_unit_tests
    if [[ -z $filter ]]; then
        if [[ $preset == dev ]]; then
            say "tidy checks (seconds)"
            run_part tidy 120 "$python" tests/tidy/check.py
        fi
        if [[ $preset != tsan ]]; then
            say "the lexer against PostgreSQL's scanner (half a minute)"
            run_part lexer "$lexer_seconds" "build/$preset/tests/lexer_differential" \
                --cases "$lexer_cases"
            say "the simulation of $simulation_seeds seeds (half a minute)"
            run_part simulation "$simulation_seconds" "build/$preset/tests/simulation" \
                --seeds "$simulation_seeds"
        fi
        if [[ -e tests/integration/run.py ]]; then
            if [[ $build == yes ]]; then fetch_promtool; fi
            # Some look at the memory of the process: what the sanitizer keeps of what was freed
            # is not the growth they are after.
            if [[ $preset == asan ]]; then export ASAN_OPTIONS=quarantine_size_mb=8; fi
            say "integration tests on a real PostgreSQL (minutes)"
            run_part integration "$integration_seconds" "$python" tests/integration/run.py \
                --schemux "build/$preset/schemux" "${integration_options[@]}"
        fi
        if [[ $preset != tsan ]]; then
            say "the same bytes to PostgreSQL and through schemux (minutes)"
            run_part wire "$wire_seconds" "$python" tests/wire/run.py \
                --schemux "build/$preset/schemux" "${wire_options[@]}"
            say "random programs of several sessions, and what each leaves behind (two minutes)"
            run_part sessions "$sessions_seconds" "$python" tests/sessions/run.py \
                --schemux "build/$preset/schemux" "${sessions_options[@]}"
        fi
        if [[ $preset == dev ]]; then
            # Where io_uring is forbidden this is epoll once more, as the daemon's log says.
            say "some of it again with io_uring (two minutes)"
            SCHEMUX_IO_ENGINE=io_uring run_part integration "$integration_seconds" "$python" \
                tests/integration/run.py --schemux "build/$preset/schemux" \
                --only cancel_test --only isolation_test --only psycopg3_test
            SCHEMUX_IO_ENGINE=io_uring run_part wire "$wire_seconds" "$python" \
                tests/wire/run.py --schemux "build/$preset/schemux" --smoke
        fi
        if [[ $preset == dev && $smoke == no ]]; then
            say "every driver, directly and through schemux (4-6 minutes)"
            run_part clients "$clients_seconds" "$python" tests/clients/run.py \
                --schemux "build/$preset/schemux"
        fi
    fi
    printf '%d passed, %d failed\n' "$passed" "$failed"
    [[ $failed -eq 0 && $passed -gt 0 ]]
}

main "$@"
exit
