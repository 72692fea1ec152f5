#include "core/statement_shape.h"

#include "protocol/wire_reader.h"

namespace schemux::core {

namespace {

// FNV-1a. Who makes two results collide deceives nobody but himself.
constexpr std::uint64_t offset_basis = 0xcbf29ce484222325U;
constexpr std::uint64_t prime = 0x100000001b3U;

std::uint64_t mix(std::uint64_t digest, std::string_view bytes) {
    for (const char byte : bytes)
        digest = (digest ^ static_cast<unsigned char>(byte)) * prime;
    return digest;
}

}  // namespace

std::uint64_t result_digest(std::string_view row_description) {
    protocol::WireReader reader(row_description);
    const std::uint16_t columns = reader.u16();
    std::uint64_t digest = offset_basis;
    for (std::uint16_t column = 0; column < columns && !reader.failed(); ++column) {
        const std::string_view name = reader.cstring();
        reader.bytes(6);  // table and column it comes from
        const std::string_view type = reader.bytes(4);
        reader.bytes(2);  // length of the type
        const std::string_view modifier = reader.bytes(4);
        reader.bytes(2);  // format
        digest = mix(mix(mix(mix(digest, name), {"\0", 1}), type), modifier);
    }
    if (!reader.finished()) return 0;
    const bool taken = digest == 0 || digest == unseen_result;
    return taken ? 1 : digest;
}

}  // namespace schemux::core
