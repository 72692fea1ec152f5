// A PostgreSQL backend after its login, as far as the relay can see one: the protocol's states are
// exact (transactions, errors until Sync, COPY, portals, prepared statements, settings), the SQL is
// a handful of words. It answers each row with the text and the parameters that made it.
// It must not know the relay: it also plays the server that a client has for itself, to compare.
//
// Words of its own: `boom` fails where the text is analysed (with a position), `kaboom` where it
// runs, `three` gives three rows, `notice` sends a notice first, `residue` shows what the session
// has that cannot travel.
#pragma once

#include "core/template_rewriter.h"
#include "tests/support/fake_sql.h"

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace schemux::fake {

using SettingsMap = std::map<std::string, std::string, std::less<>>;

/// What a watch is told of a query of the core's own that a cancel hits.
inline constexpr std::string_view own_statement = "(the core's own)";

struct FakePortal {
    std::string text;
    std::string parameters;
    std::size_t rows_sent = 0;
    bool done = false;
    bool name_taken = false;  ///< a Parse put a statement under the name that its text speaks of
};

/// A COPY FROM STDIN under way.
struct FakeCopy {
    bool simple = false;
    std::size_t rows = 0;
    std::vector<std::string> then;  ///< statements of a simple query behind the COPY
};

class FakePostgres {
  public:
    FakePostgres() = default;
    /// A server that expands templates itself, as if the service's schema were its own business.
    explicit FakePostgres(core::TemplateContext templates) : templates_(std::move(templates)) {}

    /// Takes bytes from the frontend, appends the answers that are sent now to `out`.
    void on_bytes(std::string_view bytes, std::string& out);
    /// A CancelRequest has arrived while it works: what runs next fails, up to ReadyForQuery.
    void on_cancel() { cancelled_ = true; }
    /// What was cancelled has had its chance to run.
    void on_cancel_over() { cancelled_ = false; }
    /// Told of each statement as it begins to run (its text and the parameters), and whether a
    /// cancel hits it; returns whether one does, for whoever watches has the last word.
    using Watch = std::function<bool(const std::string& statement, bool cancelled)>;
    void watch(Watch watch) { watch_ = std::move(watch); }
    /// Answers a message of this type as one that could not be served: of a session whose backend
    /// did not come in time, say.
    void refuse(char type, const Failure& failure, std::string& out);
    /// A Query or Parse longer than this is refused in schemux's words.
    void set_text_max(std::size_t bytes) { text_max_ = bytes; }
    /// Answers that PostgreSQL keeps until Sync, Flush, an error or 8 KiB.
    const std::string& unflushed() const { return unflushed_; }

    bool closed() const { return closed_; }
    /// It ended with a FATAL error: the frontend broke the protocol.
    bool died() const { return died_; }
    char status() const { return status_; }
    bool copying() const { return copy_.has_value(); }
    /// True once after names of statements went otherwise than the messages alone tell: those
    /// that an error made it skip, and DEALLOCATE ALL.
    bool take_names_moved() { return std::exchange(names_moved_, false); }
    /// It did what an exception is about (E4): the core's client may be told something else. A
    /// portal ran that speaks of a name which a Parse took behind the Bind, or an EXECUTE of an
    /// EXECUTE.
    bool is_excepted() const { return is_excepted_; }
    /// At the point where a server waits for the next command, nothing half read.
    bool at_rest() const { return held_.empty() && nothing_open(); }
    bool nothing_open() const { return !skipping_ && !copy_ && !batch_open_; }
    const std::string& half_read() const { return held_; }
    /// At rest outside a transaction.
    bool idle() const { return at_rest() && status_ == 'I'; }
    /// What one session leaves to the next: locks, temporary tables, listeners, sequences.
    bool has_residue() const { return residue_ != 0; }
    const SettingsMap& settings() const { return settings_; }
    /// What its session begins with, and goes back to with RESET.
    void start_with(const SettingsMap& settings) { settings_ = startup_ = settings; }
    bool has_statement(std::string_view name) const { return statements_.contains(name); }
    std::size_t statement_count() const { return statements_.size(); }
    std::size_t named_statement_count() const {
        return statements_.size() - (statements_.contains("") ? 1 : 0);
    }

  private:
    bool on_message(char type, std::string_view body, std::string& out);
    void on_simple(std::string_view body, std::string& out);
    Failed run_simple(std::vector<std::string> statements, std::string& out);
    Failed on_extended(char type, std::string_view body, std::string& out);
    Failed on_parse(std::string_view body, std::string& out);
    Failed on_bind(std::string_view body, std::string& out);
    Failed on_describe(std::string_view body, std::string& out);
    Failed on_execute(std::string_view body, std::string& out);
    void on_copy_message(char type, std::string_view body, std::string& out);
    void on_sync(std::string_view body, std::string& out);

    /// Templates expanded; what is wrong with the text as a whole.
    Failed analyse(std::string_view original, std::string& text, bool single) const;
    /// Runs one statement. Rows are described when it came in a simple query; a portal keeps what
    /// is left of them behind `limit`.
    Failed run(const std::string& text, FakePortal* portal, std::size_t limit, std::string& out);
    void send_rows(const std::string& text, FakePortal* portal, std::size_t limit,
                   std::string& out);
    void run_copy(const Words& words, const std::string& text, std::string& out);
    Failed run_transaction(const Words& words, std::string& tag, std::string& out);
    Failed run_discard(const Words& words, std::string& tag);
    Failed run_deallocate(const Words& words, std::string& tag);
    Failed run_prepare(const Words& words, const std::string& text);
    /// What an EXECUTE runs, or the text itself; null if there is no such statement.
    const std::string* executed_by(const std::string& text) const;
    bool describes_rows(const std::string& text) const;
    void run_settings(const Words& words);
    void run_set(const Words& words);
    void set(const std::string& name, const std::string& value);
    void reset(const std::string& name);
    /// The query of schemux's own about a session's settings.
    void tell_settings(const Words& words, std::string& out) const;
    void note_residue(const Words& words);
    std::string residue() const;
    /// The query of schemux's own about what the session has that cannot travel.
    void tell_features(std::string_view question, std::string& out) const;

    bool begins_cancelled(const std::string& statement);
    Failed too_long() const;
    void fail(const Failure& failure, std::string& out);
    void end_transaction(bool committed);
    void ready(std::string& out);
    void fatal(std::string_view sqlstate, std::string_view message, std::string& out);

    std::optional<core::TemplateContext> templates_;
    std::string held_;
    std::string unflushed_;
    char status_ = 'I';
    bool closed_ = false;
    bool died_ = false;
    bool skipping_ = false;    ///< after an error, until Sync
    bool batch_open_ = false;  ///< extended messages came, no Sync yet
    bool cancelled_ = false;
    bool names_moved_ = false;
    bool is_excepted_ = false;
    std::optional<FakeCopy> copy_;
    std::map<std::string, std::string, std::less<>> statements_;
    std::map<std::string, FakePortal, std::less<>> portals_;
    SettingsMap settings_;
    SettingsMap startup_;
    std::optional<SettingsMap> before_;  ///< the settings when the transaction began
    std::optional<std::string> told_;    ///< application_name as it was last reported
    unsigned residue_ = 0;
    Watch watch_;
    std::size_t text_max_ = ~std::size_t{0};
    std::size_t length_ = 0;  ///< of the message in hand
};

}  // namespace schemux::fake
