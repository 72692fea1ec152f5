// How often backends change hands when many identities share one bound, each with a load of its
// own: arrivals of Zipf-1 services against the real pool, with a model of connects and of what a
// worker and the connector do with it. Simulated time.
// Model and goals: 20 backends, 2 ms queries; 5 identities at 80 % of what the backends can do
// reconnect in at most 2 % of the leases, 20 at 30 % in at most 5 %.
#include "core/shared_pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <queue>
#include <random>
#include <string>
#include <vector>

namespace schemux::core {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

struct Load {
    std::uint32_t services = 5;
    double part = 0.8;  ///< of what all backends can do
    std::uint32_t slots = 20;
    Nanoseconds query = milliseconds(2);
    Nanoseconds connect = milliseconds(8);
    Nanoseconds close = microseconds(500);
    Nanoseconds length = std::chrono::seconds(60);
};

struct Outcome {
    std::uint64_t leases = 0;
    std::uint64_t connects = 0;  ///< behind the first `slots`
    std::vector<Nanoseconds> waits;
    std::uint64_t starved = 0;  ///< waited for more than a second

    double reconnected() const {
        return static_cast<double>(connects) / static_cast<double>(leases);
    }
    Nanoseconds percentile(double part) {
        std::sort(waits.begin(), waits.end());
        const auto last = static_cast<double>(waits.size() - 1);
        return waits[static_cast<std::size_t>(part * last)];
    }
};

class World {
  public:
    explicit World(const Load& load) : load_(load), pool_(load.slots, 1) {
        double all = 0;
        for (std::uint32_t i = 1; i <= load.services; ++i)
            all += 1.0 / i;
        const double rate = load.part * load.slots / static_cast<double>(load.query.count());
        for (std::uint32_t i = 1; i <= load.services; ++i) {
            Service made;
            made.sub_pool = pool_.sub_pool({"", std::to_string(i)});
            made.share = std::make_unique<Share>(made.sub_pool.get());
            made.gap = 1.0 / (rate / i / all);
            services_.push_back(std::move(made));
        }
        for (std::uint32_t i = 0; i < load.services; ++i)
            at(gap_of(i), [this, i] { arrive(i); });
    }

    Outcome run() {
        while (!events_.empty() && events_.top().when < load_.length) {
            Event event = events_.top();
            events_.pop();
            now_ = event.when;
            event.act();
        }
        outcome_.connects -= std::min<std::uint64_t>(outcome_.connects, load_.slots);
        return std::move(outcome_);
    }

  private:
    struct Service {
        std::shared_ptr<SubPool> sub_pool;
        std::unique_ptr<Share> share;
        double gap = 0;  ///< ns between two arrivals, on average
        std::deque<Nanoseconds> came;
    };
    struct Event {
        Nanoseconds when;
        std::uint64_t number;
        std::function<void()> act;
        bool operator<(const Event& other) const {
            return when != other.when ? when > other.when : number > other.number;
        }
    };

    void at(Nanoseconds in, std::function<void()> act) {
        events_.push({now_ + in, ++number_, std::move(act)});
    }
    Nanoseconds some(double mean) {
        std::exponential_distribution<double> distribution(1.0 / mean);
        return Nanoseconds(static_cast<std::int64_t>(distribution(random_)));
    }
    Nanoseconds gap_of(std::uint32_t service) { return some(services_[service].gap); }

