#include "core/fingerprint.h"

#include "core/limits.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace schemux::core {

namespace {

using protocol::SqlLexer;
using protocol::Token;
using protocol::TokenKind;

constexpr std::string_view placeholder = "?";
/// To the lexer an identifier: a fingerprint's own fingerprint is itself.
constexpr std::string_view ellipsis = "\u2026";
constexpr std::size_t written_max = limits::fingerprint_bytes_max - 1 - ellipsis.size();

std::uint64_t mixed(std::uint64_t hash, std::uint64_t value) {
    constexpr std::uint64_t odd = 0x9e3779b97f4a7c15;
    hash = (hash ^ value) * odd;
    return hash ^ (hash >> 29U);
}

template <class Word>
std::uint64_t word_at(const char* at) {
    Word word = 0;
    std::memcpy(&word, at, sizeof word);
    return word;
}

/// Most tokens are a byte or a short word; what is read twice at the end of one does no harm.
std::uint64_t mixed(std::uint64_t hash, std::string_view bytes) {
    const char* at = bytes.data();
    std::size_t left = bytes.size();
    for (; left > 8; left -= 8, at += 8)
        hash = mixed(hash, word_at<std::uint64_t>(at));
    const std::uint64_t size = std::uint64_t{bytes.size()} << 56U;
    if (left == 8) return mixed(hash + size, word_at<std::uint64_t>(at));
    if (left >= 4) {
        const std::uint64_t end = word_at<std::uint32_t>(at + left - 4);
        return mixed(hash + size, word_at<std::uint32_t>(at) | end << 32U);
    }
    std::uint64_t rest = 0;
    for (; left > 0; --left)
        rest = rest << 8U | static_cast<unsigned char>(at[left - 1]);
    return mixed(hash + size, rest);
}

bool is_word(std::string_view word, std::string_view lower) {
    return word.size() == lower.size() &&
           std::equal(word.begin(), word.end(), lower.begin(),
                      [](char byte, char letter) { return (byte | 0x20) == letter; });
}

}  // namespace

FingerprintReader::Part FingerprintReader::part_of(const Token& token, std::string_view bytes) {
    switch (token.kind) {
        case TokenKind::identifier:
        case TokenKind::quoted_identifier:
        case TokenKind::unicode_identifier:
            return Part::word;
        case TokenKind::parameter:
            return Part::parameter;
        case TokenKind::plain_literal:
        case TokenKind::escape_literal:
        case TokenKind::unicode_literal:
        case TokenKind::bit_literal:
        case TokenKind::hex_literal:
        case TokenKind::national_literal:
        case TokenKind::dollar_literal:
        case TokenKind::number:
            return Part::constant;
        case TokenKind::operator_text:
            if (bytes == placeholder) return Part::constant;
            if (bytes == "::" || bytes == "..") return Part::point;
            return bytes == "<<" || bytes == ">>" ? Part::shift : Part::sign;
        case TokenKind::self:
            break;
        case TokenKind::end:
        case TokenKind::whitespace:
        case TokenKind::line_comment:
        case TokenKind::block_comment:
        case TokenKind::other:
        case TokenKind::unterminated:
            return Part::other;
    }
    switch (bytes.front()) {
        case '(':
        case '[':
            return Part::open;
        case ')':
        case ']':
            return Part::close;
        case ',':
            return Part::comma;
        case ';':
            return Part::semicolon;
        case '.':
        case ':':
            return Part::point;
        default:
            return Part::sign;
    }
}

/// Whether two parts are written apart; `spaced`: the client has them so. What is not apart must
/// not be read as one token then.
bool FingerprintReader::apart(Part left, Part right, bool spaced) {
    const auto either = [&](Part part) { return left == part || right == part; };
    if (left == Part::none) return false;
    if (either(Part::other)) return spaced;
    if (left == Part::point && (right == Part::point || right == Part::sign)) return true;
    if (left == Part::open || either(Part::point)) return false;
    if (right == Part::comma || right == Part::semicolon || right == Part::close) return false;
    if (either(Part::shift)) return spaced || either(Part::constant) || either(Part::sign);
    if (right == Part::open) return left != Part::word || spaced;
    return true;
}

/// Behind it a sign is a part of the number that follows.
bool FingerprintReader::expects_value(const Piece& piece) {
    constexpr std::array<std::string_view, 16> words{
        "select", "and",   "or",   "not",  "between", "in",     "like", "limit",
        "offset", "where", "then", "else", "when",    "return", "by",   "values"};
    switch (piece.part) {
        case Part::none:
        case Part::sign:
        case Part::open:
        case Part::comma:
        case Part::semicolon:
            return true;
        case Part::word:
            return std::any_of(words.begin(), words.end(),
                               [&](std::string_view word) { return is_word(piece.bytes, word); });
        case Part::parameter:
        case Part::constant:
        case Part::shift:
        case Part::close:
        case Part::point:
        case Part::other:
            return false;
    }
    return false;
}

