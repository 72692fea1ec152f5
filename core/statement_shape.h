// What a prepared statement takes and gives, as PostgreSQL described it: the types of its
// parameters, and its result. A client is never given another result type than it was told, even
// when another backend prepares the text again after a change of the tables (PostgreSQL manual,
// 55.2.3; plancache.c). It must not know whose statement it is.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace schemux::core {

struct StatementShape {
    bool known = false;
    std::string parameter_types;  ///< body of a ParameterDescription, which a Parse takes as it is
    std::uint64_t result = 0;     ///< `result_digest`; 0: it gives no rows

    /// Keeps its memory for the next one.
    void clear() {
        known = false;
        parameter_types.clear();
        result = 0;
    }
    friend bool operator==(const StatementShape&, const StatementShape&) = default;
};

/// The result of a statement whose description was too long to be looked at.
inline constexpr std::uint64_t unseen_result = ~std::uint64_t{0};

/// Names, types and type modifiers of the columns in the body of a RowDescription: what
/// PostgreSQL itself compares. Neither 0 nor `unseen_result`; 0 for a broken body.
std::uint64_t result_digest(std::string_view row_description);

}  // namespace schemux::core
