# Where figures go: text to the terminal as it comes, and, if there is a folder for it, the same in
# tables.txt, all rows in figures.csv, and pictures.
# It knows files; it must not know what the figures mean.

import csv
import os


class Report:
    """`fields` are the columns of figures.csv; `prefix` goes before the names of the files."""

    def __init__(self, folder, fields, prefix=""):
        self.folder = folder
        self.fields = fields
        self.prefix = prefix
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

    def path(self, name):
        """None: it is not wanted."""
        return os.path.join(self.folder, self.prefix + name) if self.folder else None

    def write(self):
        """What there is by now: a run that is cut short leaves what it has."""
        if not self.folder:
            return
        with open(self.path("tables.txt"), "w", encoding="utf-8") as file:
            file.write("\n".join(self.lines) + "\n")
        with open(self.path("figures.csv"), "w", encoding="utf-8", newline="") as file:
            file.write(f"# {self.machine}\n")
            writer = csv.DictWriter(file, self.fields)
            writer.writeheader()
            writer.writerows(self.rows)
