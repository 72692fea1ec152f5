// A pool of equal slots, services with clients that come, hold a slot, go and come again, and a
// virtual clock: what the pool's scheduler makes of it. Leases of one slot take what their
// service's distribution says; long ones are charged at each tick, as the workers do. It must not
// know how the scheduler decides.
#pragma once

#include "core/shared_pool.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <queue>
#include <random>
#include <vector>

namespace schemux::core::fairness {

using Clock = std::chrono::steady_clock;

struct Load {
    std::uint32_t clients = 1;
    Nanoseconds lease{5'000'000};  ///< mean
    Nanoseconds think{0};          ///< mean, between two leases of a client
    bool constant = false;         ///< else exponential
    SharePolicy policy{};
};

struct Result {
    double seconds = 0;  ///< backend time that it had
    std::vector<Nanoseconds> waits;
    std::vector<Nanoseconds> leases;
    std::uint64_t refused = 0;
};

inline Nanoseconds percentile(std::vector<Nanoseconds> values, double of) {
    if (values.empty()) return Nanoseconds(0);
    std::sort(values.begin(), values.end());
    const auto at = static_cast<std::size_t>(of * static_cast<double>(values.size() - 1));
    return values[at];
}

/// 1: all the same; 1/n: one has all.
inline double jain_index(const std::vector<double>& values) {
    double sum = 0;
    double squares = 0;
    for (const double value : values) {
        sum += value;
        squares += value * value;
    }
    return squares == 0 ? 1 : sum * sum / (static_cast<double>(values.size()) * squares);
}

class World {
  public:
    World(std::uint32_t slots, const std::vector<Load>& loads, std::uint64_t seed)
        : slots_(slots), loads_(loads), pool_(slots, 1), random_(seed), results_(loads.size()) {
        std::vector<std::pair<Share*, SharePolicy>> policies;
        for (const Load& load : loads_) {
            shares_.emplace_back();
            policies.emplace_back(&shares_.back(), load.policy);
        }
        pool_.configure(policies, Nanoseconds(0));
        for (std::uint32_t service = 0; service < loads_.size(); ++service) {
            for (std::uint32_t i = 0; i < loads_[service].clients; ++i) {
                clients_.push_back({service});
                at(some(loads_[service].think), Kind::comes, clients_.size() - 1);
            }
        }
        at(tick_length, Kind::tick, 0);
    }

    void run(Nanoseconds until) {
        while (!events_.empty() && events_.top().when <= until) {
            const Event event = events_.top();
            events_.pop();
            note_time(event.when);
            switch (event.kind) {
                case Kind::comes:
                    come(event.client);
                    break;
                case Kind::goes:
                    go(event.client);
                    break;
                case Kind::tick:
                    for (Client& client : clients_)
                        client.use.charge(Clock::time_point(now_));
                    pool_.refresh();
                    at(tick_length, Kind::tick, 0);
                    break;
            }
            give_out(nullptr, 0);
        }
        for (Client& client : clients_)
            client.use.charge(Clock::time_point(now_));
        for (std::size_t service = 0; service < results_.size(); ++service)
            results_[service].seconds =
                std::chrono::duration<double>(shares_[service].had()).count();
    }

    const std::vector<Result>& results() const { return results_; }
    /// The part of the slots that was held while anybody waited.
    double utilisation() const {
        return contended_.count() == 0 ? 1
                                       : busy_ / (static_cast<double>(contended_.count()) * slots_);
    }
    std::uint32_t most_held() const { return most_held_; }
    /// The most others that were served between a client's coming and its turn, by service.
    std::uint64_t most_passed(std::uint32_t service) const { return most_passed_.at(service); }

  private:
    enum class Kind : std::uint8_t { comes, goes, tick };
    struct Event {
        Nanoseconds when;
        std::uint64_t number;
        Kind kind;
        std::size_t client;
        bool operator<(const Event& other) const {
            return when != other.when ? when > other.when : number > other.number;
        }
    };
    struct Client {
        std::uint32_t service = 0;
        Nanoseconds came{0};
        std::uint64_t turns_before = 0;
        Use use{};
    };
    static constexpr Nanoseconds tick_length{100'000'000};

    void at(Nanoseconds in, Kind kind, std::size_t client) {
        events_.push({now_ + in, ++number_, kind, client});
    }
    Nanoseconds some(Nanoseconds mean) {
        if (mean.count() == 0) return mean;
        std::exponential_distribution<double> distribution(1.0 / static_cast<double>(mean.count()));
        return Nanoseconds(static_cast<std::int64_t>(distribution(random_)));
    }
    void note_time(Nanoseconds when) {
        if (pool_.contended()) {
            contended_ += when - now_;
            busy_ += static_cast<double>((when - now_).count()) * held_;
        }
        now_ = when;
    }
    void come(std::size_t number) {
        Client& client = clients_[number];
        Share& share = shares_[client.service];
        client.came = now_;
        client.turns_before = turns_;
        if (held_ < slots_ && pool_.begin_use(0, share)) return serve(number, Nanoseconds(0));
        Ticket ticket;
        ticket.session.slot = static_cast<std::uint32_t>(number);
        ticket.session.generation = 1;
        ticket.label_hash = client.service;
        ticket.share = &share;
        if (pool_.enqueue(ticket, now_).refusal == Refusal::none) return;
        ++results_[client.service].refused;
        at(some(loads_[client.service].think) + Nanoseconds(1'000'000), Kind::comes, number);
    }
    void serve(std::size_t number, Nanoseconds prepaid) {
        Client& client = clients_[number];
        const Load& load = loads_[client.service];
        Result& result = results_[client.service];
        result.waits.push_back(now_ - client.came);
        const Nanoseconds lease = load.constant ? load.lease : some(load.lease);
        result.leases.push_back(lease);
        ++turns_;
        std::uint64_t& passed = most_passed_[client.service];
        passed = std::max(passed, turns_ - client.turns_before - 1);
        client.use = Use(shares_[client.service], Clock::time_point(now_), prepaid);
        most_held_ = std::max(most_held_, ++held_);
        at(lease, Kind::goes, number);
    }
    void go(std::size_t number) {
        Client& client = clients_[number];
        Share& share = shares_[client.service];
        client.use.finish(Clock::time_point(now_));
        client.use = {};
        --held_;
        pool_.end_use(0, share);
        give_out(&share, client.service);
        at(some(loads_[client.service].think), Kind::comes, number);
    }
    void give_out(Share* last, std::uint64_t label) {
        while (held_ < slots_ && pool_.contended()) {
            const auto ticket = pool_.next_ticket(label, last, now_);
            if (!ticket) return;
            serve(ticket->session.slot, ticket->prepaid);
        }
    }

    std::uint32_t slots_;
    std::vector<Load> loads_;
    SharedPool pool_;
    std::mt19937_64 random_;
    std::deque<Share> shares_;
    std::vector<Client> clients_;
    std::vector<Result> results_;
    std::map<std::uint32_t, std::uint64_t> most_passed_;
    std::priority_queue<Event> events_;
    std::uint64_t number_ = 0;
    std::uint64_t turns_ = 0;
    Nanoseconds now_{0};
    Nanoseconds contended_{0};
    double busy_ = 0;
    std::uint32_t held_ = 0;
    std::uint32_t most_held_ = 0;
};

}  // namespace schemux::core::fairness
