"""The log as a whole: a client's events share its conn_id, who comes and goes is told with a reason
and an age, and a file that is rotated loses no line.
"""

import json
import signal
import threading

import harness
import wire

ROTATIONS = 20


class Connections(harness.Case):
    config = {"pool": {"max_connections": 1},
              "services": [{"name": "users"},
                           {"name": "brief", "pool": {"idle_in_transaction_timeout": "100ms"}}]}

    def told_of(self, client):
        return [line for line in self.schemux.log_lines() if line.get("conn_id") == client.pid]

    def closed(self, client):
        self.wait_until(lambda: any(line["event"] == "client_closed"
                                    for line in self.told_of(client)), "its end")
        return self.told_of(client)[-1]

    def test_a_clients_events_share_the_pid_that_its_driver_knows(self):
        client = self.wire(user="alice")
        client.ask("CREATE TEMP TABLE kept (n int)")
        client.send(wire.TERMINATE)
        last = self.closed(client)
        self.assertEqual([line["event"] for line in self.told_of(client)],
                         ["client_opened", "client_pinned", "client_closed"])
        first = self.told_of(client)[0]
        self.assertEqual((first["user"], first["address"], first["level"]),
                         ("alice", "127.0.0.1", "debug"))
        self.assertEqual({line["service"] for line in self.told_of(client)}, {"users"})
        self.assertEqual((last["reason"], last["level"]), ("client_terminated", "debug"))

    def test_an_end_has_its_reason_and_an_age(self):
        gone, idle = self.wire(), self.wire("brief")
        idle.ask("BEGIN")
        last = self.closed(idle)
        self.assertEqual((last["reason"], last["level"]), ("idle_in_transaction_timeout", "info"))
        self.assertGreaterEqual(last["age_s"], 0.1)
        gone.vanish()
        last = self.closed(gone)
        self.assertEqual((last["reason"], last["level"]), ("client_disconnected", "info"))
        self.assertGreaterEqual(last["age_s"], 0)

    def test_backends_too(self):
        pid = self.wire().rows("SELECT pg_backend_pid()")[0][0]
        self.postgres.run("SELECT pg_terminate_backend(%s)", (int(pid),))

        def told():
            return [line for line in self.schemux.log_lines()
                    if line.get("backend_pid") == int(pid)]

        self.wait_until(lambda: len(told()) == 2, "its end")
        self.assertEqual([line["event"] for line in told()], ["backend_opened", "backend_closed"])
        self.assertEqual(told()[-1]["reason"], "server_closed")
        self.assertGreaterEqual(told()[-1]["age_s"], 0)


class Rotation(harness.Case):
    def start(self):
        schemux = self.start_schemux({"log": {"file": "events.log"}})
        return schemux, schemux.folder / "events.log"

    @staticmethod
    def lines_of(files):
        return [json.loads(line) for file in files for line in file.read_text().splitlines()]

    def reload(self, schemux, files):
        def told():
            return sum(line["event"] in ("reloaded", "reload_failed")
                       for line in self.lines_of(files()))

        before = told()
        schemux.signal(signal.SIGHUP)
        self.wait_until(lambda: told() > before, "the reload")

    def test_no_line_is_lost_or_torn_when_it_is_rotated_under_load(self):
        schemux, log = self.start()
        done = threading.Event()
        served = []

        def come_and_go():
            while not done.is_set():
                with self.wire("users", schemux) as client:
                    served.append(client.pid)

        clients = threading.Thread(target=come_and_go)
        clients.start()
        files = []
        try:
            for number in range(ROTATIONS):
                files.append(log.with_suffix(f".{number}"))
                log.rename(files[-1])
                self.reload(schemux, lambda: [*files, *(log,) * log.exists()])
        finally:
            done.set()
            clients.join()
        self.assertEqual(schemux.stop(), 0)
        lines = self.lines_of([*files, log])
        for event in ("client_opened", "client_closed"):
            told = [line["conn_id"] for line in lines if line["event"] == event]
            self.assertCountEqual(told, served, event)
        self.assertGreater(len(served), ROTATIONS)
        self.assertEqual([line["ts"] for line in lines], sorted(line["ts"] for line in lines))
        self.assertEqual(lines[-1]["event"], "stopped")
        self.assertEqual(schemux.log.read_text(), "")
        self.assertEqual(log.stat().st_mode & 0o777, 0o640)

    def test_what_cannot_be_opened_again_stays_in_use(self):
        schemux, log = self.start()
        moved = log.with_suffix(".1")
        log.rename(moved)
        log.mkdir()
        self.reload(schemux, lambda: [moved])
        told = [line for line in self.lines_of([moved]) if line["event"] == "log_not_reopened"]
        self.assertEqual([line["level"] for line in told], ["error"])
        self.assertIn("Is a directory", told[0]["error"])
        log.rmdir()
        schemux.write_config("listen: nonsense")
        self.reload(schemux, lambda: [moved, *(log,) * log.exists()])
        self.assertEqual(self.lines_of([log])[-1]["event"], "reload_failed")

    def test_a_file_that_cannot_be_opened_keeps_it_from_starting(self):
        schemux = self.start_schemux({"log": {"file": "no/such/folder"}}, start=False)
        schemux.start(wait=False)
        self.assertEqual(schemux.wait(), 1)
        self.assertIn("no/such/folder: No such file or directory", schemux.log.read_text())

    def test_without_a_file_nothing_is_opened(self):
        schemux = self.start_schemux()
        before = schemux.open_files()
        schemux.reload()
        self.assertEqual(schemux.log_count("log_not_reopened"), 0)
        # The probe that saw it start may still have been open.
        self.assertLessEqual(schemux.open_files(), before)
