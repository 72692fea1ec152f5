// The message types of PostgreSQL's protocol 3 and, per direction, what the relay does with each:
// one constexpr table a side, so that the data plane is a lookup, not a chain of ifs.
// Source: PostgreSQL manual, 55.7 "Message Formats".
// It must not know about sessions or backends.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace schemux::protocol {

enum class FrontendMessage : char {
    bind = 'B',
    close = 'C',
    copy_data = 'd',
    copy_done = 'c',
    copy_fail = 'f',
    describe = 'D',
    execute = 'E',
    flush = 'H',
    function_call = 'F',
    parse = 'P',
    password = 'p',
    query = 'Q',
    sync = 'S',
    terminate = 'X',
};

enum class BackendMessage : char {
    authentication = 'R',
    backend_key_data = 'K',
    bind_complete = '2',
    close_complete = '3',
    command_complete = 'C',
    copy_both_response = 'W',
    copy_data = 'd',
    copy_done = 'c',
    copy_in_response = 'G',
    copy_out_response = 'H',
    data_row = 'D',
    empty_query_response = 'I',
    error_response = 'E',
    function_call_response = 'V',
    negotiate_protocol_version = 'v',
    no_data = 'n',
    notice_response = 'N',
    notification_response = 'A',
    parameter_description = 't',
    parameter_status = 'S',
    parse_complete = '1',
    portal_suspended = 's',
    ready_for_query = 'Z',
    row_description = 'T',
};

/// How a message passes the relay.
enum class Handling : std::uint8_t {
    refuse,          ///< not a message of this phase: protocol violation
    forward,         ///< streamed, never held whole
    inspect,         ///< held whole (bounded), looked at, then passed or swallowed
    rewrite_prefix,  ///< its first fields are held and changed, the tail is streamed
    rewrite_body,    ///< held whole up to max_query_bytes, its text may be rewritten
    discard,         ///< read and dropped
};

namespace detail {

using HandlingTable = std::array<Handling, 256>;

constexpr std::size_t index(FrontendMessage type) {
    return static_cast<unsigned char>(type);
}
constexpr std::size_t index(BackendMessage type) {
    return static_cast<unsigned char>(type);
}

constexpr HandlingTable frontend_handling() {
    HandlingTable table{};
    table[index(FrontendMessage::query)] = Handling::rewrite_body;
    table[index(FrontendMessage::parse)] = Handling::rewrite_body;
    table[index(FrontendMessage::bind)] = Handling::rewrite_prefix;
    table[index(FrontendMessage::describe)] = Handling::inspect;
    table[index(FrontendMessage::close)] = Handling::inspect;
    table[index(FrontendMessage::execute)] = Handling::inspect;
    table[index(FrontendMessage::flush)] = Handling::inspect;
    table[index(FrontendMessage::sync)] = Handling::inspect;
    table[index(FrontendMessage::function_call)] = Handling::forward;
    table[index(FrontendMessage::copy_data)] = Handling::forward;
    table[index(FrontendMessage::copy_done)] = Handling::forward;
    table[index(FrontendMessage::copy_fail)] = Handling::forward;
    table[index(FrontendMessage::terminate)] = Handling::inspect;
    return table;
}

constexpr HandlingTable backend_handling() {
    HandlingTable table{};
    table[index(BackendMessage::data_row)] = Handling::forward;
    table[index(BackendMessage::copy_data)] = Handling::forward;
    table[index(BackendMessage::copy_done)] = Handling::forward;
    table[index(BackendMessage::copy_out_response)] = Handling::forward;
    table[index(BackendMessage::function_call_response)] = Handling::forward;
    table[index(BackendMessage::notification_response)] = Handling::inspect;
    table[index(BackendMessage::notice_response)] = Handling::inspect;
    table[index(BackendMessage::error_response)] = Handling::inspect;
    table[index(BackendMessage::parameter_status)] = Handling::inspect;
    table[index(BackendMessage::command_complete)] = Handling::inspect;
    table[index(BackendMessage::ready_for_query)] = Handling::inspect;
    table[index(BackendMessage::parse_complete)] = Handling::inspect;
    table[index(BackendMessage::bind_complete)] = Handling::inspect;
    table[index(BackendMessage::close_complete)] = Handling::inspect;
    table[index(BackendMessage::empty_query_response)] = Handling::inspect;
    table[index(BackendMessage::portal_suspended)] = Handling::inspect;
    table[index(BackendMessage::no_data)] = Handling::inspect;
    table[index(BackendMessage::copy_in_response)] = Handling::inspect;
    // Both are answers to Describe and so counted, but they may be long: streamed.
    table[index(BackendMessage::row_description)] = Handling::forward;
    table[index(BackendMessage::parameter_description)] = Handling::forward;
    return table;
}

/// Bytes that a message of a backend has behind its header at least, and whether never more.
struct BodyShape {
    std::uint8_t least = 0;
    bool fixed = false;
};

constexpr std::array<BodyShape, 256> backend_bodies() {
    std::array<BodyShape, 256> table{};
    constexpr BodyShape empty{0, true};
    table[index(BackendMessage::parse_complete)] = empty;
    table[index(BackendMessage::bind_complete)] = empty;
    table[index(BackendMessage::close_complete)] = empty;
    table[index(BackendMessage::no_data)] = empty;
    table[index(BackendMessage::portal_suspended)] = empty;
    table[index(BackendMessage::empty_query_response)] = empty;
    table[index(BackendMessage::copy_done)] = empty;
    table[index(BackendMessage::ready_for_query)] = {1, true};
    // A count of columns or parameters.
    table[index(BackendMessage::data_row)] = {2, false};
    table[index(BackendMessage::row_description)] = {2, false};
    table[index(BackendMessage::parameter_description)] = {2, false};
    // A format and a count of columns.
    table[index(BackendMessage::copy_in_response)] = {3, false};
    table[index(BackendMessage::copy_out_response)] = {3, false};
    table[index(BackendMessage::function_call_response)] = {4, false};
    // A process id and two texts.
    table[index(BackendMessage::notification_response)] = {6, false};
    // Terminators only.
    table[index(BackendMessage::command_complete)] = {1, false};
    table[index(BackendMessage::parameter_status)] = {2, false};
    table[index(BackendMessage::error_response)] = {1, false};
    table[index(BackendMessage::notice_response)] = {1, false};
    return table;
}

inline constexpr std::array<BodyShape, 256> backend_body_table = backend_bodies();

inline constexpr HandlingTable frontend_table = frontend_handling();
inline constexpr HandlingTable backend_table = backend_handling();

}  // namespace detail

constexpr Handling handling_of(FrontendMessage type) {
    return detail::frontend_table[detail::index(type)];
}
constexpr Handling handling_of(BackendMessage type) {
    return detail::backend_table[detail::index(type)];
}

/// Whether a message of this type can have so many bytes behind its header.
constexpr bool body_fits(BackendMessage type, std::uint32_t bytes) {
    const detail::BodyShape shape = detail::backend_body_table[detail::index(type)];
    return shape.fixed ? bytes == shape.least : bytes >= shape.least;
}

}  // namespace schemux::protocol
