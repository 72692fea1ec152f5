#include "tests/simulation/client.h"

#include "core/reset_commands.h"
#include "tests/support/message_walk.h"

#include <cstdio>
#include <utility>

namespace schemux::simulation {

using core::CloseReason;

namespace {

constexpr std::string_view tag_begin = "tag";
constexpr std::string_view told_to_wait = "waiting for a connection to PostgreSQL";
constexpr std::string_view over_budget = "too many clients of the service keep a backend";
constexpr std::size_t terminate_bytes = 5;

/// A reset without effect: the client's backend need not hear of it.
bool may_be_answered_here(const std::string& statement) {
    return core::ResetCommands::of(statement, true).any();
}

core::TemplateContext templates_of(const core::Service& service) {
    core::TemplateContext context;
    context.schema = service.schema;
    context.allowed_schemas = service.allow_schemas;
    context.braces = service.braces;
    context.angles = service.angles;
    context.literals = service.literals;
    return context;
}

}  // namespace

Client::Client(std::uint32_t number, std::shared_ptr<const core::Service> service,
               core::Label label)
    : number_(number), service_(std::move(service)), label_(std::move(label)) {
    const core::TemplateContext templates = templates_of(*service_);
    const std::size_t text_max = service_->max_query_bytes;
    direct_ = std::make_unique<Shadow>(templates, text_max, label_, interventions_);
    planned_ = std::make_unique<Shadow>(templates, text_max, label_, interventions_);
}

// ---- what it does ----

std::string Client::new_tag(Choice& choice) {
    return std::string(tag_begin) + std::to_string(number_) + "." + std::to_string(++tags_) + "." +
           std::to_string(choice.below(1'000'000));
}

void Client::send(std::string_view bytes) {
    fake::for_each_message(bytes, [this](char type, std::string_view whole) {
        asked_ += whole;
        ends_.push_back(asked_.size());
        leaves_copy_ = leaves_copy_ || (type == 'X' && planned_->fake().copying());
        leaves_batch_ = leaves_batch_ || (type == 'X' && !planned_->fake().nothing_open());
    });
    stream.inbound += bytes;
    planned_->feed(asked_, asked_.size());
    names_moved = planned_->fake().take_names_moved() || names_moved;
}

void Client::leave(bool loses_bytes) {
    left_ = true;
    stream.peer_goes(loses_bytes);
}

// ---- what happens to it ----

void Client::on_told(std::string_view bytes) {
    demand(!closed_, "nobody is told anything after the close");
    partial_ += bytes;
    const std::string_view rest = fake::for_each_message(
        partial_, [this](char, std::string_view whole) { on_message(whole); });
    partial_.erase(0, partial_.size() - rest.size());
}

void Client::on_message(std::string_view whole) {
    demand(!last_word_, "nothing comes behind FATAL");
    if (whole.front() == 'E' && is_fatal(whole)) {
        last_word_ = true;
        return;
    }
    if (!welcomed_) {
        welcomed_ = whole.front() == 'Z';
        return;
    }
    check_tag(whole);
    if (whole.front() == 'N' && whole.find(told_to_wait) != whole.npos) return;
    // What a direct connection does not say: from here on nothing is compared.
    disturbed_ = disturbed_ || (whole.front() == 'E' && whole.find(over_budget) != whole.npos);
    received_ += comparable(whole);
}

/// Rows, data and notices carry the tag of the statement that made them.
void Client::check_tag(std::string_view whole) const {
    if (whole.front() != 'D' && whole.front() != 'd' && whole.front() != 'N') return;
    const std::string own = std::string(tag_begin) + std::to_string(number_) + ".";
    std::size_t found = whole.find(tag_begin);
    for (; found != whole.npos; found = whole.find(tag_begin, found + 1)) {
        demand(whole.substr(found).starts_with(own), "an answer goes only to who asked");
    }
}

void Client::on_consumed(std::size_t bytes) {
    demand(bytes >= consumed_ && bytes <= asked_.size(), "what was dealt with stays so");
    consumed_ = bytes;
    while (dealt_with_ < ends_.size() && ends_[dealt_with_] <= consumed_)
        ++dealt_with_;
    direct_->feed(asked_, seen());
}

/// Of a message that is dealt with in part all counts as seen: some are answered as soon as their
/// first fields are known.
std::size_t Client::seen() const {
    const std::size_t begin = dealt_with_ == 0 ? 0 : ends_[dealt_with_ - 1];
    return consumed_ > begin ? ends_[dealt_with_] : begin;
}

void Client::on_refused(std::size_t offset, const protocol::ErrorFields& error) {
    interventions_.refusals.push_back(
        {offset, {error.sqlstate, error.message, error.position, error.detail, error.hint}});
    replay();
}

void Client::on_run(const std::string& run, bool cancelled) {
    if (run == fake::own_statement) {
        disturbed_ = true;
        return;
    }
    const std::string statement = counted_as(run);
    const unsigned number = runs_[statement]++;
    // Which one of them it is cannot be told: some are schemux's own, some never get to a backend.
    if (statement == speaks_of_names) {
        disturbed_ = disturbed_ || cancelled;
        if (!disturbed_) return;
    }
    if (cancelled) {
        interventions_.cancelled.emplace(statement, number);
        replay();
    }
    if (disturbed_) return;
    if (number < direct_->runs(statement)) return;
    throw Broken("no statement runs more often than it was asked: " + statement);
}

void Client::replay() {
    direct_->restart();
    planned_->restart();
    direct_->feed(asked_, seen());
    planned_->feed(asked_, asked_.size());
    matched_ = 0;
}

void Client::check_settings(const core::Label& carried) const {
    if (disturbed_ || !direct_->fake().idle()) return;
    const core::Settings& settings = carried.settings();
    const bool same =
        direct_->fake().settings() == fake::SettingsMap(settings.begin(), settings.end());
    if (!same) {
        for (const auto& [name, value] : settings)
            std::printf("carried %s = %s\n", name.c_str(), value.c_str());
        for (const auto& [name, value] : direct_->fake().settings())
            std::printf("direct  %s = %s\n", name.c_str(), value.c_str());
    }
    demand(same, "a client carries the settings of its session");
}

void Client::on_closed(CloseReason reason) {
    check();
    served_ = reason == CloseReason::client_terminated && !disturbed_ && partial_.empty() &&
              received_.size() >= direct_->told().size();
    closed_ = true;
    reason_ = reason;
    const bool by_itself =
        reason == CloseReason::client_terminated || reason == CloseReason::client_disconnected;
    // The Terminate may be held until all is answered; what waits for a backend is held as well.
    parted_ =
        by_itself && planned_->fake().closed() && consumed_ + terminate_bytes >= asked_.size();
    switch (reason) {
        case CloseReason::backend_lost:
            demand(backend_killed_ || planned_->fake().died(), "only a backend that went is lost");
            demand(last_word_ || !partial_.empty(), "who loses a backend is told so");
            return;
        case CloseReason::client_terminated:
        case CloseReason::client_disconnected:
            return;
        case CloseReason::protocol_violation:
            demand(planned_->fake().died(), "who is cut off has broken the protocol");
            return;
        case CloseReason::shutdown:
        case CloseReason::startup_failed:
        case CloseReason::settings_lost:
        case CloseReason::pin_refused:
        case CloseReason::transaction_refused:
        case CloseReason::out_of_memory:
        case CloseReason::pin_expired:
        case CloseReason::idle_in_transaction:
        case CloseReason::client_idle:
        case CloseReason::notifications_lost:
            demand(last_word_ && partial_.empty(), "who is closed is told why");
            return;
        case CloseReason::killed:
        case CloseReason::query_timeout:
        case CloseReason::transaction_timeout:
            demand(last_word_ || !partial_.empty(), "who is closed is told why");
            cancel_asked_ = true;
            return;
        case CloseReason::none:
        case CloseReason::backend_desync:
            demand(false, "an honest server never answers what nobody asked");
    }
}

// ---- what must hold ----

void Client::check() {
    disturbed_ = disturbed_ || planned_->fake().died();
    leaves_copy_ = leaves_copy_ || (planned_->fake().closed() && direct_->fake().copying());
    if (closed_) return;
    const std::string& told = direct_->told();
    const std::string unflushed =
        received_.size() > told.size() || !partial_.empty() ? direct_->unflushed() : std::string();
    const auto byte_at = [&](std::size_t at) -> int {
        if (at < told.size()) return static_cast<unsigned char>(told[at]);
        at -= told.size();
        return at < unflushed.size() ? static_cast<unsigned char>(unflushed[at]) : -1;
    };
    const bool may_differ = disturbed_;
    for (; matched_ < received_.size(); ++matched_) {
        const bool same = byte_at(matched_) == static_cast<unsigned char>(received_[matched_]);
        // core/EXCEPTIONS.md, E31
        const bool beyond = leaves_copy_ && byte_at(matched_) < 0;
        demand(same || may_differ || beyond, "a client is told what PostgreSQL would have told it");
    }
    // A message that has arrived in part; which ones are not compared is known from its first byte.
    if (partial_.empty() || !welcomed_ || may_differ || leaves_copy_) return;
    if (partial_.front() == 'S' || partial_.front() == 'E') return;
    for (std::size_t i = 0; i < partial_.size(); ++i) {
        demand(byte_at(matched_ + i) == static_cast<unsigned char>(partial_[i]),
               "a client is told what PostgreSQL would have told it");
    }
}

void Client::check_parting() const {
    if (!parted_ || disturbed_ || leaves_copy_) return;
    if (backend_killed_ || cancel_asked_ || !interventions_.refusals.empty()) return;
    // What is open is undone; until then PostgreSQL may have been asked to hurry.
    if (!interventions_.cancelled.empty() && leaves_batch_) return;
    demand(interventions_.cancelled.empty(), "a Terminate cancels nothing before it");
    for (const auto& [statement, wanted] : direct_->all_runs()) {
        if (statement == speaks_of_names || may_be_answered_here(statement)) continue;
        const auto found = runs_.find(statement);
        const unsigned done = found == runs_.end() ? 0 : found->second;
        if (done >= wanted) continue;
        throw Broken("what came before a Terminate of client " + std::to_string(number_) +
                     " has run: " + statement);
    }
}

void Client::show_difference() const {
    if (!joined) return;
    const std::string& told = direct_->told();
    std::fprintf(stderr, "client %u: %zu bytes of answers are right\n", number_, matched_);
    const auto show = [](const char* name, std::string_view bytes) {
        std::fprintf(stderr, "%s: ", name);
        for (const char c : bytes)
            std::fprintf(stderr, c >= ' ' && c <= '~' ? "%c" : "\\%02x",
                         static_cast<unsigned char>(c));
        std::fprintf(stderr, "\n");
    };
    const std::size_t from = matched_ < 200 ? 0 : matched_ - 200;
    show("asked ", asked_);
    show("told  ", std::string_view(received_ + partial_).substr(from, 500));
    show("direct", std::string_view(told + direct_->unflushed()).substr(from, 500));
}

bool Client::caught_up() const {
    return consumed_ == asked_.size() && welcomed_ && partial_.empty() &&
           (disturbed_ || received_.size() >= direct_->told().size());
}

}  // namespace schemux::simulation
