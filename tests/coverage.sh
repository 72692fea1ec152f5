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

# run <name> <command>...: in the build's folder, with a profile of its own.
run() {
    local name=$1
    shift
    if ! (cd "$folder" && LLVM_PROFILE_FILE=profiles/$name.profraw "$@") \
        >"$folder/profiles/$name.log" 2>&1; then
        tail -n 20 "$folder/profiles/$name.log" >&2
        fail "$name failed"
    fi
}

# Lines and branches of each file of protocol and core, from llvm-cov's summary.
table() {
    /usr/bin/python3 -c '
import json, os, sys
files = json.load(sys.stdin)["data"][0]["files"]
def share(covered, count):
    return f"{covered:6} of {count:5} {100 * covered / max(count, 1):6.1f} %"
for folder in ("protocol", "core"):
    sums = {"lines": [0, 0], "branches": [0, 0]}
    print("\n{:32} {:>24} {:>24}".format(folder, "lines", "branches"))
    for file in files:
        path = os.path.normpath(os.path.join(sys.argv[1], file["filename"]))
        name = os.path.relpath(path, sys.argv[2])
        if not name.startswith(folder + "/"):
            continue
        row = "{:32}".format(name)
        for what, total in sums.items():
            got = file["summary"][what]
            total[0] += got["covered"]
            total[1] += got["count"]
            row += " " + share(got["covered"], got["count"])
        print(row)
    print("{:32} ".format("total of " + folder), *(share(*sum) for sum in sums.values()))
' "$folder" "$repository"
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
        if [[ $with_units == yes ]]; then run "$name" "tests/$name" --gtest_brief=1; fi
    done
    for corpus in tests/fuzz/corpus/*; do
        name=fuzz_$(basename "$corpus")
        objects+=(-object "$folder/tests/fuzz/$name")
        if [[ $with_corpora == yes ]]; then
            run "$name" "tests/fuzz/$name" -runs=0 "$repository/$corpus"
        fi
    done
    llvm-profdata-14 merge -o "$folder/all.profdata" "$folder"/profiles/*.profraw
    llvm-cov-14 export -summary-only "${objects[@]:1}" -instr-profile="$folder/all.profdata" \
        2>"$folder/profiles/llvm-cov.log" | table
}

main "$@"
exit
