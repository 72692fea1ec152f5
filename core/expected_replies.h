// What a backend still owes: one entry for each message sent to it, saying how its answer is
// recognised and whether the client sees it. It is the only truth about pipelines, errors, COPY
// and release. It must not know about bytes.
//
//   request         answered by                          popped when
//   query           anything, then ReadyForQuery         ReadyForQuery
//   function_call   FunctionCallResponse, ReadyForQuery  ReadyForQuery
//   parse           ParseComplete                        that
//   bind            BindComplete                         that
//   describe        RowDescription or NoData (a ParameterDescription before it)
//   execute         CommandComplete, EmptyQueryResponse or PortalSuspended
//   close           CloseComplete                        that
//   sync            ReadyForQuery                        that
//   copy_end        nothing: marks a CopyDone or CopyFail that went out before it was known whether
//                   a COPY had begun
// An ErrorResponse drops everything up to the next sync (PostgreSQL manual, 55.2.3). In which order
// the parts of one answer come: answer_grammar.h.
#pragma once

#include "core/answer_grammar.h"
#include "core/limits.h"
#include "core/statement.h"
#include "protocol/error_response.h"

#include <boost/circular_buffer.hpp>

#include <cassert>
#include <cstdint>
#include <memory>

namespace schemux::core {

enum class Answer : std::uint8_t {
    forward,        ///< the client sees the backend's answer
    discard,        ///< we asked for ourselves: the client never sees it
    fabricate,      ///< nothing was sent: we answer when its turn comes
    replace_error,  ///< we sent something that must fail; the client sees our error instead
    ask,            ///< as `discard`, and what its rows say is read here: the session's settings
    probe,          ///< the same, of what else the session has
    restore,        ///< as `discard`, but its ReadyForQuery is that of what came before it
};

/// Whether the client sees the answer.
constexpr bool is_told(Answer answer) {
    return answer != Answer::discard && answer != Answer::ask && answer != Answer::probe &&
           answer != Answer::restore;
}

struct ExpectedReply {
    Request request = Request::query;
    Answer answer = Answer::forward;
    AnswerStage stage = AnswerStage::begun;        ///< how much of its answer has come
    std::uint64_t number = 0;                      ///< from 1 on, in the order of requests
    StatementRef statement;                        ///< whose text errors speak of
    std::unique_ptr<protocol::ErrorFields> error;  ///< with replace_error
    FingerprintRef fingerprint;                    ///< of what it runs, where that is counted

    /// True for what a ReadyForQuery answers.
    bool ends_with_ready() const {
        return request == Request::query || request == Request::function_call ||
               request == Request::sync;
    }
    /// True for a message of the extended protocol: its error makes PostgreSQL skip to a Sync.
    bool is_extended() const {
        return request != Request::query && request != Request::function_call &&
               request != Request::sync;
    }
};

class ExpectedReplies {
  public:
    bool empty() const { return ring_.empty(); }
    std::size_t size() const { return ring_.size(); }
    bool full() const { return ring_.size() >= limits::expected_replies_max; }

    ExpectedReply& push(Request request, Answer answer) {
        if (ring_.full()) ring_.set_capacity(ring_.empty() ? 16 : ring_.capacity() * 2);
        ring_.push_back({});
        ring_.back().request = request;
        ring_.back().answer = answer;
        if (answer != Answer::fabricate && request != Request::copy_end) ++owed_;
        ring_.back().number = ++last_number_;
        if (request == Request::sync) last_sync_ = last_number_;
        if (ring_.back().ends_with_ready()) last_ready_ = last_number_;
        return ring_.back();
    }

    ExpectedReply& front() { return ring_.front(); }
    const ExpectedReply& front() const { return ring_.front(); }
    ExpectedReply& back() { return ring_.back(); }
    ExpectedReply& at(std::size_t index) { return ring_[index]; }

    void pop() {
        forget(ring_.front());
        ring_.pop_front();
    }
    /// What will have no answer after all.
    void erase(std::size_t index) {
        forget(ring_[index]);
        ring_.erase(ring_.begin() + static_cast<std::ptrdiff_t>(index));
        last_sync_ = last_ready_ = 0;
        for (const ExpectedReply& reply : ring_) {
            if (reply.request == Request::sync) last_sync_ = reply.number;
            if (reply.ends_with_ready()) last_ready_ = reply.number;
        }
    }
    void clear() {
        ring_.clear();
        owed_ = 0;
    }

    /// Replies that must still come from the backend.
    std::size_t owed() const { return owed_; }

    std::uint64_t last_number() const { return last_number_; }
    /// True while request `number` waits for its answer.
    bool pending(std::uint64_t number) const {
        return !ring_.empty() && number >= ring_.front().number;
    }
    /// True while a ReadyForQuery is due, so that PostgreSQL tells what it has without being asked.
    bool ready_is_due() const { return pending(last_ready_); }
    /// True while it is open whether request `number` takes effect, and a Sync went out behind it:
    /// after an error before it PostgreSQL skips it, but not what follows that Sync.
    bool undecided(std::uint64_t number) const { return pending(number) && last_sync_ > number; }

    /// True while a request of the extended protocol waits that no Sync was sent behind: if it
    /// fails, PostgreSQL skips all up to the next Sync, Queries too.
    bool batch_pending() const {
        for (auto reply = ring_.rbegin(); reply != ring_.rend(); ++reply) {
            if (reply->request == Request::sync) return false;
            if (reply->is_extended() && reply->answer != Answer::fabricate) return true;
        }
        return false;
    }

    /// Index of the first Sync at or behind `from`, or size() when there is none.
    std::size_t next_sync(std::size_t from) const {
        std::size_t index = from;
        while (index < ring_.size() && ring_[index].request != Request::sync)
            ++index;
        return index;
    }

  private:
    void forget(const ExpectedReply& reply) {
        if (reply.answer != Answer::fabricate && reply.request != Request::copy_end) --owed_;
    }

    boost::circular_buffer<ExpectedReply> ring_;
    std::size_t owed_ = 0;
    std::uint64_t last_number_ = 0;
    std::uint64_t last_sync_ = 0;
    std::uint64_t last_ready_ = 0;
};

}  // namespace schemux::core
