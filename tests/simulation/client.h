// A client as the simulation sees it: what it has sent, what it was told, and the shadow that tells
// what it must be told. It judges every byte as soon as it is sent to it.
// It must not know workers or pools.
#pragma once

#include "core/relay.h"
#include "tests/simulation/choice.h"
#include "tests/simulation/shadow.h"
#include "tests/simulation/stream.h"

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace schemux::simulation {

class Client {
  public:
    Client(std::uint32_t number, std::shared_ptr<const core::Service> service, core::Label label);

    // ---- what it does ----
    void send(std::string_view bytes);
    void leave(bool loses_bytes);  ///< its socket closes
    /// The next tag that only this client uses: its number, a sequence, a nonce.
    std::string new_tag(Choice& choice);

    // ---- what happens to it ----
    /// Bytes for it, as the relay sent them. `consumed`: what the relay has dealt with.
    void on_told(std::string_view bytes);
    void on_consumed(std::size_t bytes);
    /// In place of the answer to the message at `offset`.
    void on_refused(std::size_t offset, const protocol::ErrorFields& error);
    /// The next run of this statement is cancelled, or the one that was just counted.
    void on_run(const std::string& statement, bool cancelled);
    void on_closed(core::CloseReason reason);
    void on_backend_killed() { backend_killed_ = true; }
    void on_cancel_asked() { cancel_asked_ = true; }

    // ---- what must hold ----
    /// Everything it was told is what its shadow says.
    void check();
    /// It went without a Terminate, or in the middle of what is undone then; or a cancel is about.
    bool may_be_cut_off() const {
        return !parted_ || leaves_batch_ || leaves_copy_ || backend_killed_ || disturbed_ ||
               cancel_asked_;
    }
    /// In the end, when nothing is under way any more: what it sent in front of its Terminate has
    /// run, though it did not stay for the answers.
    void check_parting() const;
    /// Everything was sent, dealt with and answered.
    bool caught_up() const;
    bool settled() const { return closed_ || caught_up(); }

    std::uint32_t number() const { return number_; }
    const core::Label& label() const { return label_; }
    /// What schemux takes for its settings when it gets a backend.
    void check_settings(const core::Label& carried) const;
    const std::shared_ptr<const core::Service>& service() const { return service_; }
    Shadow& planned() { return *planned_; }
    const Shadow& planned() const { return *planned_; }
    bool closed() const { return closed_; }
    bool left() const { return left_; }
    bool welcomed() const { return welcomed_; }
    core::CloseReason reason() const { return reason_; }
    std::size_t asked_bytes() const { return asked_.size(); }
    const std::string& asked() const { return asked_; }
    std::size_t compared_bytes() const { return matched_; }
    std::size_t interventions() const {
        return interventions_.refusals.size() + interventions_.cancelled.size();
    }
    bool disturbed() const { return disturbed_; }
    /// It stayed to the end and has every answer.
    bool served() const { return served_; }
    void show_difference() const;  ///< for whoever looks at a seed that failed

    Stream stream;
    bool joined = false;
    bool names_moved = false;  ///< what a name means is known from the answers alone: it waits

  private:
    void on_message(std::string_view whole);
    void check_tag(std::string_view whole) const;
    void replay();
    std::size_t seen() const;

    std::uint32_t number_;
    std::shared_ptr<const core::Service> service_;
    core::Label label_;
    Interventions interventions_;
    std::unique_ptr<Shadow> direct_;   ///< fed with what the relay has dealt with
    std::unique_ptr<Shadow> planned_;  ///< fed with all that the client sent
    std::string asked_;
    std::vector<std::size_t> ends_;  ///< of its messages in `asked_`
    std::size_t consumed_ = 0;
    std::size_t dealt_with_ = 0;  ///< whole messages of those
    std::string partial_;         ///< the message it is being told
    std::string received_;        ///< as compared
    std::size_t matched_ = 0;
    std::map<std::string, unsigned, std::less<>> runs_;
    std::size_t tags_ = 0;
    core::CloseReason reason_ = core::CloseReason::none;
    bool welcomed_ = false;
    bool last_word_ = false;
    bool closed_ = false;
    bool left_ = false;
    bool leaves_copy_ = false;   ///< it says Terminate in a COPY
    bool leaves_batch_ = false;  ///< or in anything else that is not at its end
    bool parted_ = false;        ///< it said Terminate, and all before that was dealt with
    bool served_ = false;
    bool backend_killed_ = false;
    bool cancel_asked_ = false;
    bool disturbed_ = false;  ///< its shadow has died of what the client sent
};

}  // namespace schemux::simulation
