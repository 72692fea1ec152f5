// The content of the option table, for option_table.cpp alone.
#pragma once

#include "config/option_table.h"

#include <vector>

namespace schemux::config {

std::vector<Option> make_option_rows();

void add_auth_rows(std::vector<Option>& rows);
void add_backend_rows(std::vector<Option>& rows);
void add_backends_rows(std::vector<Option>& rows);
void add_listener_tls_rows(std::vector<Option>& rows);
void add_pool_rows(std::vector<Option>& rows);
void add_service_rows(std::vector<Option>& rows);

}  // namespace schemux::config
