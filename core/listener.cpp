#include "core/listener.h"

#include "core/label.h"
#include "core/limits.h"
#include "protocol/error_response.h"
#include "protocol/message_header.h"
#include "protocol/message_type.h"
#include "protocol/messages.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace schemux::core {

using protocol::BackendMessage;

namespace {

/// Looks at a batch that is not answered, until the session is given up.
constexpr int looks_max = 3;

}  // namespace

void Listener::subscribe(const Subscriber& who, std::vector<std::string> channels,
                         std::uint64_t number) {
    const auto known = subscriptions_.find(who);
    const bool same = known != subscriptions_.end() && known->second.channels == channels;
    if (same && !connected_) {
        known->second.number = number;
        known->second.answered = true;
        return audience_.on_subscribed(who, number, true);
    }
    if (known != subscriptions_.end()) {
        std::vector<std::string> left;
        std::set_difference(known->second.channels.begin(), known->second.channels.end(),
                            channels.begin(), channels.end(), std::back_inserter(left));
        leave(who, left);
    }
    if (channels.empty()) {
        if (known != subscriptions_.end()) subscriptions_.erase(known);
        next_.erase(who);
    } else {
        for (const std::string& channel : channels) {
            channels_[channel].wanted_by.insert(who);
            due_.insert(channel);
        }
        // What it hears already goes on, and so does what it has to be told of that.
        Subscription& subscription = subscriptions_[who];
        subscription.channels = std::move(channels);
        subscription.number = number;
        subscription.answered = subscription.looked_at = false;
        next_.insert(who);
    }
    send_batch();
}

void Listener::leave(const Subscriber& who, const std::vector<std::string>& channels) {
    for (const std::string& name : channels) {
        const auto channel = channels_.find(name);
        if (channel == channels_.end()) continue;
        channel->second.wanted_by.erase(who);
        std::erase(channel->second.told, who);
        if (!channel->second.wanted_by.empty()) continue;
        // The next session is told of those only that somebody wants.
        if (connected_) {
            due_.insert(name);
        } else {
            channels_.erase(channel);
            due_.erase(name);
        }
    }
}

void Listener::on_connected() {
    connected_ = true;
    busy_ = false;
    input_.clear();
    output_.clear();
    why_.clear();
    for (auto& [name, channel] : channels_) {
        channel.listening = false;
        due_.insert(name);
    }
    protocol::append_query(output_, "SET client_encoding TO 'UTF8'");
    busy_ = true;
    looks_ = 0;
}

void Listener::on_lost() {
    connected_ = busy_ = false;
    input_.clear();
    output_.clear();
    under_way_.clear();
    next_.clear();
    for (auto& [who, subscription] : subscriptions_) {
        subscription.missed = subscription.missed || subscription.hears;
        next_.insert(who);
    }
}

/// One Query at a time: what comes while it is under way goes together in the next.
void Listener::send_batch() {
    if (!connected_ || busy_ || (due_.empty() && next_.empty())) return;
    std::string sql;
    for (const std::string& name : due_) {
        const auto channel = channels_.find(name);
        if (channel == channels_.end()) continue;
        const bool wanted = !channel->second.wanted_by.empty();
        if (wanted || channel->second.listening) {
            sql += wanted ? "LISTEN " : "UNLISTEN ";
            append_quoted_identifier(sql, name);
            sql += ';';
        }
        channel->second.listening = wanted;
        if (!wanted) channels_.erase(channel);
    }
    due_.clear();
    under_way_ = std::exchange(next_, {});
    protocol::append_query(output_, sql);
    busy_ = true;
    looks_ = 0;
}

bool Listener::on_bytes(std::string_view bytes) {
    input_.append(bytes);
    std::size_t at = 0;
    while (input_.size() - at >= protocol::header_bytes) {
        const protocol::MessageHeader header = protocol::read_header(input_.data() + at);
        if (!header.plausible() || header.total_bytes() > limits::inspected_message_max) {
            why_ = "a message that PostgreSQL does not send";
            return false;
        }
        if (input_.size() - at < header.total_bytes()) break;
        if (!on_message(header.type, std::string_view(input_).substr(at, header.total_bytes())))
            return false;
        at += header.total_bytes();
    }
    input_.erase(0, at);
    return true;
}

bool Listener::on_message(char type, std::string_view whole) {
    const auto kind = static_cast<BackendMessage>(type);
    if (kind == BackendMessage::notification_response) {
        on_notification(whole);
        return true;
    }
    if (kind == BackendMessage::ready_for_query) {
        on_batch_end();
        return true;
    }
    if (kind == BackendMessage::error_response) {
        const auto error = protocol::read_error(whole.substr(protocol::header_bytes));
        why_ = error ? std::string(error->message) : "a broken ErrorResponse";
        return false;
    }
    why_ = "an answer that nobody asked for";
    return kind == BackendMessage::command_complete || kind == BackendMessage::notice_response ||
           kind == BackendMessage::parameter_status || kind == BackendMessage::empty_query_response;
}

void Listener::on_batch_end() {
    busy_ = false;
    for (const Subscriber& who : std::exchange(under_way_, {})) {
        const auto found = subscriptions_.find(who);
        // It may have changed its mind, and waits for the next batch, or for none.
        if (found == subscriptions_.end() || next_.contains(who)) continue;
        Subscription& subscription = found->second;
        subscription.hears = true;
        for (const std::string& name : subscription.channels) {
            std::vector<Subscriber>& told = channels_.find(name)->second.told;
            if (std::find(told.begin(), told.end(), who) == told.end()) told.push_back(who);
        }
        const bool late = std::exchange(subscription.answered, true);
        if (!late) audience_.on_subscribed(who, subscription.number, false);
        const bool missed = std::exchange(subscription.missed, false);
        if (late || missed) audience_.on_missed(who);
    }
    send_batch();
}

void Listener::on_notification(std::string_view whole) {
    constexpr std::size_t pid_bytes = 4;
    const std::string_view body = whole.substr(protocol::header_bytes);
    if (body.size() < pid_bytes) return;
    const auto name =
        protocol::read_text(body.substr(pid_bytes, body.find('\0', pid_bytes) + 1 - pid_bytes));
    if (!name) return;
    const auto channel = channels_.find(*name);
    if (channel == channels_.end() || channel->second.told.empty()) return;
    audience_.on_notification(channel->second.told, std::make_shared<const std::string>(whole));
}

bool Listener::look_at_waiting() {
    for (auto& [who, subscription] : subscriptions_) {
        if (subscription.answered || !std::exchange(subscription.looked_at, true)) continue;
        subscription.answered = true;
        audience_.on_subscribed(who, subscription.number, true);
    }
    if (!connected_ || !busy_ || ++looks_ < looks_max) return true;
    why_ = "no answer";
    return false;
}

}  // namespace schemux::core
