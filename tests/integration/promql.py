"""What a text of PromQL names: metrics, their label matchers, and the labels of its clauses.

No parser: whether a text is right says promtool. It must not know which metrics there are.
"""

import re

_TOKEN = re.compile(r"""
    (?P<comment>\#[^\n]*)
  | (?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
  | (?P<duration>\[[^\]]*\])
  | (?P<number>(?<![\w:])[0-9][\w.]*)
  | (?P<name>[a-zA-Z_:][\w:]*)
  | (?P<match>=~|!~|!=|==|=)
  | (?P<sign>[^\s\w])
""", re.VERBOSE)
CLAUSES = {"by", "without", "on", "ignoring", "group_left", "group_right"}
_WORDS = CLAUSES | {"and", "or", "unless", "offset", "bool", "atan2", "inf", "nan", "start", "end"}
# What Prometheus, not schemux, adds to every series.
TARGET_LABELS = {"job", "instance"}


class Selector:
    """A metric and its matchers, as (label, operator, value)."""

    def __init__(self, metric, matchers):
        self.metric = metric
        self.matchers = matchers

    def __repr__(self):
        return f"{self.metric}{self.matchers}"

    def matches(self, labels):
        """Whether a series with these labels is meant, as far as schemux makes its labels."""
        return all(self._one(operator, value, labels.get(name, ""))
                   for name, operator, value in self.matchers if name not in TARGET_LABELS)

    @staticmethod
    def _one(operator, wanted, value):
        if operator in ("=", "!="):
            return (value == wanted) == (operator == "=")
        return bool(re.fullmatch(wanted, value)) == (operator == "=~")


def _tokens(text):
    found = [(kind, match[kind]) for match in _TOKEN.finditer(text)
             for kind in [match.lastgroup] if kind not in ("comment", "duration", "number")]
    return [*found, ("end", ""), ("end", "")]


def read(text):
    """The selectors, and the labels that `by` and its like name."""
    tokens, at = _tokens(text), 0
    selectors, labels = [], set()
    while at < len(tokens) - 2:
        kind, word = tokens[at]
        following = tokens[at + 1][1]
        if kind == "name" and word in CLAUSES and following == "(":
            at += 2
            while tokens[at][1] not in (")", ""):
                if tokens[at][0] == "name":
                    labels.add(tokens[at][1])
                at += 1
        elif kind == "name" and following == "{":
            matchers, at = _matchers(tokens, at + 2)
            selectors.append(Selector(word, matchers))
        elif kind == "name" and word not in _WORDS and following != "(" \
                and not _is_function(tokens, at):
            selectors.append(Selector(word, []))
        at += 1
    return selectors, labels


def _matchers(tokens, at):
    """Those up to the closing brace, and where that is."""
    matchers = []
    while tokens[at][1] not in ("}", ""):
        if tokens[at][0] == "name" and tokens[at + 1][0] == "match":
            value = tokens[at + 2][1][1:-1].replace("\\\\", "\\")
            matchers.append((tokens[at][1], tokens[at + 1][1], value))
            at += 2
        at += 1
    return matchers, at


def _is_function(tokens, at):
    """`sum by (x) (…)`: what is in front of a clause is no metric."""
    return tokens[at + 1][1] in ("by", "without") and tokens[at + 2][1] == "("
