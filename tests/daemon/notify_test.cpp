// Messages to the service manager, read from the other end of a real datagram socket.
#include "daemon/notify.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <cstring>

namespace schemux::daemon {
namespace {

// The manager's end, on an abstract or a path name.
class Manager {
  public:
    explicit Manager(std::string name) : name_(std::move(name)) {
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        std::memcpy(address.sun_path, name_.data(), name_.size());
        if (name_[0] == '@') address.sun_path[0] = '\0';
        descriptor_ = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name_.size());
        EXPECT_EQ(bind(descriptor_, reinterpret_cast<sockaddr*>(&address), length), 0);
    }
    ~Manager() {
        close(descriptor_);
        if (name_[0] != '@') unlink(name_.c_str());
    }
    std::string receive() const {
        std::array<char, 2048> buffer{};
        const ssize_t size = recv(descriptor_, buffer.data(), buffer.size(), MSG_DONTWAIT);
        return size < 0 ? "(nothing)" : std::string(buffer.data(), static_cast<std::size_t>(size));
    }
    const std::string& name() const { return name_; }

  private:
    std::string name_;
    int descriptor_ = -1;
};

std::string abstract_name() {
    return "@schemux-notify-test-" + std::to_string(getpid());
}

TEST(Notifier, SendsEachStateAsOneDatagram) {
    const Manager manager(abstract_name());
    const Notifier notifier(manager.name());
    EXPECT_TRUE(notifier.ready());
    EXPECT_TRUE(notifier.stopping());
    EXPECT_TRUE(notifier.watchdog());
    EXPECT_EQ(manager.receive(), "READY=1");
    EXPECT_EQ(manager.receive(), "STOPPING=1");
    EXPECT_EQ(manager.receive(), "WATCHDOG=1");
    EXPECT_EQ(manager.receive(), "(nothing)");
}

TEST(Notifier, PathNamesWorkToo) {
    std::string folder = testing::TempDir() + "schemux-notify-XXXXXX";
    ASSERT_NE(mkdtemp(folder.data()), nullptr);
    {
        const Manager manager(folder + "/socket");
        EXPECT_TRUE(Notifier(manager.name()).ready());
        EXPECT_EQ(manager.receive(), "READY=1");
    }
    rmdir(folder.c_str());
}

TEST(Notifier, StatusCannotSmuggleAnotherAssignment) {
    const Manager manager(abstract_name());
    EXPECT_TRUE(Notifier(manager.name()).status("waiting\nREADY=1\x7F é"));
    EXPECT_EQ(manager.receive(), "STATUS=waiting READY=1  é");
    EXPECT_TRUE(Notifier(manager.name()).status(std::string(4000, 'x')));
    EXPECT_LT(manager.receive().size(), 600U);
}

TEST(Notifier, ReloadingCarriesTheMonotonicTime) {
    const auto now_usec = [] {
        timespec now{};
        clock_gettime(CLOCK_MONOTONIC, &now);
        return std::int64_t{now.tv_sec} * 1'000'000 + now.tv_nsec / 1000;
    };
    const Manager manager(abstract_name());
    const auto before = now_usec();
    EXPECT_TRUE(Notifier(manager.name()).reloading());
    const auto after = now_usec();
    const std::string message = manager.receive();
    const std::string prefix = "RELOADING=1\nMONOTONIC_USEC=";
    ASSERT_TRUE(message.starts_with(prefix)) << message;
    const auto sent = std::stoll(message.substr(prefix.size()));
    EXPECT_GE(sent, before);
    EXPECT_LE(sent, after);
}

TEST(Notifier, WithoutAManagerNothingIsSentAndNothingFails) {
    unsetenv("NOTIFY_SOCKET");
    EXPECT_TRUE(Notifier::from_environment().ready());
}

TEST(Notifier, EnvironmentIsTakenAndHiddenFromChildren) {
    const Manager manager(abstract_name());
    setenv("NOTIFY_SOCKET", manager.name().c_str(), 1);
    const Notifier notifier = Notifier::from_environment();
    EXPECT_EQ(getenv("NOTIFY_SOCKET"), nullptr);
    EXPECT_TRUE(notifier.ready());
    EXPECT_EQ(manager.receive(), "READY=1");
}

TEST(Notifier, AManagerThatIsGoneIsAFailureNotASignal) {
    EXPECT_FALSE(Notifier("@schemux-nobody-listens-here").ready());
    EXPECT_FALSE(Notifier("/" + std::string(200, 'x')).ready());
}

TEST(Watchdog, IntervalCountsOnlyForThisProcess) {
    unsetenv("WATCHDOG_PID");
    unsetenv("WATCHDOG_USEC");
    EXPECT_EQ(watchdog_interval(), std::nullopt);
    setenv("WATCHDOG_USEC", "30000000", 1);
    EXPECT_EQ(watchdog_interval(), std::chrono::seconds(30));
    setenv("WATCHDOG_PID", std::to_string(getpid()).c_str(), 1);
    EXPECT_EQ(watchdog_interval(), std::chrono::seconds(30));
    setenv("WATCHDOG_PID", "1", 1);
    EXPECT_EQ(watchdog_interval(), std::nullopt);
    unsetenv("WATCHDOG_PID");
    for (const char* bad : {"0", "", "soon", "5x"}) {
        setenv("WATCHDOG_USEC", bad, 1);
        EXPECT_EQ(watchdog_interval(), std::nullopt) << bad;
    }
    unsetenv("WATCHDOG_USEC");
}

}  // namespace
}  // namespace schemux::daemon
