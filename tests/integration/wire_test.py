"""Messages in orders that drivers seldom use: pipelines, errors in them, portals, COPY.

What PostgreSQL itself answers is the measure: where it matters a test asks both.
"""

import contextlib
import struct

import harness
import wire


class Protocol(harness.Case):
    config = {"pool": {"max_connections": 2}}

    def direct(self):
        """A connection past schemux that sees the tables of the service users."""
        client = wire.Wire(self.postgres.port)
        self.addCleanup(client.close)
        client.login("app", "app", search_path="users, public")
        return client

    def same_as_direct(self, *messages, syncs=1):
        """The answers to `messages` are of the same types as PostgreSQL's own."""
        answers = []
        for client in (self.direct(), self.wire("users")):
            client.send(*messages)
            answers.append("".join(wire.kinds(client.read_ready()) for _ in range(syncs)))
            self.assertEqual(client.rows("SELECT 'still here'"), [["still here"]])
        self.assertEqual(answers[1], answers[0])
        return answers[1]

    # ---- extended queries and pipelines ----------------------------------------------------

    def test_parse_bind_describe_execute_close(self):
        self.assertEqual(
            self.same_as_direct(wire.parse("", "SELECT $1::int"), wire.describe("S"),
                                wire.bind("", "", [5]), wire.describe("P"), wire.execute(),
                                wire.close("P"), wire.close("S"), wire.SYNC), "1tT2TDC33Z")

    def test_many_syncs_outstanding_are_answered_in_order(self):
        client = self.wire()
        count = 3000
        client.send(wire.parse("s", "SELECT $1::int, service FROM {{tables.who}}"), wire.SYNC)
        batch = b"".join(wire.bind("", "s", [n]) + wire.execute() + wire.SYNC
                         for n in range(count))
        sender = harness.Background(client.send, batch)
        self.assertEqual(wire.kinds(client.read_ready()), "1Z")
        for number in range(count):
            self.assertEqual(wire.rows_of(client.read_ready()), [[str(number), "users"]])
        sender.result()

    def test_one_batch_of_many_executions_before_one_sync(self):
        client = self.wire()
        count = 40_000
        batch = wire.parse("", "SELECT $1::int") + b"".join(
            wire.bind("", "", [n]) + wire.execute() for n in range(count)) + wire.SYNC
        sender = harness.Background(client.send, batch)
        rows = wire.rows_of(client.read_ready())
        sender.result()
        self.assertEqual([row[0] for row in rows], [str(n) for n in range(count)])

    def test_server_error_arrives_while_the_client_still_sends(self):
        client = self.wire()
        client.send(wire.parse("", "SELECT 1/(random() * 0)::int"), wire.bind(),
                    wire.execute(), wire.FLUSH)
        self.assertEqual(wire.kinds(client.read_until("E")), "12E")
        client.send(wire.bind("", "", [1]), wire.execute(), wire.SYNC)
        self.assertEqual(wire.kinds(client.read_ready()), "Z")

    def test_error_skips_to_the_next_sync_only(self):
        self.assertEqual(
            self.same_as_direct(
                wire.parse("", "SELECT 1/0"), wire.bind(), wire.execute(),
                wire.parse("", "SELECT 1"), wire.bind(), wire.execute(), wire.SYNC,
                wire.parse("", "SELECT 2"), wire.bind(), wire.execute(), wire.SYNC, syncs=2),
            "1EZ12DCZ")

    def test_flush_without_sync_is_answered(self):
        client = self.wire()
        client.send(wire.parse("", "SELECT service FROM {{tables.who}}"), wire.describe("S"),
                    wire.FLUSH)
        self.assertEqual(wire.kinds(client.read_until("T")), "1tT")
        other = self.wire("orders")
        self.assertEqual(other.rows("SELECT service FROM who"), [["orders"]])
        client.send(wire.bind(), wire.execute(), wire.SYNC)
        self.assertEqual(wire.rows_of(client.read_ready()), [["users"]])

    def test_unnamed_statement_survives_a_sync_and_another_client(self):
        client, other = self.wire("users"), self.wire("orders")
        client.send(wire.parse("", "SELECT $1::text, service FROM {{tables.who}}"),
                    wire.describe("S"), wire.SYNC)
        client.read_ready()
        for number in range(5):
            other.send(wire.parse("", "SELECT 'other'"), wire.bind(), wire.execute(), wire.SYNC)
            self.assertEqual(wire.rows_of(other.read_ready()), [["other"]])
            client.send(wire.bind("", "", [number]), wire.execute(), wire.SYNC)
            self.assertEqual(wire.rows_of(client.read_ready()), [[str(number), "users"]])

    def test_simple_query_drops_the_unnamed_statement(self):
        client = self.wire()
        client.send(wire.parse("", "SELECT 1"), wire.SYNC)
        client.read_ready()
        client.ask("SELECT 2")
        client.send(wire.bind(), wire.execute(), wire.SYNC)
        self.assertEqual(wire.sqlstates(client.read_ready()), ["26000"])

    def test_portal_with_row_limit_is_fetched_in_parts(self):
        client = self.wire()
        client.ask("BEGIN")
        client.send(wire.parse("", "SELECT generate_series(1, 5)"), wire.bind("p"),
                    wire.execute("p", 2), wire.SYNC)
        self.assertEqual(wire.kinds(client.read_ready()), "12DDsZ")
        client.send(wire.execute("p", 2), wire.FLUSH)
        self.assertEqual(wire.kinds(client.read_until("s")), "DDs")
        client.send(wire.execute("p", 0), wire.close("P", "p"), wire.SYNC)
        self.assertEqual(wire.kinds(client.read_ready()), "DC3Z")
        client.ask("COMMIT")

    # ---- prepared statements ---------------------------------------------------------------

    def test_named_statements_work_on_every_backend(self):
        client = self.wire("users")
        blocker = self.wire("orders")
        client.send(wire.parse("q", "SELECT service, $1::int FROM {{tables.who}}"), wire.SYNC)
        client.read_ready()
        seen = set()
        for number in range(10):
            if number % 2:
                blocker.ask("BEGIN; SELECT 1")
            client.send(wire.bind("", "q", [number]), wire.execute(), wire.SYNC)
            self.assertEqual(wire.rows_of(client.read_ready()), [["users", str(number)]])
            seen.add(client.rows("SELECT pg_backend_pid()")[0][0])
            if number % 2:
                blocker.ask("COMMIT")

    def test_duplicate_and_unknown_names(self):
        self.assertEqual(
            self.same_as_direct(wire.parse("a", "SELECT 1"), wire.SYNC,
                                wire.parse("a", "SELECT 2"), wire.SYNC, syncs=2), "1ZEZ")
        client = self.wire()
        client.send(wire.parse("a", "SELECT 1"), wire.parse("a", "SELECT 2"), wire.SYNC)
        self.assertEqual(wire.sqlstates(client.read_ready()), ["42P05"])
        client.send(wire.bind("", "nobody"), wire.SYNC, wire.describe("S", "nobody"), wire.SYNC,
                    wire.execute("nobody"), wire.SYNC)
        self.assertEqual([wire.sqlstates(client.read_ready()) for _ in range(3)],
                         [["26000"], ["26000"], ["34000"]])

    def test_failed_and_skipped_parse_leave_the_name_free(self):
        client = self.wire()
        client.send(wire.parse("a", "SELEC 1"), wire.parse("b", "SELECT 1"), wire.SYNC)
        self.assertEqual(wire.kinds(client.read_ready()), "EZ")
        client.send(wire.bind("", "b"), wire.SYNC)
        self.assertEqual(wire.sqlstates(client.read_ready()), ["26000"])
        for name in "ab":
            client.send(wire.parse(name, "SELECT 7"), wire.bind("", name), wire.execute(),
                        wire.SYNC)
            self.assertEqual(wire.rows_of(client.read_ready()), [["7"]])

    def test_skipped_close_leaves_the_statement(self):
        client = self.wire()
        client.send(wire.parse("a", "SELECT 7"), wire.SYNC)
        client.read_ready()
        client.send(wire.parse("", "SELEC"), wire.close("S", "a"), wire.SYNC)
        self.assertEqual(wire.kinds(client.read_ready()), "EZ")
        client.send(wire.bind("", "a"), wire.execute(), wire.SYNC)
        self.assertEqual(wire.rows_of(client.read_ready()), [["7"]])

    def test_close_of_unknown_names_is_no_error(self):
        self.assertEqual(self.same_as_direct(wire.close("S", "x"), wire.close("P", "y"),
                                             wire.SYNC), "33Z")

    def test_parse_and_close_in_one_batch(self):
        self.assertEqual(self.same_as_direct(wire.parse("a", "SELECT 1"), wire.close("S", "a"),
                                             wire.SYNC), "13Z")
        self.assertEqual(
            self.same_as_direct(wire.parse("a", "SELECT 1"), wire.close("S", "a"),
                                wire.parse("a", "SELECT 2"), wire.bind("", "a"), wire.execute(),
                                wire.SYNC), "1312DCZ")

    def test_deallocate_all_then_parse_in_the_same_batch(self):
        client = self.wire()
        client.send(wire.parse("", "DEALLOCATE ALL"), wire.bind(), wire.execute(),
                    wire.parse("a", "SELECT 7"), wire.SYNC)
        self.assertEqual(wire.kinds(client.read_ready()), "12C1Z")
        client.send(wire.bind("", "a"), wire.execute(), wire.SYNC)
        self.assertEqual(wire.rows_of(client.read_ready()), [["7"]])

    def test_more_statements_than_a_backend_keeps(self):
        client = self.wire()
        count = 1000
        for number in range(count):
            client.send(wire.parse(f"s{number}", f"SELECT {number}"))
        client.send(wire.SYNC)
        self.assertEqual(wire.kinds(client.read_ready()), "1" * count + "Z")
        for number in (0, 1, 500, count - 1, 0):
            client.send(wire.bind("", f"s{number}"), wire.execute(), wire.SYNC)
            self.assertEqual(wire.rows_of(client.read_ready()), [[str(number)]])
        kept = client.rows("SELECT count(*) FROM pg_prepared_statements")
        self.assertLessEqual(int(kept[0][0]), 400)

    def test_statement_name_of_many_bytes(self):
        name = "n" * 10_000
        client = self.wire()
        client.send(wire.parse(name, "SELECT 7"), wire.bind("", name), wire.execute(), wire.SYNC)
        self.assertEqual(wire.rows_of(client.read_ready()), [["7"]])

    # ---- sizes and splits ------------------------------------------------------------------

    def test_parse_and_bind_of_every_awkward_size(self):
        client = self.wire()
        for size in (16_383, 16_384, 16_385, 65_535, 65_536, 65_537, 400_000):
            text = "SELECT length($1::text), '{}'::text = repeat('x', {})".format(
                "x" * (size - 60), size - 60)
            client.send(wire.parse("", text), wire.bind("", "", ["y" * size]), wire.execute(),
                        wire.SYNC)
            self.assertEqual(wire.rows_of(client.read_ready()), [[str(size), "t"]])

    def test_parameter_of_many_megabytes_streams(self):
        client = self.wire()
        size = 20_000_000
        before = self.schemux.metric("process_resident_memory_bytes")
        client.send(wire.parse("", "SELECT length($1::text)"))
        client.send(wire.bind("", "", ["y" * size]), wire.execute(), wire.SYNC)
        self.assertEqual(wire.rows_of(client.read_ready()), [[str(size)]])
        # Held whole it would be at least once its size.
        self.assertLess(self.schemux.metric("process_resident_memory_bytes") - before, size)

    def test_client_that_never_reads_its_answers_costs_no_memory(self):
        """A Sync outside a batch is answered here: the answers must not pile up."""
        client = self.wire()
        size = 60_000_000
        before = self.schemux.metric("process_resident_memory_bytes")
        client.socket.settimeout(1)
        try:
            for _ in range(60):
                client.socket.sendall(wire.SYNC * (size // 60 // len(wire.SYNC)))
        except TimeoutError:
            pass  # schemux has stopped reading
        grown = self.schemux.metric("process_resident_memory_bytes") - before
        self.assertLess(grown, size // 2)
        self.assertEqual(self.wire("orders").rows("SELECT 1"), [["1"]])

    def test_query_longer_than_max_query_bytes_is_54000(self):
        client = self.wire()
        long_text = "SELECT 1 -- " + "x" * 1_200_000
        self.assertEqual(wire.sqlstates(client.ask(long_text)), ["54000"])
        client.send(wire.parse("", long_text), wire.bind(), wire.execute(), wire.SYNC)
        self.assertEqual(wire.sqlstates(client.read_ready()), ["54000"])
        self.assertEqual(client.rows("SELECT 1"), [["1"]])

    def test_conversation_byte_by_byte(self):
        client = self.wire("orders")
        client.send_byte_by_byte(
            wire.parse("s", "SELECT service, $1::int FROM <<tables.who>>") + wire.bind("", "s", [3])
            + wire.describe("P") + wire.execute() + wire.SYNC + wire.query("SELECT 2"))
        self.assertEqual(wire.kinds(client.read_ready()), "12TDCZ")
        self.assertEqual(wire.rows_of(client.read_ready()), [["2"]])

    def test_split_in_two_at_every_byte(self):
        data = (wire.parse("", "SELECT service FROM {{tables.who}}") + wire.bind() + wire.execute()
                + wire.SYNC)
        client = self.wire()
        for cut in range(1, len(data)):
            client.send(data[:cut])
            client.send(data[cut:])
            self.assertEqual(wire.rows_of(client.read_ready()), [["users"]], cut)

    def test_zero_length_sync_storm(self):
        client = self.wire()
        client.send(wire.SYNC * 5000)
        for _ in range(5000):
            self.assertEqual(wire.kinds(client.read_ready()), "Z")

    # ---- simple queries --------------------------------------------------------------------

    def test_empty_query(self):
        self.assertEqual(self.same_as_direct(wire.query("")), "IZ")
        self.assertEqual(self.same_as_direct(wire.query(" ; ")), "IZ")
        self.assertEqual(self.same_as_direct(wire.parse("", ""), wire.bind(), wire.describe("P"),
                                             wire.execute(), wire.SYNC), "12nIZ")

    def test_several_queries_in_one_packet(self):
        self.same_as_direct(wire.query("SELECT 1"), wire.query("SELECT 1; SELECT 1/0; SELECT 2"),
                            wire.query("BEGIN; SELECT 1"), wire.query("COMMIT"), syncs=4)

    def test_notices_arrive_in_their_place(self):
        client = self.wire()
        messages = client.ask("DO $$ BEGIN RAISE NOTICE 'hello'; END $$; SELECT 1")
        self.assertEqual([one.kind for one in messages if one.kind != "S"],
                         ["N", "C", "T", "D", "C", "Z"])

    def test_function_call(self):
        oid = self.postgres.run("SELECT 'int4pl'::regproc::oid::int")[0][0]
        body = struct.pack("!IHHH", oid, 1, 1, 2) + struct.pack("!IiIi", 4, 2, 4, 3)
        call = wire.message("F", body + struct.pack("!H", 1))
        self.assertEqual(self.same_as_direct(call), "VZ")

    def test_terminate_behind_a_query_runs_and_answers_it(self):
        with self.temporary_table("x int") as table:
            for client in (self.direct(), self.wire("users")):
                client.send(wire.query(f"INSERT INTO {table} VALUES (1)"), wire.TERMINATE)
                self.assertEqual(wire.kinds(client.read_to_end()), "CZ")
            self.assertEqual(self.postgres.run(f"SELECT count(*) FROM users.{table}"), [(2,)])

    def test_unknown_and_broken_messages_are_fatal_for_their_sender_only(self):
        bystander = self.wire()
        for data in (wire.message("y"), b"Q" + struct.pack("!I", 3), wire.message("\x00"),
                     b"Q" + struct.pack("!I", 0x7FFFFFF0) + b"x", wire.message("p", b"word\0"),
                     b"S" + struct.pack("!I", 100_000) + b"x" * 99_996):
            client = self.wire()
            client.send(data)
            with contextlib.suppress(OSError):  # it may be closed already
                client.socket.shutdown(1)
            messages = client.read_to_end()
            self.assertIn(wire.sqlstates(messages), (["08P01"], ["54000"], []), data[:20])
        for data in (wire.message("Q", b"no terminator"), wire.message("P", b"\0"),
                     wire.message("B", b"\0")):
            client = self.wire()
            client.send(data, wire.SYNC)
            self.assertEqual(wire.sqlstates(client.read_ready()), ["08P01"], data)
        self.assertEqual(bystander.rows("SELECT 1"), [["1"]])

    # ---- COPY ------------------------------------------------------------------------------

    def test_copy_in_simple_and_extended(self):
        with self.temporary_table("x int") as table:
            client = self.wire()
            sql = f"COPY {{{{tables.{table}}}}} FROM STDIN"
            client.send(wire.query(sql))
            self.assertEqual(client.read().kind, "G")
            client.send(wire.copy_data(b"1\n2"), wire.copy_data(b"2\n"), wire.COPY_DONE)
            self.assertEqual(wire.kinds(client.read_ready()), "CZ")
            client.send(wire.parse("", sql), wire.bind(), wire.execute(), wire.SYNC)
            self.assertEqual(wire.kinds(client.read_until("G")), "12G")
            client.send(wire.copy_data(b"3\n"), wire.COPY_DONE, wire.SYNC)
            self.assertEqual(wire.kinds(client.read_ready()), "CZ")
            self.assertEqual(client.rows(f"SELECT x FROM {table} ORDER BY 1"),
                             [["1"], ["3"], ["22"]])

    def test_copy_in_sent_blind(self):
        with self.temporary_table("x int") as table:
            client = self.wire()
            client.send(wire.query(f"COPY {table} FROM STDIN"), wire.copy_data(b"1\n"),
                        wire.COPY_DONE, wire.query("SELECT 'next'"))
            self.assertEqual(wire.kinds(client.read_ready()), "GCZ")
            self.assertEqual(wire.rows_of(client.read_ready()), [["next"]])

    def test_copy_failures(self):
        with self.temporary_table("x int") as table:
            client = self.wire()
            for last in (wire.copy_data(b"word\n") + wire.COPY_DONE,
                         wire.copy_fail("changed mind")):
                client.send(wire.query(f"COPY {table} FROM STDIN"), wire.copy_data(b"1\n"), last)
                self.assertEqual(wire.kinds(client.read_ready()), "GEZ")
                # Late data is ignored, as PostgreSQL does.
                client.send(wire.copy_data(b"late\n"), wire.COPY_DONE)
                self.assertEqual(client.rows("SELECT 1"), [["1"]])
            client.ask("BEGIN")
            client.send(wire.query(f"COPY {table} FROM STDIN"), wire.copy_data(b"word\n"),
                        wire.copy_data(b"1\n"), wire.COPY_DONE)
            self.assertEqual(wire.kinds(client.read_ready()), "GEZ")
            client.ask("ROLLBACK")
            self.assertEqual(client.rows(f"SELECT x FROM {table}"), [])
        self.wait_for_idle_pool()

    def test_copy_to_a_table_that_does_not_exist(self):
        client = self.wire()
        client.send(wire.query("COPY missing FROM STDIN"), wire.copy_data(b"1\n"), wire.COPY_DONE)
        self.assertEqual(wire.sqlstates(client.read_ready()), ["42P01"])
        self.assertEqual(client.rows("SELECT 1"), [["1"]])

    def test_copy_out_of_many_rows(self):
        client = self.wire()
        client.send(wire.query("COPY (SELECT generate_series(1, 100000)) TO STDOUT"))
        messages = client.read_ready()
        self.assertEqual(sum(one.kind == "d" for one in messages), 100_000)
        self.assertEqual([one.kind for one in messages[-3:]], ["c", "C", "Z"])

    # ---- templates -------------------------------------------------------------------------

    def test_positions_are_the_clients_in_characters(self):
        texts = ["SELECT 1 FROM {{tables.who}} WHERE €oops",
                 "SELECT 'äöü€😀' FROM <<tables.who>>, {{tables.items}} WHERE oops",
                 "SELECT oops FROM {{tables.who}}", "SELECT 1 FROM {{tables.missing}}",
                 "SELECT {{schema}}.nothing()"]
        for text in texts:
            for extended in (False, True):
                client = self.wire()
                client.send(*((wire.parse("", text), wire.SYNC) if extended
                              else (wire.query(text),)))
                error, = wire.errors_of(client.read_ready())
                wanted = text.find("€oops") if "€oops" in text else text.find("oops")
                if "missing" in text:
                    wanted = text.find("{{")
                if "nothing" in text:
                    wanted = text.find("{{")
                self.assertEqual(int(error["P"]), wanted + 1, (text, error))

    def test_template_errors_inside_a_transaction_fail_it(self):
        for extended in (False, True):
            client = self.wire()
            client.ask("BEGIN")
            text = "SELECT {{nonsense}}"
            client.send(*((wire.parse("", text), wire.SYNC) if extended else (wire.query(text),)))
            messages = client.read_ready()
            self.assertEqual(wire.sqlstates(messages), ["42601"])
            self.assertEqual(messages[-1].body, b"E")
            self.assertEqual(wire.sqlstates(client.ask("SELECT 1")), ["25P02"])
            client.ask("ROLLBACK")
            self.assertEqual(client.rows("SELECT 1"), [["1"]])

    def test_template_error_skips_the_rest_of_its_batch_only(self):
        client = self.wire()
        client.send(wire.parse("", "SELECT 1"), wire.bind(), wire.execute(),
                    wire.parse("", "SELECT {{nonsense}}"), wire.bind(), wire.execute(), wire.SYNC,
                    wire.parse("", "SELECT 2"), wire.bind(), wire.execute(), wire.SYNC)
        self.assertEqual(wire.kinds(client.read_ready()), "12DCEZ")
        self.assertEqual(wire.rows_of(client.read_ready()), [["2"]])

    def test_templates_in_function_bodies(self):
        name = f"f_{wire.nonce()}"
        client = self.wire("orders")
        body = "BEGIN RETURN (SELECT service FROM {{tables.who}}); END"
        created = client.ask(f"CREATE FUNCTION {{{{schema}}}}.{name}() RETURNS text "
                             f"LANGUAGE plpgsql AS $f$ {body} $f$")
        self.assertEqual(wire.errors_of(created), [])
        self.assertEqual(client.rows(f"SELECT {{{{schema}}}}.{name}()"), [["orders"]])
        client.ask(f"DROP FUNCTION {name}()")
