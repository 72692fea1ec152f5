// Which stream engine the workers have: what the configuration asks for, as far as this kernel and
// sandbox allow it.
#pragma once

#include "daemon/stream_engine.h"

#include <boost/asio/io_context.hpp>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>

namespace schemux::daemon {

enum class IoEngine : std::uint8_t { epoll, io_uring };

std::string_view name_of(IoEngine engine);

/// `wanted`, or epoll where there can be no io_uring; the log says why.
IoEngine possible_engine(IoEngine wanted);

std::unique_ptr<StreamEngine> make_engine(
    IoEngine engine, boost::asio::io_context& io,
    std::function<std::chrono::steady_clock::time_point()> begin_batch,
    std::function<bool()> may_linger);

}  // namespace schemux::daemon
