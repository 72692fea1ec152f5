#include "core/template_rewriter.h"

#include "core/body_tracker.h"
#include "core/channel_speller.h"
#include "core/spliced_text.h"
#include "core/template_syntax.h"
#include "protocol/sql_lexer.h"
#include "protocol/sqlstate.h"

#include <algorithm>
#include <array>
#include <cassert>

namespace schemux::core {

namespace {

using protocol::ErrorFields;
using protocol::SqlLexer;
using protocol::Token;
using protocol::TokenKind;
namespace sqlstate = protocol::sqlstate;

constexpr std::string_view known_templates =
    "Known templates are {{tables.NAME}}, {{tables.SCHEMA.NAME}} and {{schema}}, without spaces "
    "inside the braces; names match [A-Za-z_][A-Za-z0-9_]* and have at most 63 bytes.";
constexpr std::string_view separate_it = "Put a space between them.";
constexpr std::size_t quoted_template_max = 80;  // bytes of the client's text in a message

bool is_significant(TokenKind kind) {
    return kind != TokenKind::whitespace && kind != TokenKind::line_comment &&
           kind != TokenKind::block_comment;
}

class Rewriter {
  public:
    Rewriter(std::string_view text, const TemplateContext& context, bool conforming,
             std::string& out, PositionMap* map)
        : text_(text),
          context_(context),
          conforming_(conforming),
          spliced_(text, context.encoding, out, map) {
        frames_[0] = Frame{SqlLexer(text, conforming), 0};
    }

    RewriteResult run();
    /// Where the first plain literal with a backslash is, or `no_position`.
    std::size_t ambiguous_at() const { return ambiguous_at_; }
    ErrorFields error_at(std::size_t at, std::string_view code, std::string message,
                         std::string_view hint) const;
    void undo() { spliced_.undo(); }

    static constexpr std::size_t no_position = std::string_view::npos;

  private:
    struct Frame {
        SqlLexer lexer{std::string_view{}};
        std::size_t begin = 0;
        std::size_t number_end = no_position;  // behind the last number
        std::size_t lone_u_end = no_position;  // behind the last identifier that is just a U
        ChannelSpeller channels{};
    };

    void visit(Frame& frame, const Token& token);
    bool spell_channel(Frame& frame, const Token& token);
    bool matters(std::string_view text) const {
        return protocol::may_contain_template(text) ||
               (!context_.channel_prefix.empty() && may_name_channel(text));
    }
    void visit_brace(Frame& frame, const Token& token);
    void visit_operator(Frame& frame, const Token& token);
    void visit_dollar(const Token& token);
    void visit_literal(const Token& token);
    void expand_in_code(Frame& frame, std::size_t at, const Template& found);
    void expand_relation(const Token& token);
    void expand_everywhere(const Token& token);
    bool usable(std::size_t at, const Template& found, bool in_quotes);
    bool touches_before(const Frame& frame, std::size_t at) const;
    bool touches_after(std::size_t end, Template::Kind kind) const;
    void emit(std::size_t at, const Template& found, std::string_view quote);
    void fail(std::size_t at, std::string_view code, std::string message, std::string_view hint);
    std::string_view shown(std::size_t at, std::size_t bytes) const;
    std::string quoted(std::size_t at, const Template& found) const {
        return "template \"" + std::string(shown(at, found.bytes)) + "\"";
    }
    std::optional<Template> match(std::size_t at, std::size_t end) const;

