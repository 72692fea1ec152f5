// The smallest valid message of each type that a backend can send, for tests that try them all.
// It must not know what is right where.
#pragma once

#include "tests/support/relay_messages.h"

#include <string>

namespace schemux::core::relay_script {

/// A type that PostgreSQL does not have comes with an empty body.
inline std::string backend_sample(char type) {
    switch (type) {
        case 'A':
            return notification();
        case 'C':
            return command_complete("SELECT 1");
        case 'D':
            return data_row("x");
        case 'E':
            return error("22012", "division by zero");
        case 'G':
            return copy_in_response();
        case 'H':
            return copy_out_response();
        case 'K':
            return message('K', "\0\0\0\1\0\0\0\2"sv);
        case 'N':
            return notice("hm");
        case 'R':
            return message('R', "\0\0\0\0"sv);
        case 'S':
            return parameter_status("TimeZone", "UTC");
        case 'T':
            return row_description();
        case 'V':
            return function_result();
        case 'W':
            return message('W', "\0\0\0"sv);
        case 'Z':
            return ready();
        case 'd':
            return copy_data("x\n");
        case 't':
            return parameter_description();
        case 'v':
            return message('v', "\0\3\0\0\0\0\0\0"sv);
        default:
            return message(type);
    }
}

inline constexpr std::string_view backend_types = "123ACDEGHIKNRSTVWZcdnstv";

}  // namespace schemux::core::relay_script
