// Users and their secrets in the format of PgBouncer's auth_file (userlist.txt): lines of
// "name" "secret", where two quotes inside of quotes are one and `;` begins a comment; what stands
// behind the secret is not read.
// It must not open files or know what the secrets are for.
#pragma once

#include "config/hba_file.h"

#include <string>
#include <string_view>
#include <vector>

namespace schemux::config {

inline constexpr std::size_t listed_users_max = 100'000;

struct ListedUser {
    std::string name;
    std::string secret;  ///< never print it
    unsigned line = 0;
};

struct UsersFile {
    std::vector<ListedUser> users;
    std::vector<LineError> errors;  ///< no secrets in them
};

UsersFile read_users_file(std::string_view text);

}  // namespace schemux::config
