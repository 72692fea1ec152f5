#include "core/call_scanner.h"

#include "core/known_words.h"
#include "core/setting_words.h"

#include <algorithm>
#include <array>

namespace schemux::core {

namespace {

using protocol::SqlLexer;
using protocol::Token;
using protocol::TokenKind;

// NAMEDATALEN - 1: PostgreSQL cuts longer names, and no known one is as long.
constexpr std::size_t name_max = 63;
// Tokens of set_config's arguments that are looked at.
constexpr std::size_t argument_tokens_max = 32;

struct FunctionEffect {
    std::string_view name;
    Effect effect;
};

constexpr auto function_effects = std::to_array<FunctionEffect>({
    {"currval", Effect::sequence},
    {"lastval", Effect::sequence},
    {"nextval", Effect::sequence},
    {"pg_advisory_lock", Effect::advisory_lock},
    {"pg_advisory_lock_shared", Effect::advisory_lock},
    {"pg_advisory_unlock", Effect::release},
    {"pg_advisory_unlock_all", Effect::release},
    {"pg_advisory_unlock_shared", Effect::release},
    {"pg_listening_channels", Effect::release},
    {"pg_try_advisory_lock", Effect::advisory_lock},
    {"pg_try_advisory_lock_shared", Effect::advisory_lock},
    {"setseed", Effect::seed},
    {"setval", Effect::sequence},
});

bool is_name(TokenKind kind) {
    return kind == TokenKind::identifier || kind == TokenKind::quoted_identifier ||
           kind == TokenKind::unicode_identifier;
}

bool is_index_method(std::uint64_t key) {
    return key == word_key("btree") || key == word_key("hash") || key == word_key("gist") ||
           key == word_key("spgist") || key == word_key("gin") || key == word_key("brin");
}

}  // namespace

// A name in lower case where SQL folds it.
class CallScanner::FoldedName {
  public:
    FoldedName(std::string_view name, bool quoted) {
        if (name.size() > bytes_.size()) return;
        std::transform(name.begin(), name.end(), bytes_.begin(), [quoted](char byte) {
            const bool upper = !quoted && byte >= 'A' && byte <= 'Z';
            return upper ? static_cast<char>(byte | 0x20) : byte;
        });
        size_ = name.size();
    }
    std::string_view view() const { return {bytes_.data(), size_}; }

