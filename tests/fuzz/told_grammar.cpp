#include "tests/fuzz/told_grammar.h"

#include "protocol/error_response.h"
#include "tests/fuzz/input.h"
#include "tests/support/message_walk.h"

#include <deque>

namespace schemux::fuzz {
namespace {

/// A message of the client's: its type, but a Describe of a portal is a 'p'.
using Request = char;

/// The types that may follow `last` in the answer to `request`; 0 is its beginning. An
/// ErrorResponse may come anywhere but behind another.
std::string_view may_follow(Request request, char last) {
    if (last == 'E') return "Z";
    switch (request) {
        case 'P':
            return "1";
        case 'B':
            return "2";
        case 'C':
            return "3";
        case 'S':
            return "Z";
        case 'D':
            return last == 't' ? "Tn" : "t";
        case 'p':
            return "Tn";
        case 'F':
            return last == 'V' ? "Z" : "V";
        default:
            break;
    }
    const bool simple = request == 'Q';
    switch (last) {
        case '\0':
            return simple ? "TCIGH" : "DsCIGH";
        case 'T':
        case 'D':
            return simple ? "DTC" : "DsC";
        case 'C':
            return "TCGHZ";
        case 'I':
            return "Z";
        case 'H':
        case 'd':
            return "dc";
        default:  // the beginning or the end of a COPY
            return "C";
    }
}

bool is_last(Request request, char type) {
    const bool ready = request == 'Q' || request == 'F' || request == 'S';
    if (ready) return type == 'Z';
    const bool part =
        type == 't' || type == 'D' || type == 'G' || type == 'H' || type == 'd' || type == 'c';
    return !part;
}

class Listener {
  public:
    explicit Listener(std::string_view asked) {
        fake::for_each_message(asked, [this](char type, std::string_view whole) {
            const bool portal = type == 'D' && whole.substr(5).starts_with('P');
            requests_.push_back(portal ? 'p' : type);
        });
    }

    void hear(char type, std::string_view whole) {
        const bool asynchronous = type == 'A' || type == 'N' || type == 'S';
        if (!welcomed_ || asynchronous) {
            welcomed_ = welcomed_ || type == 'Z';
            return;
        }
        if (type == 'E') {
            const auto error = protocol::read_error(whole.substr(5));
            over_ = over_ || (error && error->is_last_word());
            if (over_) return;
        }
        demand(!over_, "behind a FATAL error there is nothing");
        // COPY's messages without a COPY have no answer.
        while (!requests_.empty() && last_ == 0 && is_unanswered(requests_.front()))
            requests_.pop_front();
        if (type == 'Z' && requests_.empty() && loose_syncs_ > 0) {
            --loose_syncs_;
            return;
        }
        demand(!requests_.empty(), "nothing comes that was not asked for");
        const Request request = requests_.front();
        const bool error = type == 'E';  // one may follow another: PostgreSQL's abort fails, too
        demand(error || may_follow(request, last_).find(type) != std::string_view::npos,
               "an answer's messages come in their order");
        last_ = type;
        if (type == 'G') begin_copy();
        if (is_last(request, type)) end_answer(error);
    }

  private:
    static bool is_unanswered(Request request) {
        return request == 'c' || request == 'd' || request == 'f' || request == 'H';
    }

    /// A Sync is ignored in a COPY FROM STDIN.
    void begin_copy() {
        while (requests_.size() > 1) {
            const Request behind = requests_[1];
            if (behind != 'S' && !is_unanswered(behind)) return;
            requests_.erase(requests_.begin() + 1);
            if (behind == 'c' || behind == 'f') return;
            // If the COPY fails before the server reads it, it is answered after all.
            if (behind == 'S') ++loose_syncs_;
        }
    }

    /// Behind an error of the extended protocol everything is skipped up to the Sync.
    void end_answer(bool error) {
        last_ = 0;
        requests_.pop_front();
        while (error && !requests_.empty() && requests_.front() != 'S')
            requests_.pop_front();
    }

    std::deque<Request> requests_;
    char last_ = 0;  ///< in the answer to the first of them
    bool welcomed_ = false;
    bool over_ = false;
    std::size_t loose_syncs_ = 0;
};

}  // namespace

void demand_in_turn(std::string_view asked, std::string_view told) {
    Listener listener(asked);
    fake::for_each_message(
        told, [&listener](char type, std::string_view whole) { listener.hear(type, whole); });
}

}  // namespace schemux::fuzz
