// What a text of SQL has in common with others that differ in nothing but their constants: the text
// with `?` for each literal and number, lists of them as `?, …`, without comments, each space one.
// By it statements are counted and named where no value of a client's may be seen.
// It must not know services, clients or what becomes of it.
//
//   SELECT * FROM t WHERE a=-1 AND b IN ('x', 'y') -- c     SELECT * FROM t WHERE a = ? AND b IN
//   (?, …) INSERT INTO t VALUES (1, 'a'), (2, 'b')                 INSERT INTO t VALUES (?, …), …
#pragma once

#include "protocol/sql_lexer.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace schemux::core {

/// In place of what cannot be read for sure, and of what is too long to be read.
inline constexpr std::string_view unreadable_text = "<unreadable>";
inline constexpr std::string_view too_long_text = "<too long>";

/// Shared by who knows of it, counted by hand: all of them live on one worker thread.
struct Fingerprint {
    std::uint64_t id =
        0;             ///< of the whole text, also where `text` is cut; the same in each process
    std::string text;  ///< at most limits::fingerprint_bytes_max

  private:
    friend class FingerprintRef;
    std::uint32_t references_ = 0;
};

class FingerprintRef {
  public:
    FingerprintRef() = default;
    FingerprintRef(std::uint64_t id, std::string_view text) : fingerprint_(new Fingerprint) {
        fingerprint_->id = id;
        fingerprint_->text = text;
        retain();
    }
    FingerprintRef(const FingerprintRef& other) : fingerprint_(other.fingerprint_) { retain(); }
    FingerprintRef(FingerprintRef&& other) noexcept
        : fingerprint_(std::exchange(other.fingerprint_, nullptr)) {}
    FingerprintRef& operator=(FingerprintRef other) noexcept {
        std::swap(fingerprint_, other.fingerprint_);
        return *this;
    }
    ~FingerprintRef() {
        if (fingerprint_ != nullptr && --fingerprint_->references_ == 0) delete fingerprint_;
    }

    const Fingerprint* operator->() const { return fingerprint_; }
    const Fingerprint& operator*() const { return *fingerprint_; }
    explicit operator bool() const { return fingerprint_ != nullptr; }

  private:
    void retain() {
        if (fingerprint_ != nullptr) ++fingerprint_->references_;
    }

    Fingerprint* fingerprint_ = nullptr;
};

/// Reads texts for their fingerprints; what it needs for that is used again.
class FingerprintReader {
  public:
    /// Nothing of a literal or number is in `text()` behind it.
    void read(std::string_view text, bool standard_conforming_strings);
    /// The same for a text that cannot be read for sure.
    void give_up(std::string_view why);

    std::uint64_t id() const { return id_; }
    std::string_view text() const { return text_; }
    /// A comment speaks of a traceparent (trace_parent.h).
    bool traced() const { return traced_; }

  private:
    /// What a token is when it is written.
    enum class Part : std::uint8_t {
        none,
        word,       ///< an identifier or keyword
        parameter,  ///< $1
        constant,   ///< `?`
        sign,       ///< an operator
        shift,      ///< << or >>, which may be a template's: apart as the client has it
        open,
        close,
        comma,
        semicolon,
        point,  ///< a point or colon, or two together
        other,  ///< apart as the client has it, as templates are made of these
    };
    struct Piece {
        Part part = Part::none;
        bool spaced = false;  ///< the client has it apart from the one before
        std::string_view bytes;
    };
    static Part part_of(const protocol::Token& token, std::string_view bytes);
    static bool apart(Part left, Part right, bool spaced);
    static bool expects_value(const Piece& piece);
    bool cut_up(std::string_view text, bool standard_conforming_strings);
    void add(Part part, bool spaced, std::string_view bytes);
    std::size_t list_end(std::size_t at) const;
    std::size_t group_end(std::size_t at) const;
    void write_all();
    void write(Part part, bool spaced, std::string_view bytes);
    void write_rest();

    std::vector<Piece> pieces_;
    std::string text_;
    std::uint64_t id_ = 0;
    Part last_ = Part::none;
    bool cut_ = false;
    bool traced_ = false;
};

}  // namespace schemux::core
