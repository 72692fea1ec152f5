"""deploy/monitoring: what it names is there in a scrape of a schemux that has worked, its rules
pass their tests, and a Prometheus that is configured by it evaluates all of them, and the
dashboard's queries, without an error."""

import copy
import glob
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import urllib.parse
import urllib.request

import psycopg
import yaml

import certificates
import grafana
import harness
import http_test
import promql
import server
import wire

FOLDER = http_test.ROOT / "deploy" / "monitoring"
RULE_FILES = ("schemux.rules.yml", "schemux.alerts.yml")
TESTS = "schemux.rules.test.yml"
# What Prometheus makes of a scrape, by itself.
OF_PROMETHEUS = {"up": [{}]}
SECONDS = 30
USERS = [{"name": "alice", "password": "alices word"}]
ROLE = "monitored"


def find_program(name):
    """On the PATH, or where tests/run.sh puts Debian's package."""
    found = glob.glob(str(http_test.ROOT / "build" / "tools" / "**" / "bin" / name), recursive=True)
    path = found[0] if found else shutil.which(name)
    if path is None:
        raise AssertionError(f"there is no {name}: Debian's package prometheus has it, and "
                             "tests/run.sh fetches it")
    return path


def rules():
    """All of both files."""
    return [rule for name in RULE_FILES
            for group in yaml.safe_load((FOLDER / name).read_text())["groups"]
            for rule in group["rules"]]


def dashboard():
    return json.loads((FOLDER / "grafana-dashboard.json").read_text())


def without_variables(text):
    """As Grafana sends it for all instances and services."""
    text = text.replace("$__rate_interval", "1m")
    return re.sub(r"\$(instance|service)\b", ".*", text)


def expressions():
    """(where, PromQL) of the rules, the dashboard, and its variables."""
    for rule in rules():
        yield rule.get("alert") or rule["record"], rule["expr"]
    for title, text in grafana.expressions(dashboard()):
        yield f"panel {title}", without_variables(text)
    for name, text, label in grafana.label_queries(dashboard()):
        yield f"variable {name}", f"count by ({label}) ({without_variables(text)})"


def unknown_names(texts, series):
    """What `texts`, as (where, PromQL), name that no scrape has: metrics, labels, their values."""
    series = {**OF_PROMETHEUS, **series}
    for rule in rules():
        if "record" in rule:  # it has at most the labels of what it is made of
            selectors, _ = promql.read(rule["expr"])
            series[rule["record"]] = [labels for one in selectors
                                      for labels in series.get(one.metric, [])]
    for where, text in texts:
        selectors, clauses = promql.read(text)
        if not selectors:
            yield f"{where}: names no metric"
        there = set(promql.TARGET_LABELS)
        for selector in selectors:
            of_metric = series.get(selector.metric)
            if of_metric is None:
                yield f"{where}: no metric {selector.metric}"
                continue
            labels = {name for one in of_metric for name in one}
            there |= labels
            unknown = {matcher[0] for matcher in selector.matchers} - labels - promql.TARGET_LABELS
            yield from (f"{where}: no label {name} of {selector.metric}" for name in unknown)
            if not unknown and not any(selector.matches(one) for one in of_metric):
                yield f"{where}: no series {selector}"
        yield from (f"{where}: no label {name}" for name in sorted(clauses - there))


class Case(harness.Case):
    """With promtool."""

    own_schemux = False

    @classmethod
    def setUpClass(cls):
        cls.promtool = find_program("promtool")
        super().setUpClass()

    def check(self, what, *files, text=None, folder=FOLDER):
        """`promtool <what> <files>`; its output, when it found nothing."""
        done = subprocess.run([self.promtool, *what.split(), *map(str, files)], input=text,
                              text=True, cwd=folder, capture_output=True, timeout=120, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, ""), done.stdout[-3000:])
        return done.stdout

    def copy(self):
        """The folder, to be changed."""
        folder = pathlib.Path(self.lab.folder) / f"monitoring-{wire.nonce()}"
        shutil.copytree(FOLDER, folder)
        self.addCleanup(server.remove_folder, folder)
        return folder


