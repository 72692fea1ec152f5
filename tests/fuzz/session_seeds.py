"""Sessions for the target relay_session that chance hardly writes: each is about one rule of the
relay's, and ends with what shows that it held. seeds.py puts them into the corpus.
"""

# Steps of a session, as `Session::step` reads them; one server unless the first byte says more.
SETTLE = b"\x0a"
UNNAMED, S1, S2 = 0, 1, 2
# Indices of `texts`.
SELECT, SELECT_PARAMETER, SELECT_THREE, BEGIN, COMMIT, ROLLBACK, BOOM = 0, 1, 2, 4, 5, 6, 9
COPY, DEALLOCATE_ALL, UPDATE_BOOM = 32, 36, 46


def say(kind, *arguments, client=0):
    return bytes([kind << 4, client, *arguments])


def query(text, client=0):
    return say(0, text, client=client)


def parse(name, text=SELECT_PARAMETER):
    return say(1, name, text)


def bind(name):
    return say(2, 0, name)


def describe(name):
    return say(3, 1, name)


def execute():
    return say(4, 0, 0)


def close(name):
    return say(5, 1, name)


def sync():
    return say(6)


def ask(name):
    """Whether the client has the statement, and which."""
    return bind(name) + describe(name) + execute() + sync() + SETTLE


def written_sessions():
    """What chance hardly writes: one rule of the relay's each, and what shows that it held."""
    missing = bind(S2)  # fails, and what follows up to the Sync is skipped
    made = parse(S1) + sync() + SETTLE
    other = query(SELECT, client=1) + SETTLE
    # Skipped messages have changed nothing.
    yield [made, missing, close(S1), sync(), SETTLE, ask(S1), other, ask(S1)]
    yield [made, missing, close(S1), parse(S1, SELECT_THREE), sync(), SETTLE, ask(S1)]
    yield [missing, parse(S1), sync(), SETTLE, ask(S1), parse(S1), sync(), ask(S1)]
    yield [parse(UNNAMED), sync(), missing, parse(UNNAMED, SELECT_THREE), sync(), SETTLE,
           ask(UNNAMED)]
    yield [made, missing, query(DEALLOCATE_ALL), sync(), SETTLE, ask(S1)]
    # The same with everything under way at once.
    yield [parse(S1), sync(), missing, close(S1), sync(), ask(S1)]
    yield [parse(S1), close(S1), parse(S1, SELECT_THREE), sync(), ask(S1)]
    # What did happen stays, with another's transaction in between.
    yield [made, close(S1), sync(), SETTLE, other, ask(S1)]
    yield [made, other, parse(S1), sync(), SETTLE, other, ask(S1)]
    yield [made, query(DEALLOCATE_ALL), SETTLE, other, ask(S1)]
    yield [parse(UNNAMED), sync(), SETTLE, query(BOOM), SETTLE, other, ask(UNNAMED)]
    yield [parse(UNNAMED), sync(), SETTLE, other, ask(UNNAMED)]
    # A transaction keeps its server, whoever else waits, also a failed one.
    yield [query(BEGIN), SETTLE, other, query(SELECT), SETTLE, query(COMMIT), SETTLE, other]
    yield [query(BEGIN), SETTLE, query(BOOM), SETTLE, other, query(SELECT), SETTLE,
           query(ROLLBACK), SETTLE]
    yield [query(BEGIN), SETTLE, other, ask(S1), query(ROLLBACK), SETTLE]
    yield [parse(S1), other, bind(S1), execute(), SETTLE, other, sync(), SETTLE]
    # COPY keeps it too; positions are the client's.
    yield [query(COPY), SETTLE, other, say(8), say(9, 1), SETTLE, other]
    yield [query(COPY), SETTLE, sync(), say(9, 0), SETTLE, ask(S1)]
    yield [query(UPDATE_BOOM), SETTLE, parse(S1, UPDATE_BOOM), sync(), SETTLE, ask(S1)]


def all_seeds():
    for script in written_sessions():
        for servers in (0, 2):
            yield bytes([servers, 1, 0, 0]) + b"".join(script)
