#include "tests/simulation/shadow.h"

#include "protocol/error_response.h"
#include "protocol/message_header.h"
#include "tests/support/message_walk.h"

#include <algorithm>

namespace schemux::simulation {

namespace {

constexpr std::string_view violation("\0C08P01\0", 8);

std::string comparable_all(std::string_view bytes) {
    std::string out;
    fake::for_each_message(bytes,
                           [&out](char, std::string_view whole) { out += comparable(whole); });
    return out;
}

}  // namespace

bool is_fatal(std::string_view error) {
    return error.find("SFATAL") != error.npos;
}

std::string comparable(std::string_view whole_message) {
    const char type = whole_message.front();
    if (type == 'S') return {};
    if (type != 'E') return std::string(whole_message);
    if (is_fatal(whole_message)) return {};
    if (whole_message.find(violation) == whole_message.npos) return std::string(whole_message);
    std::string out;
    protocol::append_error(out, protocol::make_error("08P01", "broken"));
    return out;
}

std::string counted_as(const std::string& statement) {
    const auto same = [](char a, char b) { return (a | ' ') == b; };
    for (const std::string_view word : {"deallocate", "prepare", "execute"}) {
        const bool there = std::search(statement.begin(), statement.end(), word.begin(), word.end(),
                                       same) != statement.end();
        if (there) return std::string(speaks_of_names);
    }
    return statement;
}

Shadow::Shadow(const core::TemplateContext& templates, std::size_t text_max,
               const core::Label& label, const Interventions& interventions)
    : templates_(templates), text_max_(text_max), interventions_(interventions) {
    startup_ = {label.settings().begin(), label.settings().end()};
    restart();
}

void Shadow::restart() {
    fake_ = std::make_unique<fake::FakePostgres>(templates_);
    fake_->set_text_max(text_max_);
    fake_->start_with(startup_);
    fake_->watch([this](const std::string& statement, bool) {
        const std::string key = counted_as(statement);
        return interventions_.cancelled.contains({key, runs_[key]++});
    });
    runs_.clear();
    told_.clear();
    fed_ = refused_ = 0;
}

void Shadow::take(std::string_view bytes) {
    std::string answers;
    fake_->on_bytes(bytes, answers);
    told_ += comparable_all(answers);
}

/// The message that begins at `fed_` fails, whatever it is.
void Shadow::refuse(const std::string& asked) {
    const auto& refusal = interventions_.refusals[refused_++];
    const auto header = protocol::read_header(asked.data() + refusal.offset);
    std::string answers;
    fake_->refuse(header.type, refusal.failure, answers);
    told_ += comparable_all(answers);
    fed_ = refusal.offset + header.total_bytes();
}

void Shadow::feed(const std::string& asked, std::size_t end) {
    while (fed_ < end) {
        const bool any = refused_ < interventions_.refusals.size();
        const std::size_t stop = any ? interventions_.refusals[refused_].offset : end;
        if (any && stop == fed_) {
            refuse(asked);
            continue;
        }
        const std::size_t upto = std::min(stop, end);
        take(std::string_view(asked).substr(fed_, upto - fed_));
        fed_ = upto;
    }
}

std::string Shadow::unflushed() const {
    return comparable_all(fake_->unflushed());
}

unsigned Shadow::runs(const std::string& statement) const {
    const auto found = runs_.find(statement);
    return found == runs_.end() ? 0 : found->second;
}

}  // namespace schemux::simulation
