# Where figures go: text to the terminal as it comes, and, if there is a folder for it, the same in
# tables.txt, all rows in figures.csv, and pictures.
# It knows systems, turns and files; it must not know what the figures mean.

import csv
import os
import statistics
from collections import namedtuple

import plot

NAME_WIDTH = 28
RATIO_WIDTH = 8

# One figure in a table: its median over the turns, `scale` times, `width` wide with `digits`.
Column = namedtuple("Column", "field head width digits scale", defaults=(1,))


def add_options(parser):
    parser.add_argument("--repeats", type=int, default=3, help="each is there and back")
    parser.add_argument("--out", metavar="DIR", help="figures.csv, tables.txt, pictures")


def median(rows, system, field):
    values = [row[field] for row in rows if row["system"] == system]
    return statistics.median(values) if values else None


def ratio(rows, system, base, field):
    """Median over the passes of system's figure to base's, both of the same pass."""
    def by_pass(of):
        return {row["pass"]: row[field] for row in rows if row["system"] == of}
    own, other = by_pass(system), by_pass(base)
    values = [own[turn] / other[turn] for turn in own if other.get(turn)]
    return f"{statistics.median(values):{RATIO_WIDTH}.2f}" if values else f"{'-':>{RATIO_WIDTH}}"


def short(base):
    """As wide as its column."""
    name = base.replace("minipool", "mini").replace("_uring", "_ur").replace("_epoll", "")
    return f"{'/' + name[:RATIO_WIDTH - 1]:>{RATIO_WIDTH}}"


def bases_of(systems):
    """What the others are compared with."""
    return [system.name for system in systems if system.kind != "schemux"]


class Report:
    """`fields` are the columns of figures.csv, `pass` and `system` among them; `name` goes before
    the names of the files."""

    def __init__(self, folder, fields, name=""):
        self.folder = folder
        self.fields = fields
        self.name = name
        self.machine = ""
        self.rows = []
        self.lines = []
        if folder:
            os.makedirs(folder, exist_ok=True)

    def say(self, text):
        print(text, flush=True)
        self.lines += text.split("\n")

    def about(self, machine):
        """What the figures were taken on: heads every file."""
        self.machine = machine
        self.say(machine)

    def table(self, title, rows, columns, bases, more=lambda system: ""):
        """A line for each system of `rows`: medians, and ratios of the first column to `bases`.
        `more`, given None, tells what its own columns are called."""
        heads = "".join(f" {column.head:>{column.width}}" for column in columns)
        ratios = "".join(" " + short(base) for base in bases)
        self.say(f"\n{title:{NAME_WIDTH}}{heads}{ratios}{more(None)}")
        for system in dict.fromkeys(row["system"] for row in rows):
            line = f"{system:{NAME_WIDTH}}"
            for column in columns:
                value = median(rows, system, column.field) * column.scale
                line += f" {value:{column.width}.{column.digits}f}"
            line += "".join(" " + ratio(rows, system, base, columns[0].field) for base in bases)
            self.say(line + more(system))

    def picture(self, title, rows, group, panels, name):
        """Bars of the medians; `group` tells a row's place on the axis, `panels` names fields."""
        if not rows or not self.folder:
            return
        shown = {}
        for field, panel in panels.items():
            for place in dict.fromkeys(group(row) for row in rows):
                part = [row for row in rows if group(row) == place]
                shown.setdefault(panel, {})[place] = {
                    row["system"]: median(part, row["system"], field) for row in part}
        plot.bars(title, self.machine, shown, self.path(name + ".svg"))

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self):
        """What there is by now: a run that is cut short leaves what it has."""
        if not self.folder:
            return
        with open(self.path(self.name + "tables.txt"), "w", encoding="utf-8") as file:
            file.write("\n".join(self.lines) + "\n")
        with open(self.path(self.name + "figures.csv"), "w", encoding="utf-8", newline="") as file:
            file.write(f"# {self.machine}\n")
            writer = csv.DictWriter(file, self.fields)
            writer.writeheader()
            writer.writerows(self.rows)
