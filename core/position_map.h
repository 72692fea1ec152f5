// Maps character positions in a rewritten text back to the client's own text, for the `P` field of
// ErrorResponse, and counts characters the way PostgreSQL does under a client encoding.
// The map belongs to the client's statement: different originals may share one rewritten text.
// It must not know what a template is.
#pragma once

#include <boost/container/small_vector.hpp>

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace schemux::core {

/// How bytes make characters, and whether an ASCII byte in the text is always that character.
enum class EncodingClass : std::uint8_t {
    single_byte,    ///< LATINn, WINn, KOI8, SQL_ASCII …
    utf8,           ///<
    euc,            ///< EUC_JP, EUC_JIS_2004, EUC_KR, EUC_CN
    euc_tw,         ///<
    mule_internal,  ///<
    unsafe,         ///< SJIS, BIG5, GBK … and every name not known: trail bytes may be ASCII
};

/// `name` in any spelling that PostgreSQL takes: letter case and everything but ASCII letters and
/// digits do not count. SQL_ASCII is `single_byte`; a server with SQL_ASCII clients counts by its
/// own encoding, so the caller gives the server's name then.
EncodingClass classify_encoding(std::string_view name);

/// Bytes of the character at the front of `text`: 1 … text.size(); 0 only for an empty text.
std::size_t character_bytes(std::string_view text, EncodingClass encoding);

/// Characters in `text`, which is valid where it matters: PostgreSQL gives no position otherwise.
std::size_t count_characters(std::string_view text, EncodingClass encoding);

class PositionMap {
  public:
    /// Says that `original_characters` from `original_at` on became `rewritten_characters` from
    /// `rewritten_at` on (0-based, in characters). In ascending order, without overlap.
    void add(std::size_t original_at, std::size_t original_characters, std::size_t rewritten_at,
             std::size_t rewritten_characters);
    void clear() { changes_.clear(); }
    bool empty() const { return changes_.empty(); }

    /// The 1-based position in the original for one in the rewritten text; inside a replacement it
    /// is the start of what was replaced. 0 (none) stays 0; an empty map changes nothing.
    std::uint32_t to_original(std::uint32_t position) const;

  private:
    struct Change {
        std::uint32_t original_begin;
        std::uint32_t original_end;
        std::uint32_t rewritten_begin;
        std::uint32_t rewritten_end;
    };
    boost::container::small_vector<Change, 4> changes_;
};

}  // namespace schemux::core
