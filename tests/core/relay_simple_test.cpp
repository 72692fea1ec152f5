// The simple query protocol through the relay (PostgreSQL manual, "Message Flow", Simple Query).

#include "tests/support/relay_script.h"

#include <gtest/gtest.h>

namespace schemux::core::relay_script {
namespace {

TEST(RelaySimple, QueryTakesABackendAndGivesItBack) {
    Script script;
    script.frontend(query("select 1"))
        .backend_gets(query("select 1"))
        .leased()
        .backend(one_row("1") + ready())
        .frontend_gets(one_row("1") + ready())
        .released();
    script.check();
}

TEST(RelaySimple, EmptyQuery) {
    Script script;
    script.frontend(query(""))
        .backend_gets(query(""))
        .backend(empty_query_response() + ready())
        .frontend_gets(empty_query_response() + ready())
        .released();
    script.check();
}

TEST(RelaySimple, SeveralStatementsInOneQuery) {
    Script script;
    script.frontend(query("select 1; select 2"))
        .backend_gets(query("select 1; select 2"))
        .backend(one_row("1") + one_row("2") + ready())
        .frontend_gets(one_row("1") + one_row("2") + ready())
        .released();
    script.check();
}

TEST(RelaySimple, ErrorInTheMiddleOfSeveralStatements) {
    Script script;
    const std::string failed = one_row("1") + error("22012", "division by zero") + ready();
    script.frontend(query("select 1; select 1/0; select 3"))
        .backend_gets(query("select 1; select 1/0; select 3"))
        .backend(failed)
        .frontend_gets(failed)
        .released()
        .open();
    script.check();
}

TEST(RelaySimple, LeaseLastsAsLongAsTheTransaction) {
    Script script;
    script.frontend(query("begin"))
        .backend_gets(query("begin"))
        .backend(command_complete("BEGIN") + ready('T'))
        .frontend_gets(command_complete("BEGIN") + ready('T'))
        .leased()
        .frontend(query("select 1"))
        .backend_gets(query("select 1"))
        .backend(one_row("1") + ready('T'))
        .frontend_gets(one_row("1") + ready('T'))
        .leased()
        .frontend(query("commit"))
        .backend_gets(query("commit"))
        .backend(command_complete("COMMIT") + ready())
        .frontend_gets(command_complete("COMMIT") + ready())
        .released();
    script.check();
}

TEST(RelaySimple, FailedTransactionKeepsTheLeaseUntilRollback) {
    Script script;
    script.frontend(query("begin"))
        .backend(command_complete("BEGIN") + ready('T'))
        .frontend(query("select 1/0"))
        .backend(error("22012", "division by zero") + ready('E'))
        .leased()
        .frontend(query("rollback"))
        .backend(command_complete("ROLLBACK") + ready())
        .released();
    script.check();
}

TEST(RelaySimple, QueriesSentAheadAreAnsweredInOrder) {
    Script script;
    script.frontend(query("select 1") + query("select 2"))
        .backend_gets(query("select 1") + query("select 2"))
        .backend(one_row("1") + ready())
        .leased()
        .frontend_gets(one_row("1") + ready())
        .backend(one_row("2") + ready())
        .frontend_gets(one_row("2") + ready())
        .released();
    script.check();
}

TEST(RelaySimple, NoticesAndParametersInTheMiddlePass) {
    Script script;
    const std::string answer = row_description() + notice("hm") +
                               parameter_status("application_name", "x") + data_row("1") +
                               command_complete("SELECT 1") + ready();
    script.frontend(query("select f()"))
        .backend_gets(query("select f()"))
        .backend(answer)
        .frontend_gets(answer)
        .released_after(full_reset);
    script.check();
}

TEST(RelaySimple, NotificationPasses) {
    Script script;
    script.frontend(query("select 1"))
        .backend(notification() + one_row("1") + ready())
        .frontend_gets(notification() + one_row("1") + ready())
        .released();
    script.check();
}

TEST(RelaySimple, FunctionCallIsFollowedByAReset) {
    Script script;
    const std::string call = function_call("\0\0\1\2\0\0\0\0\0\0"sv);
    script.frontend(call)
        .backend_gets(call)
        .backend(function_result() + ready())
        .frontend_gets(function_result() + ready())
        .released_after(full_reset);
    script.check();
}

TEST(RelaySimple, FunctionCallThatFails) {
    Script script;
    script.frontend(function_call("\0\0\1\2\0\0\0\0\0\0"sv))
        .backend(error("42883", "no such function") + ready())
        .frontend_gets(error("42883", "no such function") + ready())
        .released_after(full_reset);
    script.check();
}

TEST(RelaySimple, SetLocalLeavesNothingBehind) {
    Script script;
    script.frontend(query("begin"))
        .backend(command_complete("BEGIN") + ready('T'))
        .frontend(query("set local work_mem = '1MB'"))
        .backend(command_complete("SET") + ready('T'))
        .frontend(query("commit"))
        .backend(command_complete("COMMIT") + ready())
        .released();
    script.check();
}

TEST(RelaySimple, InsertForgetsOnlyTheSequences) {
    Script script;
    script.frontend(query("insert into t values (1)"))
        .backend(command_complete("INSERT 0 1") + ready())
        .released_after("DISCARD SEQUENCES");
    script.check();
}

TEST(RelaySimple, SelectAndUpdateNeedNoReset) {
    Script script;
    script.frontend(query("select a from t"))
        .backend(one_row("1") + ready())
        .released()
        .frontend(query("update t set a = 1"))
        .backend(command_complete("UPDATE 1") + ready())
        .released();
    script.check();
}

TEST(RelaySimple, ResetThatFailsClosesTheBackend) {
    Script script;
    script.frontend(query("listen a"))
        .upkeep_answers(error("XX000", "no") + ready())
        .backend(command_complete("LISTEN") + ready())
        .frontend_gets(command_complete("LISTEN") + ready())
        .backend_closed()
        .open();
    script.check_whole();
}

TEST(RelaySimple, WireEvidenceOfDoTaints) {
    Script script;
    script.frontend(query("do $$ begin end $$"))
        .backend(command_complete("DO") + ready())
        .released_after(full_reset);
    script.check();
}

TEST(RelaySimple, ReportedParameterTaints) {
    Script script;
    script.frontend(query("select a from t"))
        .backend(parameter_status("DateStyle", "German") + one_row("1") + ready())
        .released_after(full_reset);
    script.check();
}

TEST(RelaySimple, TwoClientsOnOneBackendInTurn) {
    Script script;
    script.frontend(query("select 1"))
        .backend(one_row("1") + ready())
        .frontend_gets(one_row("1") + ready())
        .client(2)
        .frontend(query("select 2"))
        .backend_gets(query("select 1") + query("select 2"))
        .backend(one_row("2") + ready())
        .frontend_gets(one_row("2") + ready())
        .released()
        .client(1)
        .frontend_gets("");
    script.check();
}

TEST(RelaySimple, OversizedErrorPassesUnread) {
    Script script;
    const std::string answer =
        error("22000", std::string(limits::inspected_message_max, 'x')) + ready();
    script.frontend(query("select 1")).backend(answer).frontend_gets(answer).released();
    script.check_whole();
}

TEST(RelaySimple, OversizedNoticePassesUnread) {
    Script script;
    const std::string answer =
        notice(std::string(limits::inspected_message_max, 'x')) + one_row("1") + ready();
    script.frontend(query("select 1")).backend(answer).frontend_gets(answer).released();
    script.check_whole();
}

TEST(RelaySimple, OneMebibyteRowIsNotHeld) {
    Script script;
    const std::string row = data_row(std::string(1 << 20, 'x'));
    script.frontend(query("select 1"))
        .backend(row_description() + row.substr(0, row.size() / 2))
        .that([](World& world) { EXPECT_LT(world.server(0).state.held.capacity(), 4096U); })
        .backend(row.substr(row.size() / 2) + command_complete("SELECT 1") + ready())
        .frontend_gets(row_description() + row + command_complete("SELECT 1") + ready())
        .released();
    script.check_whole();
}

TEST(RelaySimple, TooLongQueryIsRefusedWhereTemplatesAreLookedFor) {
    Scene scene;
    scene.service.max_query_bytes = 24;
    Script script(scene);
    const std::string told = own_error(
        "54000", "query is too long", "The message has 29 bytes; limits.max_query_bytes is 24.",
        "Raise limits.max_query_bytes, or send the data with COPY or parameters.");
    script.frontend(query("select 12345678901234567"))
        .backend_gets("")
        .frontend_gets(told + ready())
        .released()
        .open();
    script.check();
}

TEST(RelaySimple, TooLongQueryIsRefusedAsSuchWhateverIsInIt) {
    Scene scene;
    scene.service.max_query_bytes = 24;
    Script script(scene);
    const std::string refused = own_error(
        "54000", "query is too long", "The message has 29 bytes; limits.max_query_bytes is 24.",
        "Raise limits.max_query_bytes, or send the data with COPY or parameters.");
    script.frontend(message('Q', std::string(10, 'x') + std::string(15, '\0')))
        .frontend_gets(refused + ready())
        .open();
    script.check();
}

TEST(RelaySimple, TooLongQueryStreamsWithoutTemplatesAndIsFollowedByAReset) {
    Scene scene;
    scene.service.max_query_bytes = 24;
    scene.service.braces = false;
    scene.service.angles = false;
    Script script(scene);
    script.frontend(query("select 12345678901234567"))
        .backend_gets(query("select 12345678901234567"))
        .backend(one_row("1") + ready())
        .frontend_gets(one_row("1") + ready())
        .released_after(full_reset);
    script.check();
}

}  // namespace
}  // namespace schemux::core::relay_script
