// Resets between two users of a driver's pool: answered without a backend where there is nothing to
// reset, and by PostgreSQL where there is something.

#include "core/reset_commands.h"
#include "tests/support/relay_script.h"

#include <gtest/gtest.h>

namespace schemux::core::relay_script {
namespace {

std::string answers_to(std::string_view text) {
    std::string out;
    const ResetCommands commands = ResetCommands::of(text, true);
    for (const ResetCommand command : commands.all())
        append_answer(out, command);
    return out;
}

const std::string unlocked = [] {
    std::string row = message('T', std::string("\0\1", 2) + "pg_advisory_unlock_all" +
                                       std::string("\0\0\0\0\0\0\0\0\0\x08\xe6\0\4"
                                                   "\xff\xff\xff\xff\0\0",
                                                   19));
    return row + message('D', std::string("\0\1\0\0\0\0", 6)) + command_complete("SELECT 1");
}();

TEST(ResetCommands, AreReadWhateverTheirLettersAndSpaces) {
    EXPECT_EQ(answers_to("DISCARD ALL"), command_complete("DISCARD ALL"));
    EXPECT_EQ(answers_to(" Discard/* now */\n all ;; "), command_complete("DISCARD ALL"));
    EXPECT_EQ(answers_to("discard temporary; discard plans;DISCARD SEQUENCES"),
              command_complete("DISCARD TEMP") + command_complete("DISCARD PLANS") +
                  command_complete("DISCARD SEQUENCES"));
    EXPECT_EQ(answers_to("deallocate all;DEALLOCATE PREPARE ALL"),
              command_complete("DEALLOCATE ALL") + command_complete("DEALLOCATE ALL"));
    EXPECT_EQ(answers_to("RESET ROLE; RESET SESSION AUTHORIZATION"),
              command_complete("RESET") + command_complete("RESET"));
    EXPECT_EQ(answers_to("SET SESSION AUTHORIZATION DEFAULT"), command_complete("SET"));
    EXPECT_EQ(answers_to("SELECT pg_advisory_unlock_all();\nCLOSE ALL;\nUNLISTEN *;\nRESET ALL;"),
              unlocked + command_complete("CLOSE CURSOR ALL") + command_complete("UNLISTEN") +
                  command_complete("RESET"));
    EXPECT_EQ(answers_to("select pg_catalog.pg_advisory_unlock_all()"), unlocked);
}

TEST(ResetCommands, OfOtherTextsAreNone) {
    const std::string_view texts[] = {
        "",
        ";",
        "select 1",
        "discard",
        "discard alls",
        "discard \"all\"",
        "'discard' all",
        "discard all x",
        "discard all; select 1",
        "discard all; reset all",
        "reset all; discard all",
        "reset work_mem",
        "reset all all",
        "unlisten x",
        "close c",
        "set session authorization x",
        "select pg_advisory_unlock_all(1)",
        "select pg_advisory_unlock_all() as x",
        "select pg_advisory_unlock_all(",
        "(discard all)",
        "discard all /* unterminated",
        "reset all;reset all;reset all;reset all;reset all;reset all;reset all;reset all;reset all",
    };
    for (const std::string_view text : texts)
        EXPECT_FALSE(ResetCommands::of(text, true).any()) << text;
    EXPECT_FALSE(ResetCommands::of("reset all" + std::string(300, ' '), true).any());
}

TEST(RelayResets, NeedNoBackendWhereThereIsNothingToReset) {
    Script script(with_schema("app"));
    const std::string reset =
        "SELECT pg_advisory_unlock_all();\nCLOSE ALL;\nUNLISTEN *;\nRESET ALL;";
    script.frontend(query(reset) + query("discard all"))
        .frontend_gets(answers_to(reset) + ready() + command_complete("DISCARD ALL") + ready())
        .backend_gets("")
        .released()
        .that([](World& world) { EXPECT_EQ(world.counters().local_resets.value(), 2U); });
    script.check();
}

TEST(RelayResets, TakeTheClientsStatementsAway) {
    const std::string prepared = parse_complete() + ready();
    for (const char* text : {"DISCARD ALL", "DEALLOCATE ALL"}) {
        Script script;
        script.frontend(parse("s1", "select 1") + parse("", "select 2") + sync())
            .backend(parse_complete() + prepared)
            .frontend_gets(parse_complete() + prepared)
            .frontend(query(text))
            .frontend_gets(command_complete(text) + ready())
            .whatever_backend_got()
            .frontend(bind("", "s1") + sync() + bind("", "") + sync())
            .frontend_gets(
                own_error("26000", "prepared statement \"s1\" does not exist") + ready() +
                own_error("26000", "unnamed prepared statement does not exist") + ready())
            .backend_gets("");
        script.check();
    }
}

TEST(RelayResets, OfChangedSettingsAreForPostgres) {
    Script script;
    const std::string set = command_complete("SET") + ready();
    const std::string reset = command_complete("RESET") + ready();
    script.frontend(query("set work_mem to 1"))
        .session_has({{"work_mem", "1"}})
        .backend(set)
        .frontend_gets(set)
        .whatever_backend_got()
        .released()
        .frontend(query("reset all"))
        .backend_gets(query("reset all"))
        .session_has({})
        .backend(reset)
        .frontend_gets(reset)
        .whatever_backend_got()
        .released()
        .frontend(query("reset all"))
        .backend_gets("")
        .frontend_gets(reset);
    script.check_whole();
}

TEST(RelayResets, OfARoleThatTheSessionBeganWithAreForPostgres) {
    Scene scene;
    scene.label = Label::of({{"role", "x"}});
    Script script(scene);
    script.frontend(query("set session authorization default"))
        .backend_gets(query("set session authorization default"));
    script.check_whole();
}

TEST(RelayResets, InATransactionAreForPostgres) {
    Script script;
    script.frontend(query("begin"))
        .backend(command_complete("BEGIN") + ready('T'))
        .frontend_gets(command_complete("BEGIN") + ready('T'))
        .whatever_backend_got()
        .frontend(query("discard all"))
        .backend_gets(query("discard all"));
    script.check_whole();
}

}  // namespace
}  // namespace schemux::core::relay_script
