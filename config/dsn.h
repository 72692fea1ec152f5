// libpq connection strings as far as people may see them. Nothing is shown that could be a secret:
// a few keys by name, and no URI whose parts are in doubt.
// It must not connect, resolve or check; libpq does that.
#pragma once

#include <string>
#include <string_view>

namespace schemux::config {

/// `host=… port=… dbname=… user=…`, `postgresql://user@host:5432/app`, or `(not shown)`.
std::string show_dsn(std::string_view dsn);

/// Whether the text sets a password itself; may say yes for odd text that does not.
bool holds_password(std::string_view dsn);

}  // namespace schemux::config
