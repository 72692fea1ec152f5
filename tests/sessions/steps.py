"""The steps of session programs: functions of the generator and the client whose turn it is.

Each keeps in the client what later steps must know of it. Nothing blocks: locks are tried, rows are
only added. It must not know how programs are played, nor what is right.
"""

from features import (BROKEN, CHANNELS_SEEN, CURSORS_SEEN, CUSTOM, EFFECTS, LOCKS_SEEN, MEANING,
                      OTHER_ROLE, SETTINGS, TEMPORARY_SEEN, step)


def literal(value):
    return "'" + value.replace("'", "''") + "'"


def assignment(rng, name, value):
    """`name = value` as SET takes it: a search_path is a list of names."""
    if name == "search_path":
        return f"{name} {rng.choice(('=', 'TO'))} {value}"
    if name == "TimeZone" and rng.random() < 0.4:
        return f"TIME ZONE {literal(value)}"
    return f"{name} {rng.choice(('=', 'TO'))} {literal(value)}"


def configuring(name, value, local):
    return f"SELECT set_config({literal(name)}, {literal(value)}, {'true' if local else 'false'})"


def any_setting(g):
    name = g.rng.choice(MEANING if g.chance(0.4) else tuple(SETTINGS))
    if name == "search_path" and "frozen" in g.features:
        name = "TimeZone"  # see NEVER_WITH
    return name, g.rng.choice(SETTINGS[name])


# ---- settings -----------------------------------------------------------------------------------

@step("local", 4)
def set_local(g, client):
    name, value = any_setting(g)
    client.risky = client.risky or name == "search_path"
    if g.chance(0.3):
        g.say(client, configuring(name, value, True))
    elif g.chance(0.2) and name not in client.startup and name not in ("search_path", *CUSTOM):
        g.say(client, f"SET LOCAL {name} TO DEFAULT")
    else:
        g.say(client, f"SET LOCAL {assignment(g.rng, name, value)}")


@step("local", 4)
def show(g, client):
    name, _ = any_setting(g)
    if name in CUSTOM:
        g.say(client, f"SELECT coalesce(current_setting('{name}', true), '')")
    elif g.chance(0.5):
        g.say(client, f"SHOW {name}")
    else:
        g.say(client, f"SELECT current_setting('{name}')")


@step("local", 5)
def effect(g, client):
    sql = g.rng.choice(EFFECTS)
    g.say(client, sql)


@step("local", 1, "idle")
def set_local_in_one_query(g, client):
    name, value = any_setting(g)
    g.query(client, f"BEGIN; SET LOCAL {assignment(g.rng, name, value)}; "
                    f"SELECT current_setting('{name}'); {g.rng.choice(('COMMIT', 'ROLLBACK'))}")


@step("undone", 4, "open")
def set_undone(g, client):
    name, value = any_setting(g)
    if not client.doomed:
        return
    client.risky = client.risky or name == "search_path"
    own = name in client.startup or name in ("search_path", *CUSTOM)
    if g.chance(0.3):
        g.say(client, configuring(name, value, False))
    elif g.chance(0.2) and not own:
        g.say(client, f"RESET {name}")
    else:
        g.say(client, f"SET {g.rng.choice(('', 'SESSION '))}{assignment(g.rng, name, value)}")


@step("settings", 6)
def set_for_good(g, client):
    name, value = any_setting(g)
    client.risky = client.risky or name == "search_path"
    what = g.rng.random()
    if what < 0.25:
        g.say(client, configuring(name, value, False))
    elif what < 0.33:
        g.say(client, f"SET NAMES {g.rng.choice(SETTINGS['client_encoding'])}")
    elif what < 0.4:
        level = g.rng.choice(("REPEATABLE READ", "READ COMMITTED"))
        g.say(client, f"SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL {level}")
    else:
        g.say(client, f"SET {g.rng.choice(('', 'SESSION '))}{assignment(g.rng, name, value)}")


@step("resets", 3)
def reset(g, client):
    name, _ = any_setting(g)
    client.risky = True
    g.say(client, g.rng.choice((f"RESET {name}", f"SET {name} TO DEFAULT", "RESET ALL",
                                "SET NAMES DEFAULT", "SET TIME ZONE LOCAL")))


@step("roles", 3)
def set_role(g, client):
    role = g.rng.choice((OTHER_ROLE, OTHER_ROLE, "NONE"))
    g.say(client, f"SET {g.rng.choice(('', '', 'LOCAL '))}ROLE {role}")


@step("roles", 2)
def reset_role(g, client):
    g.say(client, g.rng.choice(("RESET ROLE", "SET ROLE TO DEFAULT", "RESET SESSION AUTHORIZATION",
                                "SET SESSION AUTHORIZATION DEFAULT")))