    void arrive(std::uint32_t who) {
        at(gap_of(who), [this, who] { arrive(who); });
        Service& service = services_[who];
        const auto own = std::find(idle_.rbegin(), idle_.rend(), who);
        if (own != idle_.rend() && pool_.begin_use(0, *service.share)) {
            idle_.erase(std::next(own).base());
            tell_idle(who);
            outcome_.waits.push_back(Nanoseconds(0));
            return serve(who);
        }
        Ticket ticket;
        ticket.session = {1, 1};
        ticket.share = service.share.get();
        pool_.enqueue(ticket, now_);
        service.came.push_back(now_);
        look();
    }
    void serve(std::uint32_t who) {
        ++outcome_.leases;
        at(some(static_cast<double>(load_.query.count())), [this, who] { finish(who); });
    }
    void finish(std::uint32_t who) {
        pool_.end_use(0, *services_[who].share);
        offer(who);
    }
    /// A backend that is free: as Worker::make_available.
    void offer(std::uint32_t who) {
        SubPool* const own = services_[who].sub_pool.get();
        if (pool_.contended(own) && pool_.others_wait(own) && pool_.yields(own, now_))
            return evict(who);
        if (pool_.next_ticket(0, nullptr, now_, own)) {
            const Nanoseconds waited = now_ - services_[who].came.front();
            services_[who].came.pop_front();
            outcome_.waits.push_back(waited);
            if (waited > std::chrono::seconds(1)) ++outcome_.starved;
            return serve(who);
        }
        idle_.push_back(who);
        tell_idle(who);
    }
    void tell_idle(std::uint32_t who) {
        const auto count = std::count(idle_.begin(), idle_.end(), who);
        pool_.set_idle(0, static_cast<std::uint32_t>(count), services_[who].sub_pool.get());
    }
    void evict(std::uint32_t who) {
        at(load_.close, [this, who] {
            pool_.return_slot(services_[who].sub_pool.get(), true);
            look();
        });
    }
    /// As Connector::start_connects and make_room.
    void look() {
        while (const auto claimed = pool_.claim_connect(now_)) {
            const auto who = static_cast<std::uint32_t>(std::stoul(claimed->identity().role) - 1);
            ++outcome_.connects;
            at(load_.connect, [this, who] {
                pool_.connect_succeeded(services_[who].sub_pool.get());
                offer(who);
                look();
            });
        }
        const auto due = pool_.next_look(now_);
        if (!due) return;
        if (*due > now_) return look_later(*due);
        yield_idle(true);
        yield_idle(false);
        look_later(now_ + milliseconds(5));
    }
    /// As Worker::yield_idle.
    void yield_idle(bool spare) {
        for (std::size_t place = 0; place < idle_.size();) {
            const std::uint32_t who = idle_[place];
            SubPool* const own = services_[who].sub_pool.get();
            if ((spare && own->open() < 2) || !pool_.yields(own, now_)) {
                ++place;
                continue;
            }
            idle_.erase(idle_.begin() + static_cast<std::ptrdiff_t>(place));
            tell_idle(who);
            evict(who);
        }
    }
    void look_later(Nanoseconds when) {
        if (looks_at_ > now_ && looks_at_ <= when) return;
        looks_at_ = when;
        at(when - now_, [this, when] {
            if (looks_at_ != when) return;
            looks_at_ = Nanoseconds(0);
            look();
        });
    }

    const Load load_;
    SharedPool pool_;
    std::vector<Service> services_;
    std::vector<std::uint32_t> idle_;  ///< the one that has rested longest first
    std::priority_queue<Event> events_;
    std::mt19937_64 random_{11};
    Nanoseconds now_{0};
    Nanoseconds looks_at_{0};
    std::uint64_t number_ = 0;
    Outcome outcome_;
};

Outcome run(const Load& load) {
    Outcome outcome = World(load).run();
    const auto ms = [](Nanoseconds time) { return static_cast<double>(time.count()) / 1e6; };
    std::printf("  %2u identities, load %.1f: %llu leases, %.2f %% reconnect, p99 %.1f ms\n",
                load.services, load.part, static_cast<unsigned long long>(outcome.leases),
                100 * outcome.reconnected(), ms(outcome.percentile(0.99)));
    return outcome;
}

TEST(Thrash, FiveIdentitiesAtFourFifths) {
    Outcome outcome = run({.services = 5, .part = 0.8});
    EXPECT_LE(outcome.reconnected(), 0.02);
    EXPECT_LT(outcome.percentile(0.99), milliseconds(100));
    EXPECT_EQ(outcome.starved, 0U);
}

TEST(Thrash, TwentyIdentitiesAtThreeTenths) {
    Outcome outcome = run({.services = 20, .part = 0.3});
    EXPECT_LE(outcome.reconnected(), 0.05);
    EXPECT_LT(outcome.percentile(0.99), milliseconds(100));
    EXPECT_EQ(outcome.starved, 0U);
}

TEST(Thrash, FewIdentitiesHardlyEver) {
    EXPECT_LE(run({.services = 5, .part = 0.6}).reconnected(), 0.005);
    EXPECT_LE(run({.services = 2, .part = 0.9}).reconnected(), 0.01);
}

/// Nobody can promise much here; but all are served.
TEST(Thrash, MoreIdentitiesThanBackendsAreAllServed) {
    Outcome outcome = run({.services = 40, .part = 0.2});
    EXPECT_LT(outcome.percentile(0.99), std::chrono::seconds(2));
}

}  // namespace
}  // namespace schemux::core
