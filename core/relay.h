// The data plane of one frontend: bytes from both sides go in, bytes for both sides and one
// decision come out. Sans-I/O, no allocation per message in steady state, no knowledge of sockets
// or threads.
//
//   phase      a backend?  what ends it
//   starting   no          the client got its welcome (from the cache, or from a first lease)
//   idle       no          a message arrives that needs a backend -> waiting
//   waiting    no          granted -> leased; deadline, cancel, refused -> error, idle
//   leased     yes         the backend is at rest and nothing of the client's is unsent -> idle;
//                          in session mode only the client's end
//   lingering  yes         the client went with work under way: as leased, answers dropped
//   closed     no          nothing
//
// The caller performs the step that a call returns, flushes both outputs first, and reads no
// more from the frontend while `wants_frontend_bytes()` is false.
#pragma once

#include "core/backend.h"
#include "core/calls.h"
#include "core/counters.h"
#include "core/message_walker.h"
#include "core/relay_step.h"
#include "core/service.h"
#include "core/session_channels.h"
#include "core/session_features.h"
#include "core/session_settings.h"
#include "core/setting_references.h"
#include "core/worker_context.h"
#include "protocol/error_response.h"
#include "protocol/message_type.h"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace schemux::core {

/// limits.memory is near.
protocol::ErrorFields out_of_memory(protocol::Severity severity = protocol::Severity::error);

/// A message of the extended protocol that is well-formed and fails.
void append_failing_bind(std::string& out);

enum class RelayPhase : std::uint8_t { starting, idle, waiting, leased, lingering, closed };

class Relay {
  public:
    struct Identity {
        std::uint32_t pid = 0;  ///< BackendKeyData for the client, not a backend's
        std::string secret;
        std::string private_key;  ///< makes statements that must not be shared this client's own
    };

    Relay(WorkerContext& worker, std::shared_ptr<const Service> service, ServiceCounters& counters,
          Label label, Identity identity);

    /// The client is logged in. `welcome`: what a backend with this label reports, if known.
    Step start(const Settings* welcome);
    Step on_frontend_bytes(std::string_view bytes);
    Step on_backend_bytes(std::string_view bytes);
    /// The backend carries this relay's label and is at rest.
    Step on_granted(Backend& backend);
    /// The acquire step will not be answered; the client gets `error` in place of its answer.
    Step on_acquire_failed(protocol::ErrorFields error);
    /// After a release: goes on with what the client has sent meanwhile.
    Step resume();
    /// The backend's connection ended while it was leased.
    Step on_backend_lost();
    /// The poison step was performed: the backend is not this relay's any more.
    void on_backend_poisoned();
    /// A CancelRequest for this client.
    CancelOutcome on_cancel(Step& step);
    /// The request that was forwarded cannot hit anything any more: the client is heard again.
    Step on_cancel_end();
    /// The same, but a further CancelRequest is to follow: only what came before that is heard.
    Step hear_until_cancel();
    /// schemux is stopping: an idle client is told so now, a busy one after its transaction.
    Step on_drain();
    /// The frontend's connection ended, or its close step was performed.
    Disposal on_frontend_closed();
    /// Nobody is to be served by what is under way: it is brought to an end that changes nothing.
    void abandon();
    bool abandoned() const { return abandoned_; }

