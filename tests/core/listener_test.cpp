// The session that listens for all: what it is told, and who is told what when.

#include "core/listener.h"

#include "protocol/messages.h"
#include "tests/support/relay_messages.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace schemux::core {
namespace {

using relay_script::command_complete;
using relay_script::error;
using relay_script::message;
using relay_script::query;
using relay_script::ready;

class Ears final : public ListenerAudience {
  public:
    void on_subscribed(const Subscriber& who, std::uint64_t number, bool late) override {
        heard.push_back(name(who) + (late ? " late " : " subscribed ") + std::to_string(number));
    }
    void on_notification(std::span<const Subscriber> whom,
                         std::shared_ptr<const std::string> notification) override {
        std::string line = notification->substr(9, notification->find('\0', 9) - 9) + ":";
        for (const Subscriber& who : whom)
            line += " " + name(who);
        heard.push_back(line);
    }
    void on_missed(const Subscriber& who) override { heard.push_back(name(who) + " missed"); }

    std::vector<std::string> take() { return std::exchange(heard, {}); }

  private:
    static std::string name(const Subscriber& who) { return std::to_string(who.session.slot); }
    std::vector<std::string> heard;
};

using Lines = std::vector<std::string>;

class ListenerTest : public testing::Test {
  protected:
    ListenerTest() : listener(ears) {}

    static Subscriber who(std::uint32_t number) { return {0, {number, 1}}; }
    static std::string notification(const std::string& channel) {
        return message('A', std::string("\0\0\0\7", 4) + channel + '\0' + "payload" + '\0');
    }
    std::string sent() { return std::exchange(listener.output(), {}); }
    void hear(const std::string& bytes) { EXPECT_TRUE(listener.on_bytes(bytes)); }
    void connect() {
        listener.on_connected();
        EXPECT_EQ(sent(), query("SET client_encoding TO 'UTF8'"));
        hear(command_complete("SET") + ready());
    }

