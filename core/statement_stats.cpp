#include "core/statement_stats.h"

#include "core/limits.h"

#include <algorithm>
#include <cassert>
#include <map>
#include <utility>

namespace schemux::core {

namespace {

/// Looks for room in one table, before one is taken that was used lately.
constexpr std::size_t looks_max = 4;

template <class Line>
void keep_first(std::vector<Line>& lines, std::size_t most, const auto& total) {
    most = std::min(most, lines.size());
    std::partial_sort(
        lines.begin(), lines.begin() + static_cast<std::ptrdiff_t>(most), lines.end(),
        [&](const Line& left, const Line& right) { return total(left) > total(right); });
    lines.resize(most);
}

}  // namespace

void StatementFigures::add(const StatementFigures& other) {
    calls += other.calls;
    errors += other.errors;
    rows += other.rows;
    total += other.total;
    longest = std::max(longest, other.longest);
    wait += other.wait;
}

void StatementStats::configure(const StatementPolicy& policy) {
    const bool fewer = policy.statements < policy_.statements;
    policy_ = policy;
    wanted_ =
        policy.statements > 0 || policy.slow_query.count() > 0 || policy.long_lease.count() > 0;
    if (!fewer) return;
    for (std::size_t at = services_.size(); at-- > 0;) {
        ServiceStatements& service = *services_[at];
        while (service.entries.size() > policy.statements)
            forget(service, least(service));
        drop_if_empty(service);
    }
}

ServiceStatements& StatementStats::join(std::string_view service) {
    const auto [known, is_new] = by_name_.try_emplace(std::string(service));
    if (is_new) {
        auto made = std::make_unique<ServiceStatements>();
        made->name = service;
        made->place = services_.size();
        known->second = made.get();
        services_.push_back(std::move(made));
    }
    ++known->second->clients;
    return *known->second;
}

void StatementStats::leave(ServiceStatements& service) {
    assert(service.clients > 0);
    --service.clients;
    drop_if_empty(service);
}

void StatementStats::drop_if_empty(ServiceStatements& service) {
    if (service.clients > 0 || !service.entries.empty()) return;
    const std::size_t place = service.place;
    by_name_.erase(service.name);
    std::swap(services_[place], services_.back());
    services_[place]->place = place;
    services_.pop_back();
}

StatementStats::Reading StatementStats::read(const ServiceStatements& service,
                                             std::string_view text,
                                             bool standard_conforming_strings) {
    reader_.read(text, standard_conforming_strings);
    return found(service);
}

StatementStats::Reading StatementStats::unread(const ServiceStatements& service,
                                               std::string_view why) {
    reader_.give_up(why);
    return found(service);
}

/// Most texts that nobody has seen before have a fingerprint that has been.
StatementStats::Reading StatementStats::found(const ServiceStatements& service) {
    const auto known = service.places.find(reader_.id());
    if (known != service.places.end())
        return {service.entries[known->second].fingerprint, reader_.traced()};
    return {FingerprintRef(reader_.id(), reader_.text()), reader_.traced()};
}

void StatementStats::count(ServiceStatements& service, const FingerprintRef& fingerprint,
                           const StatementFigures& figures) {
    if (policy_.statements == 0) return;
    const auto known = service.places.find(fingerprint->id);
    if (known == service.places.end()) return place_for(service, fingerprint).figures.add(figures);
    ServiceStatements::Entry& entry = service.entries[known->second];
    entry.lately = true;
    entry.figures.add(figures);
}

ServiceStatements::Entry& StatementStats::place_for(ServiceStatements& service,
                                                    const FingerprintRef& what) {
    std::vector<ServiceStatements::Entry>& entries = service.entries;
    const bool full = size_ >= limits::counted_statements_max;
    if (entries.size() >= policy_.statements || (full && !entries.empty())) {
        // In its place: the next look there finds the new one, and not what has taken more time.
        const std::size_t at = least(service);
        note_forgotten(service, entries[at]);
        service.places.erase(entries[at].fingerprint->id);
        service.places.emplace(what->id, static_cast<std::uint32_t>(at));
        entries[at] = {what, {}, false};
        return entries[at];
    }
    if (full) take_from_others();
    service.places.emplace(what->id, static_cast<std::uint32_t>(entries.size()));
    entries.push_back({what, {}, false});
    ++size_;
    return entries.back();
}

/// A service without any needs one: who has many gives one, who has no clients first.
void StatementStats::take_from_others() {
    ServiceStatements* richest = nullptr;
    const auto value = [](const ServiceStatements& service) {
        const std::size_t absent = service.clients == 0 ? limits::counted_statements_max : 0;
        return service.entries.empty() ? 0 : service.entries.size() + absent;
    };
    for (std::size_t looks = 0; looks < services_.size(); ++looks) {
        if (looks >= limits::statements_looked_at && richest != nullptr) break;
        next_ = (next_ + 1) % services_.size();
        ServiceStatements& other = *services_[next_];
        if (value(other) > (richest == nullptr ? 0 : value(*richest))) richest = &other;
    }
    assert(richest != nullptr);
    forget(*richest, least(*richest));
    drop_if_empty(*richest);
}

/// The one of the next few that was not called lately and has taken the least time.
std::size_t StatementStats::least(ServiceStatements& service) {
    std::vector<ServiceStatements::Entry>& entries = service.entries;
    std::size_t chosen = 0;
    for (std::size_t look = 0; look < looks_max; ++look) {
        const std::size_t first = service.hand % entries.size();
        const std::size_t last = std::min(first + limits::statements_looked_at, entries.size());
        bool unused = false;
        chosen = first;
        for (std::size_t at = first; at < last; ++at) {
            const bool used = std::exchange(entries[at].lately, false);
            const bool better = entries[at].figures.total < entries[chosen].figures.total;
            if (!used && (!unused || better)) chosen = at;
            if (used && !unused && better) chosen = at;
            unused = unused || !used;
        }
        service.hand = last;
        if (unused) break;
    }
    return chosen;
}

void StatementStats::note_forgotten(ServiceStatements& service,
                                    const ServiceStatements::Entry& entry) {
    for (ForgottenStatements* sum : {&service.forgotten, &forgotten_}) {
        ++sum->times;
        sum->figures.add(entry.figures);
    }
}

void StatementStats::forget(ServiceStatements& service, std::size_t at) {
    std::vector<ServiceStatements::Entry>& entries = service.entries;
    note_forgotten(service, entries[at]);
    service.places.erase(entries[at].fingerprint->id);
    if (at + 1 < entries.size()) {
        std::swap(entries[at], entries.back());
        service.places[entries[at].fingerprint->id] = static_cast<std::uint32_t>(at);
    }
    entries.pop_back();
    --size_;
}

std::vector<StatementLine> StatementStats::top(std::size_t most, std::string_view service) const {
    struct Found {
        const ServiceStatements* service = nullptr;
        const ServiceStatements::Entry* entry = nullptr;
    };
    std::vector<Found> all;
    for (const auto& table : services_) {
        if (!service.empty() && table->name != service) continue;
        for (const ServiceStatements::Entry& entry : table->entries)
            all.push_back({table.get(), &entry});
    }
    keep_first(all, most, [](const Found& found) { return found.entry->figures.total; });
    std::vector<StatementLine> lines;
    lines.reserve(all.size());
    for (const Found& found : all) {
        const Fingerprint& fingerprint = *found.entry->fingerprint;
        lines.push_back(
            {found.service->name, fingerprint.id, fingerprint.text, found.entry->figures});
    }
    return lines;
}

ForgottenStatements StatementStats::forgotten(std::string_view service) const {
    if (service.empty()) return forgotten_;
    const auto known = by_name_.find(std::string(service));
    return known == by_name_.end() ? ForgottenStatements{} : known->second->forgotten;
}

std::vector<StatementLine> merge(std::vector<std::vector<StatementLine>> workers,
                                 std::size_t most) {
    std::map<std::pair<std::string, std::uint64_t>, StatementLine> sums;
    for (std::vector<StatementLine>& lines : workers) {
        for (StatementLine& line : lines) {
            const auto [sum, is_new] = sums.try_emplace({line.service, line.id});
            if (is_new) {
                sum->second = std::move(line);
            } else {
                sum->second.figures.add(line.figures);
            }
        }
    }
    std::vector<StatementLine> merged;
    merged.reserve(sums.size());
    for (auto& [key, line] : sums)
        merged.push_back(std::move(line));
    keep_first(merged, most, [](const StatementLine& line) { return line.figures.total; });
    return merged;
}

}  // namespace schemux::core
