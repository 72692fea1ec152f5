// Who waits for a backend gets one that is idle anywhere, at once and not with the next tick; and a
// wait that ended leaves nothing in the queue. The workers have no threads here and no ticks: the
// test gives each its turns.

#include "daemon/epoll_engine.h"
#include "daemon/worker.h"
#include "protocol/messages.h"

#include <sys/socket.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace schemux::daemon {
namespace {

/// The far end of a socket that a worker has.
class Peer {
  public:
    Peer() {
        std::array<int, 2> ends{-1, -1};
        EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends.data()), 0);
        fd_ = ends[0];
        given_ = ends[1];
    }
    ~Peer() { hang_up(); }
    Peer(const Peer&) = delete;
    Peer& operator=(const Peer&) = delete;

    int given() const { return given_; }
    void hang_up() {
        if (fd_ >= 0) ::close(std::exchange(fd_, -1));
    }
    void say(const std::string& bytes) {
        EXPECT_EQ(::send(fd_, bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()));
    }
    std::string heard() {
        std::array<char, 4096> buffer{};
        const ssize_t got = ::recv(fd_, buffer.data(), buffer.size(), 0);
        return got > 0 ? std::string(buffer.data(), static_cast<std::size_t>(got)) : "";
    }

  private:
    int fd_ = -1;
    int given_ = -1;
};

class NoControl final : public ControlPlane {
  public:
    void doubt_server(const SocketAddress&) override {}
    void wake_connector() override {}
    void listen(const core::Subscriber& /*who*/, std::vector<std::string> /*channels*/,
                std::uint64_t /*number*/) override {}
    void send_cancel(const SocketAddress& /*address*/, std::uint32_t /*pid*/,
                     std::string /*secret*/, std::function<void(CancelEnd)> /*done*/) override {}
};

std::string query(std::string_view text) {
    std::string bytes;
    protocol::append_query(bytes, text);
    return bytes;
}

class WorkerWakeUp : public testing::Test {
  protected:
    static constexpr std::uint32_t count = 3;

    WorkerWakeUp() {
        std::vector<Worker*> peers;
        for (std::uint32_t number = 0; number < count; ++number) {
            workers_.push_back(std::make_unique<Worker>(number, shared_, control_));
            dynamic_cast<EpollEngine&>(workers_.back()->engine()).start();
            peers.push_back(workers_.back().get());
        }
        for (Worker* worker : peers)
            worker->set_peers(peers);
        shared_.pool.set_minimum(count);
    }

    Worker& worker(std::size_t number) { return *workers_[number]; }
    core::SharedPool& pool() { return shared_.pool; }

    /// Everybody's turns, until nobody has anything left to do.
    void run() {
        for (int round = 0; round < 100; ++round) {
            for (const auto& worker : workers_)
                worker->io().poll();
        }
    }

    std::unique_ptr<Peer> add_idle_backend(std::size_t to) {
        EXPECT_TRUE(pool().claim_connect());
        pool().connect_succeeded();
        auto peer = std::make_unique<Peer>();
        NewBackend backend;
        backend.connection.fd = peer->given();
        worker(to).post_backend(std::move(backend), {});
        return peer;
    }

    /// A client that is logged in and has sent `text`.
    std::unique_ptr<Peer> add_client(std::size_t to, std::string_view text,
                                     core::Settings settings = {}) {
        auto peer = std::make_unique<Peer>();
        NewSession session;
        session.connection.fd = peer->given();
        session.service = service_;
        session.label = core::Label::of(std::move(settings));
        session.first_bytes = query(text);
        shared_.welcomes.add(0, session.label, {});
        worker(to).open_session(std::move(session));
        return peer;
    }

  private:
    ProcessState process_;
    SharedState shared_{process_, ClusterPlace{"", 0, count, 0}, count};
    NoControl control_;
    std::shared_ptr<const core::Service> service_ = std::make_shared<core::Service>();
    std::vector<std::unique_ptr<Worker>> workers_;
};

TEST_F(WorkerWakeUp, TwoWaitersGetTheIdleBackendsOfTwoOtherWorkers) {
    const auto one = add_idle_backend(1);
    const auto two = add_idle_backend(2);
    run();
    ASSERT_EQ(pool().idle(), 2U);

    // Both ask the same worker, which has one only.
    const auto first = add_client(0, "SELECT 1");
    const auto second = add_client(0, "SELECT 2");
    run();

    EXPECT_EQ(pool().waiting(), 0U);
    EXPECT_EQ(pool().idle(), 0U);
    const std::string heard = one->heard() + two->heard();
    EXPECT_NE(heard.find("SELECT 1"), std::string::npos);
    EXPECT_NE(heard.find("SELECT 2"), std::string::npos);
}

TEST_F(WorkerWakeUp, WaiterWhoseBackendWasLostGetsAnIdleOneOfAnotherWorker) {
    const auto lost = add_idle_backend(0);
    run();
    const auto client = add_client(0, "SELECT 1", {{"search_path", "users"}});
    ASSERT_NE(lost->heard().find("set_config"), std::string::npos);
    const auto other = add_idle_backend(1);
    run();
    ASSERT_EQ(pool().idle(), 1U);

    lost->hang_up();
    run();

    EXPECT_EQ(pool().waiting(), 0U);
    EXPECT_NE(other->heard().find("set_config"), std::string::npos);
}

TEST_F(WorkerWakeUp, FailureOfAnEarlierWaitLeavesNoTicketBehind) {
    const auto client = add_client(0, "SELECT 1");
    const std::vector<core::Ticket> failed = pool().drain_tickets();
    ASSERT_EQ(failed.size(), 1U);

    // Its wait has failed, but before it hears that it cancels, and waits for something else.
    worker(0).post_cancel(failed[0].session, [] {});
    run();
    client->say(query("SELECT 2"));
    run();
    ASSERT_EQ(pool().waiting(), 1U);
    worker(0).post_failure(failed[0], protocol::make_error("08006", "no server"));
    run();

    EXPECT_EQ(pool().waiting(), 0U);
    EXPECT_FALSE(worker(0).session(failed[0].session)->waiting());
}

}  // namespace
}  // namespace schemux::daemon