void FingerprintReader::add(Part part, bool spaced, std::string_view bytes) {
    const auto ends_in_sign = [this] {
        if (pieces_.empty() || pieces_.back().part != Part::sign) return false;
        return pieces_.back().bytes == "-" || pieces_.back().bytes == "+";
    };
    while (part == Part::constant && ends_in_sign()) {
        const bool unary = pieces_.size() == 1 || expects_value(pieces_[pieces_.size() - 2]);
        if (!unary) break;
        pieces_.pop_back();
    }
    // In its place: a copy would be read in other widths than it was written.
    Piece& piece = pieces_.emplace_back();
    piece.part = part;
    piece.spaced = spaced;
    piece.bytes = bytes;
}

/// False when it cannot be read to its end.
bool FingerprintReader::cut_up(std::string_view text, bool standard_conforming_strings) {
    SqlLexer lexer(text, standard_conforming_strings);
    bool spaced = false;
    std::uint32_t number_end = ~std::uint32_t{0};
    for (Token token = lexer.next(); token.kind != TokenKind::end; token = lexer.next()) {
        const std::string_view bytes = lexer.text_of(token);
        if (token.kind == TokenKind::unterminated) return false;
        const bool comment =
            token.kind == TokenKind::line_comment || token.kind == TokenKind::block_comment;
        if (comment && bytes.find("traceparent") != bytes.npos) traced_ = true;
        if (comment || token.kind == TokenKind::whitespace) {
            spaced = true;
            continue;
        }
        // The rest of 0x1F, 1_000 and of what no PostgreSQL takes for a number.
        const bool of_number = token.kind == TokenKind::identifier && token.begin == number_end;
        const bool number =
            of_number || token.kind == TokenKind::number || token.kind == TokenKind::parameter;
        number_end = number ? token.end() : ~std::uint32_t{0};
        if (of_number) continue;
        Part part = part_of(token, bytes);
        const bool behind_point = !pieces_.empty() && pieces_.back().part == Part::point;
        if (bytes == "*" && behind_point) part = Part::word;  // t.*
        // Where a list is cut short an identifier stands before it, which it would be a part of.
        const bool set_off = spaced || bytes == "$";
        add(part, set_off, part == Part::constant ? placeholder : bytes);
        spaced = false;
    }
    return true;
}

/// Behind the constants, or parameters, that are listed from here on; the next piece, where there
/// is no list.
std::size_t FingerprintReader::list_end(std::size_t at) const {
    const Part part = pieces_[at].part;
    ++at;
    if (part != Part::constant && part != Part::parameter) return at;
    while (at + 1 < pieces_.size() && pieces_[at].part == Part::comma &&
           pieces_[at + 1].part == part)
        at += 2;
    return at;
}

/// Behind the `)` of parentheses with nothing but constants and parameters in them; else 0.
std::size_t FingerprintReader::group_end(std::size_t at) const {
    if (at >= pieces_.size() || pieces_[at].part != Part::open) return 0;
    if (pieces_[at].bytes != "(") return 0;
    for (++at; at + 1 < pieces_.size(); at += 2) {
        const Piece& piece = pieces_[at];
        const bool of_list = piece.part == Part::constant || piece.part == Part::parameter ||
                             piece.bytes == ellipsis;
        if (!of_list) return 0;
        if (pieces_[at + 1].bytes == ")") return at + 2;
        if (pieces_[at + 1].part != Part::comma) return 0;
    }
    return 0;
}

void FingerprintReader::write_all() {
    std::size_t rows_end = 0;  // of a row whose like may follow
    for (std::size_t at = 0; at < pieces_.size();) {
        if (const std::size_t end = group_end(at)) rows_end = end;
        const std::size_t next = list_end(at);
        const Piece& piece = pieces_[at];
        write(piece.part, piece.spaced, piece.bytes);
        if (next > at + 1) write_rest();
        at = next;
        if (at != rows_end) continue;
        std::size_t last = at;
        while (last < pieces_.size() && pieces_[last].part == Part::comma) {
            const std::size_t end = group_end(last + 1);
            if (end == 0) break;
            last = end;
        }
        if (last > at) write_rest();
        at = last;
    }
}

/// Stands for what is like the one before.
void FingerprintReader::write_rest() {
    write(Part::comma, false, ",");
    write(Part::word, true, ellipsis);
}

void FingerprintReader::write(Part part, bool spaced, std::string_view bytes) {
    id_ = mixed(id_, bytes);
    if (cut_) return;
    const bool space = apart(last_, part, spaced);
    if (text_.size() + (space ? 1 : 0) + bytes.size() > written_max) {
        cut_ = true;
        return;
    }
    if (space) text_ += ' ';
    text_ += bytes;
    last_ = part;
}

void FingerprintReader::read(std::string_view text, bool standard_conforming_strings) {
    if (text.size() > limits::fingerprinted_bytes_max) return give_up(too_long_text);
    traced_ = cut_ = false;
    pieces_.clear();
    if (!cut_up(text, standard_conforming_strings)) return give_up(unreadable_text);
    text_.clear();
    id_ = 0;
    last_ = Part::none;
    write_all();
    if (!cut_) return;
    if (apart(last_, Part::word, true)) text_ += ' ';
    text_ += ellipsis;
}

void FingerprintReader::give_up(std::string_view why) {
    text_ = why;
    id_ = mixed(0, why);
    traced_ = false;
}

}  // namespace schemux::core