@step("roles", 4)
def show_role(g, client):
    g.say(client, "SELECT current_user, current_setting('role')")


@step("settings", 1, "idle")
def set_beside_others(g, client):
    name, value = any_setting(g)
    broken = "; SELECT 1/0" if g.chance(0.4) else ""
    g.query(client, f"SET {assignment(g.rng, name, value)}; SELECT 1{broken}")


@step("custom", 3)
def show_custom(g, client):
    name = g.rng.choice(CUSTOM)
    if client.state == "open":
        client.risky = True
    g.say(client, g.rng.choice((f"SHOW {name}", f"SELECT current_setting('{name}', true)")))


@step("discard", 1, "idle")
def discard(g, client):
    g.query(client, g.rng.choice((
        "DISCARD ALL", "RESET ALL", "DISCARD PLANS", "DISCARD TEMP", "DISCARD SEQUENCES",
        "SELECT pg_advisory_unlock_all(); CLOSE ALL; UNLISTEN *; RESET ALL;")))


@step("startup", 1, "idle")
def login_again(g, client):
    if client.holds:
        g.query(client, "SELECT pg_advisory_unlock_all()")
    g.login(client)


# ---- transactions -------------------------------------------------------------------------------

@step("transactions", 9, "idle")
def begin(g, client):
    g.say(client, g.rng.choice(("BEGIN", "BEGIN", "START TRANSACTION",
                                "BEGIN ISOLATION LEVEL REPEATABLE READ")))
    client.begin(g.chance(0.5))


@step("transactions", 4, "open failed")
def end(g, client):
    how = "ROLLBACK" if client.doomed else g.rng.choice(("COMMIT", "COMMIT", "END"))
    if g.chance(0.1) and client.state == "open" and not client.risky:
        g.say(client, f"{how} AND CHAIN")
        client.savepoints.clear()
        return
    g.say(client, how)
    client.idle()


@step("transactions", 2, "open")
def savepoint(g, client):
    name = g.rng.choice("stu")
    g.say(client, f"SAVEPOINT {name}")
    client.savepoints.append(name)


@step("transactions", 4, "open failed")
def back_to_savepoint(g, client):
    if not client.savepoints:
        return
    name = g.rng.choice(client.savepoints)
    if client.state == "failed" or g.chance(0.7):
        g.say(client, f"ROLLBACK TO {name}")
        client.state = "open"
    else:
        g.say(client, f"RELEASE {name}")
    last = len(client.savepoints) - client.savepoints[::-1].index(name)
    # ROLLBACK TO keeps the savepoint itself; not to use it again is as good.
    del client.savepoints[last - 1:]


@step("transactions", 1.5, "idle open failed")
def broken(g, client):
    g.say(client, g.rng.choice(BROKEN))
    client.fail()


@step("transactions", 2)
def note(g, client):
    number = g.rng.randrange(100)
    g.say(client, g.rng.choice((
        f"INSERT INTO {g.schema(client)}.notes VALUES ({number}, 'n{number}') RETURNING number",
        f"SELECT count(*), sum(number) FROM {g.schema(client)}.notes")))


@step("transactions", 1, "idle")
def several(g, client):
    middle = "; ".join(g.rng.sample(EFFECTS[:-3], 2))
    g.query(client, g.rng.choice((middle, f"BEGIN; {middle}; COMMIT", f"{middle}; SELECT 1/0",
                                  f"BEGIN; {middle}; ROLLBACK")))


# ---- prepared statements ------------------------------------------------------------------------

TEXTS = (
    ("SELECT $1::int + {n}", ("5",)),
    ("SELECT $1::date, {n}", ("03/04/2024",)),
    ("SELECT $1::timestamptz - interval '1 hour', {n}", ("2024-02-03 04:05:06",)),
    ("SELECT name, {n} FROM whose", ()),
    ("SELECT current_setting('DateStyle'), {n}", ()),
    ("SELECT generate_series(1, 3), {n}", ()),
    ("SELECT $1::bytea, $2::float8, {n}", ("abc", "0.3")),
    ("SELECT id, price FROM items WHERE id = $1 AND id <> {n}", ("3",)),
)
FROZEN = (
    ("SELECT date '03/04/2024', {n}", ()),
    ("SELECT timestamptz '2024-02-03 04:05:06', {n}", ()),
    ("SELECT interval '-1 2:03:04', {n}", ()),
    ("SELECT 'a\\\\b', {n}", ()),
)
NAMES = ("a", "b", "c", "d", "e")