    bool wants_frontend_bytes() const;
    RelayPhase phase() const { return phase_; }
    const Label& label() const { return label_; }
    const Service& service() const { return *service_; }
    ServiceCounters& counters() { return counters_; }
    const Identity& identity() const { return identity_; }
    /// True while the lease waited for is only to learn what the client is to be told.
    bool expects_welcome() const { return was_starting_; }
    Backend* backend() const { return backend_; }
    /// Why it keeps its backend behind its transactions; in session mode nothing says so.
    FeatureSet pinned() const { return pinned_; }
    /// To be asked before a backend is looked for, and again and again: false while too many
    /// clients keep one for this one to get another that it would keep.
    bool may_acquire();
    bool awaits_pin() const { return pin_wanted_; }
    /// It waits in vain for that.
    protocol::ErrorFields pin_refusal() const;
    TimePoint waiting_since() const { return waiting_since_; }
    TimePoint heard_at() const { return heard_at_; }
    std::size_t named_statements() const { return statements_.named(); }
    /// Nobody is served now, on purpose: its time to wait begins again at `from`.
    void wait_on(TimePoint from) { patient_since_ = from; }
    /// By when something must have happened; it moves with every call.
    Deadline deadline() const;
    /// It has not: tells the client, or ends it. Of a backend and a query the caller takes care.
    Step on_overdue(Overdue what);
    /// About what is kept for the client, and can be had back by ending it.
    std::size_t kept_bytes() const;
    Step end_out_of_memory();
    /// An operator wants it to go.
    Step end_killed();
    const std::vector<std::string>& channels() const { return channels_.names(); }
    /// When the shared listener is to be told of them: the number that `on_subscribed` gets.
    std::optional<std::uint64_t> take_channels_moved();
    /// It listens; `late`: not yet, and nobody knows when.
    Step on_subscribed(std::uint64_t told, bool late);
    /// A NotificationResponse of the shared listener's; `unread`: bytes that the client has not
    /// taken yet.
    Step on_notification(std::string_view message, std::size_t unread);
    /// The listener may have missed some.
    void on_missed();
    /// Those that the caller was not told of yet.
    bool has_slow_calls() const { return !calls_.slow.empty(); }
    std::vector<SlowCall> take_slow_calls();
    /// To be asked now and then: it has had its backend for long, and nobody was told yet.
    std::optional<LongLease> long_lease();
    /// After a poison step: what the backend sent, as a fixed text.
    std::string_view desync() const { return desync_; }
    /// What the client has sent that is not dealt with yet.
    std::size_t held_bytes() const;

  private:
    // relay_frontend.cpp
    Step process_frontend(std::string_view fresh);
    Take visit_frontend(const MessageInHand& message);
    Take dispatch(const MessageInHand& message);
    Take on_query(const MessageInHand& message);
    Take send_query(const MessageInHand& message, const StatementRef& statement,
                    const StatementEffects& effects, std::string_view text);
    Take on_execute(const MessageInHand& message);
    Take on_sync(const MessageInHand& message);
    Take on_flush(const MessageInHand& message);
    Take on_function_call(const MessageInHand& message);
    Take on_copy(const MessageInHand& message);
    Take on_terminate();
    Take stream_body(const MessageInHand& message, StreamPosition::Mode mode);
    Take discard(const MessageInHand& message);
    Take acquire();
    Take refuse(const MessageInHand& message, protocol::ErrorFields error, bool readable = true);
    void ask_for_answers();
    bool too_much_open();
    void note_query_in_batch();
    Take refuse_broken(const MessageInHand& message);
    Take violate(const MessageInHand& message, std::string why);
    Step end_violated();
    Take on_oversized(const MessageInHand& message);
    Take stall();

    // relay_texts.cpp
    std::variant<const TextCache::Reading*, protocol::ErrorFields> read(std::string_view text);
    void note_databases(const StatementEffects& effects);
    StatementEffects effects_of(std::string_view text) const;
    bool is_readable(std::string_view text) const;
    bool strings_certain() const;
    TemplateContext template_context() const;

    // relay_statements.cpp
    Take on_parse(const MessageInHand& message);
    Take on_bind(const MessageInHand& message);
    Take on_describe(const MessageInHand& message);
    Take on_close(const MessageInHand& message);
    Take define_unnamed(const MessageInHand& message, const StatementRef& statement,
                        bool rewritten);
    Take define_named(const StatementRef& statement);
    void identify(Statement& statement);
    void identify_alone(Statement& statement);
    void make_room_on_backend(const Statement& statement, std::uint64_t mark);
    enum class Copy : std::uint8_t {
        ready,     ///< the backend has it, or will when it reads what comes next
        asked,     ///< it depends on an answer under way: stall
        differs,   ///< it gives another result than the client was told
        too_many,  ///< a text speaks of too many statements
        no_more,   ///< the client has as many statements as it may
    };
    Copy ensure_on_backend(const StatementRef& statement, std::uint64_t mark);
    Copy ready_on_backend(StatementRef& statement);
    Copy compare(const StatementRef& statement);
    Copy ask_for_shape(const StatementRef& statement);
    Take unready(const MessageInHand& message, Copy copy);
    void close_on_backend(const StatementId& id);
    void drop_unnamed(When when);
    void note_shape(const StatementRef& statement, std::uint64_t result);
    void send_parse(const Statement& statement, std::string_view types);
    template <class Found>
    bool is_open(const Found& found) const;

