#include "core/console_rows.h"

#include "protocol/wire_writer.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>

namespace schemux::core {

namespace {

using protocol::WireWriter;

constexpr std::uint16_t digits_of_one = 4;  ///< decimal ones in one of numeric's

std::uint16_t width_of(ColumnType type) {
    switch (type) {
        case ColumnType::int4:
            return 4;
        case ColumnType::int8:
            return 8;
        case ColumnType::text:
        case ColumnType::numeric:
            break;
    }
    return static_cast<std::uint16_t>(-1);
}

/// Whole numbers that are not negative: what counts and times are (numeric_send, numeric.c).
std::string binary_numeric(std::string_view digits) {
    digits.remove_prefix(std::min(digits.find_first_not_of('0'), digits.size()));
    std::string groups;
    WireWriter writer(groups);
    std::uint16_t count = 0;
    std::size_t taken = digits.size() % digits_of_one;
    if (taken == 0) taken = digits_of_one;
    for (std::size_t at = 0; at < digits.size(); at += taken, taken = digits_of_one) {
        if (at > 0) taken = digits_of_one;
        writer.u16(static_cast<std::uint16_t>(
            std::strtoul(std::string(digits.substr(at, taken)).c_str(), nullptr, 10)));
        ++count;
    }
    std::string out;
    WireWriter header(out);
    header.u16(count);
    header.u16(count == 0 ? 0 : static_cast<std::uint16_t>(count - 1));  // weight
    header.u16(0).u16(0);                                                // sign, digits shown
    return out + groups;
}

std::string binary_of(const std::string& text, ColumnType type) {
    std::string out;
    WireWriter writer(out);
    const auto number = [&text] {
        return static_cast<std::uint64_t>(std::strtoll(text.c_str(), nullptr, 10));
    };
    switch (type) {
        case ColumnType::int4:
            writer.u32(static_cast<std::uint32_t>(number()));
            return out;
        case ColumnType::int8:
            writer.u32(static_cast<std::uint32_t>(number() >> 32U));
            writer.u32(static_cast<std::uint32_t>(number()));
            return out;
        case ColumnType::numeric:
            return binary_numeric(text);
        case ColumnType::text:
            break;
    }
    return text;
}

bool is_binary(const std::vector<bool>& binary, std::size_t at) {
    return at < binary.size() && binary[at];
}

}  // namespace

void append_row_description(std::string& out, const ConsoleColumns& columns,
                            const std::vector<bool>& binary) {
    WireWriter writer(out);
    writer.begin_message('T').u16(static_cast<std::uint16_t>(columns.size()));
    for (std::size_t at = 0; at < columns.size(); ++at) {
        const ConsoleColumn& column = columns[at];
        writer.cstring(column.name).u32(0).u16(0);  // of no table
        writer.u32(static_cast<std::uint32_t>(column.type)).u16(width_of(column.type));
        writer.i32(-1).u16(is_binary(binary, at) ? 1 : 0);
    }
    writer.end_message();
}

void append_data_row(std::string& out, const ConsoleTable& table, std::size_t row,
                     const std::vector<bool>& binary) {
    const auto& values = table.rows()[row];
    WireWriter writer(out);
    writer.begin_message('D').u16(static_cast<std::uint16_t>(values.size()));
    for (std::size_t at = 0; at < values.size(); ++at) {
        if (!values[at]) {
            writer.i32(-1);
            continue;
        }
        const std::string bytes =
            is_binary(binary, at) ? binary_of(*values[at], table.columns()[at].type) : *values[at];
        writer.u32(static_cast<std::uint32_t>(bytes.size())).bytes(bytes);
    }
    writer.end_message();
}

}  // namespace schemux::core
