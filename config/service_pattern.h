// Names of services that are not listed one by one: `tenant_*`, where each `*` stands for any text,
// or `/^t_([a-z]+)$`, a regular expression (as in pg_hba.conf, it begins with a slash) that the
// whole name has to fit. What they matched may stand in other texts of the service: the first `*`
// there is what the first one matched, and so on; `\1` to `\9` are the groups of an expression.
// It must not know where names come from: they may be anything that a client can write.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace schemux::config {

bool is_pattern(std::string_view name);

/// Nobody's name is longer: PostgreSQL cuts what is, and two tenants would be one.
inline constexpr std::size_t matched_name_max = 63;

class ServicePattern {
  public:
    using Captures = std::vector<std::string>;

    /// Or what is wrong with it.
    static std::variant<ServicePattern, std::string> parse(std::string_view text);

    /// What it captured of the name; nothing: the name does not fit. An expression that takes too
    /// long for this name does not fit either.
    std::optional<Captures> match(std::string_view name) const;
    /// `text` with what was captured in place of `*` or `\1`.
    std::string expand(std::string_view text, const Captures& captures) const;
    /// What is wrong with a text of the service that is to be expanded; or nothing.
    std::string check(std::string_view text) const;
    /// Whether it says anything of the name.
    bool mentions(std::string_view text) const;
    /// With a letter in place of all that a name would give: to see whether it could be valid.
    std::string sample(std::string_view text) const;
    std::size_t capture_count() const { return captures_; }

  private:
    struct Expression;
    ServicePattern() = default;

    std::vector<std::string> parts_;  ///< of `a*b*c`: a, b, c
    std::shared_ptr<const Expression> expression_;
    std::size_t captures_ = 0;
};

}  // namespace schemux::config
