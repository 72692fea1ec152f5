// Services that are made when they are asked for, and how long they are remembered.
#include "daemon/tenants.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace schemux::daemon {
namespace {

/// Counts those that live.
struct Made {
    std::atomic<int> living{0};
    std::atomic<int> made{0};

    Tenants::ServicePointer make(const std::string& name) {
        if (name.starts_with("no")) return nullptr;
        ++made;
        ++living;
        auto fresh = std::make_unique<core::Service>();
        fresh->name = name;
        return {fresh.release(), [this](const core::Service* service) {
                    --living;
                    delete service;
                }};
    }
};

TEST(Tenants, AreMadeOnceWhileSomebodyHasThem) {
    Made made;
    Tenants tenants([&made](const std::string& name) { return made.make(name); });
    const auto first = tenants.find("a");
    EXPECT_EQ(first->name, "a");
    EXPECT_EQ(tenants.find("a"), first);
    EXPECT_NE(tenants.find("b"), first);
    EXPECT_EQ(tenants.find("no"), nullptr);
    EXPECT_EQ(made.made, 2);
}

TEST(Tenants, EachUserOfANameHasItsOwn) {
    Made made;
    Tenants tenants([&made](const std::string& key) { return made.make(key); });
    const auto all = tenants.find("a");
    const auto ann = tenants.find(Tenants::key_of("a", "ann"));
    const auto bob = tenants.find(Tenants::key_of("a", "bob"));
    EXPECT_NE(ann, bob);
    EXPECT_NE(ann, all);
    EXPECT_EQ(tenants.find(Tenants::key_of("a", "ann")), ann);
    const auto other = tenants.find(Tenants::key_of("ab", "ann"));
    tenants.forget(std::vector<std::string>{"a"});
    EXPECT_NE(tenants.find(Tenants::key_of("a", "ann")), ann) << "with the name, it is made anew";
    EXPECT_NE(tenants.find("a"), all);
    EXPECT_EQ(tenants.find(Tenants::key_of("ab", "ann")), other);
}

TEST(Tenants, OnlyTheLastOnesAreKeptWithoutClients) {
    Made made;
    Tenants tenants([&made](const std::string& name) { return made.make(name); });
    const auto held = tenants.find("held");
    for (int i = 0; i < 20'000; ++i)
        tenants.find(std::to_string(i));
    EXPECT_EQ(made.living, static_cast<int>(Tenants::kept_max) + 1);
    EXPECT_EQ(tenants.find("held"), held);
    tenants.find("19999");
    EXPECT_EQ(made.made, 20'001);
    tenants.find("0");
    EXPECT_EQ(made.made, 20'002) << "forgotten meanwhile";
}

TEST(Tenants, AnyThreadMayAsk) {
    Made made;
    Tenants tenants([&made](const std::string& name) { return made.make(name); });
    std::vector<std::thread> threads;
    for (int thread = 0; thread < 4; ++thread) {
        threads.emplace_back([&tenants] {
            for (int i = 0; i < 5'000; ++i) {
                const std::string name = std::to_string(i % 1'500);
                const auto found = tenants.find(name);
                ASSERT_TRUE(found && found->name == name);
            }
        });
    }
    for (std::thread& thread : threads)
        thread.join();
    EXPECT_LE(made.living, static_cast<int>(Tenants::kept_max));
}

}  // namespace
}  // namespace schemux::daemon
