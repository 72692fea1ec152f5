// What a session's settings are, asked of PostgreSQL itself when a lease may have changed them:
// which may have changed, the question, and what its answer makes of a label. A setting that
// travels is one whose source is the session (PostgreSQL manual, pg_settings); those with a dot,
// the role and the user are in no view and have to be asked for by name.
// It must not know relays or backends.
#pragma once

#include "core/label.h"
#include "core/limits.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace schemux::core {

/// False for what belongs to a transaction, and for the seed of random(), which cannot be told.
bool travels(std::string_view setting);

/// Which settings may be others than before.
class MovedSettings {
  public:
    bool any() const { return all_ || !names_.empty(); }
    bool all() const { return all_; }
    const std::vector<std::string>& names() const { return names_; }
    void add_all() { all_ = true; }
    /// `name`: in lower case. With too many of them it may be any.
    void add(std::string_view name);
    void add(const MovedSettings& more);
    void clear() { *this = {}; }

  private:
    bool all_ = false;
    std::vector<std::string> names_;
};

/// One question, from the asking to the answer.
class SettingsQuestion {
  public:
    enum class Haste : std::uint8_t {
        usual,
        ended_before,  ///< the question before was cut short: by a statement_timeout, perhaps
    };
    /// Appends the Query's text. `known`: of the session as it was.
    void ask(const MovedSettings& moved, const Label& known, Haste haste, std::string& sql);

    bool under_way() const { return under_way_; }
    const MovedSettings& about() const { return about_; }

    enum class Row : std::uint8_t {
        taken,
        broken,    ///< none that was asked for
        too_much,  ///< more than a client's settings may be
    };
    /// The body of a DataRow of the answer.
    Row on_row(std::string_view body);
    bool too_much() const { return too_much_; }
    /// A row was too long to be looked at.
    void overflow() { too_much_ = true; }
    void end() { *this = {}; }

    /// What a session labelled `before` is labelled now.
    Label answer(const Label& before) const;

  private:
    bool under_way_ = false;
    bool too_much_ = false;
    bool untimed_ = false;  ///< statement_timeout was out of its way: its source is not known
    MovedSettings about_;
    std::vector<std::pair<std::string, std::optional<std::string>>> rows_;
    std::size_t bytes_ = 0;
};

/// Appends a query that sets those of the startup settings again which the session has lost to a
/// RESET, and leaves alone what it has set itself. Those with a dot in their name are in no view:
/// of them what is in `reset` comes back if it is empty. False if there is nothing to do.
bool append_restore_sql(std::string& sql, const Label& startup, const MovedSettings& reset);

/// The label with those of `startup` that it lacks: what RESET gives a client.
Label with_startup(const Label& label, const Label& startup);

}  // namespace schemux::core
