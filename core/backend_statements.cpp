#include "core/backend_statements.h"

namespace schemux::core {

const BackendStatements::Use* BackendStatements::certain(const StatementId& id) const {
    if (id == unnamed_statement) return unnamed_.version == 0 ? nullptr : &unnamed_;
    const auto found = used_.find(id);
    return found == used_.end() ? nullptr : &found->second;
}

BackendStatements::Found BackendStatements::find(const StatementId& id) const {
    const Log::Change* change = log_.empty() ? nullptr : log_.last(id);
    const Use* use = certain(id);
    if (change == nullptr) {
        return use == nullptr ? Found{} : Found{true, use->version, use->made, 0, false};
    }
    // What goes need not be waited for if it is not there.
    if (!change->value && use == nullptr && log_.last(id, change) == nullptr) return {};
    const bool in_query = change->when == When::one_of_commands;
    return {change->value.has_value(), change->value ? change->value->version : 0, change->request,
            change->request, in_query};
}

void BackendStatements::touch(const StatementId& id) {
    const auto found = used_.find(id);
    if (found != used_.end()) found->second.used = ++clock_;
}

void BackendStatements::add(std::uint64_t request, When when, const StatementId& id,
                            std::uint64_t version) {
    log_.push({request, when, id, Added{version, ++clock_}});
}

void BackendStatements::remove(std::uint64_t request, When when, const StatementId& id) {
    log_.push({request, when, id, {}});
}

void BackendStatements::remove_all(std::uint64_t request, When when) {
    log_.push({request, when, {}, {}});
}

void BackendStatements::clear() {
    used_.clear();
    unnamed_.version = 0;
    log_.clear();
}

void BackendStatements::apply(const Log::Change& change) {
    if (!change.key) return used_.clear();
    if (*change.key == unnamed_statement) {
        unnamed_.version = change.value ? change.value->version : 0;
        unnamed_.made = change.request;
        unnamed_.shape.clear();
    } else if (change.value) {
        used_.insert_or_assign(*change.key,
                               Use{change.value->version, change.request, change.value->used, {}});
    } else {
        used_.erase(*change.key);
    }
}

void BackendStatements::succeeded(std::uint64_t request) {
    log_.succeeded(request, [this](const Log::Change& change) { apply(change); });
}

void BackendStatements::failed(std::uint64_t request) {
    log_.failed(request, [this](const Log::Change& change) { apply(change); });
}

bool BackendStatements::command(std::uint64_t request) {
    return log_.command(request, [this](const Log::Change& change) { apply(change); });
}

StatementShape* BackendStatements::shape_of(const StatementId& id) {
    if (id == unnamed_statement) return unnamed_.version == 0 ? nullptr : &unnamed_.shape;
    const auto found = used_.find(id);
    return found == used_.end() ? nullptr : &found->second.shape;
}

std::size_t BackendStatements::expected_size() const {
    std::size_t size = used_.size();
    log_.each([&size](const Log::Change& change) {
        if (!change.key || *change.key == unnamed_statement) return;
        if (change.value) {
            ++size;
        } else if (size > 0) {
            --size;
        }
    });
    return size;
}

std::optional<StatementId> BackendStatements::victim(std::uint64_t mark) const {
    if (expected_size() < maximum_) return {};
    std::optional<StatementId> oldest;
    std::uint64_t used = mark + 1;
    for (const auto& [id, use] : used_) {
        if (use.used >= used) continue;
        // What is about to go needs no second Close.
        if (!log_.empty() && log_.last(id) != nullptr) continue;
        oldest = id;
        used = use.used;
    }
    if (oldest) return oldest;
    log_.each([&](const Log::Change& change) {
        const bool named = change.key && *change.key != unnamed_statement;
        if (!named || !change.value || change.value->used >= used) return;
        if (log_.last(*change.key) != &change) return;
        oldest = *change.key;
        used = change.value->used;
    });
    return oldest;
}

}  // namespace schemux::core
