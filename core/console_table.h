// What a command of the admin console answers with: columns that are known before it runs, and rows
// of texts. Which columns PgBouncer has is in console_columns.cpp, what stands in them the daemon's
// business.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace schemux::core {

/// Object ids of PostgreSQL's types (pg_type.dat).
enum class ColumnType : std::uint32_t { int8 = 20, int4 = 23, text = 25, numeric = 1700 };

struct ConsoleColumn {
    std::string_view name;
    ColumnType type = ColumnType::text;

    friend bool operator==(const ConsoleColumn&, const ConsoleColumn&) = default;
};
using ConsoleColumns = std::vector<ConsoleColumn>;

/// As text, whatever the type; nothing is NULL.
using ConsoleValue = std::optional<std::string>;

/// One value under the name of its column.
struct NamedValue {
    // NOLINTBEGIN(google-explicit-constructor): rows are written {"column", value}.
    NamedValue(std::string_view column, std::string text) : name(column), value(std::move(text)) {}
    NamedValue(std::string_view column, const char* text) : name(column), value(text) {}
    NamedValue(std::string_view column, std::integral auto number)
        : name(column), value(std::to_string(number)) {}
    NamedValue(std::string_view column, ConsoleValue any) : name(column), value(std::move(any)) {}
    // NOLINTEND(google-explicit-constructor)

    std::string_view name;
    ConsoleValue value;
};

class ConsoleTable {
  public:
    ConsoleTable() = default;
    explicit ConsoleTable(ConsoleColumns columns) : columns_(std::move(columns)) {}

    /// Columns that are not named are NULL; what is no column of this one (but of another version)
    /// is left out.
    void add(std::initializer_list<NamedValue> values) {
        std::vector<ConsoleValue> row(columns_.size());
        for (const NamedValue& value : values) {
            const auto at = std::find_if(
                columns_.begin(), columns_.end(),
                [&value](const ConsoleColumn& column) { return column.name == value.name; });
            if (at != columns_.end())
                row[static_cast<std::size_t>(at - columns_.begin())] = value.value;
        }
        rows_.push_back(std::move(row));
    }

    const ConsoleColumns& columns() const { return columns_; }
    const std::vector<std::vector<ConsoleValue>>& rows() const { return rows_; }

  private:
    ConsoleColumns columns_;
    std::vector<std::vector<ConsoleValue>> rows_;
};

}  // namespace schemux::core
