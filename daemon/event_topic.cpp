#include "daemon/event_topic.h"

#include <cassert>
#include <utility>

namespace schemux::daemon {

void EventTopic::publish(std::string_view data) {
    assert(data.find_first_of("\r\n") == std::string_view::npos);
    if (closed_ || watches_.empty()) return;
    std::string message = "data: ";
    message += data;
    message += "\n\n";
    last_ = std::make_shared<const std::string>(std::move(message));
    ++number_;
    for (EventWatch* watch : watches_)
        watch->wake();
}

void EventTopic::close() {
    closed_ = true;
    last_.reset();
    for (EventWatch* watch : watches_)
        watch->wake();
}

EventWatch::EventWatch(boost::asio::io_context& context, std::shared_ptr<EventTopic> topic)
    : timer_(context), topic_(std::move(topic)), taken_(topic_->number_) {
    topic_->watches_.insert(this);
}

EventWatch::~EventWatch() {
    topic_->watches_.erase(this);
    if (topic_->watches_.empty()) topic_->last_.reset();
}

EventTopic::Message EventWatch::take() {
    if (std::exchange(taken_, topic_->number_) == topic_->number_) return nullptr;
    return topic_->last_;
}

}  // namespace schemux::daemon
