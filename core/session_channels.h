// The channels that one client listens on while no backend does so for it: the shared listener
// (listener.h) does. What PostgreSQL says that a lease's backend listens on is taken over here.
// It must not know relays, nor who the listener is.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace schemux::core {

class SessionChannels {
  public:
    bool none() const { return names_.empty(); }
    bool has(std::string_view name) const;
    /// In order, each once.
    const std::vector<std::string>& names() const { return names_; }

    // ---- a lease ----
    void begin_lease() { loaded_ = Loaded::no; }
    /// The backend was told to listen on all of them, as the client's own session would.
    void load(bool in_transaction) {
        loaded_ = in_transaction ? Loaded::in_transaction : Loaded::yes;
    }
    bool loaded() const { return loaded_ != Loaded::no; }
    /// … and that may have been undone with a transaction.
    void roll_back() {
        if (loaded_ == Loaded::in_transaction) loaded_ = Loaded::no;
    }
    /// What the backend listens on behind the transaction: all that the client does if it was told
    /// to before, and what the client has begun with if not.
    void take_over(std::vector<std::string> there);
    void clear();

    // ---- the shared listener ----
    /// Whether it does not know them yet. Calling `tell` says that it does from here on.
    bool moved() const { return moved_; }
    /// Numbers what the listener is told.
    std::uint64_t tell() {
        moved_ = false;
        return ++told_;
    }
    void confirm(std::uint64_t told) {
        if (told == told_ && !moved_) awaited_ = false;
    }
    /// It is told of the same ones again: what was heard until then is told before it confirms.
    void await() { moved_ = awaited_ = true; }
    /// True while it may not listen yet on what the client has begun to listen on.
    bool awaited() const { return awaited_; }

  private:
    enum class Loaded : std::uint8_t { no, yes, in_transaction };

    std::vector<std::string> names_;
    Loaded loaded_ = Loaded::no;
    bool moved_ = false;
    bool awaited_ = false;
    std::uint64_t told_ = 0;
};

}  // namespace schemux::core
