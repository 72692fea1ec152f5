// Compares protocol/sql_lexer, and what core/template_rewriter makes of it, with PostgreSQL's own
// scanner over generated texts. A program of its own: it runs as long as it is told to.
//   lexer_differential [--cases N] [--seed S] [--seconds N]
// Deterministic by seed. Prints the first disagreements, shrunk, and 'lexer: N passed, N failed',
// which counts groups of cases (a generator under a setting), not cases.
#include "tests/differential/generator.h"
#include "tests/differential/lexer_check.h"
#include "tests/differential/oracle.h"
#include "tests/differential/rewriter_check.h"
#include "tests/differential/shrink.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>

namespace schemux::differential {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::uint64_t progress_cases = 1'000'000;
constexpr std::uint64_t shown_disagreements = 5;
constexpr std::uint64_t disagreements_max = 1000;  // enough; the rest of the run tells nothing new
// Of texts with templates, at least one in so many must be rewritten, else the check sees nothing.
constexpr std::uint64_t rewritten_one_in = 8;

constexpr std::string_view schemas[] = {"app", "", "we\"ird"};

struct Options {
    std::uint64_t cases = 1'000'000;
    std::uint64_t seed = 1;
    std::uint64_t seconds = 0;  // 0 = no limit
};

enum class Source : std::uint8_t { fragments, mutations, templates };

struct Group {
    Source source;
    bool conforming;
    const char* name;
    std::uint64_t cases = 0;
    std::uint64_t disagree = 0;
};

class Run {
  public:
    explicit Run(const Options& options) : options_(options), generator_(options.seed) {}

    /// Whether nothing failed.
    bool run();

  private:
    void run_case(std::uint64_t number);
    std::string check(const Group& group, std::string_view schema, const std::string& text);
    void report(const Group& group, std::uint64_t number, std::string_view schema,
                const std::string& text);
    void show_progress(std::uint64_t done) const;
    double seconds() const {
        return std::chrono::duration<double>(Clock::now() - started_).count();
    }

