// Asks all workers something, each on its own thread and in small steps, so that the data plane
// goes on between two of them; who asks waits on the control thread. A worker that does not answer
// in time is left out. It must not know what is asked.
#pragma once

#include "daemon/cluster.h"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

namespace schemux::daemon {

inline constexpr std::chrono::seconds workers_answer_within{2};

/// What somebody asks of workers: `Answer` is filled step by step, until `step` returns false.
template <class Answer>
using WorkerQuestion = std::function<bool(Worker& worker, Answer& answer)>;

template <class Answer>
void ask_worker(Worker& worker, WorkerQuestion<Answer> step, std::shared_ptr<Answer> answer,
                std::function<void(std::shared_ptr<Answer>)> done) {
    worker.post_question([step = std::move(step), answer = std::move(answer),
                          done = std::move(done)](Worker& there) mutable {
        if (!step(there, *answer)) return done(std::move(answer));
        ask_worker(there, std::move(step), std::move(answer), std::move(done));
    });
}

template <class Answer>
boost::asio::awaitable<std::vector<Answer>> ask_workers(boost::asio::io_context& io,
                                                        const Clusters& clusters,
                                                        WorkerQuestion<Answer> step) {
    namespace asio = boost::asio;
    struct Asked {
        explicit Asked(asio::io_context& context) : all_told(context) {}
        std::vector<Answer> answers;
        std::size_t missing = 0;
        asio::steady_timer all_told;
    };
    const auto asked = std::make_shared<Asked>(io);
    asked->all_told.expires_after(workers_answer_within);
    for (const auto& cluster : clusters) {
        for (const auto& worker : cluster->workers()) {
            ++asked->missing;
            ask_worker<Answer>(*worker, step, std::make_shared<Answer>(),
                               [asked, &io](std::shared_ptr<Answer> answer) {
                                   asio::post(io, [asked, answer = std::move(answer)] {
                                       asked->answers.push_back(std::move(*answer));
                                       if (--asked->missing == 0) asked->all_told.cancel();
                                   });
                               });
        }
    }
    boost::system::error_code ignored;
    co_await asked->all_told.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
    co_return std::move(asked->answers);
}

}  // namespace schemux::daemon
