// Cuts a conversation's bytes in all the ways a network may: whole, byte by byte, in two parts at
// each position. A sans-I/O machine must answer every cut alike.
// It must not know which machine it feeds.
#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

namespace schemux::testing {

using Parts = std::vector<std::string_view>;

/// Calls `run(parts)` for each way to cut `script`; no part is empty unless the script is.
template <typename Run>
void for_each_split(std::string_view script, Run run) {
    run(Parts{script});
    Parts single;
    for (std::size_t i = 0; i < script.size(); ++i)
        single.push_back(script.substr(i, 1));
    run(single);
    for (std::size_t i = 1; i < script.size(); ++i)
        run(Parts{script.substr(0, i), script.substr(i)});
}

/// Calls `run(prefix)` for each proper prefix of `script`, the empty one included.
template <typename Run>
void for_each_truncation(std::string_view script, Run run) {
    for (std::size_t i = 0; i < script.size(); ++i)
        run(script.substr(0, i));
}

}  // namespace schemux::testing
