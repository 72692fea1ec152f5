// Settings travel with the client: what it has set is asked of PostgreSQL when the lease would end,
// and put on the next backend.

#include "tests/support/relay_script.h"

#include <gtest/gtest.h>

namespace schemux::core::relay_script {
namespace {

const std::string none = command_complete("SELECT 0");
const std::string was_set = command_complete("SET") + ready();
const std::string set_query = query("set work_mem = '1MB'");

std::string relabel(std::string_view name, std::string_view value) {
    std::string sql;
    append_relabel_sql(sql, {}, Label::of({{std::string(name), std::string(value)}}));
    return sql;
}

TEST(RelaySettings, SettingOfAClientComesWithItToAnotherBackend) {
    Script script(two_backends());
    script.on_backend(1)
        .frontend(set_query)
        .session_has({{"work_mem", "1MB"}})
        .backend(was_set)
        .frontend_gets(was_set)
        .released()
        .on_backend(2)
        .frontend(query("select 1"))
        .backend(none + ready())
        .frontend_gets(none + ready())
        .released_after(relabel("work_mem", "1MB"));
    script.check_whole();
}

TEST(RelaySettings, OtherClientsDoNotGetIt) {
    Script script;
    script.frontend(set_query)
        .session_has({{"work_mem", "1MB"}})
        .backend(was_set)
        .released()
        .client(2)
        .frontend(query("select 2"))
        .backend(none + ready())
        .released_after("RESET ALL;");
    script.check_whole();
}

TEST(RelaySettings, ValueIsTheOneThatPostgresTells) {
    Script script;
    script.frontend(query("begin; set app.x = '1'; rollback"))
        .backend(command_complete("BEGIN") + command_complete("SET") +
                 command_complete("ROLLBACK") + ready())
        .released()
        .that([](World& world) { EXPECT_TRUE(world.client(0).relay->label().is_base()); });
    script.check_whole();
}

TEST(RelaySettings, ClientThatHasGoneIsNotAskedFor) {
    Script script;
    script.frontend(set_query + terminate())
        .backend(was_set)
        .frontend_gets(was_set)
        .closes(CloseReason::client_terminated)
        .released_after(full_reset);
    script.check_whole();
}

TEST(RelaySettings, ClientThatIsToGoKeepsThemForWhatItHasSentYet) {
    Script script(two_backends());
    script.hold_questions()
        .on_backend(1)
        .frontend(set_query)
        .drain()
        .backend(was_set)
        .frontend_gets(was_set)
        .leased()
        .backend(row_description() + setting_row("work_mem", nullptr) +
                 command_complete("SELECT 1") + ready())
        .frontend_gets(own_fatal("57P01", "terminating connection due to administrator command"))
        .closes(CloseReason::shutdown);
    script.check_whole();
}

TEST(RelaySettings, UnsyncedBatchThatReadsAlikeIsUnderstood) {
    Script script;
    const std::string batch = parse("", "reset all") + bind("", "") + execute();
    script.frontend(parse("s", "select 1") + sync())
        .backend(parse_complete() + ready())
        .whatever_backend_got()
        .frontend(batch + query("deallocate s"))
        .backend_gets(batch + query("deallocate @1"))
        .backend(parse_complete() + bind_complete() + command_complete("RESET") +
                 command_complete("DEALLOCATE") + ready())
        .released_after(full_reset);  // E48
    script.check_whole();
}

TEST(RelaySettings, ConversationBrokenOffAnywhereLeavesNothing) {
    Script script;
    script.frontend(set_query).backend(was_set).frontend_gets(was_set).released();
    script.check();
}

TEST(RelaySettings, QueryThatComesDuringTheQuestionGoesAhead) {
    Script script;
    script.hold_questions()
        .frontend(set_query)
        .backend(was_set)
        .frontend_gets(was_set)
        .whatever_backend_got()
        .frontend(query("select 1"))
        .backend_gets(query("select 1"))
        .backend(row_description() + setting_row("work_mem", nullptr) +
                 command_complete("SELECT 1") + ready() + none + ready())
        .frontend_gets(none + ready())
        .released();
    script.check_whole();
}

TEST(RelaySettings, QuestionThatFailsIsAskedAgainButNotForEver) {
    const std::string failed = error("57014", "canceling statement due to user request") + ready();
    Script script;
    script.hold_questions().frontend(set_query).backend(was_set).frontend_gets(was_set);
    for (int asked = 1; asked < limits::settings_questions_max; ++asked)
        script.backend(failed).frontend_gets("").leased();
    script.backend(failed)
        .frontend_gets(own_fatal("08006", "PostgreSQL did not tell the settings of the session"))
        .closes(CloseReason::settings_lost)
        .released_after(full_reset);
    script.check_whole();
}

TEST(RelaySettings, RowThatNobodyAskedForPoisons) {
    Script script;
    script.hold_questions()
        .frontend(set_query)
        .backend(was_set)
        .backend(row_description() + data_row("x"))
        .closes(CloseReason::backend_desync);
    script.check_whole();
}

TEST(RelaySettings, SessionWithTooMuchIsClosed) {
    const std::string long_value(60'000, 'x');
    std::string rows;
    for (const char* name : {"app.a", "app.b", "app.c"})
        rows += setting_row(name, &long_value);
    Script script;
    script.hold_questions()
        .frontend(query("set app.a = 'x'"))
        .backend(was_set)
        .frontend_gets(was_set)
        .backend(row_description() + rows + command_complete("SELECT 3") + ready())
        .closes(CloseReason::settings_lost)
        .released_after(full_reset);
    script.check_whole();
}

TEST(RelaySettings, CancelDuringTheQuestionIsForNothing) {
    Script script;
    script.hold_questions()
        .frontend(set_query)
        .backend(was_set)
        .cancel(CancelOutcome::nothing)
        .backend(row_description() + setting_row("work_mem", nullptr) +
                 command_complete("SELECT 1") + ready())
        .released();
    script.check_whole();
}

TEST(RelaySettings, StatementUnderOtherSettingsIsAnotherOne) {
    Script script;
    const std::string run = bind("", "s") + execute() + sync();
    script.frontend(parse("s", "select * from t") + run)
        .backend_gets(parse("@1", "select * from t") + bind("", "@1") + execute() + sync())
        .backend(parse_complete() + bind_complete() + none + ready())
        .released()
        .frontend(query("set search_path = other"))
        .whatever_backend_got()
        .session_has({{"search_path", "other"}})
        .backend(was_set)
        .released()
        .frontend(run)
        .backend_gets(parse("@2", "select * from t") + bind("", "@2") + execute() + sync())
        .backend(parse_complete() + bind_complete() + none + ready())
        .released();
    script.check_whole();
}

TEST(RelaySettings, TextsBehindAChangeOfTheirReadingWaitForIt) {
    const std::string off = query("set standard_conforming_strings = off");
    const std::string told = parameter_status("standard_conforming_strings", "off");
    const std::string behind = query(R"(select '\' || ')");
    Script script;
    script.frontend(off + behind)
        .backend_gets(off)
        .backend(command_complete("SET") + told + ready())
        .backend_gets(behind)
        .session_has({{"standard_conforming_strings", "off"}})
        .backend(none + ready())
        .released();
    script.check_whole();
}

TEST(RelaySettings, NameThatOnlyAnExecuteShowsIsAskedFor) {
    Script script;
    script.frontend(query("prepare p as select set_config($1, $2, false)"))
        .backend(command_complete("PREPARE") + ready())
        .released_after(full_reset)
        .whatever_backend_got()
        .hold_questions()
        .frontend(query("execute p('app.x', 'y')"))
        .whatever_backend_got()
        .that([](World& world) {
            // It was taken away by the reset, and is prepared again first.
            world.from_backend(0, parse_complete() + bind_complete() + command_complete("PREPARE") +
                                      close_complete() + close_complete() + ready());
            world.from_backend(0, none + ready());
            const std::string& received = world.server(0).received;
            EXPECT_NE(received.find("('app.x'),('role')"), received.npos) << received;
        });
    script.check_whole();
}

TEST(RelaySettings, NameThatCannotBeAskedForEndsInAReset) {
    for (const std::string& name :
         {std::string("\"app.\xe4\""), "app.x" + std::string(limits::setting_name_bytes_max, 'y'),
          std::string("\"app. x\"")}) {
        Script script;
        script.frontend(query("set " + name + " = '1'"))
            .backend(was_set)
            .frontend_gets(was_set)
            .released_after(full_reset);
        script.check_whole();
    }
}

TEST(RelaySettings, OldNameOfASettingIsAskedForAsAnyOther) {
    Script script;
    script.hold_questions()
        .frontend(query("set sort_mem = '1MB'"))
        .whatever_backend_got()
        .that([](World& world) {
            world.from_backend(0, was_set);
            const std::string& received = world.server(0).received;
            EXPECT_NE(received.find("pg_settings"), received.npos) << received;
        });
    script.check_whole();
}

TEST(RelaySettings, SettingsOfATransactionAreNotAskedFor) {
    Script script;
    script.frontend(query("begin; set local statement_timeout = 5; set transaction read only; end"))
        .backend(command_complete("BEGIN") + command_complete("SET") + command_complete("SET") +
                 command_complete("COMMIT") + ready())
        .released();
    script.check_whole();
}

TEST(RelaySettings, StatementsBehindALimitAreSharedAllTheSame) {
    Script script;
    const std::string run = parse("s", "select 1") + bind("", "s") + execute() + sync();
    const std::string answers = parse_complete() + bind_complete() + none + ready();
    script.frontend(query("begin; set local statement_timeout = 5"))
        .backend(command_complete("BEGIN") + command_complete("SET") + ready('T'))
        .whatever_backend_got()
        .frontend(run)
        .backend_gets(parse("@1", "select 1") + bind("", "@1") + execute() + sync())
        .backend(parse_complete() + bind_complete() + none + ready('T'))
        .frontend(query("commit"))
        .backend(command_complete("COMMIT") + ready())
        .whatever_backend_got()
        .released()
        .client(2)
        .frontend(run)
        .backend_gets(bind("", "@1") + execute() + sync())
        .backend(bind_complete() + none + ready())
        .frontend_gets(answers)
        .released();
    script.check_whole();
}

}  // namespace
}  // namespace schemux::core::relay_script
