// A PostgreSQL that a client has for itself: what it answers is what the client must be told.
// What no direct connection knows (a wait that ended in an error, a cancel that hit) is told to it
// as well; then it starts again from the beginning.
// It must not know the relay.
#pragma once

#include "core/label.h"
#include "tests/support/fake_postgres.h"

#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace schemux::simulation {

/// What happened to a client's conversation beside its own bytes.
struct Interventions {
    struct Refusal {
        std::size_t offset = 0;  ///< of the message in all that the client sent
        fake::Failure failure;
    };
    std::vector<Refusal> refusals;
    /// The n-th run of a statement, from 0 on.
    std::set<std::pair<std::string, unsigned>> cancelled;
};

/// Messages as they are compared: without ParameterStatus, whose moment may differ
/// (core/EXCEPTIONS.md, E2), errors about broken messages without their words, nothing behind
/// FATAL.
std::string comparable(std::string_view whole_message);
inline constexpr std::string_view speaks_of_names = "one that speaks of names";
bool is_fatal(std::string_view error);
/// Which statement it is, for counting its runs. Those that speak of prepared statements are as
/// one: the names are others on a backend, and some run there again, or not at all.
std::string counted_as(const std::string& statement);

class Shadow {
  public:
    Shadow(const core::TemplateContext& templates, std::size_t text_max, const core::Label& label,
           const Interventions& interventions);

    /// All that the client sent, up to `end`; what was fed before is not read again.
    void feed(const std::string& asked, std::size_t end);
    void restart();

    /// What it has sent; and what it would send as well if it had to flush now.
    const std::string& told() const { return told_; }
    std::string unflushed() const;
    unsigned runs(const std::string& statement) const;
    const std::map<std::string, unsigned, std::less<>>& all_runs() const { return runs_; }
    fake::FakePostgres& fake() { return *fake_; }
    const fake::FakePostgres& fake() const { return *fake_; }

  private:
    void take(std::string_view bytes);
    void refuse(const std::string& asked);

    core::TemplateContext templates_;
    std::size_t text_max_;
    fake::SettingsMap startup_;
    const Interventions& interventions_;
    std::unique_ptr<fake::FakePostgres> fake_;
    std::map<std::string, unsigned, std::less<>> runs_;
    std::string told_;
    std::size_t fed_ = 0;
    std::size_t refused_ = 0;  ///< interventions of that kind that are behind it
};

}  // namespace schemux::simulation
