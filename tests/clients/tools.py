"""PostgreSQL's own programs through schemux, and a migration runner that locks as Flyway does.

Each check is a function of (port, folder, direct) that raises when it does not hold.
"""

import pathlib
import re
import subprocess
import threading
import traceback

import psycopg
import server

MIGRATORS = 3
MIGRATIONS = 8
LOCK = 4711


def run(program, *arguments, port, database="users", text=None):
    done = subprocess.run([*map(str, server.program(program)), "-h", "127.0.0.1", "-p", str(port),
                           "-U", "alice", *map(str, arguments), "-d", database], input=text,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=120,
                          check=False)
    if done.returncode != 0:
        raise AssertionError(f"{program}: {done.stderr[-2000:]}")
    return done.stdout


def equal(found, expected):
    if found != expected:
        raise AssertionError(f"{str(found)[:500]} in place of {str(expected)[:500]}")


def without_comments(dump):
    """Its own tokens against restoring as another user are random in every dump."""
    lines = dump.splitlines()
    return [line for line in lines if line and not re.match(r"--|\\(un)?restrict", line)]


def psql_script(port, _folder, _direct):
    script = """
\\set ON_ERROR_STOP on
CREATE TABLE t_psql (id int PRIMARY KEY, body text);
\\copy t_psql from stdin
1\tone
2\ttwo
\\.
BEGIN; INSERT INTO t_psql VALUES (3, 'three'); SAVEPOINT s; ROLLBACK TO s; COMMIT;
SELECT count(*) FROM t_psql \\gset
\\if true
SELECT body FROM t_psql WHERE id = :count \\g
\\endif
\\set FETCH_COUNT 10
SELECT sum(n) FROM (SELECT n FROM generate_series(1, 100) n) s;
SELECT 'SELECT ' || n FROM generate_series(1, 3) n \\gexec
\\copy (SELECT body FROM t_psql ORDER BY id) to stdout
DROP TABLE t_psql;
"""
    found = run("psql", "-qAtX", "-f", "-", port=port, text=script).split()
    equal(found, ["three", "5050", "1", "2", "3", "one", "two", "three"])


def dump_is_the_same(port, _folder, direct):
    arguments = ["-n", "users", "--no-owner"]
    equal(without_comments(run("pg_dump", *arguments, port=port)),
          without_comments(run("pg_dump", *arguments, port=direct, database="app")))


def dump_in_parallel_and_restore(port, folder, direct):
    for name, options in {"custom": ["-Fc"], "directory": ["-Fd", "-j", "3"]}.items():
        archive = folder / name
        run("pg_dump", *options, "-t", "users.big*", "-f", archive, port=port)
        before = contents(direct)
        run("psql", "-qc", "DROP TABLE users.big_1, users.big_2, users.big_3", port=direct,
            database="app")
        run("pg_restore", "-j", "3", "--no-owner", "--role=app", archive, port=port)
        equal(contents(direct), before)


def contents(direct):
    sql = " UNION ALL ".join(
        f"SELECT count(*), sum(id), sum(hashtext(body)) FROM users.big_{n}" for n in (1, 2, 3))
    return run("psql", "-qAtXc", sql, port=direct, database="app")


def migrate(port, number, started):
    """As Flyway does it: one connection holds a lock of the session, another one works."""
    with psycopg.connect(host="127.0.0.1", port=port, dbname="users", user="alice",
                         autocommit=True) as lock, \
         psycopg.connect(host="127.0.0.1", port=port, dbname="users", user="alice") as work:
        started.wait(60)
        lock.execute("SELECT pg_advisory_lock(%s)", [LOCK])
        for version in range(MIGRATIONS):
            done = work.execute("SELECT count(*) FROM t_history WHERE version = %s",
                                [version]).fetchone()[0]
            work.commit()
            if not done:
                work.execute(f"CREATE TABLE t_migrated_{version} (id int)")
                work.execute("INSERT INTO t_history VALUES (%s, %s)", [version, number])
            work.commit()
        equal(lock.execute("SELECT pg_advisory_unlock(%s)", [LOCK]).fetchone()[0], True)


def migrations_lock_each_other_out(port, _folder, _direct):
    """Who holds the lock keeps its backend; who wants one as well waits without one."""
    tables = ", ".join(f"t_migrated_{version}" for version in range(MIGRATIONS))
    run("psql", "-qXc", "CREATE TABLE t_history (version int, who int)", port=port)
    problems = []
    started = threading.Barrier(MIGRATORS)

    def work(number):
        try:
            migrate(port, number, started)
        except Exception as error:
            problems.append(repr(error))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(MIGRATORS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    run("psql", "-qXc", f"DROP TABLE IF EXISTS t_history, {tables}", port=port)
    equal(problems, [])


TOOLS = [psql_script, dump_is_the_same, dump_in_parallel_and_restore,
         migrations_lock_each_other_out]
# pg_dump -j 3 has four connections in transactions at once.
CONNECTIONS = {"transaction": 4, "session": 12}


def check(bed, counts):
    direct = bed.lab.postgres.port
    for number in (1, 2, 3):
        with bed.lab.postgres.connect_as_owner() as connection:
            connection.execute(f"CREATE TABLE users.big_{number} AS SELECT id, md5(id::text) AS "
                               "body FROM generate_series(1, 30000) id")
    for mode, connections in CONNECTIONS.items():
        instance = bed.start(mode, connections, f"tools-{mode}")
        folder = pathlib.Path(bed.lab.folder) / f"dumps-{mode}"
        folder.mkdir()
        for tool in TOOLS:
            why = None
            try:
                tool(instance.port, folder, direct)
            except Exception:
                why = traceback.format_exc()
            counts.note(f"{tool.__name__}, {mode}", why)
    print(f"  tools: {len(TOOLS)} checks in each mode", flush=True)


CHECKS = {"tools": check}
