// One connection to the fake PostgreSQL: its login, then a FakePostgres. It works and dies when the
// schedule says so. It must not know workers or pools.
#pragma once

#include "tests/simulation/choice.h"
#include "tests/simulation/client.h"
#include "tests/simulation/stream.h"
#include "tests/support/fake_postgres.h"

#include <cstdint>
#include <string>
#include <string_view>

namespace schemux::simulation {

/// What becomes of a login.
enum class Welcome : std::uint8_t {
    good,
    full,      ///< FATAL 53300: it may go better later
    refused,   ///< FATAL 28P01: it never will
    starting,  ///< FATAL 57P03
    hangs_up,  ///< it closes without a word
    silent,    ///< it says nothing
};

enum class Death : std::uint8_t {
    fatal,   ///< FATAL 57P01, then its end
    silent,  ///< its end, behind what it said
    reset,   ///< its end at once, what was under way is lost
    hangs,   ///< no end: it never reads or says anything any more
};

class Server {
  public:
    Server(std::uint32_t number, Welcome welcome);

    /// It reads so many bytes and answers them.
    void work(std::size_t count);
    bool has_work() const { return !hung_ && !gone() && (!stream.outbound.empty() || stream.shut); }
    /// A CancelRequest of this client has arrived.
    void on_cancel(std::uint32_t client);
    void die(Death death);

    std::uint32_t number() const { return number_; }
    bool gone() const { return stream.peer_closed; }
    bool hung() const { return hung_; }
    bool killed() const { return killed_; }
    fake::FakePostgres& fake() { return fake_; }
    const fake::FakePostgres& fake() const { return fake_; }
    /// Who has it, as far as PostgreSQL's work is concerned; null in upkeep and at rest.
    void lend(Client* client) {
        lessee_ = client;
        if (lessee_ != nullptr && killed_) lessee_->on_backend_killed();
    }
    Client* lessee() const { return lessee_; }
    std::size_t runs() const { return runs_; }
    std::size_t cancels_hit() const { return cancels_hit_; }

    Stream stream;

  private:
    void answer_startup();

    std::uint32_t number_;
    Welcome welcome_;
    fake::FakePostgres fake_;
    Client* lessee_ = nullptr;
    std::uint32_t asker_ = 0;  ///< of the cancel that is being acted on
    std::size_t runs_ = 0;
    std::size_t cancels_hit_ = 0;
    bool logged_in_ = false;
    bool hung_ = false;
    bool killed_ = false;
};

}  // namespace schemux::simulation
