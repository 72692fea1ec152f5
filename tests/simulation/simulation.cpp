// Runs seeds and counts them: `simulation --seeds N [--first S] [--events N] [--trace]`.
// The last line is 'simulation: N passed, M failed'. A seed that fails is printed with what does
// not hold, its events, and the command that repeats it; it does the same every time.
#include "tests/simulation/world.h"

#include <unistd.h>

#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

namespace schemux::simulation {
namespace {

constexpr std::uint64_t failures_shown = 3;
constexpr std::uint64_t checked_twice = 50;  ///< seeds that run twice: they must do the same

struct Options {
    std::uint64_t first = 1;
    std::uint64_t seeds = 5'000;
    std::size_t events = 300;
    bool trace = false;
};

Options options;
std::uint64_t seed_now = 0;
const World* world_now = nullptr;

void print_command() {
    std::fprintf(stderr, "repeat it: simulation --first %llu --seeds 1 --events %zu --trace\n",
                 static_cast<unsigned long long>(seed_now), options.events);
}

/// An assertion of core's ends the process: at least it is known where.
void on_abort(int) {
    std::fprintf(stderr, "seed %llu ended in an assertion\n",
                 static_cast<unsigned long long>(seed_now));
    if (world_now != nullptr) {
        world_now->print_trace();
        world_now->dump();
    }
    print_command();
    std::_Exit(2);
}

bool run_seed(std::uint64_t seed, Tally& tally, bool show) {
    seed_now = seed;
    World world(seed);
    world_now = &world;
    bool good = true;
    try {
        world.run(options.events);
        if (seed - options.first < checked_twice) {
            World again(seed);
            again.run(options.events);
            demand(again.trace_hash() == world.trace_hash(), "a seed does the same every time");
        }
    } catch (const Broken& broken) {
        good = false;
        if (show) {
            world.print_trace();
            world.dump();
        }
        std::fprintf(stderr, "seed %llu BROKEN: %s\n", static_cast<unsigned long long>(seed),
                     broken.what());
        if (show) print_command();
    }
    if (good && options.trace) world.print_trace();
    tally.add(world.tally());
    world_now = nullptr;
    return good;
}

bool read_options(int count, char** words) {
    for (int i = 1; i < count; ++i) {
        const std::string_view word = words[i];
        if (word == "--trace") {
            options.trace = true;
            continue;
        }
        if (i + 1 == count) return false;
        const auto value = std::strtoull(words[++i], nullptr, 10);
        if (word == "--first") {
            options.first = value;
        } else if (word == "--seeds") {
            options.seeds = value;
        } else if (word == "--events") {
            options.events = value;
        } else {
            return false;
        }
    }
    return true;
}

int run(int count, char** words) {
    if (!read_options(count, words)) {
        std::fprintf(stderr, "simulation [--seeds N] [--first S] [--events N] [--trace]\n");
        return 2;
    }
    std::signal(SIGABRT, on_abort);
    Tally tally;
    std::uint64_t passed = 0;
    std::uint64_t failed = 0;
    for (std::uint64_t i = 0; i < options.seeds; ++i) {
        run_seed(options.first + i, tally, failed < failures_shown) ? ++passed : ++failed;
    }
    std::printf("%ssimulation: %llu passed, %llu failed\n", tally.text().c_str(),
                static_cast<unsigned long long>(passed), static_cast<unsigned long long>(failed));
    return failed == 0 ? 0 : 1;
}

}  // namespace
}  // namespace schemux::simulation

int main(int count, char** words) {
    return schemux::simulation::run(count, words);
}
