"""Nothing of one client's is seen by the next one on the same backend: the pool has one."""

import harness
import wire

ONE = {"pool": {"max_connections": 1, "acquire_timeout": "20s"}}
# What would pin a client that stays lasts until its transaction ends.
UNPINNED = {**ONE, "services": [
    {"name": name, **({} if name == "legacy" else {"schema": name}),
     "session_features": dict.fromkeys(("temp_table", "advisory_lock", "hold_cursor", "listen",
                                        "seed", "load"), "allow")}
    for name in harness.SERVICES]}

# What a session may leave behind, and how the next client would notice.
SETTINGS_DIFFER = ("SELECT name || '=' || setting FROM pg_settings WHERE source = 'session' "
                   "AND name NOT IN ('search_path') ORDER BY 1")
STATEMENTS = "SELECT name FROM pg_prepared_statements WHERE name NOT LIKE 'sx\\_%'"
LOCKS = "SELECT objid FROM pg_locks WHERE locktype = 'advisory'"
CURSORS = "SELECT name FROM pg_cursors WHERE name <> ''"
CHANNELS = "SELECT * FROM pg_listening_channels()"
TEMPORARY = ("SELECT relname FROM pg_class WHERE relpersistence = 't' "
             "AND relnamespace = pg_my_temp_schema()")


