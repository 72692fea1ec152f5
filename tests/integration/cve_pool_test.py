"""Mistakes of other products with cancels and with what one client leaves for the next, one test
each. tests/CVES.md lists them all.
"""

import contextlib
import unittest

import attacks
import cancel_test
import harness
import wire

TRUST = {"method": "trust"}
RUNNING = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE %s"


class Cancels(attacks.Attacked):
    """One backend: whom a cancel hits that it was not for is the next one on it."""

    config = {"auth": TRUST, "services": attacks.SERVICES[:1] + [
        {"name": "orders", "schema": "orders"}],
        "pool": {"max_connections": 1, "acquire_timeout": "20s"}}

    def run_for_long(self, client):
        mark = wire.nonce()
        client.send(wire.query(f"SELECT pg_sleep(60), '{mark}'"))
        self.wait_until(lambda: self.postgres.run(RUNNING, (f"%{mark}%",)) == [(1,)])

    def cancel(self, client):
        return wire.send_cancel(self.schemux.port, client.pid, client.secret)

    def answers_are_own(self, *clients):
        for number in range(20):
            for client in clients:
                mark = wire.nonce()
                self.assertEqual(client.rows(f"SELECT '{mark}', {number}"), [[mark, str(number)]])

    def test_pgbouncer_141_cancel_makes_no_second_ready_for_query(self):
        """A cancelled client that still waited got a ReadyForQuery too many, and its answers were a
        place off from there on; here each query has one."""
        holder, waiter, other = (self.log_in("bob", "orders") for _ in range(3))
        for _ in range(3):
            holder.ask("BEGIN")
            waiter.send(wire.query("SELECT 'never'"))
            self.wait_until(lambda: self.schemux.metric("schemux_clients_waiting") == 1)
            self.cancel(waiter)
            messages = waiter.read_ready()
            self.assertEqual((wire.kinds(messages), wire.sqlstates(messages)), ("EZ", ["57014"]))
            holder.ask("COMMIT")
            self.answers_are_own(holder, waiter, other)
            self.run_for_long(waiter)
            self.cancel(waiter)
            self.assertEqual(wire.kinds(waiter.read_ready()), "TEZ")
            self.answers_are_own(holder, waiter, other)
        self.unharmed()

    def test_pgbouncer_38_cancel_of_who_has_given_the_backend_back(self):
        """A cancel went to the backend that the client had had, where another one's query ran; here
        it goes nowhere."""
        former, victim = self.log_in(), self.log_in("bob", "orders")
        pid = former.rows("SELECT pg_backend_pid()")
        self.run_for_long(victim)
        sent = self.schemux.metric("schemux_backend_cancel_requests_total")
        for _ in range(50):
            self.assertEqual(self.cancel(former), b"")
        self.assertEqual(self.schemux.metric("schemux_backend_cancel_requests_total"), sent)
        self.assertEqual(self.postgres.run(RUNNING, ("%pg_sleep(60)%",)), [(1,)])
        self.cancel(victim)
        self.assertEqual(wire.sqlstates(victim.read_ready()), ["57014"])
        self.assertEqual(victim.rows("SELECT pg_backend_pid()"), pid)
        self.answers_are_own(former, victim)
        self.unharmed()

    def behind_a_deaf_server(self):
        deaf = cancel_test.Deaf(self.postgres.port)
        self.addCleanup(deaf.close)
        dsn = f"host=127.0.0.1 port={deaf.port} dbname=app user=app"
        return deaf, self.start_schemux({**self.config, "backend": {"dsn": dsn}})

    def cancel_in_vain(self, deaf, instance, client):
        """A statement is cancelled while it runs, the server does not hear: it ends itself."""
        mark = wire.nonce()
        client.send(wire.query(f"SELECT pg_sleep(2), '{mark}'"))
        self.wait_until(lambda: self.postgres.run(RUNNING, (f"%{mark}%",)) == [(1,)])
        for _ in range(50):
            wire.send_cancel(instance.port, client.pid, client.secret)
        self.wait_until(lambda: deaf.cancels, "the cancel to be sent")
        self.assertEqual(wire.rows_of(client.read_ready()), [["", mark]])

    def test_pgbouncer_717_backend_is_not_reused_while_its_cancel_is_under_way(self):
        """A cancel that PostgreSQL read late hit the next client of that backend; here nobody gets
        it before the cancel's connection has ended."""
        deaf, instance = self.behind_a_deaf_server()
        client, next_one = self.wire("users", instance), self.wire("orders", instance)
        pid = client.rows("SELECT pg_backend_pid()")
        self.cancel_in_vain(deaf, instance, client)
        mark = wire.nonce()
        next_one.send(wire.query(f"SELECT pg_backend_pid(), '{mark}', pg_sleep(0.3)"))
        self.wait_until(lambda: instance.metric("schemux_clients_waiting") == 1)
        self.assertEqual(self.postgres.run(RUNNING, (f"%{mark}%",)), [(0,)])
        deaf.hear()
        row, = wire.rows_of(next_one.read_ready())
        self.assertEqual([[row[0]], row[1]], [pid[0], mark])
        self.unharmed()

    def test_odyssey_cancel_connection_that_never_closes(self):
        """A cancel whose connection the client kept open was kept for ever; here it is closed by
        us."""
        files = self.schemux.open_files()
        requests = [self.raw() for _ in range(100)]
        for number, request in enumerate(requests):
            client = self.bystander if number % 2 else wire.Wire  # a key that somebody has, or none
            request.send(wire.cancel_request(getattr(client, "pid", 1), 7))
        for request in requests:
            self.assertEqual(request.read_to_end(), [])  # and it stays open at its other end
        self.wait_until(lambda: self.schemux.open_files() <= files + 2, "the requests to be gone")
        self.unharmed()

    @harness.full_only
    def test_odyssey_cancel_connection_that_the_server_never_closes(self):
        """The same at the other side; here its connection, and its backend, are given up."""
        deaf, instance = self.behind_a_deaf_server()
        client = self.wire("users", instance)
        client.rows("SELECT 1")
        files = instance.open_files()
        self.cancel_in_vain(deaf, instance, client)
        self.assertEqual(client.rows("SELECT 'on'"), [["on"]])  # on another backend
        self.wait_until(lambda: instance.open_files() <= files + 2, "the cancel to be given up")
        self.unharmed()