def a_text(g):
    texts = TEXTS + (FROZEN if "frozen" in g.features else ())
    sql, values = g.rng.choice(texts)
    return sql.format(n=g.rng.choice((1, 2, g.rng.randrange(10**6)))), values


@step("prepared", 3)
def parse(g, client):
    name, (sql, values) = g.rng.choice(NAMES), a_text(g)
    describe = (f"DS {name}",) if g.chance(0.4) else ()
    close = (f"CS {name}",) if name in client.prepared and g.chance(0.9) else ()
    g.extended(client, *close, f"P {name} {g.q(sql)}", *describe)
    client.prepared[name] = values


@step("frozen", 4)
def parse_or_run_frozen(g, client):
    """What a literal means is settled when its statement is prepared, not when it runs."""
    name = g.rng.choice(MEANING[:-1])
    if client.state == "open" and g.chance(0.5):
        g.say(client, f"SET LOCAL {assignment(g.rng, name, g.rng.choice(SETTINGS[name]))}")
    if "f" in client.prepared:
        g.extended(client, 'B "" f', 'E ""')
    else:
        g.extended(client, f"P f {g.q(g.rng.choice(FROZEN)[0].format(n=g.rng.randrange(10**6)))}")
        client.prepared["f"] = ()
    client.risky = True


@step("prepared", 5)
def execute(g, client):
    name = g.rng.choice(tuple(client.prepared) or NAMES)
    if name not in client.prepared and g.chance(0.8):
        return
    if name not in client.prepared:
        client.fail()
    values = " ".join(g.q(value) for value in client.prepared.get(name, ()))
    client.risky = True
    lines = (f'B "" {name} {values}'.rstrip(), *((['DP ""']) if g.chance(0.3) else ()), 'E ""')
    g.extended(client, *lines)


@step("prepared", 2)
def prepare(g, client):
    name = g.rng.choice(NAMES)
    if name in client.prepared:
        g.say(client, f"DEALLOCATE {name}")
    sql, values = a_text(g)
    types = f" ({', '.join(['text'] * len(values))})" if values else ""
    g.say(client, f"PREPARE {name}{types} AS {sql}")
    client.prepared[name] = values


@step("prepared", 3)
def execute_in_sql(g, client):
    if not client.prepared:
        return
    name = g.rng.choice(tuple(client.prepared))
    values = ", ".join(literal(value) for value in client.prepared[name])
    client.risky = True
    g.query(client, f"EXECUTE {name}" + (f"({values})" if values else ""))


@step("prepared", 0.6)
def forget(g, client):
    if g.chance(0.5):
        g.say(client, "DEALLOCATE ALL")
        client.prepared.clear()
        return
    name = g.rng.choice(NAMES)
    g.extended(client, f"CS {name}")
    client.prepared.pop(name, None)


@step("prepared", 2, "open")
def portal(g, client):
    client.risky = True  # a savepoint may have taken it away
    if "p" not in client.portals:
        g.extended(client, 'P "" "SELECT generate_series(1, 9)"', 'B p ""', "E p 2")
        client.portals.add("p")
    elif g.chance(0.7):
        g.extended(client, f"E p {g.rng.randrange(1, 4)}")
    else:
        g.extended(client, "CP p")
        client.portals.remove("p")


# ---- cursors, locks, temporary tables, sequences ------------------------------------------------

@step("cursors", 2, "open")
def cursor(g, client):
    client.risky = True
    if "c" not in client.portals:
        g.say(client, "DECLARE c SCROLL CURSOR FOR SELECT n, n * 2 FROM generate_series(1, 20) n")
        client.portals.add("c")
        return
    g.say(client, g.rng.choice(("FETCH 3 FROM c", "FETCH 3 FROM c", "MOVE 2 IN c",
                                "FETCH PRIOR FROM c", "FETCH LAST FROM c", CURSORS_SEEN)))


@step("hold", 2)
def hold_cursor(g, client):
    if "h" not in client.stays:
        g.say(client, "DECLARE h CURSOR WITH HOLD FOR SELECT n FROM generate_series(1, 20) n")
        client.stays.add("h")
        return
    sql = g.rng.choice(("FETCH 2 FROM h", "FETCH 2 FROM h", CURSORS_SEEN, "CLOSE h"))
    if sql == "CLOSE h":
        client.stays.discard("h")
    g.say(client, sql)


@step("briefly", 2, "open")
def lock_briefly(g, client):
    key, kind = g.rng.randrange(1, 4), g.rng.choice(("", "_shared"))
    g.say(client, f"SELECT pg_try_advisory_xact_lock{kind}({key})")


@step("briefly", 2)
def lock_and_unlock(g, client):
    key = g.rng.randrange(1, 4)
    g.say(client, g.rng.choice((
        LOCKS_SEEN, LOCKS_SEEN,
        f"SELECT CASE WHEN pg_try_advisory_lock({key}) THEN pg_advisory_unlock({key}) END")))


