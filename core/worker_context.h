// What all relays of a worker share: the outputs of one call, buffers and statements that are used
// again, what is known of texts and what they have cost, and the time. It must not know relays.
#pragma once

#include "core/backend.h"
#include "core/buffer_pool.h"
#include "core/message_walker.h"
#include "core/output.h"
#include "core/prepared_statements.h"
#include "core/statement_stats.h"
#include "core/sub_pool.h"
#include "core/text_cache.h"

#include <cstdint>
#include <string_view>

namespace schemux::core {

/// What all relays of a worker share. The outputs are flushed after every call.
struct WorkerContext {
    Output to_frontend;
    Output to_backend;
    BufferPool buffers;
    StatementPool statements;
    Carry frontend_carry;
    Carry backend_carry;
    TextCache texts;
    StatementStats statistics;
    const StatementNamer* namer = nullptr;
    std::string_view version{};  ///< of schemux, for SHOW schemux.version
    /// Somebody is about to change a database: whose backends may stay where they are.
    const SubPool* changes_databases = nullptr;
    std::uint64_t last_version = 0;  ///< of a statement; the worker's number in the upper bits
    TimePoint now{};
    bool memory_short = false;  ///< the process nears its bound: nothing large is kept

    /// After the outputs were flushed: nothing refers to the last batch any more.
    void settle() {
        to_frontend.clear();
        to_backend.clear();
        frontend_carry.settle(buffers);
        backend_carry.settle(buffers);
    }
};

}  // namespace schemux::core
