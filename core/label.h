// A label: the session settings that a backend has now, or that a client wants, as name/value
// pairs sorted by name. Equal labels mean that a backend serves the client without any work.
// The base label is empty: what a backend has after login, with `search_path` = pg_catalog alone.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace schemux::core {

using Settings = std::vector<std::pair<std::string, std::string>>;

class Label {
  public:
    Label() = default;
    /// `settings`: later pairs win; names are compared as given (lower-case them before).
    static Label of(Settings settings);

    const Settings& settings() const;
    std::uint64_t hash() const { return hash_; }
    bool is_base() const { return settings_ == nullptr; }
    /// Its value; or null.
    const std::string* find(std::string_view name) const;

    friend bool operator==(const Label& a, const Label& b) {
        if (a.settings_ == b.settings_) return true;
        return a.hash_ == b.hash_ && a.settings() == b.settings();
    }

  private:
    std::shared_ptr<const Settings> settings_;
    std::uint64_t hash_ = 0;
};

/// Appends the statements that turn a session labelled `from` into one labelled `to`: RESET ALL
/// when anything goes, one set_config for all that is missing then. The text is pure ASCII,
/// whatever the values are, so that the session's client_encoding does not matter. Nothing is
/// appended when nothing differs.
void append_relabel_sql(std::string& sql, const Label& from, const Label& to);

/// A literal that means the same under every client_encoding and standard_conforming_strings.
void append_ascii_literal(std::string& sql, std::string_view value);

void append_quoted_identifier(std::string& sql, std::string_view name);

}  // namespace schemux::core
