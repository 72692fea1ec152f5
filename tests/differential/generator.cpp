#include "tests/differential/generator.h"

#include "tests/differential/statements.h"

#include <algorithm>
#include <iterator>

namespace schemux::differential {

namespace {

constexpr std::size_t fragments_max = 14;
constexpr std::size_t mutations_max = 4;
constexpr std::size_t text_bytes_max = 1000;
constexpr std::size_t cut_bytes_max = 20;

using namespace std::string_view_literals;

constexpr std::string_view openers[] = {
    // what starts and ends literals, names, comments
    "'", "'", "'", "''", "\"", "\"\"", "e'", "E'", "b'", "B'", "x'", "X'", "n'", "N'", "u&'", "U&'",
    "u&\"", "U&\"", "u&", "U", "\\", "\\'", "\\\\", "$$", "$$", "$a$", "$A$", "$b$", "$a", "$_1$",
    "$\xc3\xa9$", "$1$", "$", "$a$b$", "--", "--", "/*", "*/", "/*", "*/", "*/*", "/*/", "--*/",
    // what a continued literal has in its middle
    "' -- '\n", "'\n'", "'\r'", "'--\n'", "' --'x\n '", "'/**/\n'", "'\f\v\n'"};

constexpr std::string_view pieces[] = {
    // whole ones
    "'abc'", "'a'\n'b'", "'a' \t\r\n 'b'", "'a'--x\n'b'", "E'\\n'\n'", "-- c\n", "--\r", "/* c */",
    "/* /* */ */", "$$ ' $$", "$q$x$q$", "\"a b\"", "U&\"x\"", " UESCAPE '!' ", "UESCAPE",
    // escapes
    "\\x41", "\\xff", "\\101", "\\u0041", "\\u00e9", "\\ud83d\\ude00", "\\U0001F600", "\\u12",
    "\\+000061", "\\0061", "\\n", "\\\n",
    // numbers and parameters
    "1", "23", "1.5", ".5", "1..2", "1.", "1e", "1e5", "1.e5", "1e+", "1e-", "1.5E-3", "0x1", "0b1",
    "1_0", "$1", "$1a", "$12$", "1$", "1a", "e5", "E", ".", "..",
    // operators, those of templates among them
    "<<", ">>", "<<<", "<<tables.x>>", "<<tables.a.b>>", "<<tables.", "{", "}", "{{", "}}",
    "{{tables.x}}", "{{schema}}", "{{schema}}.", "<", ">", "=", "+", "-", "*", "/", "%", "^", "@",
    "#", "~", "|", "&", "?", "`", "!", "+-", "-+", "@-", "@+", "*-", "*+-", "<=", ">=", "<>",
    "!=", "=>", "::", ":=", ":", "->", "->>", "#>", "||", "&&", "?|", "!~*", "@-/*", "*--", "+/*",
    "|--",
    // punctuation, words, space, bytes above ASCII
    ",", ";", "(", ")", "[", "]", "a", "b", "x", "n", "e", "u", "N", "U&", "_x", "a$b", "a$", "n1",
    "select", "FROM", "tables", "DO ", "AS ", " ", " ", " ", "\n", "\n", "\r", "\t", "\f", "\v",
    "\xc3\xa9", "\xe6\x97\xa5", "\xf0\x9f\x98\x80", "\xff", "\xc3", "\x80", "\xf0", "\x01", "\x7f"};

constexpr std::string_view templates[] = {
    "{{tables.x}}",    "{{tables.users}}",  "{{tables.other.t}}", "{{schema}}",
    "{{schema}}.f",    "{{schema}}.\"F\"",  "<<tables.x>>",       "<<tables.other.x1>>",
    "{{tables.a}}_id", "{{tables._}}",      "{{schema}}.",        " {{tables.x}} ",
    " <<tables.y>> ",  " {{schema}}.g() ",  "({{tables.z}})",     "\n{{schema}}\n",
    " {{tables.x}}, ", " <<tables.x>>_a ",  "{{nothing}}",        "{{tables.1}}",
    "{{ schema }}",    "{{tables.not.me}}", "<<schema>>",         "{{tables.x}",
    "{{tables.x}}1",   "{{tables.x}}2.e5",  "<<tables.x>>1e5",    "{{tables.x}}e",
    "{{tables.x}}u&"};

}  // namespace

// The fragments' own, or now and then any single byte but NUL.
std::string_view Generator::fragment() {
    static const std::string bytes = [] {
        std::string all;
        for (int byte = 1; byte < 256; ++byte)
            all.push_back(static_cast<char>(byte));
        return all;
    }();
    if (below(25) == 0) return std::string_view(bytes).substr(below(bytes.size()), 1);
    if (below(openers_one_in_) == 0) return openers[below(std::size(openers))];
    return pieces[below(std::size(pieces))];
}

std::string Generator::fragments() {
    std::string text;
    const std::size_t count = 1 + below(fragments_max);
    // Few in every other text: most of them leave the rest of it in a literal or comment.
    openers_one_in_ = below(2) == 0 ? 2 : 12;
    for (std::size_t i = 0; i < count; ++i)
        text += fragment();
    // Rarely, around the length at which an operator is too long.
    if (below(200) == 0) text.insert(below(text.size() + 1), 55 + below(15), "+*<@-"[below(5)]);
    return text;
}

std::string Generator::some_bytes() {
    const std::string_view text = statements()[below(statements().size())];
    return std::string(text.substr(below(text.size()), 1 + below(cut_bytes_max)));
}

void Generator::mutate(std::string& text) {
    const std::size_t at = below(text.size() + 1);
    const std::size_t bytes = std::min(1 + below(cut_bytes_max), text.size() - at);
    switch (below(8)) {
        case 0:
            text.erase(at, 1);
            break;
        case 1:
            text.erase(at, bytes);
            break;
        case 2:
            text.insert(at, text.substr(at, bytes));
            break;
        case 3:
            text.insert(at, some_bytes());
            break;
        case 4:
            if (at < text.size()) text[at] = static_cast<char>(1 + below(255));
            break;
        case 5:
            text.replace(at, std::min<std::size_t>(1, bytes), fragment());
            break;
        default:
            text.insert(at, fragment());
            break;
    }
}

std::string Generator::mutation() {
    std::string text(statements()[below(statements().size())]);
    if (below(10) == 0) text += statements()[below(statements().size())];
    const std::size_t count = 1 + below(mutations_max);
    for (std::size_t i = 0; i < count; ++i)
        mutate(text);
    if (text.size() > text_bytes_max) text.resize(text_bytes_max);
    return text;
}

std::string Generator::with_templates() {
    std::string text = below(2) == 0 ? fragments() : mutation();
    const std::size_t count = 1 + below(3);
    for (std::size_t i = 0; i < count; ++i) {
        std::size_t at = below(text.size() + 1);
        // Mostly at a space: elsewhere most of them are refused.
        if (below(4) != 0) at = std::min(text.find(' ', at), text.size());
        std::string put(templates[below(std::size(templates))]);
        // Neighbours that may join it: a suffix, a sign, the prefix of a literal.
        while (below(3) == 0)
            put += fragment();
        if (below(8) == 0) put.insert(0, fragment());
        text.insert(at, put);
    }
    return text;
}

}  // namespace schemux::differential
