// While the process nears its bound: what is refused, and that a client of the usual size goes on.
#include "core/limits.h"
#include "tests/support/relay_script.h"

#include <gtest/gtest.h>

namespace schemux::core::relay_script {
namespace {

const std::string none = command_complete("SELECT 0");
const std::string refused =
    own_error("53200", "out of memory", "schemux nears limits.memory.",
              "Try again later; raise limits.memory, or bound what clients take.");

std::string text_of(std::size_t bytes) {
    return "select '" + std::string(bytes, 'x') + "'";
}

void run_short(World& world) {
    world.context().memory_short = true;
}

TEST(RelayScarcity, LargeTextsAreRefusedAndSmallOnesRun) {
    Script script;
    script.that(run_short)
        .frontend(query(text_of(limits::short_text_max)))
        .frontend_gets(refused + ready())
        .frontend(query(text_of(limits::short_text_max / 2)))
        .whatever_backend_got()
        .backend(none + ready())
        .frontend_gets(none + ready());
    script.check_whole();
}

TEST(RelayScarcity, WithEnoughOfItTheyRun) {
    Script script;
    script.frontend(query(text_of(limits::short_text_max)))
        .whatever_backend_got()
        .backend(none + ready())
        .frontend_gets(none + ready());
    script.check_whole();
}

TEST(RelayScarcity, ATextThatIsTooLongInAnyCaseIsToldSo) {
    Scene scene;
    scene.service.max_query_bytes = 20'000;
    Script script(scene);
    script.that(run_short)
        .frontend(query(text_of(20'000)))
        .frontend_gets(own_error("54000", "query is too long",
                                 "The message has 20014 bytes; limits.max_query_bytes is 20000.",
                                 "Raise limits.max_query_bytes, or send the data with COPY or "
                                 "parameters.") +
                       ready());
    script.check_whole();
}

TEST(RelayScarcity, WhoHasMuchMayNameNoMoreStatements) {
    const std::string large = parse("a", text_of(limits::short_statement_bytes_max)) + sync();
    Script script;
    script.frontend(large)
        .whatever_backend_got()
        .backend(parse_complete() + ready())
        .frontend_gets(parse_complete() + ready())
        .that(run_short)
        .frontend(parse("b", "select 1") + sync())
        .frontend_gets(refused + ready())
        .client(2)
        .frontend(parse("b", "select 1") + sync())
        .whatever_backend_got()
        .backend(parse_complete() + ready())
        .frontend_gets(parse_complete() + ready());
    script.check_whole();
}

TEST(RelayScarcity, WhoTakesTheMostIsToldWhyItEnds) {
    Script script;
    script.that([](World& world) {
        Relay& relay = *world.client(0).relay;
        EXPECT_EQ(relay.end_out_of_memory(), (Step{Next::close, CloseReason::out_of_memory}));
    });
    script.check_whole();
}

}  // namespace
}  // namespace schemux::core::relay_script
