"""The state matrix: each kind of session state, made in each way, with each ending of who made it.

A client makes the state on the one backend of a pool and ends; then the next one must see exactly
what it would see in a new session of PostgreSQL's own: a client of the same service, for whom
nothing is set anew, and one of another service. The state is made directly too, to know that it
would be there if nobody took it away. A client that is pinned must still see all that it would see
on PostgreSQL itself, and the next one comes when it has gone.
"""

import collections
import itertools
import multiprocessing
import time
import traceback

import place  # first: it makes the others known
import bed
import kinds
import server
import wire
from kinds import Bad, done

MAKER, OTHER = "wire", "even"
APP, BOSS = "app", "boss"  # who may make most kinds, and who all
SLEEP = "SELECT pg_sleep(60)"
SMOKE_EVERY = 7
CANCELLED = "57014"

# ---- endings ------------------------------------------------------------------------------------


def autocommit(client, make, _):
    make(client)


def commit(client, make, _):
    done(client, "BEGIN")
    make(client)
    done(client, "COMMIT")


def rollback(client, make, _):
    done(client, "BEGIN")
    make(client)
    done(client, "ROLLBACK")


def error(client, make, _):
    done(client, "BEGIN")
    make(client)
    done(client, "SELECT 1/0", "22012")
    done(client, "COMMIT")


def disconnect(client, make, _):
    done(client, "BEGIN")
    make(client)
    client.vanish()


def cancel(client, make, cell):
    done(client, "BEGIN")
    make(client)
    client.send(wire.query(SLEEP))
    server.wait_until(lambda: cell.control.execute(
        "SELECT 1 FROM pg_stat_activity WHERE pid = %s AND wait_event = 'PgSleep'",
        (cell.pid,)).fetchall(), what="the statement to run")
    wire.send_cancel(cell.port, client.pid, client.secret)
    found = wire.sqlstates(client.read_ready())
    if found != [CANCELLED]:
        raise Bad(f"the cancelled statement: {found}")
    done(client, "ROLLBACK")


def timeout(client, make, _):
    done(client, "BEGIN")
    make(client)
    done(client, "SET statement_timeout = '5ms'")
    done(client, SLEEP, CANCELLED)
    done(client, "ROLLBACK")


def idle_kill(client, make, cell):
    make(client)
    cell.kill_backend()


ENDINGS = (autocommit, commit, rollback, error, disconnect, cancel, timeout, idle_kill)
# Ways that are like others but for how the statement came to the backend.
ALSO = ("bound", "executed")
ALSO_ENDINGS = (autocommit, rollback, disconnect)
# After these the session itself can be looked at.
SESSION_LIVES = (autocommit, commit, rollback, error, cancel, timeout)

# ---- known gaps ---------------------------------------------------------------------------------

# Cells that leak, with the reason; one that does not leak any more is a failure, so that its row
# goes. A row speaks of those of its cells in which the state outlives the ending on PostgreSQL.
Gap = collections.namedtuple("Gap", "holds reason")
# What the server tells of, and what every INSERT is suspected of.
SEEN_ANYWAY = {"reported_setting", "client_encoding", "characteristics", "session_authorization",
               "sequence"}
# Kinds whose backend may be closed for it.
MAY_END_BACKEND = {"module"}
KNOWN_GAPS = (
    Gap(lambda kind, ending, way: kind == "module" and way != "plain" and ending is not idle_kill,
        "a module stays until its backend is closed, and only a LOAD that is seen closes it"),
    Gap(lambda kind, ending, way: way == "trigger" and kind not in SEEN_ANYWAY
        and ending is not idle_kill,
        "neither the text nor the answer shows what a trigger does"),
)


def known_gap(kind, ending, way):
    return next((gap.reason for gap in KNOWN_GAPS if gap.holds(kind.name, ending, way)), None)


# ---- pins ---------------------------------------------------------------------------------------

# Kinds that pin, by what their text shows or by what PostgreSQL says when it is asked. Nothing
# shows what a trigger does.
PINNING = {"temporary_table", "temporary_view", "temporary_sequence", "temporary_function",
           "advisory_lock", "shared_advisory_lock", "listen", "hold_cursor", "seed", "module"}
