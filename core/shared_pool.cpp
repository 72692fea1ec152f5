#include "core/shared_pool.h"

#include <algorithm>
#include <cassert>

namespace schemux::core {

SharedPool::SharedPool(std::uint32_t max_connections, std::uint32_t workers)
    : default_(std::make_shared<SubPool>(BackendIdentity{}, 0, workers)),
      maximum_(max_connections),
      counts_(std::make_unique<WorkerCounts[]>(workers)),
      workers_(workers) {}

// ---- sub-pools ---------------------------------------------------------------------------------

/// Under the lock. What is visited may be gone for everybody else when it ends.
template <class Visit>
void SharedPool::for_each(Visit visit) const {
    visit(*default_);
    for (const auto& [identity, held] : others_) {
        if (const std::shared_ptr<SubPool> one = held.lock()) visit(*one);
    }
}

void SharedPool::forget_unused() {
    std::erase_if(others_, [](const auto& entry) { return entry.second.expired(); });
    divided_.store(!others_.empty(), std::memory_order_relaxed);
}

std::shared_ptr<SubPool> SharedPool::sub_pool(const BackendIdentity& identity) {
    if (identity.is_default()) return default_;
    const std::lock_guard lock(mutex_);
    if (const auto known = others_.find(identity); known != others_.end()) {
        if (auto one = known->second.lock()) return one;
    }
    forget_unused();
    auto made = std::make_shared<SubPool>(identity, ++last_id_, workers_);
    others_.insert_or_assign(identity, made);
    divided_.store(true, std::memory_order_relaxed);
    return made;
}

std::vector<std::shared_ptr<SubPool>> SharedPool::sub_pools() const {
    std::vector<std::shared_ptr<SubPool>> all;
    const std::lock_guard lock(mutex_);
    for_each([&all](SubPool& one) { all.push_back(one.shared_from_this()); });
    return all;
}

std::shared_ptr<Share> SharedPool::lend_share(const std::shared_ptr<SubPool>& of,
                                              const SharePolicy& policy, Share* group) {
    const std::lock_guard lock(mutex_);
    Share* chosen = nullptr;
    const std::size_t looks = std::min(of->shares_.size(), limits::lent_shares_looked_at);
    for (std::size_t i = 0; i < looks && chosen == nullptr; ++i) {
        // It wraps here: by a count that only grows it would always be the newest ones.
        of->next_share_ = (of->next_share_ + 1) % of->shares_.size();
        Share* share = of->shares_[of->next_share_].get();
        const bool free = !share->lent_.load() && share->uses() == 0 && share->waiting() == 0;
        if (free) chosen = share;
    }
    if (chosen == nullptr)
        chosen = of->shares_.emplace_back(std::make_unique<Share>(of.get())).get();
    chosen->group_ = group;
    of->queue_.renew(*chosen, policy);
    if (of->queue_.limited()) limited_.store(true, std::memory_order_relaxed);
    chosen->lent_.store(true);
    return {chosen, [of](Share* share) { share->lent_.store(false); }};
}

// ---- uses --------------------------------------------------------------------------------------

/// Under the lock: slots of the bound that nobody's client holds or was promised.
std::uint32_t SharedPool::free_slots() const {
    std::int64_t uses = 0;
    for (std::uint32_t worker = 0; worker < workers_; ++worker)
        uses += counts_[worker].uses.load(std::memory_order_relaxed);
    const std::int64_t free = static_cast<std::int64_t>(maximum()) - uses;
    return free > 0 ? static_cast<std::uint32_t>(free) : 0;
}

/// Each queue is told what the reserves of the others keep.
void SharedPool::tell_free_slots() {
    const std::uint32_t free = free_slots();
    if (!is_divided()) return default_->queue_.set_free_slots(free);
    std::uint32_t kept = 0;
    for_each([&kept](const SubPool& one) { kept += one.queue_.kept(); });
    for_each(
        [free, kept](SubPool& one) { one.queue_.set_free_slots(free, kept - one.queue_.kept()); });
}

/// Under the lock: a use of it began or ended.
void SharedPool::reconsider(Share& share) {
    SubPool& own = at(share.sub_pool());
    if (!is_divided() || !reserving_) {
        own.queue_.reconsider_after_use(share);
        return publish(own);
    }
    for_each([this](SubPool& one) {
        one.queue_.reconsider();
        publish(one);
    });
}

void SharedPool::publish(SubPool& of) {
    const std::uint32_t waited = of.waiting_.exchange(of.queue_.waiting());
    waiting_.fetch_add(of.queue_.waiting() - waited, std::memory_order_relaxed);
    const std::uint32_t ready = of.ready_.exchange(of.queue_.ready(), std::memory_order_seq_cst);
    ready_.fetch_add(of.queue_.ready() - ready, std::memory_order_seq_cst);
}

bool SharedPool::begin_use(std::uint32_t worker, Share& share) {
    SubPool& own = at(share.sub_pool());
    if (own.contended()) return false;
    if (limited_.load(std::memory_order_relaxed)) {
        const std::lock_guard lock(mutex_);
        tell_free_slots();
        if (!own.queue_.admits(share)) return false;
        share.begin_use();
        counts_[worker].uses.fetch_add(1, std::memory_order_relaxed);
        return true;
    }
    share.begin_use();
    counts_[worker].uses.fetch_add(1, std::memory_order_relaxed);
    return true;
}

void SharedPool::end_use(std::uint32_t worker, Share& share) {
    share.end_use();
    counts_[worker].uses.fetch_sub(1, std::memory_order_relaxed);
    if (!limited_.load(std::memory_order_relaxed)) return;
    const std::lock_guard lock(mutex_);
    tell_free_slots();
    reconsider(share);
}

void SharedPool::refresh() {
    if (!limited_.load(std::memory_order_relaxed)) return;
    const std::lock_guard lock(mutex_);
    tell_free_slots();
    for_each([this](SubPool& one) {
        one.queue_.reconsider();
        publish(one);
    });
}

/// Those that are lent keep what they were given; they are paused as all are.
void SharedPool::configure(const std::vector<std::pair<Share*, SharePolicy>>& shares,
                           Nanoseconds now, bool paused) {
    std::map<SubPool*, std::vector<std::pair<Share*, SharePolicy>>> by_sub_pool;
    for (const auto& entry : shares)
        by_sub_pool[&at(entry.first->sub_pool())].push_back(entry);
    const std::lock_guard lock(mutex_);
    paused_ = paused;
    std::vector<std::shared_ptr<SubPool>> kept;  // while they are configured
    for_each([&](SubPool& one) {
        kept.push_back(one.shared_from_this());
        for (const auto& share : one.shares_) {
            SharePolicy policy = share->policy_;
            policy.paused = paused;
            by_sub_pool[&one].emplace_back(share.get(), policy);
        }
    });
    tell_free_slots();
    bool limited = false;
    reserving_ = false;
    for (const auto& [of, theirs] : by_sub_pool)
        of->queue_.configure(theirs, now);
    tell_free_slots();
    for_each([this, &limited](SubPool& one) {
        one.queue_.reconsider();
        limited = limited || one.queue_.limited();
        reserving_ = reserving_ || one.queue_.reserving();
        publish(one);
    });
    limited_.store(limited, std::memory_order_relaxed);
}

// ---- tickets -----------------------------------------------------------------------------------

FairQueue::Pushed SharedPool::enqueue(const Ticket& ticket, Nanoseconds now) {
    const std::lock_guard lock(mutex_);
    SubPool& own = at(ticket.share->sub_pool());
    if (limited_.load(std::memory_order_relaxed)) tell_free_slots();
    FairQueue::Pushed pushed = own.queue_.push(ticket, now);
    pushed.handle.sub_pool = ticket.share->sub_pool();
    publish(own);
    return pushed;
}

bool SharedPool::withdraw(TicketHandle handle) {
    const std::lock_guard lock(mutex_);
    SubPool& own = at(handle.sub_pool);
    const bool removed = own.queue_.remove(handle);
    publish(own);
    return removed;
}

std::optional<Ticket> SharedPool::next_ticket(std::uint64_t label_hash, Share* last,
                                              Nanoseconds now, SubPool* of) {
    const std::lock_guard lock(mutex_);
    SubPool& own = at(of);
    if (limited_.load(std::memory_order_relaxed)) tell_free_slots();
    const std::optional<Ticket> ticket = own.queue_.pop(label_hash, last, now);
    if (ticket) counts_[ticket->worker].uses.fetch_add(1, std::memory_order_relaxed);
    publish(own);
    return ticket;
}

std::vector<Ticket> SharedPool::drain_tickets() {
    const std::lock_guard lock(mutex_);
    std::vector<Ticket> tickets;
    for_each([this, &tickets](SubPool& one) {
        const std::vector<Ticket> theirs = one.queue_.drain();
        tickets.insert(tickets.end(), theirs.begin(), theirs.end());
        publish(one);
    });
    return tickets;
}

std::vector<Ticket> SharedPool::drain_tickets(SubPool& of) {
    const std::lock_guard lock(mutex_);
    std::vector<Ticket> tickets = of.queue_.drain();
    publish(of);
    return tickets;
}

// ---- slots -------------------------------------------------------------------------------------

bool SharedPool::wants_connect(const SubPool& of, Nanoseconds now) const {
    if (of.rest_.until > now) return false;
    return of.queue_.ready() > of.connecting_;
}

/// The first is to have the next backend before the second.
bool SharedPool::needs_more(const SubPool& left, const SubPool& right) {
    if (left.promised_ != right.promised_) return left.promised_ > right.promised_;
    const bool owed = left.queue_.owes_guarantee();
    if (owed != right.queue_.owes_guarantee()) return owed;
    const std::uint64_t has = left.open() * right.queue_.ready_weight();
    const std::uint64_t other_has = right.open() * left.queue_.ready_weight();
    if (has != other_has) return has < other_has;
    return left.queue_.waits_since() < right.queue_.waits_since();
}

std::shared_ptr<SubPool> SharedPool::claim_connect(Nanoseconds now) {
    const std::lock_guard lock(mutex_);
    const std::uint32_t open = open_.load(std::memory_order_relaxed);
    if (open >= maximum()) return nullptr;
    const std::uint32_t parallel =
        outage_ ? 1 : static_cast<std::uint32_t>(limits::parallel_connects_max);
    if (connecting_ >= parallel) return nullptr;
    SubPool* chosen = nullptr;
    if (!is_divided()) {
        if (wants_connect(*default_, now)) chosen = default_.get();
    } else {
        for_each([&](SubPool& one) {
            if (one.queue_.ready() == 0) one.promised_ = 0;
            if (!wants_connect(one, now)) return;
            if (chosen == nullptr || needs_more(one, *chosen)) chosen = &one;
        });
    }
    const bool probes = outage_ && !paused_ && open == 0;
    if (chosen == nullptr && (open < minimum_ || probes) && default_->rest_.until <= now)
        chosen = default_.get();
    if (chosen == nullptr) return nullptr;
    ++connecting_;
    ++chosen->connecting_;
    if (chosen->promised_ > 0) --chosen->promised_;
    open_.store(open + 1, std::memory_order_relaxed);
    chosen->open_.fetch_add(1, std::memory_order_relaxed);
    return chosen->shared_from_this();
}

void SharedPool::connect_succeeded(SubPool* of) {
    const std::lock_guard lock(mutex_);
    SubPool& own = at(of);
    assert(connecting_ > 0 && own.connecting_ > 0);
    --connecting_;
    --own.connecting_;
    own.rest_ = {};
}

void SharedPool::connect_failed(SubPool* of) {
    const std::lock_guard lock(mutex_);
    SubPool& own = at(of);
    assert(connecting_ > 0 && open_ > 0 && own.connecting_ > 0);
    --connecting_;
    --own.connecting_;
    open_.fetch_sub(1, std::memory_order_relaxed);
    own.open_.fetch_sub(1, std::memory_order_relaxed);
}

Nanoseconds SharedPool::rest(SubPool& of, Nanoseconds now) {
    const std::lock_guard lock(mutex_);
    const std::uint32_t doublings = std::min<std::uint32_t>(of.rest_.failures++, 8);
    const Nanoseconds length = std::min<Nanoseconds>(
        limits::identity_rest_first * (1U << doublings), limits::identity_rest_longest);
    of.rest_.until = now + length;
    return of.rest_.until;
}

void SharedPool::end_rest(SubPool& of) {
    const std::lock_guard lock(mutex_);
    of.rest_ = {};
}

void SharedPool::return_slot(SubPool* of, bool evicted) {
    const std::lock_guard lock(mutex_);
    assert(open_ > 0 && at(of).open_ > 0);
    open_.fetch_sub(1, std::memory_order_relaxed);
    at(of).open_.fetch_sub(1, std::memory_order_relaxed);
    if (!evicted) return;
    assert(evicting_ > 0);
    --evicting_;
}

// ---- from one sub-pool to another --------------------------------------------------------------

std::uint32_t SharedPool::idle_of_all(const SubPool& of) const {
    std::uint32_t all = 0;
    for (std::uint32_t worker = 0; worker < workers_; ++worker)
        all += of.idle_[worker].count.load(std::memory_order_relaxed);
    return all;
}

/// Whether there are idle backends whose own clients have no need of them.
bool SharedPool::any_rests() const {
    bool any = false;
    for_each([&](const SubPool& one) {
        any = any || (one.queue_.ready() == 0 && idle_of_all(one) > 0);
    });
    return any;
}

/// How long its clients wait for its own backends before another one's is closed for them.
Nanoseconds SharedPool::patience_of(const SubPool& of, Nanoseconds now) const {
    if (of.queue_.owes_guarantee()) return Nanoseconds(0);
    if (of.open() > 0) return limits::eviction_patience;
    const bool calm = !last_eviction_ || *last_eviction_ + limits::calm_after <= now;
    return calm ? Nanoseconds(0) : limits::first_patience;
}

/// Who is to have a backend of another one, if anybody is: it has none, or its clients have waited
/// long enough for its own, or it is owed one.
SubPool* SharedPool::neediest(const SubPool* but, Nanoseconds now) const {
    SubPool* chosen = nullptr;
    for_each([&](SubPool& one) {
        if (&one == but || !wants_connect(one, now)) return;
        // Slots that are on their way to it count; what was promised long ago may be others'.
        const std::uint32_t coming = evicting_ > 0 ? one.promised_ : 0;
        if (one.queue_.ready() <= one.connecting_ + coming) return;
        const auto since = one.queue_.waits_since();
        if (!since) return;
        if (*since + patience_of(one, now) > now) return;
        if (chosen == nullptr || needs_more(one, *chosen)) chosen = &one;
    });
    return chosen;
}

/// Both have clients that wait: it goes to whom has less, and does not come back at once.
bool SharedPool::may_take(const SubPool& taker, const SubPool& giver) {
    if (giver.queue_.owes_guarantee()) return false;
    if (taker.queue_.owes_guarantee()) return true;
    const std::uint64_t would_have = (taker.open() + 1) * giver.queue_.ready_weight();
    const std::uint64_t would_be_left = (giver.open() - 1) * taker.queue_.ready_weight();
    return would_have <= would_be_left;
}

bool SharedPool::yields(SubPool* of, Nanoseconds now) {
    if (!is_divided()) return false;
    const std::lock_guard lock(mutex_);
    SubPool& own = at(of);
    if (open_.load(std::memory_order_relaxed) < maximum()) return false;
    if (evicting_ + connecting_ >= limits::evictions_max) return false;
    SubPool* other = neediest(&own, now);
    if (other == nullptr) return false;
    // What nobody uses goes first.
    if (own.queue_.ready() > 0 && any_rests()) return false;
    if (own.queue_.ready() > 0 && !may_take(*other, own)) {
        // Nobody goes without: of more identities than slots each has one in turn, as long as
        // others are patient.
        if (other->open() > 0) return false;
        const bool waited = *other->queue_.waits_since() + limits::eviction_patience <= now;
        if (own.open() == 1 && !waited) return false;
    }
    ++evicting_;
    ++other->promised_;
    last_eviction_ = now;
    evictions_.fetch_add(1, std::memory_order_relaxed);
    return true;
}

std::optional<Nanoseconds> SharedPool::next_look(Nanoseconds now) const {
    const std::lock_guard lock(mutex_);
    const bool full = open_.load(std::memory_order_relaxed) >= maximum();
    std::optional<Nanoseconds> next;
    for_each([&](const SubPool& one) {
        const auto since = one.queue_.waits_since();
        if (!since || one.queue_.ready() <= one.connecting_) return;
        const bool rests = one.rest_.until > now;
        if (!full && !rests) return;
        const Nanoseconds when = rests ? one.rest_.until : *since + patience_of(one, now);
        if (!next || when < *next) next = when;
    });
    return next;
}

// ---- what there is -----------------------------------------------------------------------------

void SharedPool::set_minimum(std::uint32_t connections) {
    const std::lock_guard lock(mutex_);
    minimum_ = connections;
}

void SharedPool::set_maximum(std::uint32_t connections) {
    const std::lock_guard lock(mutex_);
    maximum_.store(connections, std::memory_order_relaxed);
    tell_free_slots();
    for_each([this](SubPool& one) {
        one.queue_.reconsider();
        publish(one);
    });
}

void SharedPool::set_outage(bool away) {
    const std::lock_guard lock(mutex_);
    outage_ = away;
}

bool SharedPool::over_bound() const {
    const std::lock_guard lock(mutex_);
    return open_.load(std::memory_order_relaxed) > maximum();
}

std::uint32_t SharedPool::connecting() const {
    const std::lock_guard lock(mutex_);
    return connecting_;
}

std::uint32_t SharedPool::idle() const {
    const std::lock_guard lock(mutex_);
    std::uint32_t all = 0;
    for_each([this, &all](const SubPool& one) { all += idle_of_all(one); });
    return all;
}

std::optional<std::uint32_t> SharedPool::idle_elsewhere(std::uint32_t self) const {
    const auto find = [this, self](const SubPool& of) -> std::optional<std::uint32_t> {
        for (std::uint32_t worker = 0; worker < workers_; ++worker) {
            if (worker == self) continue;
            if (of.idle_[worker].count.load(std::memory_order_seq_cst) > 0) return worker;
        }
        return {};
    };
    if (!is_divided()) return find(*default_);
    const std::lock_guard lock(mutex_);
    std::optional<std::uint32_t> found;
    for_each([&](const SubPool& one) {
        if (!found && one.contended()) found = find(one);
    });
    return found;
}

}  // namespace schemux::core
