// Conversations through the relay, written down as PostgreSQL's protocol chapter would:
//
//     Script script;
//     script.frontend(query("select 1"))
//         .backend_gets(query("select 1"))
//         .backend(one_row("1") + ready())
//         .frontend_gets(one_row("1") + ready())
//         .released();
//     script.check();
//
// `check` performs the script whole, byte by byte, cut in two at each position, and broken off at
// each byte in each way (the client vanishes or says Terminate, the backend is lost, a cancel
// comes); after that every backend must be clean or gone and serve a stranger correctly.
// Names of statements on backends are random: in expectations they are "@1", "@2" … in the order
// in which the backends first saw them.
#pragma once

#include "tests/support/relay_messages.h"
#include "tests/support/relay_world.h"

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace schemux::core::relay_script {

class Script {
  public:
    explicit Script(Scene scene = {}) : scene_(std::move(scene)) {}

    // ---- who the following steps speak of ----
    Script& client(std::size_t number);      ///< from 1 on; they log in when first named
    Script& on_backend(std::size_t number);  ///< the next lease gets this one, from 1 on

    // ---- what happens ----
    Script& frontend(std::string bytes);
    Script& backend(std::string bytes);  ///< from the backend that this client has
    Script& cancel(CancelOutcome expected);
    Script& drain();
    Script& frontend_closes();
    Script& backend_lost();
    Script& hold_grants();
    Script& grant();
    Script& refuse(protocol::ErrorFields error);
    Script& upkeep_answers(std::string bytes);
    /// What this client's backend tells when it is asked for the settings of its session.
    Script& session_has(Settings settings);
    /// From here on the question comes to the backend as other bytes, and is not answered.
    Script& hold_questions();

    // ---- what must have come of it ----
    Script& backend_gets(std::string bytes);
    Script& whatever_backend_got();
    Script& frontend_gets(std::string bytes);
    Script& leased();
    Script& released();  ///< the backend is free, and nothing had to be done to it
    Script& released_after(std::string_view upkeep);  ///< after this text of ours
    Script& backend_closed();
    Script& closes(CloseReason reason);
    Script& open();  ///< this client is not closed
    Script& that(std::function<void(World&)> check);

    /// Only whole: for long conversations.
    void check_whole() const;
    void check() const;

  private:
    struct Line {
        enum class Kind : std::uint8_t { client, frontend, backend, act, expect };
        Kind kind = Kind::expect;
        std::size_t number = 0;
        std::string bytes;
        std::function<void(World&, std::size_t client)> run;
    };
    enum class Failure : std::uint8_t {
        none,
        frontend_closes,
        terminate_and_close,
        terminate_and_stay,
        backend_lost,
        cancel,
    };
    struct Plan {
        std::size_t cut_line = ~std::size_t{0};
        std::size_t cut_at = 0;
        bool byte_by_byte = false;
        Failure failure = Failure::none;
    };

    Script& act(std::function<void(World&, std::size_t)> run);
    Script& expect(std::function<void(World&, std::size_t)> run);
    void perform(const Plan& plan, std::vector<std::string>* golden) const;
    void feed(World& world, const Line& line, std::size_t client, std::string_view bytes) const;
    bool inject(World& world, std::size_t client, Failure failure) const;
    void finish_lingering(World& world, std::size_t from_line, std::size_t from_byte,
                          std::size_t client) const;
    static void check_aftermath(World& world, const std::vector<std::string>& golden);

    Scene scene_;
    std::vector<Line> lines_;
};

}  // namespace schemux::core::relay_script