    std::string_view text_;
    const TemplateContext& context_;
    bool conforming_;
    SplicedText spliced_;
    std::array<Frame, template_depth_max + 1> frames_;
    std::size_t depth_ = 0;
    BodyTracker statement_;
    std::optional<ErrorFields> error_;
    std::size_t template_end_ = no_position;
    std::size_t ambiguous_at_ = no_position;
};

RewriteResult Rewriter::run() {
    RewriteResult result;
    while (!error_) {
        Frame& frame = frames_[depth_];
        const Token token = frame.lexer.next();
        if (token.kind != TokenKind::end) {
            if (!spell_channel(frame, token)) visit(frame, token);
        } else if (depth_ == 0) {
            break;
        } else {
            --depth_;
        }
    }
    if (error_) {
        undo();
        result.outcome = RewriteResult::Outcome::error;
        result.error = std::move(error_);
    } else if (spliced_.finish()) {
        result.outcome = RewriteResult::Outcome::rewritten;
    }
    return result;
}

void Rewriter::visit(Frame& frame, const Token& token) {
    switch (token.kind) {
        case TokenKind::end:
        case TokenKind::whitespace:
            return;
        case TokenKind::line_comment:
        case TokenKind::block_comment:
            if (context_.literals == LiteralTemplates::all) expand_everywhere(token);
            return;
        case TokenKind::other:
            visit_brace(frame, token);
            break;
        case TokenKind::operator_text:
            visit_operator(frame, token);
            break;
        case TokenKind::dollar_literal:
            visit_dollar(token);
            break;
        case TokenKind::number:
            frame.number_end = token.end();
            break;
        case TokenKind::quoted_identifier:
        case TokenKind::unicode_identifier:
        case TokenKind::plain_literal:
        case TokenKind::escape_literal:
        case TokenKind::unicode_literal:
        case TokenKind::bit_literal:
        case TokenKind::hex_literal:
        case TokenKind::national_literal:
        case TokenKind::unterminated:
            visit_literal(token);
            break;
        case TokenKind::identifier:
            if (token.length == 1 && (text_[token.begin] | 0x20) == 'u')
                frame.lone_u_end = token.end();
            break;
        case TokenKind::parameter:
        case TokenKind::self:
            break;
    }
    if (&frame == &frames_[0]) statement_.see(token, text_.substr(token.begin, token.length));
}

void Rewriter::visit_brace(Frame& frame, const Token& token) {
    const std::size_t at = token.begin;
    const std::string_view rest = frame.lexer.text().substr(at);
    if (!context_.braces || !rest.starts_with("{{")) return;
    if (const auto found = match_template(rest, TemplateDelimiter::braces)) {
        expand_in_code(frame, at, *found);
        return;
    }
    // A dollar quote inside a body may as well be data: what is not ours there is left alone.
    if (depth_ >= 2) return;
    const std::size_t close = rest.find("}}");
    const std::size_t bytes = close == std::string_view::npos ? rest.size() : close + 2;
    fail(at, sqlstate::syntax_error, "unknown template \"" + std::string(shown(at, bytes)) + "\"",
         known_templates);
}

void Rewriter::visit_operator(Frame& frame, const Token& token) {
    if (!context_.angles || token.length < 2) return;
    // `b=<<tables.x>>` is one operator for the lexer; `<<<` is nobody's template.
    const std::size_t at = token.end() - 2;
    if (at > token.begin && text_[at - 1] == '<') return;
    const std::string_view rest = frame.lexer.text().substr(at);
    if (const auto found = match_template(rest, TemplateDelimiter::angles))
        expand_in_code(frame, at, *found);
}

void Rewriter::visit_dollar(const Token& token) {
    const std::size_t begin = token.begin + token.delimiter_bytes;
    const std::size_t end = token.end() - token.delimiter_bytes;
    if (!matters(text_.substr(begin, end - begin))) return;
    bool is_code = depth_ > 0;
    if (depth_ == 0) is_code = statement_.expects_sql_body(text_, conforming_);
    if (!is_code) {
        if (context_.literals == LiteralTemplates::all) expand_everywhere(token);
        return;
    }
    if (depth_ == template_depth_max) {
        fail(token.begin, sqlstate::program_limit_exceeded,
             "templates in dollar quotes nested more than " + std::to_string(template_depth_max) +
                 " deep",
             {});
        return;
    }
    ++depth_;
    frames_[depth_] = Frame{SqlLexer(text_.substr(0, end), conforming_), begin};
    frames_[depth_].channels = ChannelSpeller(ChannelSpeller::Place::body);
    frames_[depth_].lexer.seek(begin);
}

void Rewriter::visit_literal(const Token& token) {
    const std::string_view text = text_.substr(token.begin, token.length);
    const bool plain = token.kind == TokenKind::plain_literal ||
                       token.kind == TokenKind::national_literal ||
                       token.kind == TokenKind::unterminated;
    if (plain && ambiguous_at_ == no_position && text.find('\\') != std::string_view::npos)
        ambiguous_at_ = token.begin;
    if (token.kind == TokenKind::unterminated) return;  // PostgreSQL refuses it as a whole
    switch (context_.literals) {
        case LiteralTemplates::off:
            break;
        case LiteralTemplates::relation:
            if (token.kind == TokenKind::plain_literal) expand_relation(token);
            break;
        case LiteralTemplates::all:
            expand_everywhere(token);
            break;
    }
}

std::optional<Template> Rewriter::match(std::size_t at, std::size_t end) const {
    const std::string_view rest = text_.substr(at, end - at);
    if (context_.braces) {
        if (const auto found = match_template(rest, TemplateDelimiter::braces)) return found;
    }
    return context_.angles ? match_template(rest, TemplateDelimiter::angles) : std::nullopt;
}

void Rewriter::expand_relation(const Token& token) {
    const std::size_t at = token.begin + 1;
    const std::size_t end = token.end() - 1;
    const auto found = match(at, end);
    if (!found) return;
    // Behind a table's template a suffix, behind the schema's a whole name, then nothing more.
    const std::string_view rest = text_.substr(at + found->bytes, end - at - found->bytes);
    bool is_relation = false;
    switch (found->kind) {
        case Template::Kind::table:
            is_relation = std::all_of(rest.begin(), rest.end(), [](char byte) {
                return byte > 0 && byte != '$' && protocol::is_identifier_byte(byte);
            });
            break;
        case Template::Kind::schema:
            break;
        case Template::Kind::schema_prefix:
            is_relation = !rest.empty() && match_template_name(rest) == rest.size();
            break;
    }
    if (is_relation && usable(at, *found, true)) emit(at, *found, "\"");
}

void Rewriter::expand_everywhere(const Token& token) {
    const bool identifier =
        token.kind == TokenKind::quoted_identifier || token.kind == TokenKind::unicode_identifier;
    std::size_t at = token.begin;
    while (at + 1 < token.end() && !error_) {
        const auto found = text_[at] == text_[at + 1] ? match(at, token.end()) : std::nullopt;
        if (!found) {
            ++at;
            continue;
        }
        // pgdbm puts a bare quote into a quoted identifier; doubled, it stays one token.
        if (usable(at, *found, true)) emit(at, *found, identifier ? "\"\"" : "\"");
        at += found->bytes;
    }
}

void Rewriter::expand_in_code(Frame& frame, std::size_t at, const Template& found) {
    const std::size_t end = at + found.bytes;
    if (!usable(at, found, depth_ > 0)) return;
    if (touches_before(frame, at)) {
        fail(at, sqlstate::syntax_error, quoted(at, found) + " touches what stands before it",
             separate_it);
        return;
    }
    if (touches_after(end, found.kind)) {
        const bool prefix = found.kind == Template::Kind::schema_prefix;
        fail(at, sqlstate::syntax_error,
             quoted(at, found) +
                 (prefix ? " must be followed by a name" : " touches what stands behind it"),
             prefix ? "Write the name directly behind the point." : separate_it);
        return;
    }
    emit(at, found, "\"");
    // A suffix is a part of the table's name: on its own `1.e5` would be a number.
    const std::string_view limit = frame.lexer.text();
    template_end_ = end;
    while (found.kind == Template::Kind::table && template_end_ < limit.size() &&
           protocol::is_identifier_byte(limit[template_end_]))
        ++template_end_;
    frame.lexer.seek(template_end_);
}

// Whether the schema may be used by this service and can be written at this place.
bool Rewriter::usable(std::size_t at, const Template& found, bool in_quotes) {
    if (!found.schema.empty()) {
        const bool allowed =
            found.schema == context_.schema ||
            std::find(context_.allowed_schemas.begin(), context_.allowed_schemas.end(),
                      found.schema) != context_.allowed_schemas.end();
        if (!allowed)
            fail(at, sqlstate::insufficient_privilege,
                 "schema \"" + std::string(found.schema) + "\" is not open to this service",
                 "The service's allow_schemas names the schemas that its templates may use.");
        return allowed;
    }
    const std::string_view schema = context_.schema;
    const bool ascii =
        std::all_of(schema.begin(), schema.end(), [](char byte) { return byte > 0; });
    if (!ascii && context_.encoding != EncodingClass::utf8) {
        fail(at, sqlstate::feature_not_supported,
             "the service's schema name cannot be written in this client_encoding", {});
        return false;
    }
    // Any of these could end the quotes or the comment around the template.
    if (in_quotes && schema.find_first_of("'\"\\$*/\r\n") != std::string_view::npos) {
        fail(at, sqlstate::feature_not_supported,
             "the service's schema name cannot be written inside quotes", {});
        return false;
    }
    return true;
}

bool Rewriter::touches_before(const Frame& frame, std::size_t at) const {
    if (at == frame.begin) return false;
    const char byte = text_[at - 1];
    if (protocol::is_identifier_byte(byte) || byte == '"') return true;
    if (template_end_ == at || frame.number_end == at) return true;
    // u& in front of the quoted schema would make it a Unicode identifier.
    return byte == '&' && frame.lone_u_end == at - 1;
}

// Everything after which the expansion or a suffix of it would read differently than before: as
// the prefix of a literal, as a parameter, as a dollar quote.
bool Rewriter::touches_after(std::size_t end, Template::Kind kind) const {
    const std::string_view limit = frames_[depth_].lexer.text();
    const auto byte_at = [limit](std::size_t at) { return at < limit.size() ? limit[at] : ' '; };
    const char first = byte_at(end);
    switch (kind) {
        case Template::Kind::schema:
            return protocol::is_identifier_byte(first) || first == '"';
        case Template::Kind::schema_prefix:
            if (first == '"') return false;
            return !protocol::is_identifier_byte(first) || first == '$' ||
                   (first >= '0' && first <= '9');
        case Template::Kind::table:
            break;
    }
    std::size_t at = end;
    while (protocol::is_identifier_byte(byte_at(at))) {
        if (byte_at(at) == '$') return true;
        ++at;
    }
    if (byte_at(at) == '&') return byte_at(at + 1) == '\'' || byte_at(at + 1) == '"';
    return byte_at(at) == '\'';
}

void Rewriter::emit(std::size_t at, const Template& found, std::string_view quote) {
    spliced_.replace(at, found.bytes, [&](std::string& out) {
        append_expansion(out, found, context_.schema, quote);
    });
}

// True when the token was replaced: then it is nothing else. What is quoted in a body may as well
// be data.
bool Rewriter::spell_channel(Frame& frame, const Token& token) {
    using Edit = ChannelSpeller::Edit;
    if (context_.channel_prefix.empty() || depth_ > 1 || !is_significant(token.kind)) return false;
    const std::string_view prefix = context_.channel_prefix;
    const std::string_view text = text_.substr(token.begin, token.length);
    switch (frame.channels.see(token, frame.lexer)) {
        case Edit::none:
            return false;
        case Edit::spell:
            spliced_.replace(token.begin, token.length, [&](std::string& out) {
                ChannelSpeller::append_channel(out, token, text, prefix);
            });
            return true;
        case Edit::open:
            spliced_.replace(token.begin, 0, [&](std::string& out) {
                ChannelSpeller::append_opening(out, prefix);
            });
            return false;
        case Edit::close:
            spliced_.replace(token.begin, 0, [](std::string& out) { out += ')'; });
            return false;
    }
    return false;
}

// Cut after whole characters and before a line break: it goes into a message.
std::string_view Rewriter::shown(std::size_t at, std::size_t bytes) const {
    std::string_view whole = text_.substr(at, bytes);
    whole = whole.substr(0, whole.find_first_of("\r\n"));
    if (whole.size() <= quoted_template_max) return whole;
    std::size_t length = 0;
    while (true) {
        const std::size_t step = character_bytes(whole.substr(length), context_.encoding);
        if (length + step > quoted_template_max) return whole.substr(0, length);
        length += step;
    }
}

ErrorFields Rewriter::error_at(std::size_t at, std::string_view code, std::string message,
                               std::string_view hint) const {
    ErrorFields fields;
    fields.sqlstate = code;
    fields.message = std::move(message);
    fields.hint = hint;
    const std::size_t characters = count_characters(text_.substr(0, at), context_.encoding);
    fields.position = static_cast<std::uint32_t>(characters + 1);
    return fields;
}

void Rewriter::fail(std::size_t at, std::string_view code, std::string message,
                    std::string_view hint) {
    if (!error_) error_ = error_at(at, code, std::move(message), hint);
}

RewriteResult refused(ErrorFields fields) {
    RewriteResult result;
    result.outcome = RewriteResult::Outcome::error;
    result.error = std::move(fields);
    return result;
}

}  // namespace

RewriteResult rewrite_templates(std::string_view text, const TemplateContext& context,
                                std::string& out, PositionMap* map) {
    if (map != nullptr) map->clear();
    const bool channels = !context.channel_prefix.empty() && may_name_channel(text);
    if (!channels && !protocol::may_contain_template(text)) return {};
    if (context.encoding == EncodingClass::unsafe) {
        // An ASCII byte may be the tail of a character here: nothing can be told for certain.
        if (!channels && !has_template_beginning(text, context.braces, context.angles)) return {};
        ErrorFields fields;
        fields.sqlstate = sqlstate::feature_not_supported;
        fields.message = channels ? "channels of a service cannot be named under this "
                                    "client_encoding"
                                  : "templates are not supported under this client_encoding";
        fields.hint =
            "Use UTF8 or another encoding that PostgreSQL also knows as a server encoding.";
        return refused(std::move(fields));
    }
    const bool conforming = context.standard_conforming_strings != ConformingStrings::off;
    const std::size_t base = out.size();
    Rewriter rewriter(text, context, conforming, out, map);
    RewriteResult result = rewriter.run();
    if (context.standard_conforming_strings != ConformingStrings::unknown ||
        rewriter.ambiguous_at() == Rewriter::no_position)
        return result;

    std::string other_text;
    Rewriter other(text, context, !conforming, other_text, nullptr);
    const RewriteResult other_result = other.run();
    if (result.outcome == other_result.outcome && result.error == other_result.error &&
        std::string_view(out).substr(base) == other_text)
        return result;
    rewriter.undo();
    return refused(rewriter.error_at(
        rewriter.ambiguous_at(), sqlstate::feature_not_supported,
        "templates behind a backslash in a plain literal, while standard_conforming_strings is "
        "not certain",
        "Write the literal as E'…'."));
}

}  // namespace schemux::core
