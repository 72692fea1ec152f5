"""`schemux dev`: a throwaway PostgreSQL, two services, and nothing left behind."""

import pathlib
import re
import signal
import subprocess

import harness
import server


class Dev(harness.Case):
    own_schemux = False

    folder = None

    def note_folder(self, stderr):
        """The folder of the throwaway PostgreSQL, which it tells on standard error."""
        found = re.search(r"making a throwaway PostgreSQL in (\S+)", stderr)
        self.assertIsNotNone(found, stderr)
        self.folder = pathlib.Path(found[1])

    def processes_of_the_folder(self):
        found = []
        for entry in pathlib.Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    command = (entry / "cmdline").read_bytes()
                except OSError:
                    continue
                if str(self.folder).encode() in command:
                    found.append(command.replace(b"\0", b" "))
        return found

    def assert_nothing_left(self):
        self.wait_until(lambda: not self.processes_of_the_folder(), "its processes to end")
        self.assertFalse(self.folder.exists())

    def test_check_shows_both_services_and_exits_0(self):
        finished = self.run_program(self.lab.binary, "dev", "--check")
        self.assert_program(finished)
        self.note_folder(finished.stderr)
        for expected in ("service users", "service orders", '"users".items', '"orders".items',
                         "{{tables.items}}", "served both services", "Grace", "lamp"):
            self.assertIn(expected, finished.stdout)
        self.assert_nothing_left()

    def test_interrupt_ends_it_and_removes_everything(self):
        self.ends_cleanly_at(signal.SIGINT)

    @harness.full_only
    def test_terminate_ends_it_and_removes_everything(self):
        self.ends_cleanly_at(signal.SIGTERM)

    def ends_cleanly_at(self, number):
        port, http_port = server.free_port(), server.free_port()
        messages = self.lab.folder / f"dev-{number}.log"
        log = open(messages, "w", encoding="utf-8")
        self.addCleanup(log.close)
        running = subprocess.Popen(
            [self.lab.binary, "dev", "--port", str(port), "--http-port", str(http_port)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True)
        self.addCleanup(running.kill)
        lines = []
        for line in running.stdout:
            lines.append(line)
            if "Metrics:" in line:
                break
        self.assertIn("schemux is ready", "".join(lines))
        self.note_folder(messages.read_text())
        self.assertTrue(self.processes_of_the_folder())
        for service, name in (("users", "Ada"), ("orders", "book")):
            shown = self.run_program("psql", "-XAt", "-h", "127.0.0.1", "-p", port, "-U", "dev",
                                     service, "-c", "SELECT min(name) FROM {{tables.items}}")
            self.assertEqual(shown.stdout, name + "\n", shown.stderr)
        running.send_signal(number)
        running.communicate(timeout=30)
        self.assertEqual(running.returncode, 0)
        self.assert_nothing_left()
