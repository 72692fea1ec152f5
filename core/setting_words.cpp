#include "core/setting_words.h"

#include "core/limits.h"

#include <algorithm>
#include <array>

namespace schemux::core {

namespace {

bool begins_name(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

bool continues_name(char c) {
    return begins_name(c) || (c >= '0' && c <= '9') || c == '$';
}

}  // namespace

std::string in_lower_case(std::string_view name) {
    std::string lower(name);
    for (char& c : lower) {
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c | 0x20);
    }
    return lower;
}

bool is_plain_setting(std::string_view name) {
    const auto plain = [](char c) { return continues_name(c) || c == '.'; };
    return !name.empty() && name.size() <= limits::setting_name_bytes_max &&
           std::all_of(name.begin(), name.end(), plain);
}

bool is_old_setting(std::string_view name) {
    return name == "sort_mem" || name == "vacuum_mem" || name == "force_parallel_mode" ||
           name == "ssl_ecdh_curve";
}

bool reads_alike(std::string_view text) {
    return std::all_of(text.begin(), text.end(), [](char c) { return c > '\0' && c != '\\'; });
}

bool decides_how_text_reads(std::string_view setting) {
    return equals_ignoring_case(setting, "standard_conforming_strings") ||
           equals_ignoring_case(setting, "client_encoding") ||
           equals_ignoring_case(setting, "names");
}

bool leaves_meaning_alone(std::string_view setting) {
    constexpr std::array<std::string_view, 13> names{"application_name",
                                                     "client_min_messages",
                                                     "hash_mem_multiplier",
                                                     "idle_in_transaction_session_timeout",
                                                     "idle_session_timeout",
                                                     "jit",
                                                     "lock_timeout",
                                                     "maintenance_work_mem",
                                                     "statement_timeout",
                                                     "synchronous_commit",
                                                     "temp_buffers",
                                                     "transaction_timeout",
                                                     "work_mem"};
    constexpr std::array<std::string_view, 3> beginnings{"enable_", "jit_", "log_"};
    const auto is_it = [setting](std::string_view name) {
        return equals_ignoring_case(setting, name);
    };
    const auto begins_so = [setting](std::string_view beginning) {
        return equals_ignoring_case(setting.substr(0, beginning.size()), beginning);
    };
    return setting.find('.') != setting.npos || std::any_of(names.begin(), names.end(), is_it) ||
           std::any_of(beginnings.begin(), beginnings.end(), begins_so);
}

void find_dotted_names(std::string_view text, std::size_t most, std::vector<std::string>& names) {
    std::size_t at = 0;
    while (at < text.size() && names.size() < most) {
        if (!begins_name(text[at])) {
            // What follows a digit or a byte of another alphabet is no beginning of a name.
            const bool inside = continues_name(text[at]) || text[at] < '\0';
            ++at;
            while (inside && at < text.size() && continues_name(text[at]))
                ++at;
            continue;
        }
        const std::size_t begin = at;
        bool dotted = false;
        while (at < text.size() && (continues_name(text[at]) || text[at] == '.')) {
            dotted = dotted || text[at] == '.';
            ++at;
        }
        const std::string_view name = text.substr(begin, at - begin);
        if (dotted && name.back() != '.' && name.find("..") == name.npos && is_plain_setting(name))
            names.push_back(in_lower_case(name));
    }
}

void SettingWords::note_change(std::string_view name, bool for_good, StatementEffects& effects) {
    // The generator is seeded even by a setting that ends with the transaction.
    if (equals_ignoring_case(name, "seed")) effects.add(Effect::seed);
    if (decides_how_text_reads(name)) effects.changes_reading = true;
    if (!leaves_meaning_alone(name)) effects.changes_meaning = true;
    if (!for_good) {
        effects.sets_locally = true;
        return;
    }
    const bool role =
        equals_ignoring_case(name, "role") || equals_ignoring_case(name, "session_authorization");
    effects.add(role ? Effect::role : Effect::settings);
}

/// Of a spelling of its own, with so many words; the cursor stands on the first one.
SettingWords::Name SettingWords::special(std::string_view setting, std::size_t words) {
    for (std::size_t word = 0; word < words; ++word)
        cursor_.advance();
    const bool defaults =
        cursor_.at_end() || to_default() || (setting == "timezone" && cursor_.word_is("local"));
    return {std::string(setting), defaults, false};
}

/// The cursor goes behind the name.
SettingWords::Name SettingWords::name() {
    const bool quoted = cursor_.token().kind == protocol::TokenKind::quoted_identifier;
    if (!quoted && cursor_.word_is("authorization")) return special("session_authorization", 1);
    if (!quoted && cursor_.word_is("names")) return special("client_encoding", 1);
    if (!quoted && cursor_.word_is("schema")) return special("search_path", 1);
    if (!quoted && cursor_.word_is("time")) return special("timezone", 2);
    if (!quoted && cursor_.word_is("xml")) return special("xmloption", 2);
    Name name{in_lower_case(cursor_.name_of(cursor_.token())), false, false};
    name.unclear = cursor_.token().kind == protocol::TokenKind::unicode_identifier ||
                   name.text == "characteristics" || name.text == "transaction";
    cursor_.advance();
    while (cursor_.is('.')) {
        cursor_.advance();
        name.text.append(".").append(in_lower_case(cursor_.name_of(cursor_.token())));
        cursor_.advance();
    }
    return name;
}

bool SettingWords::to_default() {
    if (cursor_.word_is("to") || cursor_.is('=')) cursor_.advance();
    return cursor_.word_is("default");
}

void SettingWords::set() {
    cursor_.advance();
    if (cursor_.word_is("transaction") || cursor_.word_is("constraints")) return;
    const bool local = cursor_.word_is("local");
    if (local) cursor_.advance();
    // SET SESSION x, SET SESSION AUTHORIZATION x, SET SESSION SESSION AUTHORIZATION x
    while (!local && cursor_.word_is("session"))
        cursor_.advance();
    if (local && cursor_.word_is("session")) cursor_.advance();
    Name changed = name();
    note_change(changed.text, !local, effects_);
    if (references_ == nullptr) return;
    if (local) {
        if (!changed.defaults && !to_default())
            references_->local.push_back(std::move(changed.text));
    } else if (changed.unclear) {
        references_->any = true;
    } else if (changed.defaults || to_default()) {
        references_->reset.push_back(std::move(changed.text));
    } else {
        references_->set.push_back(std::move(changed.text));
    }
}

void SettingWords::reset() {
    cursor_.advance();
    if (cursor_.word_is("session")) cursor_.advance();
    const bool all = cursor_.word_is("all");
    Name changed = name();
    note_change(changed.text, true, effects_);
    if (all) effects_.changes_reading = true;  // the encoding, too
    if (references_ == nullptr) return;
    if (all) references_->resets_all = true;
    references_->any = references_->any || changed.unclear;
    if (!all) references_->reset.push_back(std::move(changed.text));
}

}  // namespace schemux::core
