// Whose turn it is, step by step: by backend time and weight, guarantees first, nobody passed for
// ever; who is held back, and who is not even queued. What comes of it: fairness_test.cpp.
#include "core/shared_pool.h"

#include <gtest/gtest.h>

#include <array>
#include <string>
#include <string_view>

namespace schemux::core {
namespace {

using namespace std::chrono_literals;

class FairQueueTest : public testing::Test {
  protected:
    Share& share(char name) { return shares_.at(static_cast<std::size_t>(name - 'a')); }
    void configure(char name, const SharePolicy& policy) {
        pool_.configure({{&share(name), policy}}, Nanoseconds(now_));
    }

    FairQueue::Pushed push(char service, Nanoseconds patience = 0ns, std::uint64_t label = 0) {
        Ticket ticket;
        ticket.session = {static_cast<std::uint32_t>(service), 1};
        ticket.label_hash = label;
        ticket.share = &share(service);
        ticket.patience = patience;
        return pool_.enqueue(ticket, now_);
    }
    void push_all(std::string_view services) {
        for (const char service : services)
            EXPECT_EQ(push(service).refusal, Refusal::none);
    }
    /// Its use goes on; '-': nobody's turn.
    char begin(char last = '\0') {
        const auto ticket = pool_.next_ticket(0, last == '\0' ? nullptr : &share(last), now_);
        if (!ticket) return '-';
        prepaid_ = ticket->prepaid;
        return static_cast<char>(ticket->session.slot);
    }
    void end(char service, Nanoseconds lease) {
        share(service).charge(lease, prepaid_);
        share(service).note_lease(lease);
        pool_.end_use(0, share(service));
    }
    /// Serves so many, one at a time.
    std::string serve(int turns, Nanoseconds lease, char last = '\0') {
        std::string order;
        for (; turns > 0; --turns) {
            order += begin(last);
            if (order.back() == '-') break;
            now_ += lease;
            end(order.back(), lease);
        }
        return order;
    }

