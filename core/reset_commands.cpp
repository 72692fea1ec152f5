#include "core/reset_commands.h"

#include "core/statement_cursor.h"
#include "protocol/messages.h"
#include "protocol/wire_writer.h"

#include <algorithm>
#include <cassert>
#include <optional>

namespace schemux::core {

namespace {

struct Form {
    std::string_view words;  ///< as `Spelling` writes them
    ResetCommand command;
    std::string_view tag;
};

constexpr std::array forms{
    Form{"discard all", ResetCommand::discard_all, "DISCARD ALL"},
    Form{"discard plans", ResetCommand::discard_plans, "DISCARD PLANS"},
    Form{"discard sequences", ResetCommand::discard_sequences, "DISCARD SEQUENCES"},
    Form{"discard temp", ResetCommand::discard_temp, "DISCARD TEMP"},
    Form{"discard temporary", ResetCommand::discard_temp, "DISCARD TEMP"},
    Form{"reset all", ResetCommand::reset_all, "RESET"},
    Form{"reset role", ResetCommand::reset_authorization, "RESET"},
    Form{"reset session authorization", ResetCommand::reset_authorization, "RESET"},
    Form{"set session authorization default", ResetCommand::set_authorization, "SET"},
    Form{"deallocate all", ResetCommand::deallocate_all, "DEALLOCATE ALL"},
    Form{"deallocate prepare all", ResetCommand::deallocate_all, "DEALLOCATE ALL"},
    Form{"close all", ResetCommand::close_all, "CLOSE CURSOR ALL"},
    Form{"unlisten *", ResetCommand::unlisten_all, "UNLISTEN"},
    Form{"select pg_advisory_unlock_all ( )", ResetCommand::unlock_all, "SELECT 1"},
    Form{"select pg_catalog . pg_advisory_unlock_all ( )", ResetCommand::unlock_all, "SELECT 1"},
};

/// The tokens of one command in lower case, with one space between them.
class Spelling {
  public:
    void clear() { length_ = 0; }
    std::string_view text() const { return {bytes_.data(), length_}; }
    /// False if no form can be that long, or begins so.
    bool add(std::string_view token) {
        const std::size_t space = length_ == 0 ? 0 : 1;
        if (length_ + space + token.size() > bytes_.size()) return false;
        if (space != 0) bytes_[length_++] = ' ';
        for (const char c : token)
            bytes_[length_++] = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
        return std::any_of(forms.begin(), forms.end(),
                           [this](const Form& form) { return form.words.starts_with(text()); });
    }
    std::optional<ResetCommand> command() const {
        for (const Form& form : forms) {
            if (form.words == text()) return form.command;
        }
        return {};
    }

  private:
    std::array<char, 48> bytes_{};
    std::size_t length_ = 0;
};

}  // namespace

ResetCommands ResetCommands::of(std::string_view text, bool standard_conforming_strings) {
    ResetCommands commands;
    if (text.size() > limits::reset_text_max) return {};
    StatementEffects unused;
    StatementCursor cursor(text, standard_conforming_strings, unused);
    Spelling spelling;
    while (true) {
        if (!cursor.at_end()) {
            if (!spelling.add(cursor.text())) return {};
            cursor.advance();
            continue;
        }
        if (!spelling.text().empty()) {
            const std::optional<ResetCommand> command = spelling.command();
            if (!command || commands.count_ == commands.commands_.size()) return {};
            commands.commands_[commands.count_++] = *command;
            spelling.clear();
        }
        if (cursor.at_text_end()) break;
        cursor.advance();
    }
    if (commands.count_ > 1 && commands.has(ResetCommand::discard_all)) return {};
    return commands;
}

bool ResetCommands::has(ResetCommand command) const {
    return std::find(all().begin(), all().end(), command) != all().end();
}

namespace {

/// A row whose one column is void (pg_type.dat: 2278, four bytes), which is written as nothing.
void append_unlocked(std::string& out) {
    protocol::WireWriter(out)
        .begin_message('T')
        .u16(1)
        .cstring("pg_advisory_unlock_all")
        .u32(0)
        .u16(0)
        .u32(2278)
        .u16(4)
        .u32(~0U)
        .u16(0)
        .end_message();
    protocol::WireWriter(out).begin_message('D').u16(1).u32(0).end_message();
}

}  // namespace

void append_answer(std::string& out, ResetCommand command) {
    if (command == ResetCommand::unlock_all) append_unlocked(out);
    const auto form = std::find_if(forms.begin(), forms.end(),
                                   [command](const Form& one) { return one.command == command; });
    assert(form != forms.end());
    protocol::append_command_complete(out, form->tag);
}

}  // namespace schemux::core