    // relay_names.cpp
    struct NameTargets {
        std::vector<StatementId> ids;       ///< what each name is spelled as
        std::vector<StatementRef> present;  ///< what the backend must have
        std::vector<StatementId> absent;    ///< and must not have
        bool prepares = false;              ///< the text makes one
    };
    enum class Lookup : std::uint8_t { found, open, too_many, no_more };
    bool read_names(Statement& statement);
    Lookup look_up_names(const Statement& statement, NameTargets& targets);
    StatementRef copy_of(const Statement& statement);
    StatementRef of_its_own(const StatementRef& statement, const NameTargets& targets);
    void spell(Statement& statement, const NameTargets& targets) const;
    Copy ready_targets(const Statement& text, const NameTargets& targets);
    Copy ready_names(StatementRef& statement);
    Copy ready_query_names(Statement& statement);
    void end_own_batch(std::uint64_t first, bool alone);
    void answer_query_unsent();
    void send_sync();
    void send_flush();
    void log_names(const StatementRef& statement, When when);
    void note_target_effects(const Statement& target, std::string_view execute);
    StatementRef prepared_by(const Statement& text, const SpelledName& spelled);
    bool answer_deallocate(std::string_view text);
    void note_portal(std::string_view portal, const StatementRef& statement);
    StatementRef statement_of_portal(std::string_view portal) const;
    bool take_away_closed(const Statement& statement);

    // relay_backend.cpp
    Take visit_backend(const MessageInHand& message);
    Take stream_from_backend(const MessageInHand& message);
    Take on_inspected(const MessageInHand& message);
    struct Due {
        ExpectedReply* head = nullptr;
        AnswerStage stage = AnswerStage::begun;
    };
    Due due(protocol::BackendMessage type);
    Answer take(const Due& due);
    Take on_plain_answer(const MessageInHand& message);
    bool describes_statement(protocol::BackendMessage type);
    Take on_description(const MessageInHand& message);
    Take on_error(const MessageInHand& message);
    Take on_ready(const MessageInHand& message);
    Take on_stray_ready(const MessageInHand& message, protocol::TransactionStatus status);
    Take on_command_complete(const MessageInHand& message);
    Take on_copy_in(const MessageInHand& message);
    bool answering_us() const;
    bool asking() const;
    Take on_told(const MessageInHand& message);
    Take pass(const MessageInHand& message, Answer answer);
    Take poison(std::string_view why);
    void on_last_word();
    void on_error_told();
    void fail_extended();
    void note_success(std::uint64_t request);
    void note_failure(std::uint64_t request);
    void note_skip(std::uint64_t request);
    void note_names(std::uint64_t request, std::string_view tag);
    void end_copy_unheard();
    void settle_head();
    void count_error(std::string_view code);

    // relay_helper.cpp
    bool settings_open() const;
    bool reads_otherwise(const Statement& statement) const;
    bool may_prepare_again(const Statement& statement) const;
    void prepare_again(const StatementRef& statement, std::string_view types);
    void run_helper(std::string_view sql, const StatementRef& prepares);

    // relay_settings.cpp
    void note_effects(const StatementEffects& effects, std::string_view text,
                      std::string_view values = {});
    void note_settings(const StatementEffects& effects, std::string_view text,
                       std::string_view values);
    void note_moved(std::string_view name);
    void note_reset(const std::string& name);
    void note_placeholders();
    void note_placeholders(std::string_view text);
    void suspect_settings(std::string_view text);
    bool reading_open() const;
    bool must_wait_for_reading(std::string_view text) const;
    bool must_ask_for_settings() const;
    void ask_for_settings();
    bool only_asking() const;
    Take on_setting(const MessageInHand& message);
    void on_settings_told(bool failed);
    Take on_parameter_status(const MessageInHand& message);
    void note_told(std::string_view name, std::string_view value);
    void lose_session(const protocol::ErrorFields& error, CloseReason reason);
    StatementRef identified_now(const StatementRef& statement);

    // relay_pins.cpp
    std::optional<protocol::ErrorFields> forbidden(const StatementEffects& effects);
    bool waits_for_pin(const StatementEffects& effects);
    bool reserve_pin();
    void note_features(const StatementEffects& effects);
    void suspect_features();
    bool must_ask_for_features() const;
    bool ask_for_features();
    Take on_features(const MessageInHand& message);
    void on_features_told(bool failed);
    void pin(FeatureSet now);
    void end_transaction_refused();
    void unpin();
    void give_pin();
    void count_pins(FeatureSet before, FeatureSet now);