class Isolation(harness.Case):
    config = UNPINNED
    pins = False

    def assert_clean(self, service="orders"):
        """A new client of another service finds the backend as new."""
        client = self.wire(service)
        for sql in (SETTINGS_DIFFER, STATEMENTS, LOCKS, CURSORS, CHANNELS, TEMPORARY):
            self.assertEqual(client.rows(sql), [], sql)
        self.assertEqual(client.rows("SELECT current_user, session_user, current_schema"),
                         [["app", "app", "public" if service == "legacy" else service]])
        self.assertEqual(client.rows("SHOW search_path"),
                         [['"$user", public' if service == "legacy" else f'"{service}", public']])
        self.assertEqual(client.rows("SELECT service FROM who"), [[service]])
        client.send(wire.TERMINATE)

    def leaves_nothing_when_unpinned(self, *texts, extended=False):
        stays = (False,) if self.pins else (True, False)
        self.leaves_nothing(*texts, extended=extended, stays=stays)

    def ask_and_stay_unless_pinned(self, service, text):
        client = self.wire(service)
        self.assertEqual(wire.errors_of(client.ask(text)), [], text)
        if self.pins:
            client.vanish()

    def leaves_nothing(self, *texts, extended=False, stays=(True, False)):
        """Runs the texts as one client, alive or gone, and looks at the backend after it."""
        for stays_now in stays:
            with self.subTest(client_stays=stays_now):
                client = self.wire("users")
                for text in texts:
                    if extended:
                        client.send(wire.parse("", text), wire.bind(), wire.execute(), wire.SYNC)
                        messages = client.read_ready()
                    else:
                        messages = client.ask(text)
                    self.assertEqual(wire.errors_of(messages), [], text)
                if not stays_now:
                    client.vanish()
                self.assert_clean()
                self.assert_clean("legacy")
                client.close()

    def test_all_clients_share_one_backend(self):
        pids = {self.wire(service).rows("SELECT pg_backend_pid()")[0][0]
                for service in ("users", "orders", "legacy", "users")}
        self.assertEqual(len(pids), 1)

    def test_alternating_services_never_see_each_others_rows(self):
        clients = {service: self.wire(service) for service in harness.SERVICES}
        for round_number in range(60):
            for service, client in clients.items():
                self.assertEqual(client.rows("SELECT service FROM who"), [[service]])
                self.assertEqual(client.rows("SELECT service FROM {{tables.who}}"), [[service]])
                self.assertEqual(client.rows("SELECT whose()"), [[service]])
                client.send(wire.parse("", "SELECT service FROM who"), wire.bind(),
                            wire.execute(), wire.SYNC)
                self.assertEqual(wire.rows_of(client.read_ready()), [[service]], round_number)

    def test_prepared_statements_of_equal_name_and_text_stay_apart(self):
        clients = {service: self.wire(service) for service in harness.SERVICES}
        for client in clients.values():
            client.send(wire.parse("s", "SELECT service FROM who"), wire.SYNC)
            self.assertEqual(wire.kinds(client.read_ready()), "1Z")
        for _ in range(10):
            for service, client in clients.items():
                client.send(wire.bind("", "s"), wire.execute(), wire.SYNC)
                self.assertEqual(wire.rows_of(client.read_ready()), [[service]])

    def test_set_and_its_kin(self):
        self.leaves_nothing("SET work_mem = '13MB'")
        self.leaves_nothing("SET search_path = users, orders")
        self.leaves_nothing("SET SESSION statement_timeout = 1234; SELECT 1")
        self.leaves_nothing("SET application_name = 'left behind'", "SET TIME ZONE 'Asia/Tokyo'")
        self.leaves_nothing("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY")
        self.leaves_nothing("SET app.tenant = 'secret'")

    def test_set_in_the_extended_protocol(self):
        self.leaves_nothing("SET work_mem = '13MB'", extended=True)
        self.leaves_nothing("SELECT set_config('work_mem', '13MB', false)", extended=True)

    def test_custom_setting_is_not_readable_by_the_next_client(self):
        client = self.wire()
        client.ask("SET app.secret = 'mine'")
        value = self.wire("orders").rows("SELECT coalesce(current_setting('app.secret', true), '')")
        self.assertEqual(value, [[""]])

    def test_set_role(self):
        self.leaves_nothing("SET ROLE app_reader")
        self.leaves_nothing("SET SESSION AUTHORIZATION app")

    def test_temporary_objects(self):
        self.leaves_nothing_when_unpinned("CREATE TEMP TABLE left_behind (x int)")
        self.leaves_nothing_when_unpinned("SELECT 1 AS x INTO TEMP left_behind")
        self.leaves_nothing_when_unpinned("CREATE TABLE pg_temp.left_behind (x int)", extended=True)
        # A temporary relation hides the real one, whatever the search_path is.
        self.ask_and_stay_unless_pinned("users",
                                        "CREATE TEMP TABLE who AS SELECT 'fake' AS service")
        self.assertEqual(self.wire("orders").rows("SELECT service FROM who"), [["orders"]])
        self.assertEqual(self.wire("orders").rows("SELECT to_regclass('pg_temp.who')"), [[None]])

    def test_session_advisory_locks(self):
        self.leaves_nothing_when_unpinned("SELECT pg_advisory_lock(4711)")
        self.leaves_nothing_when_unpinned("SELECT pg_try_advisory_lock(1, 2)", extended=True)

    def test_listen(self):
        self.leaves_nothing_when_unpinned("LISTEN left_behind")

    def test_sql_prepare(self):
        self.leaves_nothing("PREPARE left_behind AS SELECT 1")

    def test_cursor_with_hold(self):
        self.leaves_nothing_when_unpinned("DECLARE left_behind CURSOR WITH HOLD FOR SELECT 1")

    def test_do_block_that_sets_something(self):
        self.leaves_nothing("DO $$ BEGIN PERFORM set_config('work_mem', '13MB', false); END $$")
        self.leaves_nothing("DO $$ BEGIN EXECUTE 'SET work_mem = ''13MB'''; END $$", extended=True)

    def test_function_that_sets_something(self):
        self.leaves_nothing("SELECT change_setting('work_mem', '13MB')")
        self.leaves_nothing("SELECT users.change_setting('app.left', 'behind')", extended=True)
        self.leaves_nothing("SELECT {{schema}}.change_setting('search_path', 'orders')")
        self.leaves_nothing("BEGIN", "SELECT change_setting('work_mem', '13MB')", "COMMIT")

    def test_seed_of_the_random_numbers(self):
        with self.postgres.connect() as direct:
            direct.execute("SELECT setseed(0.5)")
            expected = [value for value, in direct.execute(
                "SELECT random()::text FROM generate_series(1, 3)")]
        self.ask_and_stay_unless_pinned("users", "SELECT setseed(0.5)")
        found = self.wire("orders").rows("SELECT random()::text FROM generate_series(1, 3)")
        self.assertNotEqual([row[0] for row in found], expected)

    def test_currval_and_lastval_of_another_client(self):
        first = self.wire("users")
        first.rows("INSERT INTO {{tables.items}} (name) VALUES ('x') RETURNING id")
        other = self.wire("users")
        for text in ("SELECT lastval()", "SELECT currval('items_id_seq')"):
            self.assertEqual(wire.sqlstates(other.ask(text)), ["55000"], text)
        first.send(wire.parse("", "INSERT INTO items (name) VALUES ('y')"), wire.bind(),
                   wire.execute(), wire.SYNC)
        self.assertEqual(wire.errors_of(first.read_ready()), [])
        for text in ("SELECT lastval()", "SELECT currval('items_id_seq')"):
            self.assertEqual(wire.sqlstates(other.ask(text)), ["55000"], text)
        self.postgres.run("DELETE FROM users.items WHERE name IN ('x', 'y')")

    def test_lastval_within_one_transaction(self):
        client = self.wire("users")
        client.ask("BEGIN")
        number = client.rows("INSERT INTO items (name) VALUES ('x') RETURNING id")
        self.assertEqual(client.rows("SELECT lastval()"), number)
        client.ask("ROLLBACK")

    def test_open_transaction_at_disconnect_is_rolled_back(self):
        for end in ("terminate", "vanish", "failed"):
            with self.subTest(end), self.temporary_table("x int") as table:
                client = self.wire()
                client.ask("BEGIN")
                client.ask(f"INSERT INTO {table} VALUES (1)")
                client.ask("SET LOCAL work_mem = '13MB'")
                if end == "failed":
                    self.assertEqual(wire.sqlstates(client.ask("SELECT 1/0")), ["22012"])
                if end == "terminate":
                    client.send(wire.TERMINATE)
                client.vanish() if end != "terminate" else client.close()
                self.assert_clean()
                self.assertEqual(self.wire().rows(f"SELECT * FROM {table}"), [])

    def test_set_local_and_rolled_back_set(self):
        self.leaves_nothing("BEGIN", "SET LOCAL work_mem = '13MB'", "COMMIT")
        self.leaves_nothing("BEGIN", "SET work_mem = '13MB'", "ROLLBACK")

    def test_unnamed_portal_and_statement_do_not_pass_to_another_client(self):
        client = self.wire()
        client.send(wire.parse("", "SELECT 'mine'"), wire.SYNC)
        client.read_ready()
        other = self.wire("orders")
        other.send(wire.bind(), wire.execute(), wire.SYNC)
        self.assertEqual(wire.sqlstates(other.read_ready()), ["26000"])
        client.send(wire.bind(), wire.execute(), wire.SYNC)
        self.assertEqual(wire.rows_of(client.read_ready()), [["mine"]])

    def test_names_of_the_backends_statements_are_of_no_use_to_a_client(self):
        victim = self.wire("users")
        victim.send(wire.parse("s", "SELECT service FROM who"), wire.SYNC)
        victim.read_ready()
        thief = self.wire("orders")
        names = [row[0] for row in thief.rows("SELECT name FROM pg_prepared_statements")]
        for name in names:
            thief.send(wire.bind("", name), wire.execute(), wire.SYNC)
            self.assertEqual(wire.sqlstates(thief.read_ready()), ["26000"], name)
            thief.ask(f'DEALLOCATE "{name}"')
        victim.send(wire.bind("", "s"), wire.execute(), wire.SYNC)
        self.assertEqual(wire.rows_of(victim.read_ready()), [["users"]])

    def test_deallocate_all_of_one_client_does_not_harm_another(self):
        for text in ("DEALLOCATE ALL", "DISCARD ALL", "SELECT 1; DEALLOCATE ALL"):
            with self.subTest(text):
                owner, other = self.wire("users"), self.wire("users")
                for client in (owner, other):
                    client.send(wire.parse("s", "SELECT service FROM who"), wire.SYNC)
                    client.read_ready()
                self.assertEqual(wire.errors_of(other.ask(text)), [])
                owner.send(wire.bind("", "s"), wire.execute(), wire.SYNC)
                self.assertEqual(wire.rows_of(owner.read_ready()), [["users"]])
                other.send(wire.bind("", "s"), wire.execute(), wire.SYNC)
                self.assertEqual(wire.sqlstates(other.read_ready()), ["26000"])
                other.send(wire.parse("s", "SELECT 2"), wire.bind("", "s"), wire.execute(),
                           wire.SYNC)
                self.assertEqual(wire.rows_of(other.read_ready()), [["2"]])

    def test_statement_parsed_under_a_clients_own_set_is_not_found_by_another(self):
        setter = self.wire("users")
        setter.ask("BEGIN")
        setter.ask("SET search_path = orders")
        setter.send(wire.parse("s", "SELECT service FROM who"), wire.bind("", "s"),
                    wire.execute(), wire.SYNC)
        self.assertEqual(wire.rows_of(setter.read_ready()), [["orders"]])
        setter.ask("COMMIT")
        other = self.wire("users")
        other.send(wire.parse("s", "SELECT service FROM who"), wire.bind("", "s"), wire.execute(),
                   wire.SYNC)
        self.assertEqual(wire.rows_of(other.read_ready()), [["users"]])

    def test_two_clients_with_other_startup_settings_alternate(self):
        tokyo, berlin = self.wire(TimeZone="Asia/Tokyo"), self.wire(TimeZone="Europe/Berlin")
        for _ in range(20):
            self.assertEqual(tokyo.rows("SHOW TimeZone"), [["Asia/Tokyo"]])
            self.assertEqual(berlin.rows("SHOW TimeZone"), [["Europe/Berlin"]])

    def test_notification_is_not_delivered_to_who_did_not_listen(self):
        self.ask_and_stay_unless_pinned("users", "LISTEN news")
        other = self.wire("orders")
        other.ask("NOTIFY news, 'for the listener'")
        messages = other.ask("SELECT 1")
        self.assertNotIn("A", [one.kind for one in messages])


