// Which service the name means that a client's TLS calls (SNI): a name, or one with a `*` in it
// for the services of a pattern. Immutable once a policy is published.
// It must not know TLS or the configuration.
#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace schemux::daemon {

class ServerNames {
  public:
    /// With a `*` in `name` there is one in `service`, too.
    void add(const std::string& name, const std::string& service);

    bool empty() const { return exact_.empty() && patterns_.empty(); }
    /// As in a certificate, a `*` is one label at most, and not none. Nothing: it means none.
    std::optional<std::string> find(std::string_view name) const;

  private:
    struct Pattern {
        std::string before;  ///< the star of the name
        std::string after;
        std::string service;
    };

    std::map<std::string, std::string, std::less<>> exact_;
    std::vector<Pattern> patterns_;
};

}  // namespace schemux::daemon
