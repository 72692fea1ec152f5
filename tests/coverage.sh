#!/usr/bin/env bash
# What the unit tests and the fuzz corpora reach of protocol and core: builds build/coverage with
# clang's instrumentation, runs both, and prints lines and branches of each file with totals.
#
#   ./tests/coverage.sh            both
#   ./tests/coverage.sh --units    the unit tests alone
#   ./tests/coverage.sh --corpora  the corpora alone
set -euo pipefail

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$repository"
# shellcheck source=deploy/lib/debian.sh
source deploy/lib/debian.sh

folder=build/coverage
units=(protocol_tests core_tests config_tests)

usage() { sed -n '2,7s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; }

# run <name> <command>...: with a profile of its own.
run() {
    local name=$1
    shift
    if ! LLVM_PROFILE_FILE="$folder/profiles/$name.profraw" "$@" >"$folder/profiles/$name.log" 2>&1
    then
        tail -n 20 "$folder/profiles/$name.log" >&2
        fail "$name failed"
    fi
}

main() {
    local with_units=yes with_corpora=yes corpus name objects=()
    case ${1-} in
        '') ;;
        --units) with_corpora=no ;;
        --corpora) with_units=no ;;
        *)
            usage
            exit 1
            ;;
    esac
    install_packages "${build_packages[@]}" libgtest-dev libgmock-dev clang-14 libclang-rt-14-dev \
        llvm-14
    cmake --preset coverage >/dev/null
    cmake --build --preset coverage --parallel "$(parallel_jobs)" >&2
    rm -rf "$folder/profiles"
    mkdir -p "$folder/profiles"
    for name in "${units[@]}"; do
        objects+=(-object "$folder/tests/$name")
        if [[ $with_units == yes ]]; then run "$name" "$folder/tests/$name" --gtest_brief=1; fi
    done
    for corpus in tests/fuzz/corpus/*; do
        name=fuzz_$(basename "$corpus")
        objects+=(-object "$folder/tests/fuzz/$name")
        if [[ $with_corpora == yes ]]; then
            run "$name" "$folder/tests/fuzz/$name" -runs=0 "$corpus"
        fi
    done
    llvm-profdata-14 merge -o "$folder/all.profdata" "$folder"/profiles/*.profraw
    for name in protocol core config; do
        printf '\n%s\n' "$name"
        llvm-cov-14 report "${objects[@]:1}" -instr-profile="$folder/all.profdata" \
            -show-region-summary=false "$repository/$name"
    done
}

main "$@"
exit