class IsolationOfPinned(Isolation):
    """As it is by default: a client that goes leaves nothing of what pinned it."""

    config = ONE
    pins = True


class SettingsHold(harness.Case):
    """What a client sets holds for it alone (settings_test.py has more), and it is told so."""

    config = ONE

    def test_set_is_its_clients_alone(self):
        client, other = self.wire("users"), self.wire("orders")
        client.ask("SET work_mem = '13MB'")
        self.assertEqual(other.rows("SHOW work_mem"), [["4MB"]])
        self.assertEqual(client.rows("SHOW work_mem"), [["13MB"]])

    def test_set_holds_through_its_transaction(self):
        client = self.wire("users")
        client.ask("BEGIN")
        client.ask("SET work_mem = '13MB'")
        self.assertEqual(client.rows("SHOW work_mem"), [["13MB"]])
        client.ask("COMMIT")

    def test_parameter_status_tells_the_truth(self):
        """What the client was told last about TimeZone is what its next statement runs with."""
        client = self.wire("users")
        told = client.parameters["TimeZone"]
        for text in ("SET TimeZone = 'Asia/Tokyo'", "SELECT 1"):
            for one in client.ask(text):
                if one.kind == "S" and one.body.startswith(b"TimeZone\0"):
                    told = one.body.decode().split("\0")[1]
        self.assertEqual(client.rows("SHOW TimeZone"), [[told]])
