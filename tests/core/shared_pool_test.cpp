// The bound and the queue: order, bypasses, withdrawal, and all of it from several threads.
// It must not know connections.
#include "core/shared_pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <deque>
#include <memory>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

namespace schemux::core {
namespace {

/// The one share of a test: it belongs to one pool.
std::unique_ptr<Share> the_share;

SharedPool make_pool(std::uint32_t maximum, std::uint32_t workers) {
    the_share = std::make_unique<Share>();
    return {maximum, workers};
}

Ticket ticket(std::uint32_t session, std::uint64_t label = 0, std::uint32_t worker = 0) {
    Ticket made;
    made.worker = worker;
    made.session = {session, 1};
    made.label_hash = label;
    made.share = the_share.get();
    return made;
}

TicketHandle enqueue(SharedPool& pool, const Ticket& ticket) {
    const FairQueue::Pushed pushed = pool.enqueue(ticket, Nanoseconds(0));
    EXPECT_EQ(pushed.refusal, Refusal::none);
    return pushed.handle;
}

std::optional<Ticket> take(SharedPool& pool, std::uint64_t label = 0) {
    auto taken = pool.next_ticket(label, nullptr, Nanoseconds(0));
    if (taken) pool.end_use(taken->worker, *taken->share);
    return taken;
}

/// Whose turn it is, by slot; -1: nobody waits.
int next(SharedPool& pool, std::uint64_t label = 0) {
    const auto taken = take(pool, label);
    return taken ? static_cast<int>(taken->session.slot) : -1;
}

TEST(SharedPool, NobodyWaitsAtFirst) {
    SharedPool pool = make_pool(4, 1);
    EXPECT_FALSE(pool.contended());
    EXPECT_EQ(next(pool), -1);
    EXPECT_FALSE(pool.claim_connect()) << "nobody wants a connection";
    EXPECT_EQ(pool.open(), 0U);
}

TEST(SharedPool, FirstComeFirstServed) {
    SharedPool pool = make_pool(4, 1);
    for (std::uint32_t i = 0; i < 5; ++i)
        enqueue(pool, ticket(i));
    EXPECT_TRUE(pool.contended());
    EXPECT_EQ(pool.waiting(), 5U);
    for (int i = 0; i < 5; ++i)
        EXPECT_EQ(next(pool), i);
    EXPECT_FALSE(pool.contended());
}

TEST(SharedPool, TicketKeepsWhatItWasGiven) {
    SharedPool pool = make_pool(4, 3);
    enqueue(pool, ticket(17, 99, 2));
    const auto taken = take(pool);
    ASSERT_TRUE(taken);
    EXPECT_EQ(taken->worker, 2U);
    EXPECT_EQ(taken->session, (SessionId{17, 1}));
    EXPECT_EQ(taken->label_hash, 99U);
}

TEST(SharedPool, FittingLabelGoesFirst) {
    SharedPool pool = make_pool(4, 1);
    enqueue(pool, ticket(0, 1));
    enqueue(pool, ticket(1, 2));
    enqueue(pool, ticket(2, 2));
    EXPECT_EQ(next(pool, 2), 1);
    EXPECT_EQ(next(pool, 2), 2);
    EXPECT_EQ(next(pool, 2), 0);
}

TEST(SharedPool, OnlyAFewAreLookedAtForALabel) {
    SharedPool pool = make_pool(4, 1);
    for (std::uint32_t i = 0; i < limits::label_window; ++i)
        enqueue(pool, ticket(i, 1));
    enqueue(pool, ticket(100, 2));
    EXPECT_EQ(next(pool, 2), 0);
    EXPECT_EQ(next(pool, 2), 100);
}

TEST(SharedPool, NobodyIsOvertakenMoreThanEightTimes) {
    SharedPool pool = make_pool(4, 1);
    enqueue(pool, ticket(0, 1));
    for (std::uint32_t i = 0; i < limits::bypass_max; ++i) {
        enqueue(pool, ticket(100 + i, 2));
        EXPECT_EQ(next(pool, 2), static_cast<int>(100 + i));
    }
    enqueue(pool, ticket(200, 2));
    EXPECT_EQ(next(pool, 2), 0);
    EXPECT_EQ(next(pool, 2), 200);
}

TEST(SharedPool, BypassHoldsForEveryWaiterUnderRandomLabels) {
    std::mt19937 random(3);
    SharedPool pool = make_pool(4, 1);
    std::deque<std::uint32_t> waiting;
    std::vector<int> overtaken(3'000, 0);
    for (std::uint32_t i = 0; i < overtaken.size(); ++i) {
        enqueue(pool, ticket(i, random() % 3));
        waiting.push_back(i);
        if (waiting.size() < 6) continue;
        const int chosen = next(pool, random() % 3);
        ASSERT_GE(chosen, 0);
        const auto at =
            std::find(waiting.begin(), waiting.end(), static_cast<std::uint32_t>(chosen));
        ASSERT_NE(at, waiting.end());
        for (auto before = waiting.begin(); before != at; ++before)
            ASSERT_LE(++overtaken[*before], limits::bypass_max);
        waiting.erase(at);
    }
}

TEST(SharedPool, WithdrawnTicketIsNotGranted) {
    SharedPool pool = make_pool(4, 1);
    enqueue(pool, ticket(0));
    const TicketHandle middle = enqueue(pool, ticket(1));
    enqueue(pool, ticket(2));
    EXPECT_TRUE(pool.withdraw(middle));
    EXPECT_FALSE(pool.withdraw(middle));
    EXPECT_EQ(pool.waiting(), 2U);
    EXPECT_EQ(next(pool), 0);
    EXPECT_EQ(next(pool), 2);
    EXPECT_EQ(next(pool), -1);
}

TEST(SharedPool, FirstAndLastCanBeWithdrawn) {
    SharedPool pool = make_pool(4, 1);
    const TicketHandle first = enqueue(pool, ticket(0));
    enqueue(pool, ticket(1));
    const TicketHandle last = enqueue(pool, ticket(2));
    EXPECT_TRUE(pool.withdraw(first));
    EXPECT_TRUE(pool.withdraw(last));
    enqueue(pool, ticket(3));
    EXPECT_EQ(next(pool), 1);
    EXPECT_EQ(next(pool), 3);
}

TEST(SharedPool, GrantedTicketCannotBeWithdrawn) {
    SharedPool pool = make_pool(4, 1);
    const TicketHandle old = enqueue(pool, ticket(0));
    EXPECT_EQ(next(pool), 0);
    EXPECT_FALSE(pool.withdraw(old));
    // Its place is used again; the old handle does not speak for the new one.
    enqueue(pool, ticket(1));
    EXPECT_FALSE(pool.withdraw(old));
    EXPECT_FALSE(pool.withdraw({}));
    EXPECT_FALSE(pool.withdraw({99, 1}));
    EXPECT_EQ(next(pool), 1);
}

TEST(SharedPool, DrainGivesEverybodyInOrder) {
    SharedPool pool = make_pool(4, 1);
    for (std::uint32_t i = 0; i < 3; ++i)
        enqueue(pool, ticket(i));
    const std::vector<Ticket> all = pool.drain_tickets();
    ASSERT_EQ(all.size(), 3U);
    for (std::uint32_t i = 0; i < 3; ++i)
        EXPECT_EQ(all[i].session.slot, i);
    EXPECT_FALSE(pool.contended());
}

TEST(SharedPool, ConnectsAreBoundedByWaitersParallelismAndMaximum) {
    SharedPool pool = make_pool(6, 1);
    enqueue(pool, ticket(0));
    EXPECT_TRUE(pool.claim_connect());
    EXPECT_FALSE(pool.claim_connect()) << "one waiter, one connect";
    for (std::uint32_t i = 1; i < 20; ++i)
        enqueue(pool, ticket(i));
    for (int i = 1; i < limits::parallel_connects_max; ++i)
        EXPECT_TRUE(pool.claim_connect());
    EXPECT_FALSE(pool.claim_connect()) << "as many as may be under way";
    EXPECT_EQ(pool.connecting(), static_cast<std::uint32_t>(limits::parallel_connects_max));
    for (int i = 0; i < limits::parallel_connects_max; ++i)
        pool.connect_succeeded();
    EXPECT_TRUE(pool.claim_connect());
    EXPECT_TRUE(pool.claim_connect());
    EXPECT_EQ(pool.open(), 6U);
    EXPECT_FALSE(pool.claim_connect()) << "the bound";
    pool.connect_failed();
    EXPECT_EQ(pool.open(), 5U);
    EXPECT_TRUE(pool.claim_connect());
    pool.connect_succeeded();
    pool.connect_succeeded();
    pool.return_slot();
    EXPECT_EQ(pool.open(), 5U);
}

TEST(SharedPool, MinimumIsOpenedThoughNobodyWaits) {
    SharedPool pool = make_pool(6, 1);
    pool.set_minimum(2);
    EXPECT_TRUE(pool.claim_connect());
    EXPECT_TRUE(pool.claim_connect());
    EXPECT_FALSE(pool.claim_connect());
}

TEST(SharedPool, OutageAllowsOneProbeAtATime) {
    SharedPool pool = make_pool(6, 1);
    for (std::uint32_t i = 0; i < 5; ++i)
        enqueue(pool, ticket(i));
    pool.set_outage(true);
    EXPECT_TRUE(pool.claim_connect());
    EXPECT_FALSE(pool.claim_connect());
    pool.connect_failed();
    EXPECT_TRUE(pool.claim_connect());
    pool.connect_succeeded();
    pool.set_outage(false);
    EXPECT_TRUE(pool.claim_connect());
    EXPECT_TRUE(pool.claim_connect());
}

TEST(SharedPool, OutageIsProbedThoughNobodyWaits) {
    SharedPool pool = make_pool(6, 1);
    EXPECT_FALSE(pool.claim_connect());
    pool.set_outage(true);
    EXPECT_TRUE(pool.claim_connect());
    EXPECT_FALSE(pool.claim_connect());
    pool.connect_failed();
    pool.configure({}, Nanoseconds(0), true);
    EXPECT_FALSE(pool.claim_connect()) << "nobody is served, and PostgreSQL is left alone";
    pool.configure({}, Nanoseconds(0), false);
    EXPECT_TRUE(pool.claim_connect());
    pool.connect_succeeded();
    EXPECT_FALSE(pool.claim_connect()) << "there is one";
    pool.set_outage(false);
    EXPECT_FALSE(pool.claim_connect());
}

TEST(SharedPool, LoweredMaximumIsReported) {
    SharedPool pool = make_pool(2, 1);
    enqueue(pool, ticket(0));
    enqueue(pool, ticket(1));
    EXPECT_TRUE(pool.claim_connect());
    EXPECT_TRUE(pool.claim_connect());
    EXPECT_FALSE(pool.over_bound());
    pool.set_maximum(1);
    EXPECT_EQ(pool.maximum(), 1U);
    EXPECT_TRUE(pool.over_bound());
    pool.connect_failed();
    EXPECT_FALSE(pool.over_bound());
}

TEST(SharedPool, IdleBackendsOfOtherWorkersAreFound) {
    SharedPool pool = make_pool(4, 3);
    EXPECT_FALSE(pool.idle_elsewhere(0));
    pool.set_idle(0, 2);
    EXPECT_FALSE(pool.idle_elsewhere(0));
    EXPECT_EQ(pool.idle_elsewhere(1), 0U);
    pool.set_idle(2, 1);
    EXPECT_EQ(pool.idle_elsewhere(0), 2U);
    EXPECT_EQ(pool.idle(), 3U);
}

/// One worker of the hammer: sessions come, wait, are granted by whoever frees a backend, and go.
class HammerWorker {
  public:
    HammerWorker(SharedPool& pool, std::uint32_t number, std::atomic<std::uint32_t>& in_use)
        : pool_(pool), number_(number), in_use_(in_use), random_(number) {}

    void run(int rounds) {
        for (int round = 0; round < rounds; ++round) {
            check_bound();
            switch (random_() % 4) {
                case 0:
                case 1:
                    connect_for_somebody();
                    break;
                case 2:
                    come_and_give_up();
                    break;
                default:
                    take_turn();
                    break;
            }
        }
    }

  private:
    void check_bound() {
        EXPECT_LE(pool_.open(), pool_.maximum());
        EXPECT_LE(in_use_.load(), pool_.maximum());
    }
    void connect_for_somebody() {
        enqueue(pool_, ticket(1, random_() % 4, number_));
        if (!pool_.claim_connect()) return;
        EXPECT_LE(++in_use_, pool_.maximum());
        if (random_() % 4 == 0) {
            --in_use_;
            pool_.connect_failed();
            return;
        }
        pool_.connect_succeeded();
        pool_.set_idle(number_, 1);
        take(pool_, random_() % 4);
        pool_.set_idle(number_, 0);
        --in_use_;
        pool_.return_slot();
    }
    void come_and_give_up() {
        const TicketHandle handle = enqueue(pool_, ticket(1, 0, number_));
        pool_.idle_elsewhere(number_);
        pool_.withdraw(handle);
        EXPECT_FALSE(pool_.withdraw(handle));
    }
    void take_turn() {
        if (pool_.contended()) take(pool_, random_() % 4);
    }

    SharedPool& pool_;
    std::uint32_t number_;
    std::atomic<std::uint32_t>& in_use_;
    std::mt19937 random_;
};

TEST(SharedPool, ManyThreadsNeverOpenMoreThanTheMaximum) {
    constexpr std::uint32_t workers = 4;
    SharedPool pool = make_pool(3, workers);
    std::atomic<std::uint32_t> in_use{0};
    std::vector<std::thread> threads;
    for (std::uint32_t i = 0; i < workers; ++i) {
        threads.emplace_back([&pool, &in_use, i] { HammerWorker(pool, i, in_use).run(20'000); });
    }
    for (std::thread& thread : threads)
        thread.join();
    EXPECT_EQ(pool.open(), 0U);
    EXPECT_EQ(pool.connecting(), 0U);
    const std::size_t waiting = pool.waiting();
    EXPECT_EQ(pool.drain_tickets().size(), waiting);
    EXPECT_FALSE(pool.contended());
}

TEST(SharedPool, EveryTicketIsGrantedOnceOrWithdrawnOnce) {
    constexpr std::uint32_t workers = 4;
    constexpr std::uint32_t each = 5'000;
    SharedPool pool = make_pool(3, workers);
    std::vector<std::atomic<int>> ended(workers * each);
    std::vector<std::thread> threads;
    for (std::uint32_t worker = 0; worker < workers; ++worker) {
        threads.emplace_back([&pool, &ended, worker] {
            std::mt19937 random(worker);
            for (std::uint32_t i = 0; i < each; ++i) {
                const std::uint32_t me = worker * each + i;
                const TicketHandle handle = enqueue(pool, ticket(me, random() % 3, worker));
                if (random() % 3 == 0 && pool.withdraw(handle)) ++ended[me];
                if (random() % 2 == 0) {
                    if (const auto taken = take(pool, random() % 3)) ++ended[taken->session.slot];
                }
            }
        });
    }
    for (std::thread& thread : threads)
        thread.join();
    for (const Ticket& left : pool.drain_tickets())
        ++ended[left.session.slot];
    for (const std::atomic<int>& times : ended)
        ASSERT_EQ(times.load(), 1);
}

}  // namespace
}  // namespace schemux::core
