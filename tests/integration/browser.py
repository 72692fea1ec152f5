"""A headless Chromium, spoken to over a pipe by its DevTools protocol: opens a page, evaluates
scripts in it, and remembers what it asked for and complained about.

It must not know what is on the page.
"""

import base64
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import time

import server

PROGRAMS = ("chromium-headless-shell", "chromium")
SECONDS = 60
# --remote-debugging-pipe reads descriptor 3 and writes descriptor 4. A shell puts them there, in
# a process where these numbers are nobody else's: before the exec, they may be the starter's own.
PUT_IN_PLACE = 'read=$1 write=$2; shift 2; exec "$@" 3<&"$read" 4>&"$write"'


class BrowserError(Exception):
    """Chromium did not do what it was asked for."""


def find_program():
    for name in PROGRAMS:
        if path := shutil.which(name):
            return path
    raise BrowserError("there is no chromium-headless-shell; tests/run.sh installs it")


class Browser:
    """One process with one page. `complaints` are errors of the console, of scripts and of the
    security policy; `requests` the URLs that were asked for."""

    def __init__(self, folder):
        folder.mkdir()
        self.complaints, self.requests = [], []
        self._last, self._pending, self._answers = 0, b"", {}
        to_it, self._write = _pipe()
        self._read, from_it = _pipe()
        self.log = folder / "chromium.log"
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                ["bash", "-c", PUT_IN_PLACE, "bash", str(to_it), str(from_it),
                 find_program(), "--headless=new", "--no-sandbox", "--disable-gpu",
                 "--disable-dev-shm-usage", "--disable-extensions", "--no-first-run",
                 "--disable-background-networking", "--hide-scrollbars",
                 "--remote-debugging-pipe", f"--user-data-dir={folder / 'profile'}",
                 "about:blank"],
                env={**os.environ, "HOME": str(folder)}, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, preexec_fn=server.child_setup(signal.SIGKILL),
                pass_fds=(to_it, from_it))
        os.close(to_it)
        os.close(from_it)
        self._session = None
        target = next(one for one in self.call("Target.getTargets")["targetInfos"]
                      if one["type"] == "page")
        self._session = self.call("Target.attachToTarget", targetId=target["targetId"],
                                  flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def close(self):
        os.killpg(self.process.pid, signal.SIGKILL)  # with the processes of its own
        self.process.wait()
        os.close(self._write)
        os.close(self._read)

    def call(self, method, **parameters):
        """The result of one command of the protocol."""
        self._last += 1
        number = self._last
        message = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + SECONDS
        while number not in self._answers:
            self._receive(deadline, method)
        answer = self._answers.pop(number)
        if "error" in answer:
            raise BrowserError(f"{method}: {answer['error']}")
        return answer["result"]

    def _receive(self, deadline, what):
        ready, _, _ = select.select([self._read], [], [], max(0, deadline - time.monotonic()))
        data = os.read(self._read, 1 << 16) if ready else b""
        if not data:
            raise BrowserError(f"no answer to {what}: {server.tail(self.log)}")
        *whole, self._pending = (self._pending + data).split(b"\0")
        for text in whole:
            self._take(json.loads(text))

    def _take(self, message):
        if "id" in message:
            self._answers[message["id"]] = message
            return
        method, about = message["method"], message.get("params", {})
        if method == "Network.requestWillBeSent":
            self.requests.append(about["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(about["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and about["type"] in ("error", "warning"):
            self.complaints.append(json.dumps(about["args"]))
        elif method == "Log.entryAdded" and about["entry"]["level"] in ("error", "warning"):
            self.complaints.append(json.dumps(about["entry"]))

    def look(self, width=1280, height=900, scheme="light", scale=1):
        """As on a screen of this size, by somebody who likes it so."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=scale, mobile=width < 500)
        self.call("Emulation.setEmulatedMedia",
                  features=[{"name": "prefers-color-scheme", "value": scheme}])

    def open(self, url):
        self.complaints.clear()
        self.requests.clear()
        result = self.call("Page.navigate", url=url)
        if "errorText" in result:
            raise BrowserError(f"{url}: {result['errorText']}")

    def value(self, script):
        """What a JavaScript expression gives."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True,
                           awaitPromise=True)
        if "exceptionDetails" in answer:
            raise BrowserError(f"{script}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def text(self, selector):
        """The text of the first such element; None: there is none."""
        return self.value(f"document.querySelector({json.dumps(selector)})?.textContent ?? null")

    def picture(self, path, whole=True):
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(data["data"]))


def _pipe():
    """Two descriptors above those that the browser's process uses."""
    ends = os.pipe()
    high = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends]
    for end in ends:
        os.close(end)
    return high