class Monitoring(Case):
    """With all that has metrics of its own: a strict service, services_query, auth.query, TLS."""

    @classmethod
    def setUpClass(cls):
        cls.lab.postgres.run(f"CREATE ROLE {ROLE} LOGIN")
        cls.addClassCleanup(cls.lab.postgres.run, f"DROP ROLE {ROLE}")
        cls.addClassCleanup(cls.lab.postgres.run, f"DROP OWNED BY {ROLE}")
        authority = certificates.Authority(cls.lab.folder / f"ca-{cls.__name__}")
        certificate, key = authority.sign("localhost", "server")
        cls.tls_port = server.free_port()
        cls.config = {
            "pool": {"max_connections": 2, "acquire_timeout": "10s", "audit_sample": 1},
            "auth": {"method": "scram-sha-256", "users": USERS,
                     "query": "SELECT name, secret FROM (VALUES ('nobody', '')) "
                              "AS known (name, secret) WHERE name = $1"},
            "services": [{"name": "users", "schema": "users", "pin_budget": 1,
                          "over_pin_budget": "error"},
                         {"name": "orders", "schema": "orders"},
                         {"name": "apart", "schema": "users", "role": ROLE}, {"name": "tenant_*"}],
            "services_query": {"sql": "SELECT 'asked' AS name, 'users' AS schema",
                               "interval": "1s"}}
        super().setUpClass()
        cls.schemux = cls.lab.schemux(cls.config, start=False, name=cls.__name__)
        cls.schemux.config["listen"].append(
            {"address": "127.0.0.1", "port": cls.tls_port,
             "tls": {"mode": "require", "certificate": str(certificate), "key": str(key)}})
        cls.schemux.write_config()
        cls.schemux.start()
        cls.work()

    @classmethod
    def connect(cls, service="users", password="alices word", **more):
        return psycopg.connect(cls.schemux.dsn(service, password=password, **more),
                               autocommit=True)

    @classmethod
    def work(cls):
        """Queries, an error, failed logins, a pin and one too many, a wait, TLS; and no client
        stays but the one with the pin."""
        cls.pinned = cls.connect()
        cls.addClassCleanup(cls.pinned.close)
        cls.pinned.execute("SELECT count(*) FROM {{tables.items}}")
        cls.pinned.execute("CREATE TEMP TABLE kept (n int)")
        for wrong in (lambda: cls.connect(password="another word"), lambda: cls.connect("nothing"),
                      lambda: cls.connect(user="stranger")):
            try:
                wrong()
            except psycopg.OperationalError:
                continue
            raise AssertionError("a login that had to fail")
        with cls.connect("orders", port=cls.tls_port, sslmode="require") as other:
            with cls.connect() as second:
                for text in ("SELECT 1/0", "CREATE TEMP TABLE one_too_many (n int)"):
                    try:
                        second.execute(text)
                    except psycopg.Error:
                        continue
                    raise AssertionError(f"no error: {text}")
                second.execute("BEGIN")
                waiting = harness.Background(lambda: other.execute("SELECT 1").fetchone())
                server.wait_until(lambda: cls.schemux.metric("schemux_pool_waiting") == 1,
                                  what="a client to wait")
                second.execute("COMMIT")
                waiting.result()
        server.wait_until(cls.has_all, what="the audit, and the answer of services_query")

    @classmethod
    def has_all(cls):
        metrics = cls.schemux.metrics()
        return metrics.get(("schemux_services_query_timestamp_seconds", frozenset()), 0) > 0 and (
            "schemux_isolation_audit_ok", frozenset()) in metrics

    @classmethod
    def series(cls):
        """{metric: the labels of each of its series} of a scrape."""
        found = {}
        for name, labels in cls.schemux.metrics():
            found.setdefault(name, []).append(dict(labels))
        return found


class Names(Monitoring):
    def test_a_scrape_has_what_is_named(self):
        self.assertEqual(list(unknown_names(expressions(), self.series())), [])

    def test_what_no_scrape_has_is_found(self):
        series = self.series()
        for text, wrong in {
            "schemux_nothing_total > 0": "no metric schemux_nothing_total",
            "rate(schemux_wait_duration_seconds[5m])": "no metric schemux_wait_duration_seconds",
            'schemux_leases{database="users"}': "no label database of schemux_leases",
            'schemux_backend_connections{state="used"}': "no series schemux_backend_connections",
            'schemux_errors_total{class=~"conection|sintax"}': "no series schemux_errors_total",
            "sum by (pool) (schemux_leases)": "no label pool",
            "sum(schemux_leases) without (database)": "no label database",
            "vector(1)": "names no metric",
        }.items():
            with self.subTest(text):
                found = list(unknown_names([("here", text)], series))
                self.assertEqual(len(found), 1, found)
                self.assertIn(wrong, found[0])
        right = ('sum without (state) (schemux_backend_connections{state!="idle", job="x"}) '
                 "/ on (instance) group_left (version) schemux_build_info offset 5m # of all")
        self.assertEqual(list(unknown_names([("here", right)], series)), [])

    def test_they_are_there_from_the_start(self):
        """An alert on a counter that comes with its first event would miss that event."""
        fresh = self.start_schemux({"services": self.config["services"][:2]})
        there = {name for name, _ in fresh.metrics()}
        configured = re.compile("schemux_(isolation_audit|services_query)_")
        missing = {selector.metric for _, text in expressions()
                   for selector in promql.read(text)[0]} - there
        self.assertEqual([name for name in missing if name.startswith(("schemux_", "process_"))
                          and not configured.match(name)], [])

    def test_promtool_finds_nothing_to_say_about_the_scrape(self):
        self.assertEqual(self.check("check metrics", text=self.schemux.get("/metrics")[1]), "")