    Options options_;
    Generator generator_;
    Clock::time_point started_ = Clock::now();
    std::array<Group, 6> groups_ = {{
        {Source::fragments, true, "fragments, standard_conforming_strings on"},
        {Source::fragments, false, "fragments, standard_conforming_strings off"},
        {Source::mutations, true, "mutated statements, on"},
        {Source::mutations, false, "mutated statements, off"},
        {Source::templates, true, "templates put in, on"},
        {Source::templates, false, "templates put in, off"},
    }};
    std::uint64_t disagree_ = 0;
    std::uint64_t rewritten_ = 0;
};

// An assertion that fails ends the process: this tells in which case. Only `abort` reads it, in the
// same thread.
struct {
    std::uint64_t seed = 0;
    std::uint64_t number = 0;
} running;

void tell_case(int) {
    std::fprintf(stderr, "aborted in case %llu of seed %llu\n",
                 static_cast<unsigned long long>(running.number),
                 static_cast<unsigned long long>(running.seed));
}

void print_escaped(std::string_view text) {
    for (const char byte : text) {
        if (byte == '\n') {
            std::fputs("\\n", stdout);
        } else if (byte == '\\') {
            std::fputs("\\\\", stdout);
        } else if (byte >= ' ' && byte < 0x7f) {
            std::putchar(byte);
        } else {
            std::printf("\\x%02x", static_cast<unsigned>(static_cast<unsigned char>(byte)));
        }
    }
}

std::string Run::check(const Group& group, std::string_view schema, const std::string& text) {
    std::string wrong = check_lexer(text, group.conforming);
    if (!wrong.empty()) return wrong;
    RewriterVerdict verdict = check_rewriter(text, group.conforming, schema);
    if (verdict.rewritten) ++rewritten_;
    return verdict.wrong;
}

void Run::report(const Group& group, std::uint64_t number, std::string_view schema,
                 const std::string& text) {
    const std::string small = shrink(
        text, [&](const std::string& shorter) { return !check(group, schema, shorter).empty(); });
    std::printf("case %llu, %s, schema '%s': ", static_cast<unsigned long long>(number), group.name,
                std::string(schema).c_str());
    print_escaped(small);
    std::printf("\n  %s\n", check(group, schema, small).c_str());
}

void Run::run_case(std::uint64_t number) {
    // Half of the cases are fragments, a quarter each the others.
    constexpr std::size_t turns[] = {0, 2, 0, 4};
    Group& group = groups_[turns[number % 4] + number / 4 % 2];
    std::string text;
    switch (group.source) {
        case Source::fragments:
            text = generator_.fragments();
            break;
        case Source::mutations:
            text = generator_.mutation();
            break;
        case Source::templates:
            text = generator_.with_templates();
            break;
    }
    const std::string_view schema = schemas[number / 8 % std::size(schemas)];
    ++group.cases;
    running.number = number;
    if (check(group, schema, text).empty()) return;
    ++group.disagree;
    if (++disagree_ <= shown_disagreements) report(group, number, schema, text);
}

void Run::show_progress(std::uint64_t done) const {
    std::printf("%llu cases, %llu disagree, %.1f s\n", static_cast<unsigned long long>(done),
                static_cast<unsigned long long>(disagree_), seconds());
    std::fflush(stdout);
}

bool Run::run() {
    const std::string unfit = check_oracle();
    if (!unfit.empty()) std::printf("not the scanner that was expected: %s\n", unfit.c_str());
    running.seed = options_.seed;
    std::signal(SIGABRT, tell_case);
    std::uint64_t done = 0;
    while (unfit.empty() && done < options_.cases && disagree_ < disagreements_max) {
        run_case(done);
        ++done;
        if (done % progress_cases == 0 && done < options_.cases) show_progress(done);
        const bool may_look = options_.seconds > 0 && done % 1024 == 0;
        if (may_look && seconds() >= static_cast<double>(options_.seconds)) break;
    }
    unsigned passed = unfit.empty() ? 1 : 0;
    unsigned failed = 1 - passed;
    std::uint64_t templates = 0;
    for (const Group& group : groups_) {
        std::printf("%s: %llu cases, %llu disagree\n", group.name,
                    static_cast<unsigned long long>(group.cases),
                    static_cast<unsigned long long>(group.disagree));
        ++(group.cases > 0 && group.disagree == 0 ? passed : failed);
        if (group.source == Source::templates) templates += group.cases;
    }
    ++(rewritten_ * rewritten_one_in >= templates && rewritten_ > 0 ? passed : failed);
    std::printf("%llu texts rewritten and compared, seed %llu\n",
                static_cast<unsigned long long>(rewritten_),
                static_cast<unsigned long long>(options_.seed));
    show_progress(done);
    std::printf("lexer: %u passed, %u failed\n", passed, failed);
    return failed == 0;
}

std::optional<Options> read_options(int count, char** arguments) {
    Options options;
    for (int i = 1; i < count; i += 2) {
        const std::string_view name = arguments[i];
        std::uint64_t* value = name == "--cases"     ? &options.cases
                               : name == "--seed"    ? &options.seed
                               : name == "--seconds" ? &options.seconds
                                                     : nullptr;
        if (value == nullptr || i + 1 == count) return {};
        const char* const text = arguments[i + 1];
        const char* const end = text + std::strlen(text);
        const auto read = std::from_chars(text, end, *value);
        if (read.ec != std::errc() || read.ptr != end) return {};
    }
    return options;
}

}  // namespace
}  // namespace schemux::differential

int main(int count, char** arguments) {
    using namespace schemux::differential;
    const auto options = read_options(count, arguments);
    if (!options) {
        std::fputs("usage: lexer_differential [--cases N] [--seed S] [--seconds N]\n", stderr);
        return 2;
    }
    std::setvbuf(stdout, nullptr, _IOLBF, 0);
    return Run(*options).run() ? 0 : 1;
}
