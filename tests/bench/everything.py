#!/usr/bin/env python3
# All that is measured beside peers and floors, one program after the other, into one folder. Takes
# hours.
#   tests/bench/everything.py --schemux build/release/schemux [--floors DIR] --out DIR
# Other options are those that the programs have in common: see README.md. A program that cannot go
# on does not keep the others from it.

import argparse
import sys

import bulk
import idle
import logins
import proxies
import report
import run

CLIENTS = ("--clients", "1,8,64,256,1000")


def main(arguments):
    parser = argparse.ArgumentParser(description="Runs run.py, logins.py, idle.py and bulk.py.")
    proxies.add_options(parser)
    report.add_options(parser)
    parser.parse_args(arguments)  # says what is wrong before an hour has gone by
    failed = 0
    for program, more in ((logins, ()), (idle, ()), (bulk, ()), (run, CLIENTS)):
        print(f"\n==== {program.__name__}", flush=True)
        try:
            program.main([*arguments, *more])
        except SystemExit as ended:
            print(ended, file=sys.stderr, flush=True)
            failed += 1
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
