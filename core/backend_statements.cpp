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
                            std::uint64_t version, std::size_t bytes) {
    log_.push({request, when, id, Added{version, ++clock_, bytes}});
}

void BackendStatements::remove(std::uint64_t request, When when, const StatementId& id) {
    log_.push({request, when, id, {}});
}

void BackendStatements::remove_all(std::uint64_t request, When when) {
    log_.push({request, when, {}, {}});
}

void BackendStatements::remove_now(const StatementId& id) {
    const auto found = used_.find(id);
    if (found == used_.end()) return;
    used_bytes_ -= found->second.bytes;
    used_.erase(found);
}

void BackendStatements::remove_all_now() {
    used_.clear();
    used_bytes_ = 0;
}

/// Those of PREPARE have versions (Statement::copy_version).
BackendStatements::Census BackendStatements::census() const {
    Census census;
    for (const auto& [id, use] : used_) {
        ++census.all;
        if (use.version != 0) ++census.by_sql;
    }
    return census;
}

void BackendStatements::clear() {
    remove_all_now();
    unnamed_.version = 0;
    log_.clear();
}

void BackendStatements::apply(const Log::Change& change) {
    if (!change.key) return remove_all_now();
    if (*change.key == unnamed_statement) {
        unnamed_.version = change.value ? change.value->version : 0;
        unnamed_.made = change.request;
        unnamed_.shape.clear();
        return;
    }
    remove_now(*change.key);
    if (!change.value) return;
    const Added& added = *change.value;
    used_bytes_ += added.bytes;
    used_.emplace(*change.key, Use{added.version, change.request, added.used, added.bytes, {}});
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

/// Fills `ahead_`. True if there will be no room for `bytes` more.
bool BackendStatements::look_ahead(std::size_t bytes) {
    std::size_t at_most = used_bytes_ + bytes;
    log_.each([&at_most](const Log::Change& change) {
        if (change.value) at_most += change.value->bytes;
    });
    if (used_.size() + log_.size() < bounds_.statements && at_most <= bounds_.bytes) return false;
    ahead_.clear();
    none_stays_ = false;
    log_.each([this](const Log::Change& change) {
        if (!change.key) {
            ahead_.clear();
            none_stays_ = true;
        } else if (*change.key != unnamed_statement) {
            ahead_[*change.key] = change.value;
        }
    });
    std::size_t statements = none_stays_ ? 0 : used_.size();
    std::size_t taken = none_stays_ ? 0 : used_bytes_;
    for (const auto& [id, added] : ahead_) {
        const auto used = none_stays_ ? used_.end() : used_.find(id);
        if (used != used_.end()) {
            --statements;
            taken -= used->second.bytes;
        }
        if (added) {
            ++statements;
            taken += added->bytes;
        }
    }
    return statements >= bounds_.statements || (statements > 0 && taken + bytes > bounds_.bytes);
}

std::optional<StatementId> BackendStatements::victim(std::uint64_t mark, std::size_t bytes) {
    if (!look_ahead(bytes)) return {};
    std::optional<StatementId> oldest;
    std::uint64_t used = mark + 1;
    for (const auto& [id, use] : used_) {
        // What is about to go needs no second Close.
        if (use.used >= used || none_stays_ || ahead_.contains(id)) continue;
        oldest = id;
        used = use.used;
    }
    if (oldest) return oldest;
    for (const auto& [id, added] : ahead_) {
        if (!added || added->used >= used) continue;
        oldest = id;
        used = added->used;
    }
    return oldest;
}

}  // namespace schemux::core
