#include "daemon/recent_events.h"

#include "daemon/log_text.h"

#include <algorithm>
#include <variant>

namespace schemux::daemon {

namespace {

std::string escaped(std::string_view text) {
    std::string out;
    append_escaped(out, shortened(text, RecentEvents::text_bytes_max));
    return out;
}

std::string text_of(const LogValue& value) {
    struct Visitor {
        std::string operator()(std::string_view text) const { return escaped(text); }
        std::string operator()(bool flag) const { return flag ? "true" : "false"; }
        std::string operator()(std::int64_t number) const { return std::to_string(number); }
        std::string operator()(std::uint64_t number) const { return std::to_string(number); }
        std::string operator()(double number) const {
            std::string out;
            append_number(out, number);
            return out;
        }
    };
    return std::visit(Visitor{}, value.get());
}

}  // namespace

void RecentEvents::add(std::chrono::system_clock::time_point time, LogLevel level,
                       std::string_view id, std::string_view message, LogFields fields,
                       std::uint64_t suppressed) {
    RecentEvent event;
    event.time = time;
    event.level = level;
    event.id = id;
    event.message = escaped(message);
    event.fields.reserve(std::min(fields.size(), fields_max) + 1);
    for (const LogField& field : fields) {
        if (event.fields.size() == fields_max) break;
        event.fields.emplace_back(field.key, text_of(field.value));
    }
    if (suppressed > 0) event.fields.emplace_back("suppressed", std::to_string(suppressed));
    const std::lock_guard lock(mutex_);
    event.number = ++added_;
    const auto same = [&](const RecentEvent& other) { return other.id == event.id; };
    const auto of_id = std::count_if(events_.begin(), events_.end(), same);
    if (static_cast<std::size_t>(of_id) >= events_per_id_max) {
        events_.erase(std::find_if(events_.begin(), events_.end(), same));
    } else if (events_.size() >= events_max) {
        events_.pop_front();
    }
    events_.push_back(std::move(event));
}

std::vector<RecentEvent> RecentEvents::list() const {
    const std::lock_guard lock(mutex_);
    return {events_.begin(), events_.end()};
}

RecentEvents& recent_events() {
    static RecentEvents instance;
    return instance;
}

}  // namespace schemux::daemon