class Files(Case):
    def test_promtool_takes_them(self):
        self.check("check config", "prometheus.yml")
        self.check("check rules", *RULE_FILES)

    def test_rules_pass_their_tests(self):
        self.check("test rules", TESTS)

    def test_every_alert_fires_in_a_test_and_is_quiet_in_another(self):
        cases = {}
        recorded = set()
        for test in yaml.safe_load((FOLDER / TESTS).read_text())["tests"]:
            for one in test.get("alert_rule_test", []):
                cases.setdefault(one["alertname"], set()).add(bool(one["exp_alerts"]))
            for one in test.get("promql_expr_test", []):
                recorded |= {selector.metric for selector in promql.read(one["expr"])[0]}
        self.assertEqual(cases, {rule["alert"]: {True, False} for rule in rules()
                                 if "alert" in rule})
        self.assertEqual(recorded, {rule["record"] for rule in rules() if "record" in rule})

    def test_tests_notice_an_alert_that_changed(self):
        folder = self.copy()
        file = folder / "schemux.alerts.yml"
        for then, now in (("_total[1h]) > 0", "_total[1h]) > 9"), ("for: 15m", "for: 5d"),
                          ("Clients of all", "All clients of")):
            with self.subTest(now):
                text = (FOLDER / file.name).read_text()
                self.assertIn(then, text)
                file.write_text(text.replace(then, now))
                with self.assertRaises(AssertionError):
                    self.check("test rules", TESTS, folder=folder)

    def test_alerts_say_what_to_do(self):
        readme = (FOLDER / "README.md").read_text()
        for rule in rules():
            if "alert" not in rule:
                continue
            with self.subTest(rule["alert"]):
                self.assertEqual(set(rule["annotations"]), {"summary", "description", "runbook"})
                self.assertIn(rule["labels"]["severity"], ("critical", "warning", "info"))
                texts = "".join(rule["annotations"].values())
                self.assertIn("$labels.instance", texts)
                if "instance_service:" in rule["expr"] or "queue_refusals" in rule["expr"]:
                    self.assertIn("$labels.service", rule["annotations"]["summary"])
                self.assertIn(f"| `{rule['alert']}` | {rule['labels']['severity']} |", readme)

    def test_the_table_of_alerts_has_no_others(self):
        named = re.findall(r"^\| `(\w+)` \|", (FOLDER / "README.md").read_text(), re.M)
        self.assertEqual(named, [rule["alert"] for rule in rules() if "alert" in rule])


class Dashboard(Case):
    def test_it_is_one_of_grafanas(self):
        self.assertEqual(grafana.findings(dashboard()), [])

    def test_it_is_written_as_others_are(self):
        text = (FOLDER / "grafana-dashboard.json").read_text()
        self.assertEqual(text, json.dumps(dashboard(), indent=2, ensure_ascii=False) + "\n")

    def test_what_is_wrong_with_one_is_found(self):
        def change(path, value):
            def apply(board):
                for step in path[:-1]:
                    board = board[step]
                board[path[-1]] = value
            return apply

        panel = ("panels", 1)
        for name, (apply, wrong) in {
            "kind": (change((*panel, "type"), "graph"), "'graph' is none of"),
            "id": (change((*panel, "id"), 3), "id 3: twice"),
            "place": (change((*panel, "gridPos", "w"), 4), "overlaps"),
            "edge": (change(("panels", 8, "gridPos", "w"), 4), "outside"),
            "unit": (change((*panel, "fieldConfig", "defaults", "unit"), "sec"), "'sec' is none"),
            "option": (change((*panel, "options", "colour"), "value"), "colour: unknown"),
            "variable": (change((*panel, "targets", 0, "expr"), 'up{job="$job"}'), "$job: no such"),
            "unused": (change(("templating", "list", 2, "name"), "tenant"), "$service: no such"),
            "sentence": (change((*panel, "description"), ""), "no sentence"),
            "version": (change(("schemaVersion",), 16), "too old"),
            "type": (change((*panel, "id"), True), "True is not"),
            "missing": (lambda board: board["panels"][1].pop("datasource"), "datasource: missing"),
        }.items():
            with self.subTest(name):
                board = copy.deepcopy(dashboard())
                apply(board)
                self.assertIn(wrong, "\n".join(grafana.findings(board)))

    def check_expressions(self, texts):
        """As recording rules: promtool reads their PromQL."""
        file = self.copy() / "expressions.yml"
        made = [{"record": f"expression:{number}", "expr": text}
                for number, text in enumerate(texts)]
        file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": made}]}))
        self.assertIn(f"{len(made)} rules found", self.check("check rules", file))

    def test_its_expressions_are_promql(self):
        texts = [without_variables(text) for _, text in grafana.expressions(dashboard())]
        self.assertFalse([text for text in texts if "$" in text])
        self.check_expressions(texts)
        with self.assertRaises(AssertionError):
            self.check_expressions([*texts, "sum(up"])


