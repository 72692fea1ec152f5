#include "core/position_map.h"

#include <algorithm>
#include <array>
#include <cassert>

namespace schemux::core {

namespace {

struct NamedClass {
    std::string_view name;
    EncodingClass encoding;
};

// Names and aliases of PostgreSQL's src/common/encnames.c that are not single-byte, normalised.
constexpr auto multibyte_names = std::to_array<NamedClass>({
    {"euccn", EncodingClass::euc},
    {"eucjis2004", EncodingClass::euc},
    {"eucjp", EncodingClass::euc},
    {"euckr", EncodingClass::euc},
    {"euctw", EncodingClass::euc_tw},
    {"muleinternal", EncodingClass::mule_internal},
    {"unicode", EncodingClass::utf8},
    {"utf8", EncodingClass::utf8},
});

constexpr auto single_byte_names = std::to_array<std::string_view>({
    "abc",         "alt",         "iso88591",    "iso885910",   "iso885913",   "iso885914",
    "iso885915",   "iso885916",   "iso88592",    "iso88593",    "iso88594",    "iso88595",
    "iso88596",    "iso88597",    "iso88598",    "iso88599",    "koi8",        "koi8r",
    "koi8u",       "latin1",      "latin10",     "latin2",      "latin3",      "latin4",
    "latin5",      "latin6",      "latin7",      "latin8",      "latin9",      "sqlascii",
    "tcvn",        "tcvn5712",    "vscii",       "win",         "win1250",     "win1251",
    "win1252",     "win1253",     "win1254",     "win1255",     "win1256",     "win1257",
    "win1258",     "win866",      "win874",      "windows1250", "windows1251", "windows1252",
    "windows1253", "windows1254", "windows1255", "windows1256", "windows1257", "windows1258",
    "windows866",  "windows874",
});

constexpr std::size_t longest_name = 32;

std::size_t utf8_bytes(unsigned char lead) {
    if ((lead & 0x80) == 0) return 1;
    if ((lead & 0xe0) == 0xc0) return 2;
    if ((lead & 0xf0) == 0xe0) return 3;
    if ((lead & 0xf8) == 0xf0) return 4;
    return 1;
}

// SS2 and SS3 announce characters of a third and fourth set.
constexpr unsigned char single_shift_2 = 0x8e;
constexpr unsigned char single_shift_3 = 0x8f;

std::size_t euc_bytes(unsigned char lead, std::size_t shift_2_bytes) {
    if (lead == single_shift_2) return shift_2_bytes;
    if (lead == single_shift_3) return 3;
    return (lead & 0x80) != 0 ? 2 : 1;
}

// Lead bytes of src/include/mb/pg_wchar.h.
std::size_t mule_bytes(unsigned char lead) {
    if (lead >= 0x81 && lead <= 0x8d) return 2;
    if (lead >= 0x90 && lead <= 0x99) return 3;
    if (lead == 0x9a || lead == 0x9b) return 3;
    if (lead == 0x9c || lead == 0x9d) return 4;
    return 1;
}

}  // namespace

EncodingClass classify_encoding(std::string_view name) {
    std::array<char, longest_name> normal{};
    std::size_t length = 0;
    for (const char byte : name) {
        const char lower = byte >= 'A' && byte <= 'Z' ? static_cast<char>(byte | 0x20) : byte;
        const bool kept = (lower >= 'a' && lower <= 'z') || (lower >= '0' && lower <= '9');
        if (!kept) continue;
        if (length == normal.size()) return EncodingClass::unsafe;
        normal[length++] = lower;
    }
    const std::string_view wanted(normal.data(), length);
    for (const NamedClass& known : multibyte_names) {
        if (known.name == wanted) return known.encoding;
    }
    const bool single = std::find(single_byte_names.begin(), single_byte_names.end(), wanted) !=
                        single_byte_names.end();
    return single ? EncodingClass::single_byte : EncodingClass::unsafe;
}

std::size_t character_bytes(std::string_view text, EncodingClass encoding) {
    if (text.empty()) return 0;
    const auto lead = static_cast<unsigned char>(text.front());
    std::size_t bytes = 1;
    switch (encoding) {
        case EncodingClass::single_byte:
        case EncodingClass::unsafe:
            break;
        case EncodingClass::utf8:
            bytes = utf8_bytes(lead);
            break;
        case EncodingClass::euc:
            bytes = euc_bytes(lead, 2);
            break;
        case EncodingClass::euc_tw:
            bytes = euc_bytes(lead, 4);
            break;
        case EncodingClass::mule_internal:
            bytes = mule_bytes(lead);
            break;
    }
    return std::min(bytes, text.size());
}

std::size_t count_characters(std::string_view text, EncodingClass encoding) {
    if (encoding == EncodingClass::single_byte || encoding == EncodingClass::unsafe)
        return text.size();
    if (encoding == EncodingClass::utf8) {
        // Every byte that begins a character: without a branch a byte, unlike the walk below.
        std::size_t characters = 0;
        for (const char byte : text)
            characters += (static_cast<unsigned char>(byte) & 0xc0) != 0x80 ? 1U : 0U;
        return characters;
    }
    std::size_t characters = 0;
    while (!text.empty()) {
        text.remove_prefix(character_bytes(text, encoding));
        ++characters;
    }
    return characters;
}

void PositionMap::add(std::size_t original_at, std::size_t original_characters,
                      std::size_t rewritten_at, std::size_t rewritten_characters) {
    assert(changes_.empty() || (changes_.back().original_end <= original_at &&
                                changes_.back().rewritten_end <= rewritten_at));
    changes_.push_back({static_cast<std::uint32_t>(original_at),
                        static_cast<std::uint32_t>(original_at + original_characters),
                        static_cast<std::uint32_t>(rewritten_at),
                        static_cast<std::uint32_t>(rewritten_at + rewritten_characters)});
}

std::uint32_t PositionMap::to_original(std::uint32_t position) const {
    if (position == 0 || changes_.empty()) return position;
    const std::uint32_t at = position - 1;
    const auto behind = std::upper_bound(
        changes_.begin(), changes_.end(), at,
        [](std::uint32_t wanted, const Change& change) { return wanted < change.rewritten_begin; });
    if (behind == changes_.begin()) return position;
    const Change& change = *(behind - 1);
    if (at < change.rewritten_end) return change.original_begin + 1;
    return at - change.rewritten_end + change.original_end + 1;
}

}  // namespace schemux::core