  private:
    std::array<char, name_max> bytes_;
    std::size_t size_ = 0;
};

void CallScanner::run() {
    while (!cursor_.at_end()) {
        Seen& current = seen_[++at_ % seen_max];
        current.key = cursor_.key();
        current.begin = cursor_.token().begin;
        current.length = cursor_.token().length;
        current.kind = cursor_.token().kind;
        current.self = cursor_.self();
        if (is_name(current.kind)) {
            see_name();
            if (current.key != 0) see_word();
        } else if (current.self == '(') {
            see_opening();
        } else if (current.self == ')') {
            // Behind DISTINCT ON (…) an expression begins, not behind other parentheses.
            if (bit_at(distinct_on_, cursor_.depth())) current.self = '\0';
            if (cursor_.depth() < depth_max) distinct_on_ &= ~(std::uint64_t{1} << cursor_.depth());
        }
        cursor_.advance();
    }
}

CallScanner::FoldedName CallScanner::folded(const Seen& seen) const {
    Token token;
    token.kind = seen.kind;
    token.begin = seen.begin;
    token.length = seen.length;
    return {cursor_.name_of(token), seen.kind != TokenKind::identifier};
}

// `(x).f`, `a[1].f` and `$1.f` call f(x) when there is no column f.
void CallScanner::see_name() {
    // A rule of the view makes an UPDATE of it a set_config.
    if (updates_ && folded(back(0)).view() == "pg_settings") add_unnamed_setting(false);
    if (back(1).self != '.' || is_name(back(2).kind)) return;
    if (!add_function(folded(back(0)).view())) effects_.add(Effect::opaque);
}

void CallScanner::see_word() {
    switch (cursor_.key()) {
        case word_key("insert"):
        case word_key("merge"):
            effects_.add(Effect::sequence);
            [[fallthrough]];
        case word_key("update"):
            updates_ = true;
            [[fallthrough]];
        case word_key("select"):
        case word_key("values"):
        case word_key("table"):
        case word_key("delete"):
            if (cursor_.depth() < depth_max) with_list_ &= ~(std::uint64_t{1} << cursor_.depth());
            break;
        case word_key("default"):
            if (mode_ != Mode::definition) effects_.add(Effect::sequence);
            break;
        case word_key("with"):
            begin_with_list();
            break;
        case word_key("from"):
            if (mode_ == Mode::copy && cursor_.depth() == 0) effects_.add(Effect::sequence);
            break;
        case word_key("local"):
        case word_key("global"):
        case word_key("temp"):
        case word_key("temporary"):
            if (back(1).key == word_key("into")) effects_.add(Effect::temporary);
            break;
        case word_key("identity"):
        case word_key("serial"):
        case word_key("serial2"):
        case word_key("serial4"):
        case word_key("serial8"):
        case word_key("bigserial"):
        case word_key("smallserial"):
            if (mode_ == Mode::definition) effects_.add(Effect::sequence);
            break;
        default:
            break;
    }
}

// WITH begins a list of common table expressions when a name follows, and then AS or a column list
// (`WITH ORDINALITY AS t` does not).
void CallScanner::begin_with_list() {
    SqlLexer lexer = cursor_.lexer();
    Token name = lexer.next_significant();
    if (equals_ignoring_case(lexer.text_of(name), "recursive")) name = lexer.next_significant();
    if (!is_name(name.kind) || equals_ignoring_case(lexer.text_of(name), "ordinality")) return;
    const std::string_view following = lexer.text_of(lexer.next_significant());
    if (following != "(" && !equals_ignoring_case(following, "as")) return;
    if (cursor_.depth() < depth_max) with_list_ |= std::uint64_t{1} << cursor_.depth();
}

void CallScanner::see_opening() {
    const std::size_t outer = cursor_.depth() - 1;
    if (cursor_.depth() >= depth_max) {
        effects_.add(Effect::opaque);
        return;
    }
    const std::uint64_t inner_bit = std::uint64_t{1} << cursor_.depth();
    with_list_ &= ~inner_bit;
    distinct_on_ &= ~(inner_bit >> 1);
    if (!is_name(back(1).kind)) return;
    if (back(1).key == word_key("on") && back(2).key == word_key("distinct"))
        distinct_on_ |= std::uint64_t{1} << outer;
    if (const auto found = call()) {
        see_call(*found);
    } else {
        effects_.add(Effect::opaque);
    }
}

// The chain behind which the newest token, a parenthesis, opens; nullopt when it is too long.
std::optional<CallScanner::Call> CallScanner::call() const {
    Call found;
    found.name = &back(1);
    found.schema = found.name;
    std::size_t distance = 2;
    while (back(distance).self == '.' && is_name(back(distance + 1).kind)) {
        found.schema = &back(distance + 1);
        ++found.parts;
        distance += 2;
        if (distance + 2 > seen_max) return {};
    }
    found.before = &back(distance);
    return found;
}

void CallScanner::see_call(const Call& call) {
    const FoldedName name = folded(*call.name);
    if (call.parts == 1) {
        const bool quoted = call.name->kind != TokenKind::identifier;
        if (!quoted && is_construct_keyword(name.view())) return;
        if (add_function(name.view())) return;
    } else if (call.parts == 2) {
        const FoldedName schema = folded(*call.schema);
        if (schema.view() == "pg_catalog" && add_function(name.view())) return;
        // The helpers of the standard views are plain SQL; drivers call them for metadata.
        if (schema.view() == "information_schema" && name.view().starts_with("_pg_")) return;
    }
    if (!is_no_call(call)) effects_.add(Effect::opaque);
}

// Adds what the function of pg_catalog does; false when it is not known.
bool CallScanner::add_function(std::string_view lower_name) {
    if (lower_name == "pg_notify") effects_.notifies = true;
    if (is_harmless_function(lower_name)) return true;
    if (lower_name == "set_config") {
        add_set_config();
        return true;
    }
    for (const FunctionEffect& known : function_effects) {
        if (known.name != lower_name) continue;
        effects_.add(known.effect);
        return true;
    }
    return false;
}

// set_config(name, value, true) ends with the transaction; only literals prove which setting it is.
void CallScanner::add_set_config() {
    SqlLexer lexer = cursor_.lexer();
    const Token name_token = lexer.next_significant();
    const std::string_view name = lexer.text_of(name_token);
    bool literal = name_token.kind == TokenKind::plain_literal && !name_token.continued &&
                   name.find_first_of("\\'", 1) == name.size() - 1;
    std::size_t depth = 1;
    std::size_t commas = 0;
    bool local = false;
    bool resets = false;
    for (std::size_t seen = 0; seen < argument_tokens_max && depth > 0; ++seen) {
        const Token token = lexer.next_significant();
        const std::string_view text = lexer.text_of(token);
        if (seen == 0 && text != ",") literal = false;
        if (seen == 1) resets = equals_ignoring_case(text, "null");
        if (token.kind == TokenKind::end) break;
        if (text == "(") ++depth;
        if (text == ")") --depth;
        if (text == "," && depth == 1 && ++commas == 2) {
            const Token flag = lexer.next_significant();
            local = equals_ignoring_case(lexer.text_of(flag), "true") &&
                    lexer.text_of(lexer.next_significant()) == ")";
            break;
        }
    }
    if (!literal) return add_unnamed_setting(local);
    const std::string_view setting = name.substr(1, name.size() - 2);
    if (settings_ != nullptr && local && !resets)
        settings_->local.push_back(in_lower_case(setting));
    // A setting with a dot in its name is nobody's but the application's.
    if (local && setting.find('.') != std::string_view::npos) return;
    SettingWords::note_change(setting, !local, effects_);
    if (settings_ == nullptr || local) return;
    (resets ? settings_->reset : settings_->set).push_back(in_lower_case(setting));
}

// It may be any setting.
void CallScanner::add_unnamed_setting(bool local) {
    effects_.add(Effect::perhaps);  // the seed, which no RESET takes back
    effects_.changes_meaning = effects_.changes_reading = true;
    effects_.sets_locally = effects_.sets_locally || local;
    if (local) return;
    effects_.add(Effect::settings);
    effects_.add(Effect::role);
    if (settings_ != nullptr) settings_->any = true;
}

// Whether the chain before the parenthesis is something else than a function's name: a list of
// column names or a type's modifier follows. An expression cannot begin right behind a name, a
// closing parenthesis or `::`.
bool CallScanner::is_no_call(const Call& call) const {
    const Seen& before = *call.before;
    if (call.parts == 1 && is_clause(call)) return true;
    if (before.self == ')') return true;
    if (before.self == ',') return bit_at(with_list_, cursor_.depth() - 1);
    if (before.kind == TokenKind::quoted_identifier) return true;
    if (before.kind == TokenKind::operator_text)
        return cursor_.lexer().text().substr(before.begin, before.length) == "::";
    if (before.kind != TokenKind::identifier) return false;
    switch (before.key) {
        case word_key("as"):
        case word_key("into"):
        case word_key("copy"):
        case word_key("references"):
        case word_key("table"):
        case word_key("type"):
        case word_key("with"):
        case word_key("recursive"):
        case word_key("ordinality"):
        case word_key("tablesample"):
            return true;
        default:
            break;
    }
    return !is_keyword(folded(before).view());
}

// Words of the grammar in front of a parenthesis that could be function names elsewhere.
bool CallScanner::is_clause(const Call& call) const {
    if (call.name->kind != TokenKind::identifier) return false;
    const std::uint64_t before = call.before->key;
    const FoldedName name = folded(*call.name);
    switch (call.name->key) {
        case word_key("operator"):
        case word_key("cube"):
        case word_key("rollup"):
            return true;
        case word_key("by"):
            return before == word_key("group") || before == word_key("order") ||
                   before == word_key("partition");
        case word_key("conflict"):
            return before == word_key("on");
        case word_key("copy"):
            return mode_ == Mode::copy;
        case word_key("insert"):
            return before == word_key("then");
        case word_key("key"):
            return before == word_key("primary") || before == word_key("foreign");
        case word_key("set"):
            return before == word_key("update") || mode_ == Mode::definition;
        case word_key("reset"):
            return mode_ == Mode::definition;
        case word_key("sets"):
            return before == word_key("grouping");
        case word_key("varying"):
            return before == word_key("bit") || before == word_key("char") ||
                   before == word_key("character") || before == word_key("nchar");
        default:
            break;
    }
    if (before == word_key("not")) return name.view() == "materialized";
    if (before == word_key("using")) return is_index_method(call.name->key);
    return mode_ == Mode::copy && (name.view() == "force_quote" || name.view() == "force_null" ||
                                   name.view() == "force_not_null");
}

}  // namespace schemux::core
