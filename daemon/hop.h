// Moves a coroutine to another thread: `co_await hop_to(pool)` goes on there. For slow work that
// must not run where the coroutine lives (key derivation, DNS), and for the way back.
// Plain `asio::post(pool, use_awaitable)` would come back at once: the coroutine's own executor
// takes it up again.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace schemux::daemon {

template <typename Context>
boost::asio::awaitable<void> hop_to(Context& there) {
    co_await boost::asio::post(
        boost::asio::bind_executor(there.get_executor(), boost::asio::use_awaitable));
}

}  // namespace schemux::daemon
