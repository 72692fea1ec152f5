// Every bound of the data plane in one place, with its reason. A bound that an operator may want to
// change is an option of the configuration; the rest are facts about what is sane.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>

namespace schemux::core::limits {

/// Replies a backend may owe at once. PostgreSQL writes its answers out every 8 KiB, and the
/// shortest answer has 5 bytes, so 8192/5 unanswered requests always make progress without a Sync:
/// a full queue stops reading the client, and drains by itself.
inline constexpr std::size_t expected_replies_max = 16'384;

/// Prepared statements kept on one backend unless pool.statements_per_backend and
/// pool.statement_memory_per_backend say otherwise.
inline constexpr std::size_t backend_statements_max = 400;
inline constexpr std::size_t backend_statement_bytes_max = 33'554'432;

/// What one is taken to cost PostgreSQL. Seen of PostgreSQL 15, with a plan: 6.6 kB for "SELECT 1",
/// 13 kB for a row by its key, 58 kB for a join of three tables in 122 bytes, 243 kB for a list of
/// 1,000 numbers in 3.9 kB; less where most of the text is one literal.
inline constexpr std::size_t server_bytes_per_statement = 8'192;
inline constexpr std::size_t server_bytes_per_text_byte = 64;

/// Changes of prepared statements that wait for their answers; each is looked at by what comes
/// behind it. With more the next message waits, and the answers are asked for.
inline constexpr std::size_t open_changes_max = 2'048;

/// Descriptions of a prepared statement are looked at up to this size (some hundred columns); what
/// is told of a wider one is not compared when its text is prepared again.
inline constexpr std::size_t description_max = 16'384;

/// Prepared statements that one client may have defined, and the bytes that they take here
/// together: what a client defines is kept as long as it stays.
inline constexpr std::size_t client_statements_max = 65'536;
inline constexpr std::size_t client_statement_bytes_max = 67'108'864;

/// While the process nears limits.memory: the longest text that is held, and what a client's named
/// statements may take. Most clients never need more.
inline constexpr std::size_t short_text_max = 16'384;
inline constexpr std::size_t short_statement_bytes_max = 65'536;

/// Prepared statements that one text may speak of; each may have to be prepared again ahead of it.
inline constexpr std::size_t names_in_text_max = 1'000;

/// Named portals of such texts that are followed in one transaction; the oldest is forgotten first.
inline constexpr std::size_t naming_portals_max = 64;

/// A lone DEALLOCATE is looked for in texts up to this size: keyword, PREPARE, a name, comments.
inline constexpr std::size_t lone_deallocate_max = 1'024;

/// What is kept of what one audit finds.
inline constexpr std::size_t audit_findings_max = 32;

/// Commands and bytes of a Query that may be answered here since there is nothing to reset: what
/// the pools of drivers send has at most four.
inline constexpr std::size_t reset_commands_max = 8;
inline constexpr std::size_t reset_text_max = 256;

/// Portal and statement name together at the front of a Bind. PostgreSQL truncates such names to
/// 63 bytes; nobody needs more than this.
inline constexpr std::size_t name_prefix_max = 16'384;

/// ErrorResponse, NoticeResponse, ParameterStatus …: looked at whole up to this size. A longer
/// error or notice passes unread; a longer message of another kind poisons the backend.
inline constexpr std::size_t inspected_message_max = 65'536;

/// Settings that one backend may report, and the bytes of their names and values together.
/// PostgreSQL 18 reports 15; only search_path and application_name can be long.
inline constexpr std::size_t reported_parameters_max = 128;
inline constexpr std::size_t reported_parameter_bytes_max = 131'072;

/// What a client sends while its CancelRequest is on its way waits here; beyond it reading stops.
inline constexpr std::size_t held_during_cancel_max = 65'536;

/// What is missing of a message whose client went in the middle of it is made up to this length;
/// with more its backend is closed. PostgreSQL's own clients send data of a COPY in less.
inline constexpr std::size_t padding_max = 131'072;

/// A waiter may be overtaken this often by one whose label suits the free backend.
inline constexpr std::uint8_t bypass_max = 8;
/// So many waiters are looked at for a fitting label.
inline constexpr std::size_t label_window = 8;
/// So many idle backends are looked at for a fitting label.
inline constexpr std::size_t idle_window = 16;

/// Hours that a client of a paused service waits at most, however often it may wait on.
inline constexpr int paused_wait_hours_max = 1;

/// Connections to PostgreSQL being opened at once.
inline constexpr int parallel_connects_max = 4;
/// Looks for a share that came back, before another one is made.
inline constexpr std::size_t lent_shares_looked_at = 16;
/// Who waits for longer gets a backend at the cost of another identity; a connect takes a third of
/// it (tests/core/thrash_test.cpp has what other values would do).
inline constexpr std::chrono::nanoseconds eviction_patience = std::chrono::milliseconds(25);
/// The same for an identity that has none at all, while backends change hands often; else it does
/// not wait.
inline constexpr std::chrono::nanoseconds first_patience = std::chrono::milliseconds(10);
inline constexpr std::chrono::nanoseconds calm_after = std::chrono::milliseconds(100);
/// Backends that may be on their way from one identity to another at a time.
inline constexpr std::uint32_t evictions_max = 2;
/// Between two connects for an identity that is not let in.
inline constexpr std::chrono::nanoseconds identity_rest_first = std::chrono::milliseconds(250);
inline constexpr std::chrono::nanoseconds identity_rest_longest = std::chrono::seconds(8);

/// Settings whose change a client was told of in one lease; PostgreSQL 18 reports 15.
inline constexpr std::size_t told_parameters_max = 64;

/// Settings of a session that are asked for by name when a lease ends; of more all are asked for.
inline constexpr std::size_t moved_settings_max = 1'024;
/// The name of a setting that is asked for; a longer one ends with the transaction.
inline constexpr std::size_t setting_name_bytes_max = 255;
/// Names with a dot in a text that is not understood, each of which may be a setting.
inline constexpr std::size_t dotted_names_max = 64;
/// Settings that a client may carry from backend to backend, and the bytes that they take here.
inline constexpr std::size_t client_settings_max = 1'024;
inline constexpr std::size_t client_setting_bytes_max = 131'072;
/// How often the question after a session's settings is asked: a cancel may hit it.
inline constexpr int settings_questions_max = 4;
/// How often the startup settings are put back behind one RESET, for the same reason.
inline constexpr int restores_max = 4;

/// Channels that a client may have at the shared listener: what PostgreSQL tells of them in one
/// row. A client with more keeps its backend.
inline constexpr std::size_t shared_channels_max = 256;
/// Bytes of notifications that wait for one client, behind its transaction or its reading.
inline constexpr std::size_t waiting_notifications_max = 1'048'576;

/// What backends report under a label, remembered for the logins to come.
inline constexpr std::size_t welcome_cache_max = 1'024;

/// Buffers and statement records that a worker keeps for reuse.
inline constexpr std::size_t pooled_buffers_max = 256;
inline constexpr std::size_t pooled_buffer_capacity_max = 65'536;
inline constexpr std::size_t pooled_statements_max = 1'024;
/// Texts whose reading a worker keeps (text_cache.h), and the longest of them.
inline constexpr std::size_t cached_texts_max = 256;
inline constexpr std::size_t cached_text_bytes_max = 8'192;

/// The text of a fingerprint (fingerprint.h), and the longest text that is read for one.
inline constexpr std::size_t fingerprint_bytes_max = 512;
inline constexpr std::size_t fingerprinted_bytes_max = 65'536;
/// Fingerprints that one worker counts by, over all services; 800 bytes each with a long text.
inline constexpr std::size_t counted_statements_max = 20'000;
/// So many of them are looked at for the one that makes room.
inline constexpr std::size_t statements_looked_at = 8;
/// Slow queries of one read that are told of, and the bytes of their texts that are kept for it.
inline constexpr std::size_t slow_calls_told_max = 8;
inline constexpr std::size_t slow_text_bytes_max = 1'024;
/// Named portals of one client whose statements are known to the statistics.
inline constexpr std::size_t counted_portals_max = 64;

}  // namespace schemux::core::limits