    Ears ears;
    Listener listener;
};

TEST_F(ListenerTest, SubscriberIsServedFromTheAnswerOn) {
    connect();
    EXPECT_FALSE(listener.wanted());
    listener.subscribe(who(1), {"a", "b\"c"}, 5);
    EXPECT_TRUE(listener.wanted());
    EXPECT_EQ(sent(), query("LISTEN \"a\";LISTEN \"b\"\"c\";"));
    hear(notification("a"));
    EXPECT_EQ(ears.take(), Lines{});
    hear(command_complete("LISTEN") + command_complete("LISTEN") + ready());
    EXPECT_EQ(ears.take(), Lines{"1 subscribed 5"});
    hear(notification("a") + notification("b\"c") + notification("d"));
    EXPECT_EQ(ears.take(), (Lines{"a: 1", "b\"c: 1"}));
}

TEST_F(ListenerTest, BytesMayBeCutAnywhere) {
    connect();
    listener.subscribe(who(1), {"a"}, 1);
    for (const char byte : command_complete("LISTEN") + ready() + notification("a"))
        hear(std::string(1, byte));
    EXPECT_EQ(ears.take(), (Lines{"1 subscribed 1", "a: 1"}));
}

TEST_F(ListenerTest, WhatComesWhileABatchIsUnderWayGoesTogetherInTheNext) {
    connect();
    listener.subscribe(who(1), {"a"}, 1);
    EXPECT_EQ(sent(), query("LISTEN \"a\";"));
    listener.subscribe(who(2), {"a"}, 1);
    listener.subscribe(who(3), {"b"}, 1);
    EXPECT_EQ(sent(), "");
    hear(ready() + notification("a"));
    // The second one, too, waits for a LISTEN of its own: it may not be told of what was before.
    EXPECT_EQ(ears.take(), (Lines{"1 subscribed 1", "a: 1"}));
    EXPECT_EQ(sent(), query("LISTEN \"a\";LISTEN \"b\";"));
    hear(ready() + notification("a"));
    EXPECT_EQ(ears.take(), (Lines{"2 subscribed 1", "3 subscribed 1", "a: 1 2"}));
}

TEST_F(ListenerTest, ChannelIsLeftWhenNobodyWantsIt) {
    connect();
    listener.subscribe(who(1), {"a", "b"}, 1);
    listener.subscribe(who(2), {"a"}, 1);
    hear(ready());
    hear(ready());
    ears.take();
    sent();
    listener.subscribe(who(1), {"b"}, 2);
    EXPECT_EQ(sent(), query("LISTEN \"b\";"));
    hear(notification("a") + ready());
    EXPECT_EQ(ears.take(), (Lines{"a: 2", "1 subscribed 2"}));
    listener.subscribe(who(2), {}, 2);
    EXPECT_EQ(sent(), query("UNLISTEN \"a\";"));
    hear(notification("a") + ready());
    EXPECT_EQ(ears.take(), Lines{});
    EXPECT_EQ(listener.channels(), 1);
    listener.subscribe(who(1), {}, 3);
    EXPECT_EQ(sent(), query("UNLISTEN \"b\";"));
    EXPECT_FALSE(listener.wanted());
}

TEST_F(ListenerTest, WhoChangesItsMindMeanwhileIsAnsweredOnce) {
    connect();
    listener.subscribe(who(1), {"a"}, 1);
    listener.subscribe(who(1), {"a", "b"}, 2);
    listener.subscribe(who(2), {"c"}, 1);
    listener.subscribe(who(2), {}, 2);
    hear(ready());
    EXPECT_EQ(ears.take(), Lines{});
    hear(ready());
    EXPECT_EQ(ears.take(), Lines{"1 subscribed 2"});
    EXPECT_EQ(sent(), query("LISTEN \"a\";") + query("LISTEN \"a\";LISTEN \"b\";"));
    EXPECT_EQ(listener.channels(), 2);
}

TEST_F(ListenerTest, AfterALossAllIsListenedOnAgainAndEverybodyWarned) {
    connect();
    listener.subscribe(who(1), {"a"}, 1);
    hear(ready());
    listener.subscribe(who(2), {"b"}, 1);
    ears.take();
    listener.on_lost();
    sent();
    listener.subscribe(who(3), {"a"}, 1);
    EXPECT_EQ(sent(), "");
    connect();
    EXPECT_EQ(sent(), query("LISTEN \"a\";LISTEN \"b\";"));
    hear(ready());
    EXPECT_EQ(ears.take(), (Lines{"1 missed", "2 subscribed 1", "3 subscribed 1"}));
    hear(notification("a"));
    EXPECT_EQ(ears.take(), Lines{"a: 1 3"});
}

TEST_F(ListenerTest, NobodyWaitsForeverForAConnection) {
    listener.subscribe(who(1), {"a"}, 4);
    EXPECT_TRUE(listener.look_at_waiting());
    EXPECT_EQ(ears.take(), Lines{});
    EXPECT_TRUE(listener.look_at_waiting());
    EXPECT_EQ(ears.take(), Lines{"1 late 4"});
    EXPECT_TRUE(listener.look_at_waiting());
    EXPECT_EQ(ears.take(), Lines{});
    connect();
    hear(ready());
    EXPECT_EQ(ears.take(), Lines{"1 missed"});
}

TEST_F(ListenerTest, WhoWaitsForOneMoreIsToldOfALossOfWhatItHeard) {
    connect();
    listener.subscribe(who(1), {"a"}, 1);
    hear(ready());
    ears.take();
    for (const bool away : {false, true}) {
        if (away) listener.on_lost();
        listener.subscribe(who(1), {"a", away ? "c" : "b"}, 2);
        if (!away) listener.on_lost();
        sent();
        connect();
        hear(ready());
        EXPECT_EQ(ears.take(), (Lines{"1 subscribed 2", "1 missed"}));
    }
}

TEST_F(ListenerTest, WhoHeardNothingYetHasMissedNothing) {
    connect();
    listener.subscribe(who(1), {"a"}, 1);
    listener.on_lost();
    sent();
    connect();
    hear(ready());
    EXPECT_EQ(ears.take(), Lines{"1 subscribed 1"});
}

TEST_F(ListenerTest, ASessionThatDoesNotAnswerIsGivenUp) {
    connect();
    listener.subscribe(who(1), {"a"}, 1);
    EXPECT_TRUE(listener.look_at_waiting());
    EXPECT_TRUE(listener.look_at_waiting());
    EXPECT_FALSE(listener.look_at_waiting());
    EXPECT_EQ(listener.why(), "no answer");
    EXPECT_EQ(ears.take(), Lines{"1 late 1"});
    listener.on_lost();
    sent();
    connect();
    for (int look = 0; look < 2; ++look)
        EXPECT_TRUE(listener.look_at_waiting());
    hear(ready());
    for (int look = 0; look < 5; ++look)
        EXPECT_TRUE(listener.look_at_waiting());
}

TEST_F(ListenerTest, WhatNobodyWantsAnyMoreIsForgottenWithoutASession) {
    listener.subscribe(who(1), {"a", "b"}, 1);
    listener.subscribe(who(1), {"b"}, 2);
    EXPECT_EQ(listener.channels(), 1U);
    listener.subscribe(who(1), {}, 3);
    EXPECT_EQ(listener.channels(), 0U);
    connect();
    EXPECT_EQ(sent(), "");
}

TEST_F(ListenerTest, WhoAsksAgainIsAnsweredBehindWhatWasHeard) {
    connect();
    listener.subscribe(who(1), {"a"}, 1);
    hear(ready());
    listener.subscribe(who(1), {"a"}, 2);
    hear(notification("a") + ready());
    EXPECT_EQ(ears.take(), (Lines{"1 subscribed 1", "a: 1", "1 subscribed 2"}));
    listener.on_lost();
    listener.subscribe(who(1), {"a"}, 3);
    EXPECT_EQ(ears.take(), Lines{"1 late 3"});
}

TEST_F(ListenerTest, WhatPostgresDoesNotSayHereEndsTheConnection) {
    connect();
    EXPECT_TRUE(listener.on_bytes(message('N', std::string("\0", 1)) +
                                  message('S', std::string("a\0b\0", 4))));
    EXPECT_FALSE(listener.on_bytes(error("57P01", "going down")));
    EXPECT_EQ(listener.why(), "going down");
    listener.on_lost();
    connect();
    EXPECT_FALSE(listener.on_bytes(message('D', std::string("\0\0", 2))));
    listener.on_lost();
    connect();
    EXPECT_FALSE(listener.on_bytes(std::string("A\x7f\xff\xff\xff", 5)));
    listener.on_lost();
    connect();
    EXPECT_TRUE(listener.on_bytes(message('A', "")));
    EXPECT_TRUE(listener.on_bytes(message('A', "no end")));
}

}  // namespace
}  // namespace schemux::core
