// A service as the data plane sees it: what its name is mapped to and what its clients may do.
// Filled from the configuration by the daemon; immutable once a catalog is published.
#pragma once

#include "core/session_features.h"
#include "core/template_rewriter.h"

#include <chrono>
#include <cstddef>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace schemux::core {

struct Service {
    std::string name;
    std::string schema;       ///< empty: {{tables.x}} becomes x
    std::string search_path;  ///< raw text, as set_config takes it
    std::vector<std::string> allow_schemas;
    std::vector<std::string> users;  ///< who may log in; empty: everybody
    bool braces = true;
    bool angles = true;
    LiteralTemplates literals = LiteralTemplates::off;
    bool keeps_backend = false;  ///< session mode: a client has its backend until it goes
    std::chrono::milliseconds acquire_timeout{10'000};
    std::size_t max_query_bytes = 1 << 20;
    SessionFeatures session_features;
    std::size_t pin_budget = 1;  ///< clients that may keep a backend in transaction mode
    std::shared_ptr<PinBudget> pins = std::make_shared<PinBudget>();
    std::size_t index = 0;  ///< of its counters; stable for the life of the process

    bool admits(std::string_view user) const {
        if (users.empty()) return true;
        for (const std::string& allowed : users) {
            if (allowed == user) return true;
        }
        return false;
    }
};

/// All services by name; replaced as a whole when the configuration is read again.
class ServiceCatalog {
  public:
    void add(Service service) {
        std::string name = service.name;
        services_.emplace(std::move(name), std::make_shared<const Service>(std::move(service)));
    }
    std::shared_ptr<const Service> find(std::string_view name) const {
        const auto found = services_.find(name);
        return found == services_.end() ? nullptr : found->second;
    }
    const auto& all() const { return services_; }

  private:
    std::map<std::string, std::shared_ptr<const Service>, std::less<>> services_;
};

}  // namespace schemux::core
