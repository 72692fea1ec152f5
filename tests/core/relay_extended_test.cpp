// The extended query protocol through the relay (PostgreSQL manual, "Message Flow", Extended
// Query): unnamed and named statements, portals, errors of one client's own making.

#include "tests/support/relay_script.h"

#include <gtest/gtest.h>

namespace schemux::core::relay_script {
namespace {

const std::string bind_and_execute = bind("", "") + describe_portal("") + execute() + sync();
const std::string bound_row = bind_complete() + one_row("1");

TEST(RelayExtended, UnnamedStatementInOneBatch) {
    Script script;
    script.frontend(parse("", "select 1") + bind_and_execute)
        .backend_gets(parse("", "select 1") + bind_and_execute)
        .backend(parse_complete() + bound_row + ready())
        .frontend_gets(parse_complete() + bound_row + ready())
        .released();
    script.check();
}

TEST(RelayExtended, NamedStatementGetsANameOfOurs) {
    Script script;
    const std::string rest = describe_portal("") + execute() + sync();
    script.frontend(parse("s1", "select 1") + bind("", "s1") + rest)
        .backend_gets(parse("@1", "select 1") + bind("", "@1") + rest)
        .backend(parse_complete() + bound_row + ready())
        .frontend_gets(parse_complete() + bound_row + ready())
        .released();
    script.check();
}

TEST(RelayExtended, ParameterTypesBelongToTheStatement) {
    Script script;
    const std::string types("\0\1\0\0\0\x17", 6);
    script.frontend(parse("s1", "select $1", types) + parse("s2", "select $1") + sync())
        .backend_gets(parse("@1", "select $1", types) + parse("@2", "select $1") + sync())
        .backend(parse_complete() + parse_complete() + ready())
        .frontend_gets(parse_complete() + parse_complete() + ready())
        .released();
    script.check();
}

TEST(RelayExtended, AsyncpgDescribesWithFlushAndThenExecutes) {
    Script script;
    const std::string described = parameter_description() + row_description();
    script.frontend(parse("s1", "select 1") + describe_statement("s1") + flush())
        .backend_gets(parse("@1", "select 1") + describe_statement("@1") + flush())
        .backend(parse_complete() + described)
        .frontend_gets(parse_complete() + described)
        .leased()
        .frontend(bind("", "s1") + execute() + sync())
        .backend_gets(bind("", "@1") + execute() + sync())
        .backend(bind_complete() + data_row("1") + command_complete("SELECT 1") + ready())
        .frontend_gets(bind_complete() + data_row("1") + command_complete("SELECT 1") + ready())
        .released();
    script.check();
}

TEST(RelayExtended, DescribeOfAStatementWithoutRows) {
    Script script;
    script.frontend(parse("s1", "update t set a=1") + describe_statement("s1") + sync())
        .backend(parse_complete() + parameter_description() + no_data() + ready())
        .frontend_gets(parse_complete() + parameter_description() + no_data() + ready())
        .released();
    script.check();
}

TEST(RelayExtended, EmptyQuery) {
    Script script;
    script.frontend(parse("", "") + bind("", "") + execute() + sync())
        .backend(parse_complete() + bind_complete() + empty_query_response() + ready())
        .frontend_gets(parse_complete() + bind_complete() + empty_query_response() + ready())
        .released();
    script.check();
}

TEST(RelayExtended, PortalWithRowLimitAcrossFlushAndSync) {
    Script script;
    script.frontend(query("begin"))
        .backend(command_complete("BEGIN") + ready('T'))
        .frontend_gets(command_complete("BEGIN") + ready('T'))
        .frontend(parse("", "select a from t") + bind("p", "") + execute("p", 1) + flush())
        .backend(parse_complete() + bind_complete() + data_row("1") + portal_suspended())
        .frontend_gets(parse_complete() + bind_complete() + data_row("1") + portal_suspended())
        .leased()
        .frontend(sync())
        .backend(ready('T'))
        .frontend_gets(ready('T'))
        .frontend(execute("p", 1) + close_portal("p") + sync())
        .backend_gets(query("begin") + parse("", "select a from t") + bind("p", "") +
                      execute("p", 1) + flush() + sync() + execute("p", 1) + close_portal("p") +
                      sync())
        .backend(data_row("2") + portal_suspended() + close_complete() + ready('T'))
        .frontend_gets(data_row("2") + portal_suspended() + close_complete() + ready('T'))
        .leased()
        .frontend(query("commit"))
        .backend(command_complete("COMMIT") + ready())
        .released();
    script.check();
}

TEST(RelayExtended, SyncAloneNeedsNoBackend) {
    Script script;
    script.frontend(sync() + flush() + sync())
        .backend_gets("")
        .frontend_gets(ready() + ready())
        .released();
    script.check();
}

TEST(RelayExtended, CloseAloneNeedsNoBackend) {
    Script script;
    script.frontend(close_statement("nothing") + sync())
        .backend_gets("")
        .frontend_gets(close_complete() + ready())
        .released();
    script.check();
}

TEST(RelayExtended, ClosePortalIsAskedOfTheBackend) {
    Script script;
    script.frontend(close_portal("p") + sync())
        .backend_gets(close_portal("p") + sync())
        .backend(close_complete() + ready())
        .frontend_gets(close_complete() + ready())
        .released();
    script.check();
}

TEST(RelayExtended, NotificationComesBehindAnAnswerThatWeMake) {
    Script script;
    script.frontend(parse("s1", "select 1") + close_statement("s1") + sync())
        .backend_gets(parse("@1", "select 1") + sync())
        .backend(parse_complete() + notification() + ready())
        .frontend_gets(parse_complete() + close_complete() + notification() + ready())
        .released();
    script.check();
}

TEST(RelayExtended, UnknownStatementIsAnErrorOutsideATransaction) {
    Script script;
    const std::string told = own_error("26000", "prepared statement \"s9\" does not exist");
    script.frontend(bind("", "s9") + execute() + sync())
        .backend_gets("")
        .frontend_gets(told + ready())
        .open()
        .frontend(describe_statement("s9") + sync())
        .frontend_gets(told + ready())
        .frontend(bind("", "") + sync())
        .frontend_gets(own_error("26000", "unnamed prepared statement does not exist") + ready())
        .released()
        .open();
    script.check();
}

TEST(RelayExtended, UnknownStatementFailsTheTransactionToo) {
    Script script;
    script.frontend(query("begin"))
        .backend(command_complete("BEGIN") + ready('T'))
        .frontend_gets(command_complete("BEGIN") + ready('T'))
        .backend_gets(query("begin"))
        .frontend(bind("", "s9") + execute() + sync())
        .backend_gets(bound_to_fail() + execute() + sync())
        .backend(error("26000", "prepared statement \"sx_refused\" does not exist") + ready('E'))
        .frontend_gets(own_error("26000", "prepared statement \"s9\" does not exist") + ready('E'))
        .leased()
        .open();
    // What is behind the refused message is sent, and skipped by PostgreSQL.
    script.check();
}

TEST(RelayExtended, DuplicateNameIsAnErrorOutsideATransaction) {
    Script script;
    script.frontend(parse("s1", "select 1") + sync())
        .backend(parse_complete() + ready())
        .frontend_gets(parse_complete() + ready())
        .backend_gets(parse("@1", "select 1") + sync())
        .frontend(parse("s1", "select 2") + sync())
        .backend_gets("")
        .frontend_gets(own_error("42P05", "prepared statement \"s1\" already exists") + ready())
        .released()
        .open();
    script.check();
}

TEST(RelayExtended, DuplicateNameInAPipelineIsAnErrorInItsTurn) {
    Script script;
    script.frontend(parse("s1", "select 1") + parse("s1", "select 2") + sync())
        .backend_gets(parse("@1", "select 1") + bound_to_fail() + sync())
        .backend(parse_complete() + error("26000", "no sx_refused") + ready())
        .frontend_gets(parse_complete() +
                       own_error("42P05", "prepared statement \"s1\" already exists") + ready())
        .released()
        .open();
    script.check();
}

TEST(RelayExtended, WhatMustFailMustNotSucceed) {
    Script script;
    script.frontend(parse("s1", "select 1") + parse("s1", "select 2") + sync())
        .backend(parse_complete() + bind_complete())
        .backend_closed()
        .closes(CloseReason::backend_desync);
    script.check_whole();
}

TEST(RelayExtended, BrokenMessagesAreErrorsAndTheConnectionLives) {
    Script script;
    const auto told = [](std::string_view why) { return own_error("08P01", why) + ready(); };
    script.frontend(message('P', "no zero byte") + sync())
        .frontend_gets(told("invalid string in message"))
        .frontend(message('P', "\0select 1\0\0\2\0\0\0\1"sv) + sync())
        .frontend_gets(told("insufficient data left in message"))
        .frontend(message('D', "Xs1\0"sv) + sync())
        .frontend_gets(told("invalid DESCRIBE message subtype 88"))
        .frontend(message('C', "S") + sync())
        .frontend_gets(told("invalid string in message"))
        .frontend(message('C') + sync())
        .frontend_gets(told("no data left in message"))
        .frontend(message('B', "no zero byte") + sync())
        .frontend_gets(told("invalid string in message"))
        .frontend(message('Q', "no zero byte"))
        .frontend_gets(told("invalid string in message"))
        .frontend(message('Q', "select 1\0select 2\0"sv))
        .frontend_gets(told("invalid message format"))
        .frontend(message('S', "x"))
        .frontend_gets(told("invalid message format"))
        .frontend(message('H', "x") + query("skipped") + sync())
        .frontend_gets(told("invalid message format"))
        .backend_gets("")
        .released()
        .open();
    script.check();
}

TEST(RelayExtended, UnreadableQueryKeepsTheUnnamedStatement) {
    // PostgreSQL drops it when it begins to execute a Query, not when it reads one.
    Script script;
    script.frontend(parse("", "select 1") + sync())
        .backend(parse_complete() + ready())
        .frontend(message('Q', "no zero byte") + bind("", "") + sync())
        .backend(bind_complete() + ready())
        .frontend_gets(parse_complete() + ready() +
                       own_error("08P01", "invalid string in message") + ready() + bind_complete() +
                       ready())
        .released();
    script.check_whole();
}

TEST(RelayExtended, FailedParseLeavesTheNameFree) {
    Script script;
    script.frontend(parse("s1", "select nothing") + sync())
        .backend(error("42703", "column does not exist") + ready())
        .frontend_gets(error("42703", "column does not exist") + ready())
        .frontend(parse("s1", "select 1") + sync())
        .backend_gets(parse("@1", "select nothing") + sync() + parse("@2", "select 1") + sync())
        .backend(parse_complete() + ready())
        .frontend_gets(parse_complete() + ready())
        .released();
    script.check();
}

TEST(RelayExtended, ParseSkippedByAnErrorLeavesTheNameFree) {
    Script script;
    script
        .frontend(parse("", "select 1/0") + bind("", "") + execute() + parse("s1", "select 1") +
                  sync())
        .backend(parse_complete() + bind_complete() + error("22012", "division") + ready())
        .frontend_gets(parse_complete() + bind_complete() + error("22012", "division") + ready())
        .frontend(bind("", "s1") + sync())
        .frontend_gets(own_error("26000", "prepared statement \"s1\" does not exist") + ready())
        .frontend(parse("s1", "select 1") + sync())
        .backend(parse_complete() + ready())
        .frontend_gets(parse_complete() + ready())
        .released();
    script.check();
}

TEST(RelayExtended, CloseSkippedByAnErrorLeavesTheStatement) {
    Script script;
    script.frontend(parse("s1", "select 1") + sync())
        .backend(parse_complete() + ready())
        .frontend_gets(parse_complete() + ready())
        .frontend(parse("", "select nothing") + close_statement("s1") + sync())
        .backend(error("42703", "no column") + ready())
        .frontend_gets(error("42703", "no column") + ready())
        .backend_gets(parse("@1", "select 1") + sync() + parse("", "select nothing") + sync())
        .frontend(bind("", "s1") + execute() + sync())
        .backend_gets(bind("", "@1") + execute() + sync())
        .backend(bind_complete() + command_complete("SELECT 0") + ready())
        .frontend_gets(bind_complete() + command_complete("SELECT 0") + ready())
        .released();
    script.check();
}

TEST(RelayExtended, ErrorWithTheSyncInALaterWrite) {
    Script script;
    script.frontend(parse("", "select nothing") + flush())
        .backend(error("42703", "no column"))
        .frontend_gets(error("42703", "no column"))
        .leased()
        .backend_gets(parse("", "select nothing") + flush())
        .frontend(bind("", "") + describe_portal("") + execute() + query("select 1"))
        .backend_gets("")
        .leased()
        .frontend(sync())
        .backend_gets(sync())
        .backend(ready())
        .frontend_gets(ready())
        .released();
    script.check();
}

TEST(RelayExtended, CommitThatFailsAtTheSync) {
    Script script;
    script.frontend(parse("s1", "insert into t values (1)") + bind("", "s1") + execute() + sync())
        .backend(parse_complete() + bind_complete() + command_complete("INSERT 0 1") +
                 error("23503", "deferred constraint") + ready())
        .frontend_gets(parse_complete() + bind_complete() + command_complete("INSERT 0 1") +
                       error("23503", "deferred constraint") + ready())
        .released_after("DISCARD SEQUENCES")
        // The statement was made before the transaction failed, and stays.
        .frontend(bind("", "s1") + sync())
        .backend(bind_complete() + ready())
        .frontend_gets(bind_complete() + ready());
    script.check();
}

TEST(RelayExtended, BindTailIsPassedWithoutBeingHeld) {
    Script script;
    const std::string tail = std::string(no_parameters) + std::string(1 << 20, 'v');
    const std::string whole = bind_with("", "s1", tail);
    script.frontend(parse("s1", "select $1") + sync())
        .backend(parse_complete() + ready())
        .backend_gets(parse("@1", "select $1") + sync())
        .frontend(whole.substr(0, 100))
        .that([](World& world) { EXPECT_GT(world.server(0).received.size(), 100U); })
        .frontend(whole.substr(100, whole.size() - 200))
        .that([&](World& world) { EXPECT_GT(world.server(0).received.size(), 1U << 20); })
        .frontend(whole.substr(whole.size() - 100) + execute() + sync())
        .backend_gets(bind_with("", "@1", tail) + execute() + sync())
        .backend(bind_complete() + command_complete("SELECT 0") + ready())
        .released();
    script.check_whole();
}

TEST(RelayExtended, UnnamedBindIsPassedWithoutBeingHeld) {
    Script script;
    const std::string tail = std::string(no_parameters) + std::string(1 << 20, 'v');
    const std::string whole = parse("", "select $1") + bind_with("", "", tail);
    script.frontend(whole.substr(0, 1000))
        .that([](World& world) { EXPECT_EQ(world.server(0).received.size(), 1000U); })
        .frontend(whole.substr(1000) + sync())
        .backend_gets(whole + sync())
        .backend(parse_complete() + bind_complete() + ready())
        .released();
    script.check_whole();
}

TEST(RelayExtended, BindWithParametersCutAnywhere) {
    Script script;
    const std::string tail("\0\1\0\1\0\1\0\0\0\5hello\0\1\0\1", 19);
    script
        .frontend(parse("s1", "select $1") + bind_with("portal", "s1", tail) + execute("portal") +
                  sync())
        .backend_gets(parse("@1", "select $1") + bind_with("portal", "@1", tail) +
                      execute("portal") + sync())
        .backend(parse_complete() + bind_complete() + command_complete("SELECT 0") + ready())
        .frontend_gets(parse_complete() + bind_complete() + command_complete("SELECT 0") + ready())
        .released();
    script.check();
}

TEST(RelayExtended, TooLongNamesInABindAreRefused) {
    Script script;
    script.frontend(parse("s1", "select 1") + sync())
        .backend(parse_complete() + ready())
        .frontend_gets(parse_complete() + ready())
        .frontend(bind_with(std::string(2 * limits::name_prefix_max, 'p'), "s1", no_parameters)
                      .substr(0, limits::name_prefix_max + 100))
        .frontend_gets(own_error("54000", "portal or statement name is too long"))
        .open();
    script.check_whole();
}

TEST(RelayExtended, BindOfTheLargestLengthIsRefusedAndNothingBreaks) {
    Script script;
    script.frontend(parse("s1", "select 1") + sync())
        .backend(parse_complete() + ready())
        .frontend_gets(parse_complete() + ready())
        .frontend(header('B', protocol::large_message_max) + "\0s1\0"s)
        .frontend_gets(own_error("54000", "message is too long"))
        .open();
    script.check_whole();
}

TEST(RelayExtended, TooLongParseDropsTheUnnamedStatementHoweverItArrives) {
    Scene scene;
    scene.service.max_query_bytes = 24;
    Script script(scene);
    const std::string refused = own_error(
        "54000", "query is too long", "The message has 38 bytes; limits.max_query_bytes is 24.",
        "Raise limits.max_query_bytes, or send the data with COPY or parameters.");
    script.frontend(parse("", "select 1") + sync())
        .backend(parse_complete() + ready())
        .frontend_gets(parse_complete() + ready())
        .whatever_backend_got()
        .frontend(parse("", "select 12345678901234567890123") + sync() + bind("", "") + sync())
        .backend_gets("")
        .frontend_gets(refused + ready() +
                       own_error("26000", "unnamed prepared statement does not exist") + ready());
    script.check();
}

TEST(RelayExtended, PositionOfAnErrorAtExecuteIsOfTheClientsText) {
    Script script(with_schema("app"));
    script
        .frontend(parse("", "create view {{tables.v}} as select x") + bind("", "") + execute() +
                  sync())
        .backend(parse_complete() + bind_complete() + error("42703", "no column", 31) + ready())
        .frontend_gets(parse_complete() + bind_complete() + error("42703", "no column", 36) +
                       ready());
    script.check_whole();
}

TEST(RelayExtended, ChangeOfHowStringsReadIsFollowedByAResetThoughItIsOverBeforeItIsTold) {
    // Behind it 'a\' goes on, and the call of a function is no part of a literal.
    Script script;
    const std::string hidden = "select 'a\\', ' || set_config('role','x',false) || ' \\' '";
    const std::string ran = bind_complete() + command_complete("SELECT 1");
    script
        .frontend(parse("", "set local standard_conforming_strings to off") + bind("", "") +
                  execute() + parse("", hidden) + bind("", "") + execute() + sync())
        .whatever_backend_got()
        .backend(parse_complete() + bind_complete() + command_complete("SET") + parse_complete() +
                 ran + ready())
        .released_after(full_reset);
    script.check();
}

TEST(RelayExtended, StatementPreparedUnderALocalSettingIsNotShared) {
    Script script;
    const std::string begun = command_complete("BEGIN") + ready('T') + one_row("off") + ready('T');
    const std::string prepared = parse_complete() + ready();
    script.frontend(parse("s", "select null = a from t") + sync())
        .backend_gets(parse("@1", "select null = a from t") + sync())
        .backend(prepared)
        .frontend_gets(prepared)
        .client(2)
        .frontend(query("begin") + query("select set_config('transform_null_equals','on',true)"))
        .backend(begun)
        .whatever_backend_got()
        .frontend(parse("s", "select null = a from t") + sync())
        .backend_gets(parse("@2", "select null = a from t") + sync())
        .backend(parse_complete() + ready('T'))
        .frontend(query("commit"))
        .backend(command_complete("COMMIT") + ready())
        .whatever_backend_got()
        .released_after(full_reset);
    script.check_whole();
}

TEST(RelayExtended, FlushIsNotSentToABackendThatOwesNothing) {
    Script script;
    script.frontend(query("select {{x}}") + flush())
        .backend_gets("")
        .released()
        .frontend(query("select 1"))
        .backend_gets(query("select 1"));
    script.check();
}

}  // namespace
}  // namespace schemux::core::relay_script
