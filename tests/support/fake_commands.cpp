// FakePostgres's half that runs statements. The protocol is in fake_postgres.cpp.
#include "tests/support/fake_postgres.h"
#include "tests/support/relay_messages.h"

#include <algorithm>
#include <array>
#include <cctype>

namespace schemux::fake {

namespace script = core::relay_script;

namespace {

/// What a session may leave behind, and what takes it back.
enum Residue : unsigned {
    listener = 1U << 0,   ///< UNLISTEN *
    temporary = 1U << 1,  ///< DISCARD TEMP
    lock = 1U << 2,       ///< pg_advisory_unlock_all()
    cursor = 1U << 3,     ///< CLOSE ALL
    sequence = 1U << 6,   ///< DISCARD SEQUENCES
};

constexpr const char* login_user = "app";

std::string capitals(std::string_view word) {
    std::string out(word);
    for (char& c : out) {
        if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
    }
    return out;
}

bool is_query(const Words& words) {
    return !words.empty() && (words[0] == "select" || words[0] == "insert" || words[0] == "update");
}

bool is_at(const Words& words, std::size_t at, std::string_view word) {
    return at < words.size() && words[at] == word;
}

}  // namespace

Failed FakePostgres::analyse(std::string_view original, std::string& text, bool single) const {
    text = original;
    if (templates_) {
        std::string expanded;
        const auto result = core::rewrite_templates(original, *templates_, expanded, nullptr);
        if (result.error) {
            return Failure{result.error->sqlstate, result.error->message, result.error->position,
                           result.error->detail, result.error->hint};
        }
        if (result.outcome == core::RewriteResult::Outcome::rewritten) text = expanded;
    }
    // The position is one in the client's text: the relay has to map it back to that.
    if (const std::uint32_t at = position_of(original, "boom")) {
        return Failure{"42703", "column \"boom\" does not exist", at};
    }
    if (is_broken(text)) return Failure{"42601", "syntax error"};
    if (single && statements_of(text).size() > 1) {
        return Failure{"42601", "cannot insert multiple commands into a prepared statement"};
    }
    return {};
}

Failed FakePostgres::run(const std::string& given, FakePortal* portal, std::size_t limit,
                         std::string& out) {
    const std::string* const found = executed_by(given);
    const Words wanted = words_of(given);
    // Which other statements EXECUTE takes, and what of them, is beyond this server.
    if (found != nullptr && found != &given && !is_query(words_of(*found))) {
        if (status_ == 'E') return aborted_transaction();
        // What a statement of Parse that is an EXECUTE itself names is not found (E4).
        const Words inner = words_of(*found);
        const bool nested = is_at(inner, 0, "execute") && inner.size() > 1;
        is_excepted_ = is_excepted_ || nested;
        if (nested) return missing_statement(unquoted(inner[1]));
        return Failure{"0A000", "EXECUTE cannot run it"};
    }
    const std::string text = found == nullptr ? given : *found;
    const Words words = words_of(text);
    if (status_ == 'E' && !ends_transaction(words)) return aborted_transaction();
    if (begins_cancelled(portal == nullptr ? text : text + '|' + portal->parameters)) {
        return Failure{"57014", "canceling statement due to user request"};
    }
    // A statement of a simple query runs in the unnamed portal.
    if (portal == nullptr) portals_.erase("");
    if (found == nullptr) return missing_statement(unquoted(wanted[1]));
    const bool prepares = is_at(words, 0, "prepare") && !is_at(words, 1, "transaction");
    if (has_word(words, "kaboom") && !prepares) return Failure{"22012", "division by zero"};
    if (has_word(words, "notice")) out += script::notice("notice of " + text);
    std::string tag = capitals(words[0]);
    Failed failure;
    if (words[0] == "copy") {
        run_copy(words, text, out);
        return {};
    }
    if (prepares) {
        failure = run_prepare(words, text);
    } else if (has_word(words, "getdatabaseencoding")) {
        tell_settings(words, out);
        return {};
    } else if (asks_for_features(text)) {
        tell_features(text, out);
        return {};
    } else if (returns_rows(words)) {
        run_settings(words);
        note_residue(words);
        send_rows(text, portal, limit, out);
        return {};
    } else if (words[0] == "deallocate") {
        failure = run_deallocate(words, tag);
    } else if (words[0] == "discard") {
        failure = run_discard(words, tag);
    } else {
        failure = run_transaction(words, tag, out);
        run_settings(words);
        note_residue(words);
    }
    if (!failure) out += script::command_complete(tag);
    return failure;
}

void FakePostgres::send_rows(const std::string& text, FakePortal* portal, std::size_t limit,
                             std::string& out) {
    const std::size_t total = has_word(words_of(text), "three") ? 3 : 1;
    const std::size_t left = total - (portal == nullptr ? 0 : portal->rows_sent);
    const bool suspends = limit > 0 && left >= limit;
    const std::size_t count = suspends ? limit : left;
    const std::string left_behind = has_word(words_of(text), "residue") ? residue() : "";
    if (portal == nullptr) out += script::row_description();
    for (std::size_t i = 0; i < count; ++i) {
        out += script::data_row(text + (portal == nullptr ? "" : '|' + portal->parameters) +
                                left_behind);
    }
    if (!suspends) {
        out += script::command_complete("SELECT " + std::to_string(count));
        return;
    }
    portal->rows_sent += count;
    portal->done = false;
    out += script::portal_suspended();
}

void FakePostgres::run_copy(const Words& words, const std::string& text, std::string& out) {
    if (has_word(words, "stdin")) {
        copy_ = FakeCopy{};
        out += script::copy_in_response();
        return;
    }
    if (has_word(words, "stdout")) {
        out += script::copy_out_response() + script::copy_data(text) + script::copy_done();
    }
    out += script::command_complete("COPY 1");
}

Failed FakePostgres::run_transaction(const Words& words, std::string& tag, std::string& out) {
    const std::string& first = words[0];
    if (first == "begin" || first == "start") {
        tag = first == "begin" ? "BEGIN" : "START TRANSACTION";
        if (status_ != 'I') out += script::notice("there is already a transaction in progress");
        status_ = 'T';
        return {};
    }
    if (first == "savepoint" || first == "release" ||
        (first == "rollback" && (is_at(words, 1, "to") || is_at(words, 2, "to")))) {
        if (status_ == 'I') {
            return Failure{"25P01", capitals(first) + " can only be used in transaction blocks"};
        }
        if (first == "rollback") status_ = 'T';
        return {};
    }
    if (!ends_transaction(words)) return {};
    const bool commits = (first == "commit" || first == "end") && status_ != 'E';
    const bool chain = has_word(words, "chain") && !has_word(words, "no");
    if (chain && status_ == 'I') {
        return Failure{"25P01", "AND CHAIN can only be used in transaction blocks"};
    }
    if (status_ == 'I') out += script::notice("there is no transaction in progress");
    tag = commits ? "COMMIT" : "ROLLBACK";
    end_transaction(commits);
    if (chain) status_ = 'T';
    return {};
}

Failed FakePostgres::run_discard(const Words& words, std::string& tag) {
    const std::string what = words.size() > 1 ? words[1] : "";
    tag = "DISCARD " + capitals(what);
    if (what == "temp") residue_ &= ~unsigned{temporary};
    if (what == "sequences") residue_ &= ~unsigned{sequence};
    if (what != "all") return {};
    if (status_ != 'I') {
        return Failure{"25001", "DISCARD ALL cannot run inside a transaction block"};
    }
    residue_ = 0;
    names_moved_ = true;
    settings_ = startup_;
    std::erase_if(statements_, [](const auto& entry) { return !entry.first.empty(); });
    portals_.clear();
    return {};
}

Failed FakePostgres::run_prepare(const Words& words, const std::string& text) {
    const std::optional<std::string> inner = prepared_text(text);
    if (words.size() < 2 || !inner) return Failure{"42601", "syntax error"};
    const std::string name = unquoted(words[1]);
    if (statements_.contains(name))
        return Failure{"42P05", "prepared statement \"" + name + "\" already exists"};
    statements_[name] = *inner;
    names_moved_ = true;
    return {};
}

const std::string* FakePostgres::executed_by(const std::string& text) const {
    const Words words = words_of(text);
    if (words.empty() || words[0] != "execute" || words.size() < 2) return &text;
    const auto known = statements_.find(unquoted(words[1]));
    return known == statements_.end() ? nullptr : &known->second;
}

Failed FakePostgres::run_deallocate(const Words& words, std::string& tag) {
    const std::size_t at = is_at(words, 1, "prepare") ? 2 : 1;
    if (at >= words.size()) return Failure{"42601", "syntax error"};
    if (words[at] == "all") {
        tag = "DEALLOCATE ALL";
        names_moved_ = true;
        std::erase_if(statements_, [](const auto& entry) { return !entry.first.empty(); });
        return {};
    }
    const std::string name = unquoted(words[at]);
    if (name.empty() || statements_.erase(name) == 0) return missing_statement(name);
    names_moved_ = true;
    return {};
}

void FakePostgres::set(const std::string& name, const std::string& value) {
    if (name == "session_authorization") settings_.erase("role");
    const bool own = (name == "role" && value == "none") ||
                     (name == "session_authorization" && value == login_user);
    if (own) {
        settings_.erase(name);
    } else {
        settings_[name] = value;
    }
}

void FakePostgres::reset(const std::string& name) {
    const auto began = startup_.find(name);
    if (began == startup_.end()) {
        settings_.erase(name);
    } else {
        settings_[name] = began->second;
    }
}

void FakePostgres::run_settings(const Words& words) {
    if (words[0] == "select" && has_word(words, "values")) {
        // The core gives back what a RESET took.
        const std::vector<std::string> pairs = listed_values(words);
        for (std::size_t i = 0; i + 1 < pairs.size(); i += 2) {
            if (!settings_.contains(pairs[i])) set(pairs[i], pairs[i + 1]);
        }
    } else if (words[0] == "select") {
        for (const auto& [name, value] : set_configs(words))
            set(name, value);
    } else if (words[0] == "reset" && words.size() > 1) {
        if (words[1] == "all") {
            SettingsMap kept = startup_;
            for (const char* name : {"role", "session_authorization"}) {
                if (settings_.contains(name)) kept[name] = settings_[name];
            }
            settings_ = kept;
        } else if (words[1] == "session") {
            settings_.erase("session_authorization");
            settings_.erase("role");
        } else {
            reset(unquoted(words[1]));
        }
    } else if (words[0] == "set" && words.size() > 2) {
        run_set(words);
    }
}

void FakePostgres::run_set(const Words& words) {
    std::size_t at = 1;
    if (words[1] == "local" || words[1] == "transaction" || words[1] == "constraints") return;
    if (words[1] == "session") at = 2;
    if (is_at(words, at, "characteristics") || at + 1 >= words.size()) return;
    const bool authorization = words[at] == "authorization";
    const std::string name = authorization ? "session_authorization" : unquoted(words[at]);
    const bool sign = is_at(words, at + 1, "=") || is_at(words, at + 1, "to");
    const std::size_t value = at + (sign ? 2 : 1);
    if (value >= words.size() || (!sign && !authorization && name != "role")) return;
    if (words[value] == "default") {
        if (authorization) settings_.erase("role");
        return reset(name);
    }
    set(name, unquoted(words[value]));
}

void FakePostgres::tell_settings(const Words& words, std::string& out) const {
    SettingsMap told;
    if (has_word(words, "pg_settings")) {
        for (const auto& [name, value] : settings_) {
            if (name != "role" && name != "session_authorization") told[name] = value;
        }
    }
    std::size_t rows = 0;
    out += script::row_description();
    const auto row = [&](const std::string& name, const std::string* value) {
        out += script::setting_row(name, value);
        ++rows;
    };
    for (const std::string& name : listed_values(words)) {
        const auto known = settings_.find(name);
        const std::string usual = name == "role" ? "none" : login_user;
        const bool always = name == "role" || name == "session_authorization";
        row(name, known != settings_.end() ? &known->second : always ? &usual : nullptr);
    }
    for (const auto& [name, value] : told)
        row(name, &value);
    out += script::command_complete("SELECT " + std::to_string(rows));
}

/// The session has at most one thing of each kind, so that the first command to give one back
/// gives back all; a rollback gives back none.
void FakePostgres::note_residue(const Words& words) {
    const std::string& first = words[0];
    if (first == "listen") residue_ |= listener;
    if (first == "unlisten") residue_ &= ~unsigned{listener};
    if (first == "declare" && has_word(words, "hold")) residue_ |= cursor;
    if (first == "close") residue_ &= ~unsigned{cursor};
    if (first == "create" && (is_at(words, 1, "temp") || is_at(words, 1, "temporary")))
        residue_ |= temporary;
    if (first == "drop" && is_at(words, 1, "table")) residue_ &= ~unsigned{temporary};
    if (first != "select") return;
    for (std::size_t i = 1; i + 1 < words.size(); ++i) {
        if (words[i + 1] != "(") continue;
        if (words[i] == "pg_advisory_lock") residue_ |= lock;
        if (words[i] == "pg_advisory_unlock" || words[i] == "pg_advisory_unlock_all")
            residue_ &= ~unsigned{lock};
        if (words[i] == "nextval") residue_ |= sequence;
    }
}

namespace {

struct Feature {
    Residue residue;
    char letter;
    std::string_view asked_by;
};
constexpr std::array features{Feature{temporary, 't', "pg_my_temp_schema"},
                              Feature{lock, 'a', "pg_locks"}, Feature{cursor, 'h', "pg_cursors"},
                              Feature{listener, 'l', "pg_listening_channels"}};

}  // namespace

/// What `select residue` shows: all but sequences, which pin nobody.
std::string FakePostgres::residue() const {
    std::string letters;
    for (const Feature& feature : features) {
        if ((residue_ & feature.residue) != 0) letters += feature.letter;
    }
    return letters;
}

void FakePostgres::tell_features(std::string_view question, std::string& out) const {
    std::string letters;
    for (const Feature& feature : features) {
        const bool asked = question.find(feature.asked_by) != question.npos;
        if (asked && (residue_ & feature.residue) != 0) letters += feature.letter;
    }
    out += script::row_description() + script::data_row(letters) +
           script::command_complete("SELECT 1");
}

}  // namespace schemux::fake
