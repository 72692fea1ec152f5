// Counts every allocation of a test program. Linking counting_new.cpp replaces operator new.
#pragma once

#include <cstddef>

namespace schemux::testing {

/// Calls of operator new so far, over all threads.
std::size_t allocations();
/// What they asked for, added up.
std::size_t allocated_bytes();

/// The most bytes that one call has asked for since the last `forget_largest_allocation`.
std::size_t largest_allocation();
void forget_largest_allocation();

}  // namespace schemux::testing
