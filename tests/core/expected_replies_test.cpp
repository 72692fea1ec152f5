// The queue of what a backend owes: order, counting, and where an error ends.
// It must not know bytes.
#include "core/expected_replies.h"

#include <gtest/gtest.h>

namespace schemux::core {
namespace {

TEST(ExpectedReplies, CountsWhatTheBackendOwes) {
    ExpectedReplies replies;
    EXPECT_TRUE(replies.empty());
    replies.push(Request::parse, Answer::fabricate);
    replies.push(Request::bind, Answer::forward);
    replies.push(Request::copy_end, Answer::forward);
    replies.push(Request::sync, Answer::discard);
    EXPECT_EQ(replies.size(), 4U);
    EXPECT_EQ(replies.owed(), 2U);
    replies.pop();
    EXPECT_EQ(replies.owed(), 2U);
    replies.pop();
    EXPECT_EQ(replies.owed(), 1U);
    replies.erase(0);
    EXPECT_EQ(replies.owed(), 1U);
    replies.pop();
    EXPECT_EQ(replies.owed(), 0U);
    EXPECT_TRUE(replies.empty());
}

TEST(ExpectedReplies, ErasesInTheMiddle) {
    ExpectedReplies replies;
    replies.push(Request::execute, Answer::forward);
    replies.push(Request::sync, Answer::forward);
    replies.push(Request::query, Answer::forward);
    replies.erase(1);
    ASSERT_EQ(replies.size(), 2U);
    EXPECT_EQ(replies.owed(), 2U);
    EXPECT_EQ(replies.at(0).request, Request::execute);
    EXPECT_EQ(replies.at(1).request, Request::query);
}

TEST(ExpectedReplies, FindsTheNextSync) {
    ExpectedReplies replies;
    replies.push(Request::parse, Answer::forward);
    replies.push(Request::sync, Answer::forward);
    replies.push(Request::query, Answer::forward);
    EXPECT_EQ(replies.next_sync(0), 1U);
    EXPECT_EQ(replies.next_sync(1), 1U);
    EXPECT_EQ(replies.next_sync(2), replies.size());
}

TEST(ExpectedReplies, KeepsItsOrderWhileItGrowsAroundTheRing) {
    ExpectedReplies replies;
    for (int i = 0; i < 1000; ++i) {
        replies.push(i % 2 == 0 ? Request::bind : Request::execute, Answer::forward);
        if (i % 3 == 2) replies.pop();
    }
    const bool first_is_bind = replies.front().request == Request::bind;
    for (std::size_t i = 0; i < replies.size(); ++i) {
        const bool bind = replies.at(i).request == Request::bind;
        ASSERT_EQ(bind, (i % 2 == 0) == first_is_bind);
    }
}

TEST(ExpectedReplies, IsFullAtItsBound) {
    ExpectedReplies replies;
    for (std::size_t i = 0; i < limits::expected_replies_max; ++i) {
        ASSERT_FALSE(replies.full());
        replies.push(Request::bind, Answer::forward);
    }
    EXPECT_TRUE(replies.full());
    replies.pop();
    EXPECT_FALSE(replies.full());
}

TEST(ExpectedReplies, RequestIsUndecidedOnlyBeforeASyncThatIsOut) {
    ExpectedReplies replies;
    EXPECT_FALSE(replies.undecided(0));
    replies.push(Request::parse, Answer::forward);
    const std::uint64_t parse = replies.last_number();
    replies.push(Request::bind, Answer::forward);
    EXPECT_FALSE(replies.undecided(parse)) << "an error skips what comes behind it too";
    replies.push(Request::sync, Answer::forward);
    EXPECT_TRUE(replies.undecided(parse));
    EXPECT_FALSE(replies.undecided(replies.last_number()));
    replies.pop();
    EXPECT_FALSE(replies.undecided(parse)) << "it was answered";
    replies.clear();
    EXPECT_FALSE(replies.undecided(parse));
}

TEST(ExpectedReplies, NumbersStayWhenAnotherIsTakenOut) {
    ExpectedReplies replies;
    for (int i = 0; i < 5; ++i)
        replies.push(Request::bind, Answer::forward);
    replies.pop();
    replies.erase(1);
    EXPECT_EQ(replies.front().number, 2U);
    EXPECT_EQ(replies.at(1).number, 4U);
    EXPECT_EQ(replies.back().number, replies.last_number());
    EXPECT_TRUE(replies.pending(2));
    EXPECT_FALSE(replies.pending(1));
}

TEST(ExpectedReplies, ReadyIsDueUntilItComes) {
    ExpectedReplies replies;
    replies.push(Request::parse, Answer::forward);
    EXPECT_FALSE(replies.ready_is_due());
    replies.push(Request::query, Answer::forward);
    replies.push(Request::bind, Answer::forward);
    EXPECT_TRUE(replies.ready_is_due());
    replies.pop();
    replies.pop();
    EXPECT_FALSE(replies.ready_is_due());
}

TEST(ExpectedReplies, ReferencesGoWhenTheEntryGoes) {
    StatementPool pool;
    ExpectedReplies replies;
    StatementRef statement = pool.make();
    Statement* const address = &*statement;
    replies.push(Request::parse, Answer::forward).statement = statement;
    statement = StatementRef{};
    EXPECT_NE(&*pool.make(), address) << "the entry still refers to it";
    replies.pop();
    EXPECT_EQ(&*pool.make(), address) << "it is free for reuse";
}

}  // namespace
}  // namespace schemux::core