    // relay_listen.cpp
    bool shares_listen() const;
    FeatureSet pinning() const;
    void load_channels(const StatementEffects& effects);
    void note_channels(const StatementEffects& effects);
    bool withhold_ready();
    void hear_itself();
    void take_channels(std::optional<std::vector<std::string>> there);
    void tell_ready();
    bool notified_elsewhere() const;
    Take on_notified(const MessageInHand& message);
    enum class Heard : std::uint8_t { no, asked, late, yes };
    bool must_hear_before(const StatementEffects& effects);
    bool may_be_notified() const;
    Step end_unnotified(const protocol::ErrorFields& error);
    void warn_of_missed(std::string why);
    void tell_notifications();

    // relay_session.cpp
    bool keeps_backend() const;
    bool at_rest() const;
    bool must_wait_for_label(protocol::FrontendMessage type) const;
    bool must_restore_label() const;
    bool restore_label();
    bool answer_resets(std::string_view text);
    bool failed_unheard() const;
    void tell_withheld();

    // relay_deadlines.cpp
    Deadline deadline_of_lease() const;
    Deadline query_deadline() const;
    TimePoint quiet_since() const { return std::max(heard_at_, query_began_); }
    Step end_late(const protocol::ErrorFields& error, CloseReason reason);

    // relay_memory.cpp
    std::size_t longest_text() const;
    protocol::ErrorFields too_long(std::size_t bytes) const;

    // relay_statistics.cpp
    bool watches_calls() const;
    std::chrono::milliseconds slow_from() const;
    void find_fingerprint(const TextCache::Reading& reading, std::string_view text);
    bool keeps_text(const TextCache::Reading& reading) const;
    void note_text(Statement& statement, const TextCache::Reading& reading,
                   std::string_view text) const;
    void begin_call(const FingerprintRef& fingerprint);
    void begin_execute(const StatementRef& statement, std::string_view portal);
    void note_counted_portal(std::string_view portal, const StatementRef& statement);
    void note_rows(const ExpectedReply& head, std::string_view tag);
    void note_call_error(const ExpectedReply& head, std::string_view code, bool last_word);
    void end_call(const FingerprintRef& fingerprint, const StatementRef& statement);
    void end_call_lost(std::string_view code);
    void note_slow(const FingerprintRef& fingerprint, const StatementRef& statement,
                   const StatementFigures& figures);
    std::string slow_text(const FingerprintRef& fingerprint, const StatementRef& statement) const;

    // relay_diagnostics.cpp
    void emit_error(const protocol::ErrorFields& error);
    void emit_diagnostic(const MessageInHand& message);

    // relay.cpp
    Step finish_batch();
    Step begin_waiting();
    void end_waiting();
    void drop_backend();
    bool complete_message();
    void wind_up();
    bool work_is_over() const;
    bool can_release() const;
    bool cancelling() const;
    bool at_batch_end() const;
    bool mid_message() const;
    void settle_strays();
    bool amid_answer() const;
    void welcome(const Settings& parameters);
    void tell_what_holds();
    void adopt_parameter(std::string_view name, std::string_view value);
    bool has_backend() const {
        return phase_ == RelayPhase::leased || phase_ == RelayPhase::lingering;
    }

    WorkerContext& worker_;
    std::shared_ptr<const Service> service_;
    ServiceCounters& counters_;
    CountedClient counted_;
    Calls calls_;
    Label startup_;  ///< what RESET gives the client
    Label label_;    ///< what its session has now
    std::uint64_t label_version_ = 1;
    Identity identity_;

    RelayPhase phase_ = RelayPhase::starting;
    Step step_;  ///< of the batch under way
    Backend* backend_ = nullptr;

    StreamPosition stream_;  ///< of the client's bytes
    std::string held_;
    std::size_t held_at_cancel_ = 0;  ///< bytes of it that came before the last CancelRequest
    std::size_t held_until_ = 0;      ///< bytes in hand before it is worth looking again