# Of these PostgreSQL cannot be asked.
SHOWN_ONLY = {"seed", "module"}


def stays(kind, way):
    """Whether a pinned client still has it."""
    return kind.name not in SHOWN_ONLY or way == "plain"


# ---- the matrix ---------------------------------------------------------------------------------

Cell = collections.namedtuple("Cell", "control port pid kill_backend")


class Bench:
    """A pool of one backend, PostgreSQL itself, and how a new session looks."""

    def __init__(self, where, database, user, instance, pins):
        self.pins = pins
        self.postgres = where.postgres
        self.user = user
        self.instance = instance
        self.control = where.postgres.connect(database)
        self.direct = bed.Endpoint("direct", where.postgres.port, database)
        self.pooled = bed.Endpoint("pooled", instance.port)
        self.seeded = [tuple(row) for row in self.login(self.direct, MAKER).rows(kinds.SEEDED)]
        self.fresh = {service: self.look(self.login(self.direct, service))
                      for service in (MAKER, OTHER)}

    def login(self, endpoint, service):
        return endpoint.connect(service, {"user": self.user})[0]

    def look(self, client):
        seen = kinds.snapshot(client, self.seeded)
        client.send(wire.TERMINATE)
        client.close()
        return seen

    def kill(self, pid):
        """Ends a resting backend, and waits until everybody knows."""
        self.control.execute("SELECT pg_terminate_backend(%s)", (pid,))
        server.wait_until(lambda: not self.control.execute(
            "SELECT 1 FROM pg_stat_activity WHERE pid = %s", (pid,)).fetchall(),
            what="the backend to end")

    def kill_pooled(self, pid):
        self.kill(pid)
        server.wait_until(lambda: self.instance.metric("schemux_backend_connections") == 0,
                          what="the pool to know")

    @staticmethod
    def make(client, kind, way, ending, cell):
        make = kinds.Making(kind, way)
        make.prepare(client)
        ending(client, make, cell)

    def after(self, kind, ending, way):
        """What a session of PostgreSQL's own sees after the ending."""
        client = self.login(self.direct, MAKER)
        try:
            pid = int(client.rows("SELECT pg_backend_pid()")[0][0])
            cell = Cell(self.control, self.postgres.port, pid, lambda: self.kill(pid))
            self.make(client, kind, way, ending, cell)
            return self.look(client)
        finally:
            client.close()

    def leaks(self, kind, ending, way, service, after):
        """What the next client of `service` sees that is not as in a new session; whether it does
        on the same backend. And what a pinned client does not see that is there on PostgreSQL."""
        maker = self.login(self.pooled, MAKER)
        try:
            pid = int(maker.rows("SELECT pg_backend_pid()")[0][0])
            cell = Cell(self.control, self.instance.port, pid, lambda: self.kill_pooled(pid))
            self.make(maker, kind, way, ending, cell)
            lost = []
            if self.pins and ending in SESSION_LIVES:
                seen = self.look(maker)
                lost = kinds.differences(after, seen) if stays(kind, way) else []
            client = self.login(self.pooled, service)
            there = int(client.rows("SELECT pg_backend_pid()")[0][0])
            found = kinds.differences(self.fresh[service], self.look(client))
        finally:
            maker.close()
        if found:
            self.kill_pooled(there)
        return found, there == pid, lost


class Counts:
    NAMES = ("passed", "failed", "outlived", "known", "same_backend")

    def __init__(self, *counts):
        for name, count in zip(self.NAMES, counts or [0] * len(self.NAMES)):
            setattr(self, name, count)

    def all(self):
        return [getattr(self, name) for name in self.NAMES]

    def fail(self, what, why):
        self.failed += 1
        print(f"\nFAILED {what}: {why}", flush=True)