class WhatIsLeft(attacks.Attacked):
    """One backend for all, so that whoever comes next has what was left there."""

    config = {"auth": TRUST, "pool": {"max_connections": 1, "acquire_timeout": "20s"},
              "services": Cancels.config["services"]}

    def waits(self):
        return self.schemux.metric("schemux_clients_waiting")

    def test_supavisor_backend_given_away_too_early(self):
        """A Sync in a write of its own, a batch in parts and a failed COPY gave the backend away
        with answers still to come; here it stays until all of them have come."""
        first, second = self.log_in(), self.log_in("bob", "orders")
        starts = {
            "batch": (wire.parse("", "SELECT 'mine'") + wire.bind() + wire.execute() + wire.FLUSH,
                      "C", wire.SYNC),
            "failed batch": (wire.parse("", "SELEC") + wire.FLUSH, "E", wire.SYNC),
            "copy": (wire.query("COPY {{tables.loaded}} FROM STDIN"), "G",
                     wire.copy_data(b"nonsense\n") + wire.COPY_DONE),
            "copy in a batch": (wire.parse("", "COPY {{tables.loaded}} FROM STDIN") + wire.bind()
                                + wire.execute() + wire.FLUSH, "G",
                                wire.copy_fail("enough") + wire.SYNC),
        }
        for name, (start, until, end) in starts.items():
            with self.subTest(name):
                first.send(start)
                first.read_until(until)
                mark = wire.nonce()
                second.send(wire.query(f"SELECT '{mark}'"))
                self.wait_until(lambda: self.waits() == 1)
                self.assertEqual(self.postgres.run(RUNNING, (f"%{mark}%",)), [(0,)])
                first.send(end)
                self.assertEqual([one.kind for one in first.read_ready()][-1], "Z")
                self.assertEqual(wire.rows_of(second.read_ready()), [[mark]])
                self.assertEqual(first.rows("SELECT 'own'"), [["own"]])
        self.unharmed()

    def test_cve_2025_12819_functions_in_a_search_path_of_a_client(self):
        """What a client has in its search_path was run by the pooler's own queries; here they name
        their schema, whatever the client's settings are."""
        schema = f"evil_{wire.nonce()}"
        name, sql = self.canary()
        trap = f"LANGUAGE plpgsql AS $$ BEGIN {sql}; RETURN NULL; END $$"
        void = trap.replace("RETURN NULL; ", "")
        with self.postgres.connect_as_owner() as owner:
            owner.execute("SET ROLE postgres")
            owner.execute(f"CREATE SCHEMA {schema} AUTHORIZATION app")
            self.addCleanup(self.postgres.run, f"DROP SCHEMA {schema} CASCADE")
            owner.execute("SET ROLE app")
            for function in ("set_config(text, text, boolean) RETURNS text",
                             "current_setting(text) RETURNS text",
                             "current_setting(text, boolean) RETURNS text",
                             "getdatabaseencoding() RETURNS name", "pg_backend_pid() RETURNS int",
                             "pg_advisory_unlock_all() RETURNS void",
                             "pg_listening_channels() RETURNS text"):
                owner.execute(f"CREATE FUNCTION {schema}.{function} "
                              f"{void if 'void' in function else trap}")
            owner.execute(f"CREATE FUNCTION {schema}.same(text, text) RETURNS boolean {trap}")
            owner.execute(f"CREATE OPERATOR {schema}.= (LEFTARG = text, RIGHTARG = text, "
                          f"FUNCTION = {schema}.same)")
        instance = self.start_schemux(
            {**self.config, "pool": {"max_connections": 1, "audit_sample": 1}})
        evil = self.wire("users", instance, search_path=f"{schema}, pg_catalog",
                         application_name="evil")
        # What keeps the backend is let go of before the next client wants it.
        for works in (["SELECT 1"], ["SET work_mem = '5MB'"], ["SET app.odd = 'x'"],
                      ["RESET work_mem"], ["CREATE TEMP TABLE t ()", "DROP TABLE t"],
                      ["SET ROLE app"], ["RESET ALL"], ["LISTEN news", "UNLISTEN *"],
                      ["SELECT pg_catalog.pg_advisory_lock(1)",
                       "SELECT pg_catalog.pg_advisory_unlock(1)"],
                      ["DECLARE c CURSOR WITH HOLD FOR SELECT 1", "CLOSE c"], ["DISCARD ALL"],
                      [f"SET search_path = {schema}, pg_catalog"], ["BEGIN", "SELECT 1/0", "END"]):
            for work in works:
                evil.ask(work)
            other = self.wire("orders", instance)
            self.assertEqual(other.rows("SELECT service FROM who"), [["orders"]])
            other.close()
        self.assertEqual(evil.rows("SELECT pg_catalog.current_setting('search_path')"),
                         [[f"{schema}, pg_catalog"]])
        self.assert_not_run(name)
        # The trap does spring on who steps on it.
        evil.ask("SELECT set_config('work_mem', '5MB', false)")
        self.assertNotEqual(self.postgres.run("SELECT to_regclass(%s)", (f"public.{name}",)),
                            [(None,)])
        self.unharmed()


