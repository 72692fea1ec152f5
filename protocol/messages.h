// The messages that schemux itself makes or takes apart: views into received bytes, and encoders
// that append to a string. Everything else passes the relay as bytes and has no struct here.
// Source: PostgreSQL manual, 55.7 "Message Formats".
#pragma once

#include "protocol/message_type.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace schemux::protocol {

/// ReadyForQuery's byte (PostgreSQL manual, 55.2.3).
enum class TransactionStatus : char { idle = 'I', in_transaction = 'T', failed = 'E' };

std::optional<TransactionStatus> transaction_status(char wire);

/// What a Describe or Close names.
enum class NamedKind : char { statement = 'S', portal = 'P' };

/// Parse: `types` is the raw tail behind the text (count and type ids), checked for its length.
struct ParseView {
    std::string_view name;
    std::string_view text;
    std::string_view types;
};
std::optional<ParseView> read_parse(std::string_view body);

/// The two names at the front of a Bind; `prefix_bytes` is how much of the body they take.
/// nullopt when `body` ends before both are complete.
struct BindPrefix {
    std::string_view portal;
    std::string_view statement;
    std::size_t prefix_bytes = 0;
};
std::optional<BindPrefix> read_bind_prefix(std::string_view body);

/// Describe and Close.
struct NamedView {
    NamedKind kind = NamedKind::statement;
    std::string_view name;
};
std::optional<NamedView> read_named(std::string_view body);

/// Why PostgreSQL would refuse a frontend message whose body could not be read, in its words.
std::string fault_in(FrontendMessage type, std::string_view body);

/// Query, and CommandComplete: one zero-terminated text and nothing behind it.
std::optional<std::string_view> read_text(std::string_view body);

struct ParameterStatusView {
    std::string_view name;
    std::string_view value;
};
std::optional<ParameterStatusView> read_parameter_status(std::string_view body);

struct BackendKeyView {
    std::uint32_t pid = 0;
    std::string_view secret;  ///< 4 bytes in protocol 3.0, up to 256 in 3.2
};
std::optional<BackendKeyView> read_backend_key_data(std::string_view body);

/// The columns of the first DataRow etc. of our own queries; NULL is nullopt.
std::optional<std::vector<std::optional<std::string_view>>> read_data_row(std::string_view body);

void append_authentication_ok(std::string& out);
/// `secret`: four bytes, or up to 256 from protocol 3.2 on.
void append_backend_key_data(std::string& out, std::uint32_t pid, std::string_view secret);
void append_bind_header(std::string& out, std::string_view portal, std::string_view statement,
                        std::size_t tail_bytes);
void append_cancel_request(std::string& out, std::uint32_t pid, std::string_view secret);
void append_close(std::string& out, NamedKind kind, std::string_view name);
void append_command_complete(std::string& out, std::string_view tag);
void append_describe(std::string& out, NamedKind kind, std::string_view name);
/// For all rows.
void append_execute(std::string& out, std::string_view portal);
void append_negotiate_protocol_version(std::string& out, std::uint32_t newest_minor,
                                       const std::vector<std::string>& unknown_options);
void append_parameter_status(std::string& out, std::string_view name, std::string_view value);
/// `types` is a raw tail as in ParseView.
void append_parse(std::string& out, std::string_view name, std::string_view text,
                  std::string_view types);
void append_query(std::string& out, std::string_view text);
void append_copy_fail(std::string& out, std::string_view why);
void append_ready_for_query(std::string& out, TransactionStatus status);
/// A message without a body: ParseComplete, CloseComplete, Sync, Terminate …
void append_empty(std::string& out, char type);

}  // namespace schemux::protocol
