// The one session with PostgreSQL that listens for all clients: which channels it must be told to
// listen on, who has which, and when what it was told holds. Sans-I/O: bytes of the session go in,
// bytes and calls of the audience come out. It must not know sockets, nor what clients are doing.
//
// Whoever subscribes is served from the answer to a LISTEN on that was sent for it, known channel
// or not: PostgreSQL tells of earlier notifications before that (manual: LISTEN, NOTIFY).
#pragma once

#include "core/shared_pool.h"

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace schemux::core {

/// A session, wherever it is.
struct Subscriber {
    std::uint32_t worker = 0;
    SessionId session;

    friend bool operator==(const Subscriber&, const Subscriber&) = default;
    friend bool operator<(const Subscriber& a, const Subscriber& b) {
        if (a.worker != b.worker) return a.worker < b.worker;
        if (a.session.slot != b.session.slot) return a.session.slot < b.session.slot;
        return a.session.generation < b.session.generation;
    }
};

class ListenerAudience {
  public:
    virtual ~ListenerAudience() = default;
    /// The subscription that was numbered so holds; `late`: not yet, but nobody waits for longer.
    virtual void on_subscribed(const Subscriber& who, std::uint64_t number, bool late) = 0;
    /// `message`: a whole NotificationResponse in UTF-8.
    virtual void on_notification(std::span<const Subscriber> whom,
                                 std::shared_ptr<const std::string> message) = 0;
    /// Notifications may have passed by.
    virtual void on_missed(const Subscriber& who) = 0;
};

class Listener {
  public:
    explicit Listener(ListenerAudience& audience) : audience_(audience) {}

    /// From now on `who` listens on `channels` and on nothing else: in order, each once, in UTF-8.
    void subscribe(const Subscriber& who, std::vector<std::string> channels, std::uint64_t number);
    /// Whether anybody needs a connection.
    bool wanted() const { return !subscriptions_.empty(); }
    std::size_t channels() const { return channels_.size(); }

    /// A session that has logged in; what is to be sent is in `output` from here on.
    void on_connected();
    /// False: it is of no use any more (`why()`); close it, and call `on_lost`.
    [[nodiscard]] bool on_bytes(std::string_view bytes);
    void on_lost();
    /// Those who have waited since the last call need not wait any longer. False: the session has
    /// not answered for so many calls that it is of no use any more, as by `on_bytes`.
    [[nodiscard]] bool look_at_waiting();

    bool connected() const { return connected_; }
    std::string& output() { return output_; }
    const std::string& why() const { return why_; }

  private:
    struct Subscription {
        std::vector<std::string> channels;
        std::uint64_t number = 0;
        bool answered = false;  ///< `on_subscribed` was called
        bool looked_at = false;
        bool hears = false;   ///< of some of them, whatever else it waits for
        bool missed = false;  ///< the session was lost while it did
    };
    struct Channel {
        std::set<Subscriber> wanted_by;
        std::vector<Subscriber> told;  ///< in the order in which they came
        bool listening = false;
    };

    void leave(const Subscriber& who, const std::vector<std::string>& channels);
    void send_batch();
    bool on_message(char type, std::string_view whole);
    void on_batch_end();
    void on_notification(std::string_view whole);

    ListenerAudience& audience_;
    std::map<Subscriber, Subscription> subscriptions_;
    std::map<std::string, Channel, std::less<>> channels_;
    std::set<std::string> due_;       ///< channels that the next batch speaks of
    std::set<Subscriber> next_;       ///< who waits for that
    std::set<Subscriber> under_way_;  ///< who waits for the batch that was sent
    bool connected_ = false;
    bool busy_ = false;  ///< a batch is under way
    int looks_ = 0;      ///< since it was sent
    std::string input_;
    std::string output_;
    std::string why_;
};

}  // namespace schemux::core
