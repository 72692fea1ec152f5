// The settings by which PostgreSQL reads the text of a statement: what a literal such as
// '01/02/2023'::date means is settled when the statement is prepared (PostgreSQL manual, PREPARE).
// PostgreSQL reports each of them. One that is prepared again is to be read as it was first.
// It must not know about statements or backends.
#pragma once

#include "core/label.h"

#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace schemux::core {

class LiteralSettings {
  public:
    /// The place of a setting among these; none if literals do not depend on it.
    static std::optional<std::size_t> place_of(std::string_view name) {
        for (std::size_t place = 0; place < names.size(); ++place) {
            if (names[place] == name) return place;
        }
        return {};
    }
    const std::string& at(std::size_t place) const { return values_[place]; }
    void set(std::size_t place, std::string_view value) { values_[place] = value; }

    /// A query that puts `wanted` in their place until the transaction ends; pure ASCII.
    std::string change_to(const LiteralSettings& wanted) const {
        std::string sql = "SELECT ";
        for (std::size_t place = 0; place < names.size(); ++place) {
            if (values_[place] == wanted.values_[place]) continue;
            if (sql.back() == ')') sql.push_back(',');
            sql.append("pg_catalog.set_config(");
            append_ascii_literal(sql, names[place]);
            sql.push_back(',');
            append_ascii_literal(sql, wanted.values_[place]);
            sql.append(",true)");
        }
        return sql;
    }
    friend bool operator==(const LiteralSettings&, const LiteralSettings&) = default;

  private:
    /// As they are reported. The encoding first: the others are read under it.
    static constexpr std::array<std::string_view, 5> names{
        "client_encoding", "DateStyle", "IntervalStyle", "TimeZone", "standard_conforming_strings"};

    std::array<std::string, names.size()> values_;
};

}  // namespace schemux::core
