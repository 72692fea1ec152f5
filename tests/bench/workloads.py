# What the clients of run.py ask, as scripts of pgbench, and which of the proxies can answer it.
# It knows SQL; it must not know how a figure is taken.

import bed as testbed

KEY = r"\set aid random(1, " + str(testbed.ROWS) + ")\n"
ONE = "SELECT 1;\n"
WRITTEN = KEY + "SELECT abalance FROM app.accounts WHERE aid = :aid;\n"
TEMPLATE = KEY + "SELECT abalance FROM {{tables.accounts}} WHERE aid = :aid;\n"
OF_THE_PATH = KEY + "SELECT abalance FROM accounts WHERE aid = :aid;\n"
PIPELINE = "\\startpipeline\n" + 10 * ONE + "\\endpipeline\n"
TRANSACTION = "BEGIN;\n" + 2 * ONE + "COMMIT;\n"
# One of a hundred statements, each in its turn. (A hundred scripts would be chosen from by chance,
# and a client would meet the last one of them only after some five hundred.)
STATEMENTS = "\\set turn (:turn + 1) % 100\n" + "".join(
    f"\\{'elif' if number else 'if'} :turn = {number}\nSELECT {number};\n"
    for number in range(100)) + "\\endif\n"

FLOORS = ("forwarder", "minipool")  # they know no settings and no services
POOLED_FLOORS = ("minipool",)  # they do not carry prepared statements from backend to backend
# PgBouncer of any version has TimeZone among what it carries from backend to backend.
TOKYO, PARIS = "Asia/Tokyo", "Europe/Paris"


class Workload:
    """`script`: of a transaction; none: pgbench's own -S.
    `template`: what schemux is asked as well, in turn with the same SQL written out.
    `zones`: a time zone, as a startup parameter, for each pgbench of those that share the clients;
    `other_zones`: what every system is asked as well, in turn with that.
    `services`: the clients are shared out among these instead of having one database.
    `tls`: between the clients and the system.
    `settle`: transactions of each client before the first that counts. `most`: clients; with more
    of them, settling would take longer than all the rest."""

    def __init__(self, mode, script=None, template=None, skip=(), zones=(None,), other_zones=None,
                 services=(), settle=0, most=100_000, pool=testbed.POOL, clients=None, tls=False):
        self.mode = mode
        self.script = script
        self.template = template
        self.skip = skip
        self.zones = zones
        self.other_zones = other_zones
        self.services = services
        self.settle = settle or int(mode == "prepared")
        self.most = most
        self.pool = pool
        self.tls = tls
        self.clients = clients  # instead of those of the command line

    def takes(self, system, clients, room_for_forwarders):
        """Whether the system can be asked this by so many clients."""
        if system.kind in self.skip or not len(self.services) <= clients <= self.most:
            return False
        if system.kind == "forwarder":
            return clients <= room_for_forwarders
        # Only one client's statements are where it left them with PgBouncer before 1.21.
        old = system.kind == "pgbouncer" and testbed.version_key(system.version)[:2] < [1, 21]
        return not (old and self.mode == "prepared" and clients > 1)

    def databases(self, system):
        """One for each pgbench. Peers know the schema by nothing but the SQL."""
        if self.services:
            return self.services
        return (testbed.ROUTED if system.kind == "schemux" and self.template else testbed.PLAIN,)


WORKLOADS = {
    "select1": Workload("simple", ONE),
    "select1_extended": Workload("extended", ONE),
    "select1_prepared": Workload("prepared", ONE, skip=POOLED_FLOORS),
    "simple": Workload("simple"),
    "extended": Workload("extended"),
    "prepared": Workload("prepared", skip=POOLED_FLOORS),
    "tls": Workload("simple", ONE, skip=FLOORS, tls=True),
    "tls_prepared": Workload("prepared", skip=FLOORS, tls=True),
    # Ten queries, one Sync.
    "pipeline": Workload("extended", PIPELINE),
    # Four round trips.
    "transaction": Workload("simple", TRANSACTION),
    # Each client has prepared a hundred; a transaction is one of them.
    "statements": Workload("prepared", STATEMENTS, skip=POOLED_FLOORS, settle=100,
                           most=256),
    # Three services with a schema each take turns on one pool; peers have a pool for each.
    "services": Workload("simple", OF_THE_PATH, skip=FLOORS, services=testbed.SERVICES, pool=21),
    "template": Workload("simple", WRITTEN, TEMPLATE),
    "template_extended": Workload("extended", WRITTEN, TEMPLATE),
    "template_prepared": Workload("prepared", WRITTEN, TEMPLATE, skip=POOLED_FLOORS),
    # All clients with the same setting beside none.
    "settings": Workload("simple", ONE, skip=FLOORS, other_zones=(TOKYO,)),
    # Two clients take turns on one backend, with other settings beside the same: each transaction
    # of theirs needs a switch.
    "switch": Workload("simple", ONE, skip=FLOORS, zones=(TOKYO, TOKYO),
                       other_zones=(TOKYO, PARIS), pool=1, clients=2),
    "switch_extended": Workload("extended", ONE, skip=FLOORS, zones=(TOKYO, TOKYO),
                                other_zones=(TOKYO, PARIS), pool=1, clients=2),
}
DEFAULT = "select1,simple,extended,prepared,pipeline,transaction,statements,services,template,tls"
