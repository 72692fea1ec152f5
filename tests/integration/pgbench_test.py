"""pgbench in its three protocols: many clients on few backends, several services at once."""

import re

import harness
import server


class Pgbench(harness.Case):
    config = {"pool": {"max_connections": 3, "acquire_timeout": "30s"}}
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.transactions = 30 if cls.lab.smoke else 100
        script = cls.schemux.folder / "balance.sql"
        script.write_text("\\set id random(1, 10)\n"
                          "SELECT name, '{{tables.x}}' FROM {{tables.items}} WHERE id = :id;\n")
        cls.script = script
        with cls.postgres.connect_as_owner() as connection:
            # The scale-1 tables of pgbench, made in each schema by search_path.
            for schema in harness.SERVICES.values():
                connection.execute(f"""
                    SET search_path = {schema};
                    CREATE TABLE pgbench_branches (bid int PRIMARY KEY, bbalance int,
                                                   filler char(88));
                    CREATE TABLE pgbench_tellers (tid int PRIMARY KEY, bid int, tbalance int,
                                                  filler char(84));
                    CREATE TABLE pgbench_accounts (aid int PRIMARY KEY, bid int, abalance int,
                                                   filler char(84));
                    CREATE TABLE pgbench_history (tid int, bid int, aid int, delta int,
                                                  mtime timestamp, filler char(22));
                    INSERT INTO pgbench_branches VALUES (1, 0, '');
                    INSERT INTO pgbench_tellers SELECT n, 1, 0, '' FROM generate_series(1, 10) n;
                    INSERT INTO pgbench_accounts SELECT n, 1, 0, '' FROM generate_series(1, 1000) n;
                    """)

    @classmethod
    def tearDownClass(cls):
        try:
            with cls.postgres.connect_as_owner() as connection:
                for schema in harness.SERVICES.values():
                    for table in ("branches", "tellers", "accounts", "history"):
                        connection.execute(f"DROP TABLE {schema}.pgbench_{table}")
        finally:
            super().tearDownClass()

    def start(self, service, protocol, *options, clients=8):
        # A thread per client: pgbench prepares with a blocking call, and a thread that waits for a
        # backend there could not end the transactions of its other clients.
        return harness.Background(
            self.run_program, *server.program("pgbench"), "-n", "-M", protocol, "-c", clients,
            "-j", clients, "-t", self.transactions, *options, self.schemux.dsn(service))

    def assert_all_processed(self, running, clients=8):
        finished = running.result(120)
        self.assert_program(finished)
        wanted = clients * self.transactions
        self.assertIn(f"number of transactions actually processed: {wanted}/{wanted}",
                      finished.stdout)
        failed = re.search(r"number of failed transactions: (\d+)", finished.stdout)
        self.assertEqual(failed.group(1), "0", finished.stdout)

    def test_select_only_in_every_protocol(self):
        for protocol in ("simple", "extended", "prepared"):
            with self.subTest(protocol):
                self.assert_all_processed(self.start("users", protocol, "-S"))

    def test_tpcb_in_every_protocol_keeps_its_sums(self):
        before, = self.postgres.run("SELECT count(*) FROM orders.pgbench_history")[0]
        for protocol in ("simple", "extended", "prepared"):
            with self.subTest(protocol):
                self.assert_all_processed(self.start("orders", protocol))
        sums = self.postgres.run(
            "SELECT (SELECT sum(bbalance) FROM orders.pgbench_branches), "
            "(SELECT sum(tbalance) FROM orders.pgbench_tellers), "
            "(SELECT sum(delta) FROM orders.pgbench_history), "
            "(SELECT count(*) FROM orders.pgbench_history)")[0]
        self.assertEqual(sums[0], sums[1])
        self.assertEqual(sums[0], sums[2])
        self.assertEqual(sums[3] - before, 3 * 8 * self.transactions)

    def test_templates_in_every_protocol(self):
        for protocol in ("simple", "extended", "prepared"):
            with self.subTest(protocol):
                self.assert_all_processed(self.start("users", protocol, "-f", self.script))

    def test_three_services_at_once(self):
        for protocol in ("simple", "prepared"):
            with self.subTest(protocol):
                before = {service: self.postgres.run(
                    f"SELECT count(*) FROM {schema}.pgbench_history")[0][0]
                    for service, schema in harness.SERVICES.items()}
                running = [self.start(service, protocol) for service in harness.SERVICES]
                for one in running:
                    self.assert_all_processed(one)
                for service, schema in harness.SERVICES.items():
                    count, = self.postgres.run(
                        f"SELECT count(*) FROM {schema}.pgbench_history")[0]
                    self.assertEqual(count - before[service], 8 * self.transactions, service)

    def test_new_connection_per_transaction(self):
        self.assert_all_processed(self.start("users", "prepared", "-S", "-C"))
