// Services from the rows of a query: each column is a key of a service, by its name in the
// configuration (`schema`, `pool.max`). A row that is wrong is left out, and costs no other one.
// It must not know where the rows come from.
#pragma once

#include "config/load.h"
#include "config/settings.h"

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace schemux::config {

struct ServiceRows {
    std::vector<std::string> columns;
    std::vector<std::vector<std::optional<std::string>>> rows;  ///< none: NULL

    friend bool operator==(const ServiceRows&, const ServiceRows&) = default;
};

/// By their names.
using ListedServices = std::map<std::string, Service, std::less<>>;

struct RowServices {
    /// None: the answer is no list of services at all.
    std::optional<ListedServices> services;
    /// Of the rows (their numbers are the lines, those of columns the columns) that were left out,
    /// or why there are no services.
    std::vector<Diagnostic> errors;
};

/// They are checked beside what `settings` has.
RowServices read_service_rows(const ServiceRows& rows, const Settings& settings);

}  // namespace schemux::config
