#include "tests/support/counting_new.h"

#include <atomic>
#include <cstdlib>
#include <new>

namespace {

std::atomic<std::size_t> count{0};
std::atomic<std::size_t> bytes{0};
std::atomic<std::size_t> largest{0};

void note(std::size_t size) {
    count.fetch_add(1, std::memory_order_relaxed);
    bytes.fetch_add(size, std::memory_order_relaxed);
    std::size_t seen = largest.load(std::memory_order_relaxed);
    while (seen < size && !largest.compare_exchange_weak(seen, size, std::memory_order_relaxed)) {
    }
}

void* counted(std::size_t size) {
    note(size);
    if (void* memory = std::malloc(size == 0 ? 1 : size)) return memory;
    throw std::bad_alloc{};
}

}  // namespace

void* operator new(std::size_t size) {
    return counted(size);
}
void* operator new[](std::size_t size) {
    return counted(size);
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
    note(size);
    return std::malloc(size == 0 ? 1 : size);
}
void operator delete(void* memory) noexcept {
    std::free(memory);
}
void operator delete[](void* memory) noexcept {
    std::free(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
    std::free(memory);
}
void operator delete[](void* memory, std::size_t) noexcept {
    std::free(memory);
}
void operator delete(void* memory, const std::nothrow_t&) noexcept {
    std::free(memory);
}

namespace schemux::testing {

std::size_t allocations() {
    return count.load(std::memory_order_relaxed);
}

std::size_t allocated_bytes() {
    return bytes.load(std::memory_order_relaxed);
}

std::size_t largest_allocation() {
    return largest.load(std::memory_order_relaxed);
}

void forget_largest_allocation() {
    largest.store(0, std::memory_order_relaxed);
}

}  // namespace schemux::testing