class Rights(attacks.Attacked):
    """Two roles on one backend, and a table of which each may see its own rows."""

    config = WhatIsLeft.config

    @contextlib.contextmanager
    def guarded(self):
        """Two rows, one of each role's."""
        with self.temporary_table("owner text, body text") as name:
            table = f"users.{name}"
            self.postgres.run(f"""
                INSERT INTO {table} VALUES ('app', 'apps row'), ('app_reader', 'readers row');
                ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;
                ALTER TABLE {table} FORCE ROW LEVEL SECURITY;
                CREATE POLICY own ON {table} USING (owner = current_user);
                GRANT USAGE ON SCHEMA users TO app_reader;
                GRANT SELECT ON {table} TO app_reader""")
            try:
                yield name
            finally:
                self.postgres.run("REVOKE USAGE ON SCHEMA users FROM app_reader")

    def prepared(self, client, text, turns=7):
        """More turns than PostgreSQL needs for a plan that it keeps."""
        client.send(wire.parse("s", text), wire.SYNC)
        client.read_ready()
        for _ in range(turns):
            yield self.executed(client)

    def told(self, client, text):
        messages = client.ask(text)
        return wire.sqlstates(messages), [one.row for one in messages if one.kind == "D"]

    def executed(self, client):
        client.send(wire.bind("", "s"), wire.execute(), wire.SYNC)
        messages = client.read_ready()
        return wire.sqlstates(messages) or [one.row for one in messages if one.kind == "D"]

    def each_sees_its_own(self, text):
        clients = {"apps row": self.log_in(), "readers row": self.log_in(role="app_reader")}
        pids = {client.rows("SELECT pg_backend_pid()")[0][0] for client in clients.values()}
        self.assertEqual(len(pids), 1)
        for row, client in clients.items():
            self.assertEqual(list(self.prepared(client, text)), [[[row]]] * 7)
        for _ in range(3):
            for row, client in clients.items():
                self.assertEqual(self.executed(client), [[row]])
        # One client, which changes its role between two runs of its statement.
        client = clients["apps row"]
        for role, row in (("app_reader", "readers row"), ("app", "apps row")):
            client.rows(f"SET ROLE {role}")
            self.assertEqual(self.executed(client), [[row]])
        self.unharmed()

    def test_cve_2016_2193_plan_made_for_another_role(self):
        """A plan with one role's policy was run under another one; here clients who share the text
        of a statement share no rows."""
        with self.guarded() as name:
            self.each_sees_its_own(f"SELECT body FROM {{{{tables.{name}}}}}")

    def test_cve_2023_2455_policy_of_a_function_that_was_inlined(self):
        """The same where the table is read inside of a function."""
        with self.guarded() as name, self.postgres.connect_as_owner() as owner:
            owner.execute(f"CREATE FUNCTION users.f_{name}() RETURNS SETOF text LANGUAGE sql "
                          f"STABLE AS 'SELECT body FROM users.{name}'")
            try:
                self.each_sees_its_own(f"SELECT * FROM {{{{schema}}}}.f_{name}()")
            finally:
                owner.execute(f"DROP FUNCTION users.f_{name}")

    def test_cve_2024_10976_policy_below_a_subquery(self):
        """The same where the table is read below a WITH query."""
        with self.guarded() as name:
            self.each_sees_its_own(f"WITH w AS (SELECT body FROM {{{{tables.{name}}}}}) "
                                   "SELECT (SELECT body FROM w)")

    def test_cve_2024_10978_reset_to_another_role(self):
        """A reset of the role inside of a transaction gave another one than the session's; here
        each client has its own again, and the next one is nobody else."""
        reader, other = self.log_in(role="app_reader"), self.log_in("bob", "orders")
        twin = wire.Wire(self.postgres.port)
        self.addCleanup(twin.close)
        twin.login("app", "app", role="app_reader")
        who = "SELECT current_user, session_user"
        for texts in (["BEGIN", "SET LOCAL ROLE app", "ROLLBACK"],
                      ["BEGIN", "SET LOCAL ROLE app", "COMMIT"],
                      ["BEGIN", "SET ROLE app", "ROLLBACK"], ["BEGIN", "RESET ROLE", "ROLLBACK"],
                      ["BEGIN", "SET SESSION AUTHORIZATION app", "SET LOCAL ROLE NONE", "ROLLBACK"],
                      ["BEGIN", "SET LOCAL ROLE app", "SELECT 1/0", "COMMIT"],
                      ["BEGIN", "SET LOCAL SESSION AUTHORIZATION app", "ROLLBACK"],
                      ["RESET ALL"], ["DISCARD ALL"], ["SET ROLE app", "SET ROLE app_reader"],
                      ["SET ROLE NONE"]):
            with self.subTest(texts):
                for text in [*texts, who, who]:
                    self.assertEqual(self.told(reader, text), self.told(twin, text))
                    if "BEGIN" not in texts:
                        self.assertEqual(other.rows(who), [["app", "app"]])
                self.assertEqual(other.rows(who), [["app", "app"]])
        self.unharmed()

    def test_cve_2024_45624_rows_for_who_has_lost_the_right(self):
        """Answers were kept and given to who might not see them any more; here each is asked for,
        though the statement is prepared already."""
        with self.guarded() as name:
            text = f"SELECT body FROM {{{{tables.{name}}}}}"
            reader = self.log_in(role="app_reader")
            self.assertEqual(list(self.prepared(reader, text)), [[["readers row"]]] * 7)
            self.postgres.run(f"REVOKE SELECT ON users.{name} FROM app_reader")
            self.assertEqual(self.executed(reader), ["42501"])
            self.assertEqual(wire.sqlstates(reader.ask(text)), ["42501"])
            newcomer = self.log_in(role="app_reader")
            self.assertEqual(list(self.prepared(newcomer, text)), [["42501"]] * 7)
        self.unharmed()


if __name__ == "__main__":
    unittest.main()
