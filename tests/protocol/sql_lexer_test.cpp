// The lexer against PostgreSQL's rules, token by token.
#include "protocol/sql_lexer.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace schemux::protocol {
namespace {

char letter_of(TokenKind kind) {
    switch (kind) {
        case TokenKind::end:
            return '.';
        case TokenKind::whitespace:
            return 'w';
        case TokenKind::line_comment:
            return 'l';
        case TokenKind::block_comment:
            return 'c';
        case TokenKind::identifier:
            return 'i';
        case TokenKind::quoted_identifier:
            return 'q';
        case TokenKind::unicode_identifier:
            return 'Q';
        case TokenKind::plain_literal:
            return 's';
        case TokenKind::escape_literal:
            return 'E';
        case TokenKind::unicode_literal:
            return 'U';
        case TokenKind::bit_literal:
            return 'B';
        case TokenKind::hex_literal:
            return 'X';
        case TokenKind::national_literal:
            return 'N';
        case TokenKind::dollar_literal:
            return 'd';
        case TokenKind::parameter:
            return 'p';
        case TokenKind::number:
            return 'n';
        case TokenKind::operator_text:
            return 'o';
        case TokenKind::self:
            return '-';
        case TokenKind::other:
            return '?';
        case TokenKind::unterminated:
            return '!';
    }
    return ' ';
}

// `kind:text` of every token that is not whitespace, with | between them.
std::string tokens_of(std::string_view text, bool conforming = true) {
    SqlLexer lexer(text, conforming);
    std::string out;
    while (true) {
        const Token token = lexer.next();
        if (token.kind == TokenKind::end) return out;
        if (token.kind == TokenKind::whitespace) continue;
        if (!out.empty()) out += '|';
        out += letter_of(token.kind);
        out += ':';
        out += lexer.text_of(token);
    }
}

struct Case {
    std::string_view text;
    std::string_view expected;
};

void check(const std::vector<Case>& cases, bool conforming = true) {
    for (const Case& one : cases)
        EXPECT_EQ(tokens_of(one.text, conforming), one.expected);
}

TEST(SqlLexer, WordsNumbersAndParameters) {
    check({
        {"select a_1$x", "i:select|i:a_1$x"},
        {"\xc3\xa9t\xc3\xa9 _x", "i:\xc3\xa9t\xc3\xa9|i:_x"},
        {"1 1.5 .5 1. 1e5 1.e-5 .5E+3", "n:1|n:1.5|n:.5|n:1.|n:1e5|n:1.e-5|n:.5E+3"},
        {"1..10", "n:1|o:..|n:10"},
        {"1e 1e+", "n:1|i:e|n:1|i:e|-:+"},
        {"12abc", "n:12|i:abc"},
        {"$1 $23a", "p:$1|p:$23|i:a"},
        {"a.b", "i:a|-:.|i:b"},
    });
}

TEST(SqlLexer, EveryLiteralKind) {
    check({
        {"'a''b'", "s:'a''b'"},
        {"'a\\' 'b'", "s:'a\\'|s:'b'"},
        {"e'a\\'b' E'\\\\'", "E:e'a\\'b'|E:E'\\\\'"},
        {"U&'d\\0061t' u&\"x\"", "U:U&'d\\0061t'|Q:u&\"x\""},
        {"b'01' X'1f' n'x'", "B:b'01'|X:X'1f'|N:n'x'"},
        {"b'0''1'", "B:b'0'|s:'1'"},
        {"ee'x'", "i:ee|s:'x'"},
        {"e 'x'", "i:e|s:'x'"},
        {"u&x u&", "i:u|o:&|i:x|i:u|o:&"},
        {"\"a\"\"b'\"", "q:\"a\"\"b'\""},
        {"''", "s:''"},
    });
}

TEST(SqlLexer, BackslashesEscapeOnlyWhereTheSettingSaysSo) {
    check({{"'a\\'b'", "s:'a\\'b'"}, {"n'a\\'b'", "N:n'a\\'b'"}, {"\"a\\\" b", "q:\"a\\\"|i:b"}},
          false);
    check({{"'a\\'c'", "s:'a\\'|i:c|!:'"}});
}

TEST(SqlLexer, LiteralsContinueOverNewlinesOnly) {
    check({
        {"'a'\n'b'", "s:'a'\n'b'"},
        {"'a' \t\r\n  'b'", "s:'a' \t\r\n  'b'"},
        {"'a' 'b'", "s:'a'|s:'b'"},
        {"'a' -- x\n'b'", "s:'a' -- x\n'b'"},
        {"'a'\n--x\n--y\n'b'", "s:'a'\n--x\n--y\n'b'"},
        {"'a'\n/* x */'b'", "s:'a'|c:/* x */|s:'b'"},
        {"'a'\n-'b'", "s:'a'|-:-|s:'b'"},
        {"e'a'\n'\\'b'", "E:e'a'\n'\\'b'"},
        {"'a' --x", "s:'a'|l:--x"},
    });
}

TEST(SqlLexer, AContinuedLiteralSaysSo) {
    EXPECT_TRUE(SqlLexer("'a'\n'b'").next().continued);
    EXPECT_FALSE(SqlLexer("'a''b'").next().continued);
}

TEST(SqlLexer, DollarQuoteEndsOnlyAtItsOwnTag) {
    check({
        {"$$a'b$$", "d:$$a'b$$"},
        {"$a$ $$ $b$ $a$x", "d:$a$ $$ $b$ $a$|i:x"},
        {"$A$ $a$ $A$", "d:$A$ $a$ $A$"},
        {"$a$ $aa$a$", "d:$a$ $aa$a$"},
        {"a$$b", "i:a$$b"},
        {"1$$b$$", "n:1|d:$$b$$"},
        {"$ $a b", "?:$|?:$|i:a|i:b"},
        {"$1$$x$$", "p:$1|d:$$x$$"},
        {"$\xc3\xa9$x$\xc3\xa9$", "d:$\xc3\xa9$x$\xc3\xa9$"},
    });
    EXPECT_EQ(SqlLexer("$tag$x$tag$").next().delimiter_bytes, 5U);
}

TEST(SqlLexer, Comments) {
    check({
        {"a -- b 'c\nd", "i:a|l:-- b 'c|i:d"},
        {"--x\r'y'", "l:--x|s:'y'"},
        {"/* a /* b */ c */ d", "c:/* a /* b */ c */|i:d"},
        {"/*/ x */", "c:/*/ x */"},
        {"/***/ /**/", "c:/***/|c:/**/"},
        {"/* ' */'a'", "c:/* ' */|s:'a'"},
    });
}

TEST(SqlLexer, OperatorsStopAtCommentsAndGiveUpTrailingSigns) {
    check({
        {"a<=b <> != :: := =>", "i:a|o:<=|i:b|o:<>|o:!=|o:::|o::=|o:=>"},
        {"1<<2", "n:1|o:<<|n:2"},
        {"a+-b", "i:a|-:+|-:-|i:b"},
        {"a@-b", "i:a|o:@-|i:b"},
        {"a=-1", "i:a|-:=|-:-|n:1"},
        {"a<=-+-1", "i:a|o:<=|-:-|-:+|-:-|n:1"},
        {"a*/*x*/b", "i:a|-:*|c:/*x*/|i:b"},
        {"a|--x\nb", "i:a|o:||l:--x|i:b"},
        {"~ ~~ ?|", "o:~|o:~~|o:?|"},
        {"(a,[b];)", "-:(|i:a|-:,|-:[|i:b|-:]|-:;|-:)"},
    });
}

TEST(SqlLexer, BracesAreSingleBytesOfNoKind) {
    check({{"{{tables.x}}", "?:{|?:{|i:tables|-:.|i:x|?:}|?:}"}, {"\\", "?:\\"}});
}

TEST(SqlLexer, UnterminatedRunsToTheEnd) {
    for (const std::string_view text : {"'a b", "e'a\\'", "e'a\\", "\"a", "u&\"a", "u&'a", "b'1",
                                        "$$a $", "$a$ $$", "/* a /* b */", "'a'\n'b"}) {
        SqlLexer lexer(text);
        const Token token = lexer.next();
        EXPECT_EQ(token.kind, TokenKind::unterminated) << text;
        EXPECT_EQ(token.end(), text.size()) << text;
        EXPECT_EQ(lexer.next().kind, TokenKind::end) << text;
    }
}

TEST(SqlLexer, SignificantTokensLeaveOutSpaceAndComments) {
    SqlLexer lexer(" /* a */ x -- b\n ; ");
    EXPECT_EQ(lexer.text_of(lexer.next_significant()), "x");
    EXPECT_EQ(lexer.text_of(lexer.next_significant()), ";");
    EXPECT_EQ(lexer.next_significant().kind, TokenKind::end);
}

std::string random_text(std::mt19937& random) {
    constexpr std::string_view pieces[] = {"'",  "''", "\"", "$$", "$a$", "$",  "--", "/*",
                                           "*/", "+",  "-",  "*",  "<<",  "{{", "\n", " ",
                                           "e'", "b'", "u&", "n'", "\\",  "a",  "1",  ".",
                                           "$1", "@",  "(",  ")",  ";",   ",",  "=",  "\xc3"};
    std::string text;
    const std::size_t count = random() % 20;
    for (std::size_t i = 0; i < count; ++i)
        text += pieces[random() % std::size(pieces)];
    return text;
}

TEST(SqlLexer, EveryByteBelongsToExactlyOneToken) {
    std::mt19937 random(1);
    for (int round = 0; round < 20'000; ++round) {
        const std::string text = random_text(random);
        SqlLexer lexer(text, (round & 1) != 0);
        std::size_t at = 0;
        while (true) {
            const Token token = lexer.next();
            ASSERT_EQ(token.begin, at) << text;
            if (token.kind == TokenKind::end) break;
            ASSERT_GT(token.length, 0U) << text;
            at = token.end();
        }
        ASSERT_EQ(at, text.size()) << text;
    }
}

TEST(SqlLexer, HostileTextsAreLexedInLinearTime) {
    // Quadratic behaviour here would take minutes: PostgreSQL's own scanner does for the first.
    for (const std::string_view piece : {"+-", "'a'\n", "/*", "$a", "$", "\"\"", "''", "@-"}) {
        std::string text;
        while (text.size() < 1'000'000)
            text += piece;
        SqlLexer lexer(text);
        std::size_t tokens = 0;
        while (lexer.next().kind != TokenKind::end)
            ++tokens;
        EXPECT_LE(tokens, text.size());
    }
}

TEST(MayContainTemplate, FindsAPairAtEveryPlace) {
    for (std::size_t size = 2; size < 70; ++size) {
        for (std::size_t at = 0; at + 1 < size; ++at) {
            for (const char byte : {'{', '<'}) {
                std::string text(size, 'x');
                text[at] = byte;
                EXPECT_FALSE(may_contain_template(text));
                text[at + 1] = byte;
                EXPECT_TRUE(may_contain_template(text)) << size << ' ' << at;
            }
        }
    }
}

TEST(MayContainTemplate, OtherPairsAreNone) {
    EXPECT_FALSE(may_contain_template(""));
    EXPECT_FALSE(may_contain_template("{"));
    EXPECT_FALSE(may_contain_template("{<{<{<{<{<{<{<{<{<{<{<{<"));
    EXPECT_FALSE(may_contain_template("aabbccddeeffgghhiijjkk}}>>||::''"));
}

}  // namespace
}  // namespace schemux::protocol