    std::array<Share, 26> shares_;
    SharedPool pool_{4, 1};
    Nanoseconds now_{0};
    Nanoseconds prepaid_{0};
};

TEST_F(FairQueueTest, EqualServicesTakeTurns) {
    push_all("aaaabbbb");
    EXPECT_EQ(serve(9, 1ms), "abababab-");
}

TEST_F(FairQueueTest, AHeavyServiceHasMoreTurns) {
    configure('b', {.weight = 3});
    push_all("aaaabbbbbbbb");
    const std::string order = serve(8, 1ms);
    EXPECT_EQ(std::count(order.begin(), order.end(), 'b'), 6) << order;
}

TEST_F(FairQueueTest, LongLeasesArePaidFor) {
    push_all("aaaaaabbbbbb");
    std::string order;
    for (int turn = 0; turn < 8; ++turn) {
        const char service = begin();
        end(service, service == 'a' ? 9ms : 3ms);
        order += service;
    }
    EXPECT_EQ(std::count(order.begin(), order.end(), 'a'), 2) << order;
}

TEST_F(FairQueueTest, WhatNobodyWaitedForIsForgotten) {
    push_all("ab");
    EXPECT_EQ(serve(2, 1ms), "ab");
    share('a').charge(10s);
    push_all("aabb");
    EXPECT_EQ(serve(4, 1ms), "abab");
}

TEST_F(FairQueueTest, WhoHoldsWhileOthersWaitIsCharged) {
    push_all("ab");
    EXPECT_EQ(begin(), 'a');
    share('a').charge(10ms);
    push_all("aabb");
    EXPECT_EQ(serve(4, 1ms), "bbba");
}

TEST_F(FairQueueTest, AGuaranteeGoesFirst) {
    configure('c', {.guarantee = 2});
    push_all("abcabccc");
    EXPECT_EQ(begin(), 'c');
    EXPECT_EQ(begin(), 'c');
    EXPECT_NE(begin(), 'c') << "it has what it is guaranteed";
    end('c', 1ms);
    EXPECT_EQ(begin(), 'c');
}

TEST_F(FairQueueTest, NobodyIsPassedForEverByWhoSuitsBetter) {
    push('b', 0ns, 1);
    push_all("aaaaaaaaaaaaaaaa");
    for (int i = 0; i < 100; ++i)
        share('a').note_lease(1us);  // so that b is always near
    EXPECT_EQ(serve(9, 1us, 'a'), "aaaaaaaab");
    static_assert(limits::bypass_max == 8);
}

TEST_F(FairQueueTest, WhoSuitsAsWellIsNotPassed) {
    push_all("baaa");
    EXPECT_EQ(serve(2, 1us, 'a'), "ba");
}

TEST_F(FairQueueTest, WhoIsFarAheadDoesNotPass) {
    push('b', 0ns, 1);
    push_all("aaaa");
    share('a').charge(100ms);
    EXPECT_EQ(serve(2, 1ms, 'a'), "ba");
}

TEST_F(FairQueueTest, ANewServiceIsNextAmongMany) {
    std::string all;
    for (char name = 'a'; name < 'z'; ++name)
        all += name;
    push_all(all + all + all);
    serve(40, 1ms);
    push_all("z");
    // Behind those who are due as it is, one turn each.
    const std::string order = serve(26, 1ms);
    EXPECT_NE(order.find('z'), std::string::npos) << order;
}

TEST_F(FairQueueTest, TicketsOverACapAreHeld) {
    configure('a', {.cap = 1});
    push_all("aaa");
    EXPECT_EQ(begin(), 'a');
    EXPECT_FALSE(pool_.contended());
    EXPECT_EQ(pool_.waiting(), 2U);
    EXPECT_FALSE(pool_.begin_use(0, share('a')));
    EXPECT_TRUE(pool_.begin_use(0, share('b'))) << "others go on as if nobody waited";
    push_all("b");
    EXPECT_EQ(begin(), 'b');
    EXPECT_EQ(begin(), '-');
    end('a', 1ms);
    EXPECT_TRUE(pool_.contended());
    EXPECT_EQ(begin(), 'a');
    configure('a', {.cap = 2});
    EXPECT_EQ(begin(), 'a');
}

TEST_F(FairQueueTest, HeldTicketsCanBeWithdrawnAndDrained) {
    configure('a', {.cap = 1});
    push_all("a");
    EXPECT_EQ(begin(), 'a');
    const FairQueue::Pushed held = push('a');
    push_all("a");
    EXPECT_TRUE(pool_.withdraw(held.handle));
    EXPECT_EQ(pool_.waiting(), 1U);
    EXPECT_EQ(pool_.drain_tickets().size(), 1U);
    EXPECT_EQ(pool_.waiting(), 0U);
    end('a', 1ms);
    EXPECT_EQ(begin(), '-');
}

TEST_F(FairQueueTest, WhoIsPausedWaitsAndLosesNoPlace) {
    configure('a', {.guarantee = 1});
    push_all("a");
    configure('a', {.guarantee = 1, .paused = true});
    EXPECT_TRUE(share('a').paused());
    EXPECT_FALSE(pool_.contended());
    EXPECT_FALSE(pool_.begin_use(0, share('a')));
    push_all("ab");
    EXPECT_EQ(begin(), 'b');
    EXPECT_EQ(begin(), '-');
    EXPECT_EQ(pool_.waiting(), 2U);
    now_ += 5s;
    configure('a', {.guarantee = 1});
    EXPECT_EQ(share('a').resumed(), now_);
    EXPECT_EQ(begin(), 'a');
    EXPECT_EQ(begin(), 'a');
    end('a', 1ms);
    end('a', 1ms);
    EXPECT_TRUE(pool_.begin_use(0, share('a')));
}

TEST_F(FairQueueTest, APauseSaysNothingOfThePace) {
    for (int i = 0; i < 40; ++i)
        push_all("a");
    serve(40, 1ms);
    push_all("aa");
    serve(1, 1ms);
    configure('a', {.paused = true});
    now_ += 60s;
    EXPECT_EQ(push('a', 1s).refusal, Refusal::none);
    configure('a', {});
    serve(1, 1ms);
    EXPECT_EQ(push('a', 1s).refusal, Refusal::none);
}

TEST_F(FairQueueTest, AReserveIsNotLent) {
    configure('r', {.guarantee = 2, .reserve = true});
    EXPECT_TRUE(pool_.begin_use(0, share('a')));
    EXPECT_TRUE(pool_.begin_use(0, share('a')));
    EXPECT_FALSE(pool_.begin_use(0, share('a'))) << "two of four are kept";
    push_all("ab");
    EXPECT_FALSE(pool_.contended());
    EXPECT_TRUE(pool_.begin_use(0, share('r')));
    EXPECT_TRUE(pool_.begin_use(0, share('r')));
    pool_.end_use(0, share('r'));
    EXPECT_EQ(begin(), '-') << "it is kept again";
    pool_.end_use(0, share('a'));
    EXPECT_EQ(begin(), 'a');
    EXPECT_EQ(begin(), '-');
    pool_.set_maximum(5);
    EXPECT_EQ(begin(), 'b');
}

TEST_F(FairQueueTest, AFullQueueRefuses) {
    configure('a', {.queue = 2});
    push_all("aab");
    EXPECT_EQ(push('a').refusal, Refusal::queue_full);
    EXPECT_EQ(pool_.waiting(), 3U);
    EXPECT_EQ(serve(1, 1ms), "a");
    EXPECT_EQ(push('a').refusal, Refusal::none);
}

TEST_F(FairQueueTest, WhoWouldWaitInVainIsRefusedAtOnce) {
    push_all(std::string(100, 'a'));
    EXPECT_EQ(serve(40, 10ms).size(), 40U);
    // 60 wait, and each takes 10 ms.
    EXPECT_EQ(push('a', 300ms).refusal, Refusal::too_late);
    EXPECT_EQ(push('a', 900ms).refusal, Refusal::none);
    EXPECT_EQ(push('b', 300ms).refusal, Refusal::none) << "nothing is known of it";
    // An outage is not the queue's fault: whoever comes waits.
    now_ += 10s;
    EXPECT_EQ(push('a', 300ms).refusal, Refusal::none);
}

TEST_F(FairQueueTest, APolicyOfNoWeightIsOne) {
    configure('a', {.weight = 0});
    push_all("aabb");
    EXPECT_EQ(serve(4, 1ms), "abab");
}

}  // namespace
}  // namespace schemux::core