def judge(bench, kind, ending, way, counts):
    """One cell."""
    what = f"{kind.name} by {way}, {ending.__name__}" + (", pinned" if bench.pins else "")
    try:
        on_postgres = ending if ending in SESSION_LIVES else rollback
        after = bench.after(kind, on_postgres, way)
        outlived = kinds.differences(bench.fresh[MAKER], after)
        if not outlived and ending in (autocommit, commit) and kind is not kinds.NOTHING:
            return counts.fail(what, "it makes no state that anybody could see")
        looks = [bench.leaks(kind, ending, way, service, after) for service in (MAKER, OTHER)]
    except (AssertionError, wire.Closed, OSError) as problem:
        return counts.fail(what, problem)
    lost = next((lost for _, _, lost in looks if lost), [])
    if lost:
        return counts.fail(what, "the client itself sees " + "; ".join(lost))
    moved = not all(same for _, same, _ in looks)
    if moved and ending is not idle_kill and kind.name not in MAY_END_BACKEND:
        return counts.fail(what, "the next client has another backend, which proves nothing")
    leaked = next((found for found, _, _ in looks if found), [])
    gap = known_gap(kind, ending, way) if outlived else None
    counts.outlived += bool(outlived)
    counts.same_backend += not moved
    counts.known += bool(gap)
    if leaked and not gap:
        return counts.fail(what, "the next client sees " + "; ".join(leaked))
    if gap and not leaked:
        return counts.fail(what, f"does not leak any more: take it out of KNOWN_GAPS ({gap})")
    counts.passed += 1
    return None


def prepare(where, database):
    """The database of one lane, and a schemux for each user that makes state there."""
    where.postgres.run(f"CREATE DATABASE {database} TEMPLATE base OWNER app", dbname="postgres")
    with where.postgres.connect(database, user="app") as connection:
        connection.execute(kinds.beforehand())
        connection.execute("GRANT USAGE ON SCHEMA wire, shopping TO app_reader")
    return {(user, pins): where.schemux(f"{database}_{user}_{'pin' if pins else 'allow'}", {
        "backend": {"dsn": where.postgres.dsn(user=user, dbname=database)},
        "pool": {"max_connections": 1, "acquire_timeout": "20s", "audit_sample": 0},
        "services": place.services(place.PINS if pins else place.ALLOW),
    }) for user in (APP, BOSS) for pins in (False, True)}


def _job(results, where, database, instances, cells):
    counts = Counts()
    try:
        benches = {(user, pins): Bench(where, database, user, instance, pins)
                   for (user, pins), instance in instances.items()}
        for kind, ending, way, pins in cells:
            judge(benches[BOSS if kind.boss else APP, pins], kind, ending, way, counts)
    except Exception:
        counts.fail("the matrix", traceback.format_exc())
    results.put(counts.all())


def chosen_cells(smoke, only):
    cells = [cell for cell in itertools.product((kinds.NOTHING, *kinds.KINDS), ENDINGS, kinds.WAYS,
                                                (False, True))
             if (cell[2] not in ALSO or cell[1] in ALSO_ENDINGS)
             and (not cell[3] or (cell[0].name in PINNING and cell[2] != "trigger"))]
    if only:
        return [cell for cell in cells if cell[0].name == only]
    return cells[::SMOKE_EVERY] if smoke else cells


def run(where, lanes, smoke=False, only=None):
    """The numbers of cells that passed and failed."""
    began = time.monotonic()
    cells = chosen_cells(smoke, only)
    where.postgres.run(f"CREATE ROLE {BOSS} SUPERUSER LOGIN", dbname="postgres")
    where.postgres.run(f"CREATE ROLE app_reader; GRANT app_reader TO {APP}", dbname="postgres")
    forked = multiprocessing.get_context("fork")
    results, jobs = forked.SimpleQueue(), []
    for lane in range(lanes):
        database = f"matrix_{lane}"
        jobs.append(forked.Process(target=_job, daemon=True, args=(
            results, where, database, prepare(where, database), cells[lane::lanes])))
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    told = []
    while not results.empty():
        told.append(results.get())
    counts = Counts(*(sum(one) for one in zip(*told)))
    if len(told) < len(jobs):
        counts.fail("the matrix", "a process of its own ended")
    print(f"  matrix: {len(cells)} cells, {counts.outlived} with state that PostgreSQL keeps, "
          f"{counts.same_backend} looked at on the same backend, {counts.known} known to leak, "
          f"{time.monotonic() - began:.0f} s", flush=True)
    return counts.passed, counts.failed
