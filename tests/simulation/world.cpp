// The schedule: what may happen, how often, and what is set up for a seed.
#include "tests/simulation/world.h"

#include "tests/simulation/conversation.h"

#include <cstdio>
#include <numeric>

namespace schemux::simulation {

namespace {

constexpr std::size_t tries_max = 200;
constexpr unsigned quiet_percent = 35;  ///< of the kinds of faults that a seed does without
constexpr std::size_t clients_max = 12;
constexpr std::uint64_t seeds_per_pinning = 3;  ///< one of so many lets its clients be pinned

/// Of some seeds the clients keep what cannot travel.
void let_pin(core::Service& service, Choice& choice) {
    core::askable_features().each([&service](core::SessionFeature feature) {
        service.session_features.set(feature, core::FeaturePolicy::pin);
    });
    service.pin_budget = choice.chance(50) ? clients_max : choice.between(1, 3);
    service.over_pin_budget =
        choice.chance(70) ? core::OverPinBudget::wait : core::OverPinBudget::error;
}

core::SharePolicy make_share(Choice& choice) {
    core::SharePolicy policy;
    if (choice.chance(50)) return policy;
    policy.weight = static_cast<std::uint32_t>(choice.between(1, 5));
    if (choice.chance(40)) policy.guarantee = static_cast<std::uint32_t>(choice.between(1, 2));
    policy.reserve = choice.chance(50);
    if (choice.chance(30)) policy.cap = static_cast<std::uint32_t>(choice.between(1, 3));
    if (choice.chance(20)) policy.queue = static_cast<std::uint32_t>(choice.between(1, 4));
    return policy;
}

core::TimeLimits make_limits(Choice& choice) {
    const auto some = [&choice](unsigned percent) {
        return std::chrono::milliseconds(choice.chance(percent) ? choice.between(50, 3'000) : 0);
    };
    core::TimeLimits limits;
    limits.query = some(40);
    limits.transaction = some(30);
    limits.idle_in_transaction = some(40);
    limits.client_idle = some(30);
    limits.wait_notice = some(50);
    return limits;
}

core::Service make_service(Choice& choice, std::size_t index) {
    core::Service service;
    service.name = "service" + std::to_string(index);
    if (!choice.chance(20)) service.schema = "app" + std::to_string(index);
    service.allow_schemas = {"other"};
    service.literals = static_cast<core::LiteralTemplates>(choice.below(3));
    service.acquire_timeout = std::chrono::milliseconds(2'000);
    service.max_query_bytes = query_bytes_max;
    if (choice.chance(30)) service.time_limits = make_limits(choice);
    return service;
}

core::Label make_label(Choice& choice) {
    core::Settings settings;
    if (choice.chance(40)) settings.emplace_back("search_path", "app, public");
    if (choice.chance(30)) settings.emplace_back("timezone", "it's");
    return core::Label::of(settings);
}

}  // namespace

const std::array<World::Event, 24> World::events_{{
    {"client joins", 8, &World::client_joins},
    {"client speaks", 110, &World::client_speaks},
    {"client reads", 30, &World::client_reads},
    {"frontend arrives", 130, &World::frontend_arrives},
    {"frontend trickles", 12, &World::frontend_trickles},
    {"frontend drained", 40, &World::frontend_drained},
    {"server works", 130, &World::server_works},
    {"backend arrives", 130, &World::backend_arrives},
    {"backend drained", 40, &World::backend_drained},
    {"mail arrives", 80, &World::mail_arrives},
    {"connector turns", 60, &World::connector_turns},
    {"connect arrives", 60, &World::connect_arrives},
    {"cancel goes on", 25, &World::cancel_goes_on},
    {"time passes", 30, &World::time_passes},
    {"tick", 40, &World::tick_comes},
    // What not every seed has:
    {"client vanishes", 3, &World::client_vanishes},
    {"client terminates", 3, &World::client_terminates},
    {"client cancels", 14, &World::client_cancels},
    {"server dies", 4, &World::server_dies},
    {"much time passes", 4, &World::much_time_passes},
    {"bound moves", 2, &World::bound_moves},
    {"service pauses", 3, &World::service_pauses},
    {"reload", 1, &World::reload},
    {"drain", 100, &World::drain},
}};

World::World(std::uint64_t seed) : seed_(seed), choice_(seed) {
    build();
}

void World::build() {
    const std::size_t workers = choice_.between(1, 3);
    shared_ = std::make_unique<Shared>(static_cast<std::uint32_t>(choice_.between(1, 4)),
                                       static_cast<std::uint32_t>(workers));
    shared_->note_taken = [this](const core::Ticket& ticket) {
        if (Session* session = workers_[ticket.worker]->session(ticket.session))
            session->queued = false;
    };
    if (choice_.chance(20)) shared_->idle_timeout = std::chrono::milliseconds(1'500);
    began_ = shared_->now;
    for (std::size_t i = choice_.between(1, 2); i > 0; --i) {
        core::Service service = make_service(choice_, i);
        if (seed_ % seeds_per_pinning == 0) let_pin(service, choice_);
        services_.push_back(std::make_shared<const core::Service>(std::move(service)));
        const core::SharePolicy policy = make_share(choice_);
        shared_->pool.configure({{services_.back()->share.get(), policy}},
                                shared_->now.time_since_epoch());
        entitled_.push_back({services_.back().get(), policy});
    }
    std::vector<Worker*> peers;
    for (std::uint32_t i = 0; i < workers; ++i)
        peers.push_back(workers_.emplace_back(std::make_unique<Worker>(i, *shared_)).get());
    for (const auto& worker : workers_)
        worker->set_peers(peers);
    Weather weather;
    if (choice_.chance(40)) weather.bad_logins = static_cast<unsigned>(choice_.between(5, 60));
    if (choice_.chance(30)) weather.backend_room = choice_.between(64, 2'000);
    control_ = std::make_unique<Control>(*shared_, workers_, choice_, weather);
    const bool slow_readers = choice_.chance(50);
    for (std::uint32_t i = static_cast<std::uint32_t>(choice_.between(3, clients_max)); i > 0;
         --i) {
        auto client = std::make_unique<Client>(static_cast<std::uint32_t>(clients_.size()),
                                               services_[choice_.below(services_.size())],
                                               make_label(choice_));
        if (slow_readers && choice_.chance(50)) client->stream.room = choice_.between(16, 1'000);
        clients_.push_back(std::move(client));
        sessions_.push_back(nullptr);
    }
    grain_ = choice_.below(4);
    for (std::size_t i = 0; i < events_.size(); ++i) {
        weights_[i] = events_[i].weight;
        if (i >= 15 && choice_.chance(quiet_percent)) weights_[i] = 0;
    }
    if (choice_.chance(12)) drains_at_ = choice_.between(100, 300);
}

bool World::note(const char* what, std::size_t a, std::size_t b) {
    trace_.push_back({what, a, b});
    return true;
}

std::size_t World::some_bytes() {
    switch (grain_) {
        case 0:
            return read_max;
        case 1:
            return choice_.between(1, 7);
        case 2:
            return choice_.chance(50) ? read_max : choice_.between(1, 60);
        default:
            return choice_.between(1, 300);
    }
}

bool World::step() {
    const unsigned all = std::accumulate(weights_.begin(), weights_.end(), 0U);
    for (std::size_t tries = 0; tries < tries_max; ++tries) {
        std::size_t rest = choice_.below(all);
        std::size_t at = 0;
        while (rest >= weights_[at])
            rest -= weights_[at++];
        if ((this->*events_[at].run)()) return true;
    }
    return time_passes();
}

void World::run(std::size_t events) {
    for (; happened_ < events; ++happened_) {
        step();
        check();
    }
    over_ = true;
    settle();
    check_end();
}

std::uint64_t World::trace_hash() const {
    std::uint64_t hash = seed_;
    for (const Line& line : trace_) {
        for (const char* c = line.what; *c != '\0'; ++c)
            hash = (hash ^ static_cast<unsigned char>(*c)) * 0x100000001b3U;
        hash = (hash ^ line.a) * 0x100000001b3U;
        hash = (hash ^ line.b) * 0x100000001b3U;
    }
    return hash;
}

void World::print_trace() const {
    for (std::size_t i = 0; i < trace_.size(); ++i) {
        std::fprintf(stderr, "%4zu  %-20s %zu %zu\n", i, trace_[i].what, trace_[i].a, trace_[i].b);
    }
}

}  // namespace schemux::simulation
