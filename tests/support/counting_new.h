// Counts every allocation of a test program. Linking counting_new.cpp replaces operator new.
#pragma once

#include <cstddef>

namespace schemux::testing {

/// Calls of operator new so far, over all threads.
std::size_t allocations();
/// What they asked for, added up.
std::size_t allocated_bytes();

}  // namespace schemux::testing