    ClientStatements statements_;
    bool skip_until_sync_ = false;  ///< an error was told: the client's messages do not count
    bool copy_in_ = false;
    bool was_starting_ = false;    ///< the lease under way is for the welcome
    bool stalled_ = false;         ///< held_ waits for answers before it can go on
    bool batch_open_ = false;      ///< messages of the extended protocol went out, no Sync behind
    bool batch_executes_ = false;  ///< an Execute is among them
    bool terminated_ = false;      ///< the client said Terminate
    bool abandoned_ = false;       ///< nobody waits for what its backend does
    char violating_type_ = 0;
    std::string violation_;  ///< why it is to be closed when it has its earlier answers
    /// Settings whose change the client was told, as it knows them; the reset behind its lease may
    /// take them back.
    Settings told_parameters_;
    bool parameters_moved_ = true;  ///< encoding_ and standard_strings_ may be of another lease
    bool label_lost_ = false;       ///< a RESET may have taken the startup settings away
    MovedSettings reset_;           ///< what the RESET spoke of
    int restoring_ = 0;             ///< they are under way back, for the n-th time
    Settings withheld_;  ///< what the client knows of settings that are others until then

    // Of the lease under way.
    MovedSettings moved_;           ///< since PostgreSQL was last asked
    SettingsQuestion question_;     ///< that is under way
    int unanswered_questions_ = 0;  ///< one behind the other
    FeatureSet suspected_;          ///< that the session may have or not have now
    FeatureSet asked_;              ///< by the question that is under way
    std::optional<ToldFeatures> told_features_;
    FeatureSet pinned_;          ///< why it keeps its backend
    bool pin_reserved_ = false;  ///< of the service's budget
    bool pin_wanted_ = false;    ///< what it waits for, before it waits for a backend
    SessionFeature wanted_for_{};
    TimePoint pinned_since_{};
    SessionChannels channels_;            ///< of a client that shares a listener with others
    bool hears_itself_ = false;           ///< a text showed that it notifies
    Heard heard_before_ = Heard::no;      ///< what others notified of in this backend
    bool channels_foreseen_ = false;      ///< a text showed that they may change
    bool ready_withheld_ = false;         ///< the last ReadyForQuery: until the listener listens
    std::string notifications_;           ///< that wait for the end of what is under way
    bool settings_foreseen_ = false;      ///< a text showed that some may change
    bool reading_moved_ = false;          ///< texts may be read otherwise than when it began
    std::uint64_t reading_moved_by_ = 0;  ///< the last request that may have done so
    std::uint64_t last_ready_ = 0;        ///< the last request whose ReadyForQuery has come

    bool draining_ = false;
    bool said_fatal_ = false;  ///< the client already knows why it is closed
    bool last_word_ = false;   ///< the backend said FATAL in this lease
    std::string_view desync_;

    /// Syncs sent into a COPY that PostgreSQL reads and ignores; or answers, if it failed before.
    std::uint32_t loose_syncs_ = 0;
    /// After such a COPY has failed: ReadyForQuery that may come beyond those that are due.
    std::uint32_t stray_readies_ = 0;
    std::uint64_t answers_pressed_ = 0;  ///< the last request behind which a Flush of ours went
    StatementRef portal_;                ///< what was last bound to the unnamed portal
    struct NamingPortal {
        std::string name;
        StatementRef statement;
    };
    std::vector<NamingPortal> naming_portals_;  ///< others, of texts that name statements
    struct RequestRange {
        std::uint64_t first = 0;
        std::uint64_t last = 0;
    };
    RequestRange own_batch_;       ///< what we sent ahead of a Query that waits for it
    bool query_answered_ = false;  ///< by the error of that batch: the Query is not sent

    /// As the backend last reported them. Never changed while a statement refers to them.
    std::shared_ptr<LiteralSettings> literal_settings_ = std::make_shared<LiteralSettings>();
    EncodingClass encoding_ = EncodingClass::utf8;
    bool standard_strings_ = true;

    TimePoint waiting_since_{};
    TimePoint patient_since_{};  ///< what acquire_timeout counts from
    bool wait_noticed_ = false;
    TimePoint heard_at_{};           ///< when the client said something
    TimePoint transaction_began_{};  ///< of one that an answer has told of
    TimePoint lease_began_{};
    std::uint64_t requests_before_ = 0;  ///< of the backend, when the lease began
    TimePoint query_began_{};
    TimePoint late_query_ =
        TimePoint::min();  ///< when that one began which was cancelled for its time
    TimePoint cancel_again_{};
};

}  // namespace schemux::core
