// Several backend identities under one bound: who gets a slot, who gives one up, and when.
// It must not know connections.
#include "core/shared_pool.h"

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace schemux::core {
namespace {

using std::chrono::milliseconds;

/// A service of an identity of its own.
struct Tenant {
    std::shared_ptr<SubPool> sub_pool;
    std::unique_ptr<Share> share;
    std::uint32_t sessions = 0;
};

class SubPools : public testing::Test {
  protected:
    explicit SubPools(std::uint32_t maximum = 3) : pool_(maximum, 1) {
        for (const char* role : {"a", "b", "c"})
            add(role);
    }

    Tenant& tenant(std::string_view role) {
        return tenants_[role == "a" ? 0 : role == "b" ? 1 : 2];
    }
    SubPool* of(std::string_view role) { return tenant(role).sub_pool.get(); }

    FairQueue::Pushed wait(std::string_view role) {
        Tenant& who = tenant(role);
        Ticket ticket;
        ticket.session = {++who.sessions, 1};
        ticket.share = who.share.get();
        return pool_.enqueue(ticket, now_);
    }
    /// The role of the next connect; empty: none is due.
    std::string claim() {
        const auto claimed = pool_.claim_connect(now_);
        return claimed ? claimed->identity().role : "";
    }
    /// A backend of the role that is there and free; its first ticket, if there is one, is served.
    void connect(std::string_view role) {
        wait(role);
        EXPECT_EQ(claim(), role);
        pool_.connect_succeeded(of(role));
        serve(role);
    }
    bool serve(std::string_view role) {
        const auto ticket = pool_.next_ticket(0, nullptr, now_, of(role));
        EXPECT_TRUE(!ticket || ticket->share == tenant(role).share.get());
        return ticket.has_value();
    }
    void finish(std::string_view role) { pool_.end_use(0, *tenant(role).share); }
    /// A free backend of the role is closed for another one's sake, and its end was read.
    void give_up(std::string_view role) {
        EXPECT_TRUE(pool_.yields(of(role), now_));
        pool_.return_slot(of(role), true);
    }
    void pass(Nanoseconds time) { now_ += time; }

    SharedPool pool_;
    Nanoseconds now_{1'000'000'000};

  private:
    void add(const std::string& role) {
        Tenant made;
        made.sub_pool = pool_.sub_pool({"", role});
        made.share = std::make_unique<Share>(made.sub_pool.get());
        tenants_.push_back(std::move(made));
    }

    std::vector<Tenant> tenants_;
};

class OneSlot : public SubPools {
  protected:
    OneSlot() : SubPools(1) {}
};

TEST_F(SubPools, AnIdentityHasOneSubPoolWhileSomebodyKeepsIt) {
    EXPECT_EQ(pool_.sub_pool({"", "a"}).get(), of("a"));
    EXPECT_NE(pool_.sub_pool({"db", "a"}).get(), of("a"));
    EXPECT_EQ(pool_.sub_pool({}), pool_.default_sub_pool());
    EXPECT_EQ(pool_.sub_pools().size(), 4U);
    const std::uint64_t id = pool_.sub_pool({"", "x"})->id();
    EXPECT_NE(pool_.sub_pool({"", "x"})->id(), id) << "nobody kept it";
}

TEST_F(SubPools, ATicketMeetsBackendsOfItsOwnOnly) {
    wait("a");
    EXPECT_TRUE(pool_.contended());
    EXPECT_TRUE(pool_.contended(of("a")));
    EXPECT_FALSE(pool_.contended(of("b")));
    EXPECT_TRUE(pool_.others_wait(of("b")));
    EXPECT_FALSE(pool_.others_wait(of("a")));
    EXPECT_FALSE(serve("b"));
    EXPECT_FALSE(pool_.next_ticket(0, nullptr, now_));
    EXPECT_FALSE(pool_.begin_use(0, *tenant("a").share)) << "somebody of its own waits";
    EXPECT_TRUE(pool_.begin_use(0, *tenant("b").share)) << "nobody of its own does";
    EXPECT_TRUE(serve("a"));
    EXPECT_FALSE(pool_.contended());
}

TEST_F(SubPools, WithdrawalAndDrainKnowTheirQueue) {
    const auto a = wait("a");
    const auto b = wait("b");
    EXPECT_TRUE(pool_.withdraw(a.handle));
    EXPECT_FALSE(pool_.withdraw(a.handle));
    wait("a");
    EXPECT_EQ(pool_.drain_tickets(*of("a")).size(), 1U);
    EXPECT_EQ(pool_.waiting(), 1U);
    EXPECT_TRUE(pool_.withdraw(b.handle));
    wait("c");
    EXPECT_EQ(pool_.drain_tickets().size(), 1U);
    EXPECT_FALSE(pool_.contended());
}

TEST_F(SubPools, WhoHasLessConnectsFirst) {
    connect("a");
    wait("a");
    wait("b");
    EXPECT_EQ(claim(), "b");
    EXPECT_EQ(claim(), "a");
    EXPECT_EQ(claim(), "") << "the bound";
    EXPECT_EQ(of("a")->open(), 2U);
    EXPECT_EQ(pool_.open(), 3U);
}

TEST_F(SubPools, OneThatHasNoneTakesAnIdleBackendAtOnce) {
    for (int i = 0; i < 3; ++i)
        connect("a");
    finish("a");
    EXPECT_FALSE(pool_.yields(of("a"), now_)) << "nobody waits";
    wait("b");
    EXPECT_EQ(claim(), "");
    EXPECT_EQ(pool_.next_look(now_), now_);
    give_up("a");
    EXPECT_EQ(claim(), "b");
    EXPECT_FALSE(pool_.yields(of("a"), now_)) << "that was the one";
    EXPECT_EQ(pool_.evictions(), 1U);
}

TEST_F(SubPools, OneThatHasAnyWaitsForItsOwnFirst) {
    connect("a");
    connect("a");
    connect("b");
    finish("a");
    wait("b");
    EXPECT_FALSE(pool_.yields(of("a"), now_));
    EXPECT_EQ(pool_.next_look(now_), now_ + limits::eviction_patience);
    pass(milliseconds(24));
    EXPECT_FALSE(pool_.yields(of("a"), now_));
    pass(milliseconds(1));
    EXPECT_TRUE(pool_.yields(of("a"), now_));
}

TEST_F(SubPools, OfTwoThatWaitTheOneWithLessIsTheRicher) {
    for (int i = 0; i < 3; ++i)
        connect("a");
    wait("a");
    wait("b");
    EXPECT_TRUE(pool_.yields(of("a"), now_)) << "2 and 1 is even enough";
    pool_.return_slot(of("a"), true);
    EXPECT_EQ(claim(), "b");
    pool_.connect_succeeded(of("b"));
    serve("b");
    wait("b");
    pass(milliseconds(100));
    EXPECT_FALSE(pool_.yields(of("a"), now_)) << "1 and 2 would be as uneven";
    EXPECT_FALSE(pool_.yields(of("b"), now_));
}

TEST_F(SubPools, WhatRestsElsewhereGoesFirst) {
    connect("a");
    connect("a");
    connect("b");
    finish("b");
    pool_.set_idle(0, 1, of("b"));
    wait("a");
    wait("c");
    EXPECT_FALSE(pool_.yields(of("a"), now_)) << "b has one that nobody needs";
    EXPECT_TRUE(pool_.yields(of("b"), now_));
}

/// While backends change hands all the time, one more waits until it is worth it.
TEST_F(SubPools, OneThatHasNoneIsPatientWhenOthersWereServedJustNow) {
    for (int i = 0; i < 3; ++i)
        connect("a");
    for (int i = 0; i < 3; ++i)
        finish("a");
    wait("b");
    EXPECT_TRUE(pool_.yields(of("a"), now_));
    wait("c");
    EXPECT_FALSE(pool_.yields(of("a"), now_));
    pass(limits::first_patience);
    EXPECT_TRUE(pool_.yields(of("a"), now_));
}

TEST_F(SubPools, WeightsMoveWhatIsEven) {
    pool_.configure({{tenant("a").share.get(), {.weight = 3}}}, now_);
    pool_.set_maximum(4);
    for (int i = 0; i < 3; ++i)
        connect("a");
    connect("b");
    wait("a");
    wait("b");
    pass(milliseconds(100));
    EXPECT_FALSE(pool_.yields(of("a"), now_)) << "3 to 1 is as it should be";
    EXPECT_FALSE(pool_.yields(of("b"), now_));
}

TEST_F(SubPools, NobodyGoesWithoutWhateverTheWeights) {
    pool_.configure({{tenant("a").share.get(), {.weight = 1'000}}}, now_);
    for (int i = 0; i < 3; ++i)
        connect("a");
    wait("a");
    wait("b");
    EXPECT_TRUE(pool_.yields(of("a"), now_));
}

TEST_F(SubPools, AGuaranteeIsOwedAtOnceAndNotGivenUp) {
    pool_.configure({{tenant("b").share.get(), {.guarantee = 2}}}, now_);
    connect("a");
    connect("a");
    connect("b");
    wait("a");
    wait("b");
    EXPECT_TRUE(pool_.yields(of("a"), now_)) << "b is below what it was promised";
    pool_.return_slot(of("a"), true);
    EXPECT_EQ(claim(), "b");
    pool_.connect_succeeded(of("b"));
    finish("b");
    wait("a");
    wait("b");
    pass(milliseconds(100));
    EXPECT_FALSE(pool_.yields(of("b"), now_));
}

TEST_F(SubPools, ReservesOfOneKeepTheOthersOut) {
    pool_.configure({{tenant("b").share.get(), {.guarantee = 1, .reserve = true}}}, now_);
    EXPECT_TRUE(pool_.begin_use(0, *tenant("a").share));
    EXPECT_TRUE(pool_.begin_use(0, *tenant("a").share));
    EXPECT_FALSE(pool_.begin_use(0, *tenant("a").share)) << "the third is kept";
    wait("a");
    EXPECT_FALSE(pool_.contended()) << "held, not ready";
    EXPECT_TRUE(pool_.begin_use(0, *tenant("b").share));
    pool_.end_use(0, *tenant("a").share);
    EXPECT_TRUE(pool_.contended(of("a")));
}

TEST_F(SubPools, OnlySoManyAreOnTheirWayAtATime) {
    for (int i = 0; i < 3; ++i)
        connect("a");
    for (int i = 0; i < 3; ++i) {
        finish("a");
        wait("b");
    }
    pass(limits::first_patience);
    EXPECT_TRUE(pool_.yields(of("a"), now_));
    EXPECT_TRUE(pool_.yields(of("a"), now_));
    EXPECT_FALSE(pool_.yields(of("a"), now_)) << "limits::evictions_max";
}

TEST_F(SubPools, OneBackendIsClosedForOneWaiter) {
    for (int i = 0; i < 3; ++i)
        connect("a");
    for (int i = 0; i < 3; ++i)
        finish("a");
    wait("b");
    EXPECT_TRUE(pool_.yields(of("a"), now_));
    pass(limits::first_patience);
    EXPECT_FALSE(pool_.yields(of("a"), now_)) << "the one that was closed is for it";
    pool_.return_slot(of("a"), true);
    EXPECT_EQ(claim(), "b");
}

TEST_F(OneSlot, ThoseWhoCannotAllHaveOneTakeTurns) {
    connect("a");
    wait("a");
    wait("b");
    EXPECT_FALSE(pool_.yields(of("a"), now_)) << "it has only begun";
    pass(milliseconds(25));
    give_up("a");
    EXPECT_EQ(claim(), "b") << "and not a, which waits as well";
}

TEST_F(SubPools, WhoIsNotLetInRestsAloneAndLongerEachTime) {
    wait("a");
    EXPECT_EQ(claim(), "a");
    pool_.connect_failed(of("a"));
    EXPECT_EQ(pool_.rest(*of("a"), now_), now_ + limits::identity_rest_first);
    EXPECT_EQ(claim(), "");
    EXPECT_EQ(pool_.next_look(now_), now_ + limits::identity_rest_first);
    wait("b");
    EXPECT_EQ(claim(), "b");
    pass(milliseconds(250));
    EXPECT_EQ(claim(), "a");
    pool_.connect_failed(of("a"));
    EXPECT_EQ(pool_.rest(*of("a"), now_), now_ + 2 * limits::identity_rest_first);
    for (int i = 0; i < 100; ++i)
        pool_.rest(*of("a"), now_);
    EXPECT_EQ(pool_.rest(*of("a"), now_), now_ + limits::identity_rest_longest);
}

TEST_F(SubPools, RestEndsWhenWhatKeptItOutIsNoMore) {
    wait("a");
    EXPECT_EQ(claim(), "a");
    pool_.connect_failed(of("a"));
    pool_.rest(*of("a"), now_);
    EXPECT_EQ(claim(), "");
    pool_.end_rest(*of("a"));
    EXPECT_EQ(claim(), "a");
    pool_.connect_failed(of("a"));
    EXPECT_EQ(pool_.rest(*of("a"), now_), now_ + limits::identity_rest_first) << "it begins anew";
}

TEST_F(SubPools, SharesOfManyTenantsThatComeAndGoAreLentAgain) {
    // As many are kept at any time as the last tenants are; each goes back as the next one comes.
    constexpr std::size_t kept = 1'000;
    std::vector<std::shared_ptr<Share>> held(kept);
    std::set<const Share*> seen;
    for (std::size_t i = 0; i < 20 * kept; ++i) {
        held[i % kept] = pool_.lend_share(pool_.default_sub_pool(), {}, nullptr);
        seen.insert(held[i % kept].get());
    }
    EXPECT_LT(seen.size(), 2 * kept);
}

TEST_F(SubPools, LentSharesComeBackAndBeginAnew) {
    Share group;
    auto lent = pool_.lend_share(pool_.default_sub_pool(), {.cap = 1}, &group);
    Share* const first = lent.get();
    EXPECT_TRUE(pool_.begin_use(0, *lent));
    EXPECT_FALSE(pool_.begin_use(0, *lent)) << "its cap";
    lent->charge(milliseconds(5));
    EXPECT_EQ(group.uses(), 1U);
    lent.reset();
    auto other = pool_.lend_share(pool_.default_sub_pool(), {}, &group);
    EXPECT_NE(other.get(), first) << "something of it is still in use";
    pool_.end_use(0, *first);
    auto again = pool_.lend_share(pool_.default_sub_pool(), {}, &group);
    EXPECT_EQ(again.get(), first);
    EXPECT_EQ(again->had(), Nanoseconds(0));
    EXPECT_EQ(group.had(), Nanoseconds(milliseconds(5)));
    pool_.configure({}, now_, true);
    EXPECT_FALSE(pool_.begin_use(0, *again)) << "all are paused";
    pool_.configure({}, now_);
    EXPECT_TRUE(pool_.begin_use(0, *again));
}

}  // namespace
}  // namespace schemux::core