@step("briefly", 2, "open")
def temporary_briefly(g, client):
    if "frozen" in g.features:
        return  # see NEVER_WITH
    if "t" not in client.portals:
        g.say(client, "CREATE TEMP TABLE t (n int) ON COMMIT DROP")
        client.portals.add("t")
    else:
        g.say(client, g.rng.choice(("INSERT INTO t VALUES (1), (2)", "SELECT count(*) FROM t",
                                    TEMPORARY_SEEN)))
    client.risky = True


@step("briefly", 3)
def draw(g, client):
    sequence = f"{g.schema(client)}.{g.rng.choice(('numbers', 'letters'))}"
    if client.state == "idle" or (g.chance(0.5) or client.risky):
        g.say(client, f"SELECT nextval('{sequence}')")
        client.drew(sequence)
    elif sequence in client.drawn:
        g.say(client, g.rng.choice((f"SELECT currval('{sequence}')", "SELECT lastval()")))
    elif not client.ever_drawn:
        g.say(client, f"SELECT currval('{sequence}')")
        client.fail()


@step("sequences", 4)
def current_value(g, client):
    sequence = f"{g.schema(client)}.{g.rng.choice(('numbers', 'letters'))}"
    if not client.ever_drawn:
        client.fail()
    if client.ever_drawn and sequence not in client.ever_drawn:
        return
    g.say(client, g.rng.choice((f"SELECT currval('{sequence}')", "SELECT lastval()")))


@step("locks", 5)
def lock(g, client):
    key, kind = g.rng.randrange(1, 4), g.rng.choice(("", "", "_shared"))
    client.holds = True
    g.say(client, g.rng.choice((
        f"SELECT pg_try_advisory_lock{kind}({key})", f"SELECT pg_try_advisory_lock{kind}({key})",
        f"SELECT pg_advisory_unlock{kind}({key})", LOCKS_SEEN, "SELECT pg_advisory_unlock_all()")))


@step("temp", 5)
def temporary(g, client):
    if "stay" not in client.stays:
        g.say(client, "CREATE TEMP TABLE stay (n int)")
        client.stays.add("stay")
        return
    sql = g.rng.choice(("INSERT INTO stay VALUES (1), (2)", "SELECT count(*) FROM stay",
                        "SELECT count(*) FROM stay", TEMPORARY_SEEN, "DROP TABLE stay",
                        "CREATE TEMP VIEW stay_seen AS SELECT 1 AS one",
                        "CREATE TEMP SEQUENCE stay_numbers"))
    if sql.startswith("DROP"):
        client.stays.discard("stay")
    client.risky = True
    g.say(client, sql)


@step("listen", 5)
def listen(g, client):
    channel, payload = g.rng.choice(("news", '"Other"')), f"p{g.rng.randrange(5)}"
    plain = literal(channel.strip('"'))
    g.say(client, g.rng.choice((
        f"LISTEN {channel}", f"LISTEN {channel}", f"UNLISTEN {channel}", "UNLISTEN *",
        f"NOTIFY {channel}", f"NOTIFY {channel}, '{payload}'", f"NOTIFY {channel}, '{payload}'",
        f"SELECT pg_notify({plain}, '{payload}')")))


@step("listen", 1, when="idle")
def see_channels(g, client):
    g.say(client, CHANNELS_SEEN)


@step("channels", 1, when="open")
def see_channels_in_transaction(g, client):
    g.say(client, CHANNELS_SEEN)


@step("seed", 2)
def seed(g, client):
    """random() is only asked for where its seed is known."""
    if client.seeded and g.chance(0.6):
        g.say(client, "SELECT random()")
    else:
        g.say(client, f"SELECT setseed({g.rng.choice(('0.1', '-0.25'))})")
        client.seeded = client.state == "idle"


# ---- hidden -------------------------------------------------------------------------------------

@step("hidden", 2)
def hidden(g, client):
    name, value = any_setting(g)
    g.say(client, g.rng.choice((
        f"DO $$ BEGIN PERFORM set_config('{name}', {literal(value)}, true); END $$",
        "DO $$ BEGIN EXECUTE 'SET LOCAL work_mem = ''3MB'''; END $$",
        "SELECT shout('anyone')",
        "DO $$ BEGIN PERFORM pg_try_advisory_xact_lock(2); END $$",
        "DO $$ BEGIN PERFORM 1/0; EXCEPTION WHEN OTHERS THEN PERFORM "
        "set_config('DateStyle', 'German', true); END $$")))
    client.risky = client.risky or name == "search_path"
