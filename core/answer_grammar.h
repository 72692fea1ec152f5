// What PostgreSQL may say next in answer to one request, message type by message type (manual,
// 55.2.2 to 55.2.5). Anything else means that server and relay do not speak of the same request
// any more. ErrorResponse ends every answer and may come in any stage, NoticeResponse,
// ParameterStatus and NotificationResponse belong to no answer: none of them is asked about here.
// It must not know about bytes, clients or pools.
#pragma once

#include "protocol/message_type.h"

#include <cstdint>
#include <optional>

namespace schemux::core {

enum class Request : std::uint8_t {
    query,
    function_call,
    parse,
    bind,
    describe,
    execute,
    close,
    sync,
    copy_end,
};

/// How much of the answer has come.
enum class AnswerStage : std::uint8_t {
    begun,      ///< nothing
    described,  ///< Describe: the parameters; a portal has none and begins here
    rows,       ///< a RowDescription (query) or a DataRow (execute)
    copy_in,
    copy_out,
    copy_out_done,
    completed,  ///< a command of a Query, or the function call: more commands or ReadyForQuery
    empty,      ///< a Query without a command: only ReadyForQuery
    failed,     ///< an ErrorResponse to what a ReadyForQuery ends
    over,       ///< the whole answer
};

namespace detail {

using Stage = AnswerStage;
using Next = std::optional<AnswerStage>;
using Type = protocol::BackendMessage;

/// The part that one command of a Query and an Execute have in common; `ended` is what follows it.
constexpr Next after_in_command(Stage stage, Type type, Stage ended) {
    const bool complete = type == Type::command_complete;
    switch (stage) {
        case Stage::begun:
        case Stage::completed:
            if (type == Type::copy_in_response) return Stage::copy_in;
            if (type == Type::copy_out_response) return Stage::copy_out;
            return complete ? Next{ended} : Next{};
        case Stage::rows:
            if (type == Type::data_row) return Stage::rows;
            return complete ? Next{ended} : Next{};
        case Stage::copy_out:
            if (type == Type::copy_data) return Stage::copy_out;
            return type == Type::copy_done ? Next{Stage::copy_out_done} : Next{};
        case Stage::copy_in:
        case Stage::copy_out_done:
            return complete ? Next{ended} : Next{};
        case Stage::described:
        case Stage::empty:
        case Stage::failed:
        case Stage::over:
            return {};
    }
    return {};
}

constexpr Next after_in_query(Stage stage, Type type) {
    if (type == Type::ready_for_query) {
        const bool may_end =
            stage == Stage::completed || stage == Stage::empty || stage == Stage::failed;
        return may_end ? Next{Stage::over} : Next{};
    }
    if (type == Type::empty_query_response) {
        return stage == Stage::begun ? Next{Stage::empty} : Next{};
    }
    // A rule can make one command give several results: a description may follow rows.
    const bool may_describe =
        stage == Stage::begun || stage == Stage::completed || stage == Stage::rows;
    if (type == Type::row_description) return may_describe ? Next{Stage::rows} : Next{};
    return after_in_command(stage, type, Stage::completed);
}

constexpr Next after_in_execute(Stage stage, Type type) {
    if (type == Type::empty_query_response) {
        return stage == Stage::begun ? Next{Stage::over} : Next{};
    }
    const bool in_rows = stage == Stage::begun || stage == Stage::rows;
    if (type == Type::portal_suspended) return in_rows ? Next{Stage::over} : Next{};
    if (type == Type::data_row) return in_rows ? Next{Stage::rows} : Next{};
    return after_in_command(stage, type, Stage::over);
}

constexpr Next after_in_describe(Stage stage, Type type) {
    if (stage == Stage::begun) {
        return type == Type::parameter_description ? Next{Stage::described} : Next{};
    }
    const bool last = type == Type::row_description || type == Type::no_data;
    return last && stage == Stage::described ? Next{Stage::over} : Next{};
}

constexpr Next after_in_function_call(Stage stage, Type type) {
    if (type == Type::function_call_response) {
        return stage == Stage::begun ? Next{Stage::completed} : Next{};
    }
    const bool may_end = stage == Stage::completed || stage == Stage::failed;
    return type == Type::ready_for_query && may_end ? Next{Stage::over} : Next{};
}

constexpr Next only(bool it_is) {
    return it_is ? Next{Stage::over} : Next{};
}

}  // namespace detail

/// The stage after `type`; nullopt when PostgreSQL would not say that there.
constexpr std::optional<AnswerStage> stage_after(Request request, AnswerStage stage,
                                                 protocol::BackendMessage type) {
    switch (request) {
        case Request::query:
            return detail::after_in_query(stage, type);
        case Request::execute:
            return detail::after_in_execute(stage, type);
        case Request::describe:
            return detail::after_in_describe(stage, type);
        case Request::function_call:
            return detail::after_in_function_call(stage, type);
        case Request::parse:
            return detail::only(type == protocol::BackendMessage::parse_complete);
        case Request::bind:
            return detail::only(type == protocol::BackendMessage::bind_complete);
        case Request::close:
            return detail::only(type == protocol::BackendMessage::close_complete);
        case Request::sync:
            return detail::only(type == protocol::BackendMessage::ready_for_query);
        case Request::copy_end:
            return {};
    }
    return {};
}

/// Belongs to no answer: may come at any time.
constexpr bool is_asynchronous(protocol::BackendMessage type) {
    return type == protocol::BackendMessage::notice_response ||
           type == protocol::BackendMessage::notification_response ||
           type == protocol::BackendMessage::parameter_status;
}

}  // namespace schemux::core
