"""Other ways to write the same SQL: letter case, comments, whitespace, escapes, quotes, and
expressions that compute a text. A program of the red team means the same however it is spelled.

All choices come of the dice that one is given. It knows SQL's lexical rules, and no attack.

A statement to spell is words between single spaces: `#name` is an identifier, `'text` a literal,
`=text` an expression of that value, `@n` stands for the n-th of the given parts, which is taken as
it is; all else is a keyword or a symbol. `%20` in one of them is a space.
"""

COMMENTS = ("/**/", "/* ; */", "/* a /* b */ ' */", "-- it's nothing; $$\n", "/*'*/", "--\n")
BLANKS = (" ", "  ", "\t", "\n", "\r\n", "\f", " \n\t ")


class Speller:
    def __init__(self, dice):
        self.dice = dice
        self._tags = 0

    # ---- words -----------------------------------------------------------------------------

    def space(self):
        parts = [self.dice.choice(BLANKS)]
        while self.dice.random() < 0.3:
            parts += [self.dice.choice(COMMENTS), self.dice.choice(BLANKS)]
        return "".join(parts)

    def keyword(self, word):
        return self.dice.choice((word, word.lower(), word.upper(), word.title(), "".join(
            self.dice.choice((letter.lower(), letter.upper())) for letter in word)))

    def name(self, name):
        """An identifier."""
        ways = (lambda: self.keyword(name), lambda: f'"{name}"', lambda: self._unicode(name, '"'),
                lambda: self._unicode(name, '"', self.dice.choice("!|~")))
        return self.dice.choice(ways)()

    def text(self, value):
        """A literal."""
        ways = (lambda: self._quoted(value), lambda: self._escaped(value),
                lambda: self._unicode(value, "'"), lambda: self._unicode(value, "'", "!"),
                lambda: self.dollar(value), lambda: self._continued(value))
        return self.dice.choice(ways)()

    def dollar(self, value):
        """Tags are never used twice, so that what is in one may be in another."""
        self._tags += 1
        tag = f"${self.dice.choice('abcxyz_')}{self._tags}$"
        return f"{tag}{value}{tag}"

    def _quoted(self, value):
        return "'" + value.replace("'", "''") + "'"

    def _continued(self, value):
        """A literal goes on in the next line."""
        at = self.dice.randint(0, len(value))
        if value[at - 1:at + 1].count("'"):
            return self._quoted(value)
        return f"{self._quoted(value[:at])}{self.dice.choice(BLANKS)}\n{self._quoted(value[at:])}"

    def _escaped(self, value):
        ways = (lambda c: f"\\{ord(c):03o}", lambda c: f"\\x{ord(c):02x}",
                lambda c: f"\\u{ord(c):04x}", lambda c: f"\\U{ord(c):08X}",
                lambda c: "\\" + c if c in "'\\" else c)
        body = "".join(self.dice.choice(ways)(letter) for letter in value)
        return f"{self.dice.choice('eE')}'{body}'"

    def _unicode(self, value, quote, escape=""):
        sign = escape or "\\"
        ways = (lambda c: f"{sign}{ord(c):04x}", lambda c: f"{sign}+{ord(c):06X}",
                lambda c: c * 2 if c in (quote, sign) else c)
        body = "".join(self.dice.choice(ways)(letter) for letter in value)
        said = f"{self.space()}UESCAPE{self.space()}'{escape}'" if escape else ""
        return f"{self.dice.choice('uU')}&{quote}{body}{quote}{said}"

    # ---- expressions -----------------------------------------------------------------------

    def computed_in_place(self, value):
        """The same where no subquery may be."""
        while "SELECT" in (expression := self.computed(value)):
            pass
        return expression

    def computed(self, value):
        """An expression whose value it is, or just the literal."""
        at = self.dice.randint(1, max(1, len(value) - 1))
        left, right = self.text(value[:at]), self.text(value[at:])
        hexed = value.encode().hex()
        ways = (
            lambda: self.text(value),
            lambda: f"({left} || {right})",
            lambda: f"concat({left}, {right})",
            lambda: f"format('%s%s', {left}, {right})",
            lambda: f"reverse({self.text(value[::-1])})",
            lambda: f"convert_from(decode('{hexed}', 'hex'), 'UTF8')",
            lambda: f"convert_from('\\x{hexed}'::bytea, 'UTF8')",
            lambda: f"substr({self.text('zz' + value)}, 3)",
            lambda: f"replace({self.text(value[:at] + '#' + value[at:])}, '#', '')",
            lambda: f"array_to_string(ARRAY[{left}, {right}], '')",
            lambda: f"(SELECT string_agg(c, '' ORDER BY n) "
                    f"FROM (VALUES (2, {right}), (1, {left})) AS v (n, c))",
            lambda: f"(ARRAY['other', {self.text(value)}])[2]",
            lambda: f"split_part({self.text('other^' + value)}, '^', 2)",
            lambda: f"coalesce(NULL, {self.text(value)})",
            lambda: f"CASE WHEN random() < 2 THEN {left} || {right} END",
            lambda: "(" + " || ".join(f"chr({ord(letter)})" for letter in value) + ")",
        )
        return self.dice.choice(ways)()

    # ---- statements ------------------------------------------------------------------------

    def sql(self, template, *parts):
        """The statement, in one of its spellings."""
        return self._join(self._word(word, parts) for word in template.split(" "))

    def _word(self, word, parts):
        rest = word[1:].replace("%20", " ")
        if word[0] == "#":
            return self.name(rest)
        if word[0] == "'":
            return self.text(rest)
        if word[0] == "=" and rest:
            return self.computed(rest)
        if word[0] == "@":
            return parts[int(rest)]
        return self.keyword(word) if word[0].isalpha() else word

    def _join(self, words):
        """A literal that begins a line would go on with the one before it: never two in a row."""
        pieces = []
        for word in words:
            pieces += [self.space(), word]
        return "".join(pieces[1:])

    def body(self, *statements):
        """A PL/pgSQL block as a literal."""
        return self.dollar(f" BEGIN {' '.join(statements)} END ")


class Plain(Speller):
    """As one would write it, so that whoever reads the text can understand it."""

    def space(self):
        return " "

    def keyword(self, word):
        return word

    def name(self, name):
        return name

    def text(self, value):
        return self._quoted(value)

    def computed(self, value):
        return self._quoted(value)