class Live(Monitoring):
    """A Prometheus as configured there, but for the address and that it looks each second."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        folder = cls.lab.folder / "prometheus"
        shutil.copytree(FOLDER, folder)
        file = folder / "prometheus.yml"
        text = file.read_text().replace("127.0.0.1:9632", f"127.0.0.1:{cls.schemux.http_port}")
        file.write_text(text.replace("_interval: 15s", "_interval: 1s"))
        cls.port = server.free_port()
        program, owner = find_program("prometheus"), {}
        if os.geteuid() == 0:
            owner = {"user": "nobody", "group": "nogroup"}
            shutil.chown(folder, **owner)
            program = shutil.copy(program, folder)  # who cannot read root's folders runs it
        with open(folder / "prometheus.log", "ab") as log:
            cls.prometheus = subprocess.Popen(
                [program, f"--config.file={file}",
                 f"--storage.tsdb.path={folder / 'data'}",
                 f"--web.listen-address=127.0.0.1:{cls.port}"],
                cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **owner,
                extra_groups=[] if owner else None,
                preexec_fn=server.child_setup(signal.SIGKILL))
        cls.addClassCleanup(cls.prometheus.wait)
        cls.addClassCleanup(cls.prometheus.terminate)
        server.wait_until(cls.has_looked_twice, SECONDS, "Prometheus to have looked twice")

    @classmethod
    def ask(cls, path, **parameters):
        url = f"http://127.0.0.1:{cls.port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {error.read().decode()}") from error

    @classmethod
    def result(cls, text):
        return cls.ask("query", query=text)["result"]

    @classmethod
    def has_looked_twice(cls):
        """A rate needs two values."""
        if cls.prometheus.poll() is not None:
            raise server.ServerError(server.tail(cls.lab.folder / "prometheus" / "prometheus.log"))
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{cls.port}/-/ready", timeout=10).close()
            last = rules()[-1]["alert"]
            evaluated = [one["lastEvaluation"] for group in cls.ask("rules")["groups"]
                         for one in group["rules"] if one["name"] == last]
            return evaluated and not evaluated[0].startswith("0001-") and cls.result(
                'count_over_time(up{job="schemux"}[1m]) > 3')
        except OSError:
            return False

    def test_rules_are_evaluated(self):
        groups = self.ask("rules")["groups"]
        evaluated = {one["name"]: (one["health"], one.get("lastError", ""))
                     for group in groups for one in group["rules"]}
        self.assertEqual(evaluated, {rule.get("alert") or rule["record"]: ("ok", "")
                                     for rule in rules()})

    def test_recorded_series_are_there(self):
        for rule in rules():
            if "record" in rule:
                with self.subTest(rule["record"]):
                    self.wait_until(lambda name=rule["record"]: self.result(name), "a value")

    def test_alerts_have_what_they_look_at(self):
        """Each side of their comparisons, compared with nothing."""
        for rule in rules():
            if "alert" in rule:
                for selector in promql.read(rule["expr"])[0]:
                    with self.subTest(rule["alert"], metric=selector.metric):
                        self.assertTrue(self.result(selector.metric))

    def test_the_dashboard_shows_something_everywhere(self):
        for panel in dashboard()["panels"]:
            for target in panel.get("targets", []):
                with self.subTest(panel["title"], expression=target["expr"]):
                    result = self.result(without_variables(target["expr"]))
                    self.assertTrue(result)
                    wanted = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
                    self.assertEqual(wanted - set(result[0]["metric"]), set())
        for name, text, label in grafana.label_queries(dashboard()):
            with self.subTest(name):
                self.assertTrue(self.ask(f"label/{label}/values",
                                         **{"match[]": without_variables(text)}))

    def test_nothing_is_wrong_but_what_is(self):
        """The strict service has rights that it should not have, and schemux was just asked."""
        firing = {one["labels"]["alertname"] for one in self.ask("alerts")["alerts"]
                  if one["state"] == "firing"}
        self.assertLessEqual(firing, {"SchemuxIsolationHole"})
