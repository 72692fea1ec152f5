// The messages of PostgreSQL's protocol as functions that return their bytes, so that a test reads
// like the manual's chapter "Message Flow": `parse("s1", "select 1") + sync()`.
// It must not know who sends them.
#pragma once

#include "protocol/error_response.h"
#include "protocol/messages.h"
#include "protocol/wire_writer.h"

#include <cstdint>
#include <string>
#include <string_view>

namespace schemux::core::relay_script {

using namespace std::string_literals;
using namespace std::string_view_literals;

inline std::string message(char type, std::string_view body = {}) {
    std::string out;
    protocol::WireWriter(out).begin_message(type).bytes(body).end_message();
    return out;
}

/// Only the five bytes in front, with whatever length.
inline std::string header(char type, std::uint32_t length) {
    std::string out;
    protocol::WireWriter(out).u8(static_cast<std::uint8_t>(type)).u32(length);
    return out;
}

inline std::string text_of(std::string_view value) {
    return std::string(value) + '\0';
}

// ---- what a frontend says ----

inline constexpr std::string_view no_types{"\0\0", 2};
/// Behind the names of a Bind: no formats, no parameters, no result formats.
inline constexpr std::string_view no_parameters{"\0\0\0\0\0\0", 6};

inline std::string query(std::string_view text) {
    return message('Q', text_of(text));
}
inline std::string parse(std::string_view name, std::string_view text,
                         std::string_view types = no_types) {
    return message('P', text_of(name) + text_of(text) + std::string(types));
}
/// `tail`: formats, parameters and result formats.
inline std::string bind_with(std::string_view portal, std::string_view statement,
                             std::string_view tail) {
    return message('B', text_of(portal) + text_of(statement) + std::string(tail));
}
inline std::string bind(std::string_view portal, std::string_view statement) {
    return bind_with(portal, statement, no_parameters);
}
inline std::string describe_statement(std::string_view name) {
    return message('D', "S" + text_of(name));
}
inline std::string describe_portal(std::string_view name) {
    return message('D', "P" + text_of(name));
}
inline std::string execute(std::string_view portal = {}, std::uint32_t rows = 0) {
    std::string body = text_of(portal);
    protocol::WireWriter(body).u32(rows);
    return message('E', body);
}
inline std::string close_statement(std::string_view name) {
    return message('C', "S" + text_of(name));
}
inline std::string close_portal(std::string_view name) {
    return message('C', "P" + text_of(name));
}
inline std::string sync() {
    return message('S');
}
inline std::string flush() {
    return message('H');
}
inline std::string terminate() {
    return message('X');
}
inline std::string copy_data(std::string_view data) {
    return message('d', data);
}
inline std::string copy_done() {
    return message('c');
}
inline std::string copy_fail(std::string_view why) {
    return message('f', text_of(why));
}
inline std::string function_call(std::string_view body) {
    return message('F', body);
}

// ---- what a backend says ----

inline std::string parse_complete() {
    return message('1');
}
inline std::string bind_complete() {
    return message('2');
}
inline std::string close_complete() {
    return message('3');
}
inline std::string no_data() {
    return message('n');
}
inline std::string portal_suspended() {
    return message('s');
}
inline std::string empty_query_response() {
    return message('I');
}
inline std::string parameter_description() {
    return message('t', "\0\0"sv);
}
inline std::string row_description(std::string_view column = "a") {
    std::string body("\0\1", 2);
    return message('T', body + text_of(column) + std::string(18, '\0'));
}
inline std::string data_row(std::string_view value) {
    std::string body;
    protocol::WireWriter(body).u16(1).u32(static_cast<std::uint32_t>(value.size())).bytes(value);
    return message('D', body);
}
/// A row of the core's question after settings: a name, and a value in PostgreSQL's 'escape'.
inline std::string setting_row(std::string_view name, const std::string* value) {
    std::string body;
    protocol::WireWriter writer(body);
    writer.u16(2).u32(static_cast<std::uint32_t>(name.size())).bytes(name);
    if (value == nullptr) {
        writer.u32(~0U);
        return message('D', body);
    }
    std::string escaped;
    for (const char c : *value) {
        const auto byte = static_cast<unsigned char>(c);
        const auto digit = [byte](unsigned shift) {
            return static_cast<char>('0' + (byte >> shift & 7U));
        };
        if (byte == 0 || byte > 127) {
            escaped.append({'\\', digit(6), digit(3), digit(0)});
        } else {
            escaped.append(c == '\\' ? 2 : 1, c);
        }
    }
    writer.u32(static_cast<std::uint32_t>(escaped.size())).bytes(escaped);
    return message('D', body);
}
inline std::string command_complete(std::string_view tag) {
    return message('C', text_of(tag));
}
inline std::string ready(char status = 'I') {
    return message('Z', std::string(1, status));
}
inline std::string copy_in_response() {
    return message('G', "\0\0\0"sv);
}
inline std::string copy_out_response() {
    return message('H', "\0\0\0"sv);
}
inline std::string notification() {
    return message('A', "\0\0\0\1channel\0payload\0"sv);
}
inline std::string function_result() {
    return message('V', "\xff\xff\xff\xff"sv);
}
inline std::string parameter_status(std::string_view name, std::string_view value) {
    return message('S', text_of(name) + text_of(value));
}
inline std::string diagnostic(char type, std::string_view severity, std::string_view sqlstate,
                              std::string_view text, std::uint32_t position = 0) {
    std::string body = "S" + text_of(severity) + "V" + text_of(severity) + "C" + text_of(sqlstate) +
                       "M" + text_of(text);
    if (position != 0) body += "P" + text_of(std::to_string(position));
    return message(type, body + '\0');
}
inline std::string error(std::string_view sqlstate, std::string_view text,
                         std::uint32_t position = 0) {
    return diagnostic('E', "ERROR", sqlstate, text, position);
}
inline std::string fatal(std::string_view sqlstate, std::string_view text) {
    return diagnostic('E', "FATAL", sqlstate, text);
}
inline std::string notice(std::string_view text, std::uint32_t position = 0) {
    return diagnostic('N', "NOTICE", "00000", text, position);
}

/// A whole result of one row and one column, without the ReadyForQuery.
inline std::string one_row(std::string_view value, std::string_view tag = "SELECT 1") {
    return row_description() + data_row(value) + command_complete(tag);
}

// ---- what schemux says of its own ----

inline std::string own_error(std::string_view sqlstate, std::string_view text,
                             std::string_view detail = {}, std::string_view hint = {},
                             std::uint32_t position = 0) {
    std::string out;
    protocol::append_error(out,
                           {protocol::Severity::error, std::string(sqlstate), std::string(text),
                            std::string(detail), std::string(hint), position});
    return out;
}
inline std::string own_fatal(std::string_view sqlstate, std::string_view text,
                             std::string_view detail = {}, std::string_view hint = {}) {
    std::string out;
    protocol::append_error(out, {protocol::Severity::fatal, std::string(sqlstate),
                                 std::string(text), std::string(detail), std::string(hint), 0});
    return out;
}
/// A batch that runs a prepared statement.
inline std::string run(std::string_view name) {
    return bind_with("", name, no_parameters) + execute() + sync();
}
/// A statement of ours in the midst of the client's batch, as World names it.
inline std::string helper(const std::string& text) {
    return parse("@prepare", text) + bind_with("@prepare", "@prepare", no_parameters) +
           execute("@prepare") + close_portal("@prepare") + close_statement("@prepare");
}
/// In place of a message that must fail: a Bind to a statement that never exists.
inline std::string bound_to_fail() {
    return bind("", "sx_refused");
}

}  // namespace schemux::core::relay_script
