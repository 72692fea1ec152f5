// Session mode: a client keeps its first backend until it goes, and its settings outlive its RESET.
// Statement mode: it may begin no transaction.

#include "core/label.h"
#include "tests/support/relay_script.h"

#include <gtest/gtest.h>

namespace schemux::core::relay_script {
namespace {

const std::string none = command_complete("SELECT 0");
const Label users = Label::of({{"search_path", "users, public"}});

Scene session_scene(const Label& label = {}, std::size_t backends = 1) {
    Scene scene;
    scene.service.mode = PoolMode::session;
    scene.label = label;
    scene.backends = backends;
    return scene;
}

std::string restore_query() {
    std::string sql;
    append_restore_sql(sql, users, {});
    return helper(sql) + sync();
}

std::string helped(char status) {
    return parse_complete() + bind_complete() + data_row("f") + command_complete("SELECT 1") +
           close_complete() + close_complete() + ready(status);
}
const std::string restored = helped('I');

TEST(RelaySession, ClientKeepsItsBackendBehindTheTransaction) {
    Script script(session_scene());
    script.frontend(query("set work_mem to '1MB'"))
        .backend_gets(query("set work_mem to '1MB'"))
        .backend(command_complete("SET") + ready())
        .frontend_gets(command_complete("SET") + ready())
        .leased()
        .frontend(parse("s", "select 1") + bind("", "s") + execute() + sync())
        .backend_gets(parse("@1", "select 1") + bind("", "@1") + execute() + sync())
        .backend(parse_complete() + bind_complete() + none + ready())
        .frontend_gets(parse_complete() + bind_complete() + none + ready())
        .leased();
    script.check();
}

TEST(RelaySession, BackendIsResetWhenTheClientGoes) {
    for (const std::string& goodbye : {terminate(), std::string()}) {
        Script script(session_scene());
        script.frontend(query("select 1")).backend(none + ready()).leased();
        if (!goodbye.empty()) script.frontend(goodbye);
        script.frontend_closes().released_after(full_reset);
        script.check_whole();
    }
}

TEST(RelaySession, OtherClientsGetOtherBackends) {
    Script script(session_scene({}, 2));
    script.frontend(query("select 1"))
        .backend_gets(query("select 1"))
        .backend(none + ready())
        .leased()
        .client(2)
        .frontend(query("select 2"))
        .backend_gets(query("select 2"))
        .backend(none + ready())
        .leased()
        .client(1)
        .frontend(query("select 3"))
        .backend_gets(query("select 3"))
        .backend(none + ready())
        .leased();
    script.check_whole();
}

TEST(RelaySession, NotificationThatComesBetweenQueriesIsPassed) {
    const std::string notification = message('A', "\0\0\0\1channel\0payload\0"sv);
    Script script(session_scene());
    script.frontend(query("listen channel"))
        .backend(command_complete("LISTEN") + ready())
        .frontend_gets(command_complete("LISTEN") + ready())
        .backend(notification)
        .frontend_gets(notification)
        .leased();
    script.check();
}

TEST(RelaySession, SameTextUnderTwoNamesIsParsedTwice) {
    Script script(session_scene());
    script.frontend(parse("a", "select 1") + parse("b", "select 1") + sync())
        .backend_gets(parse("@1", "select 1") + parse("@2", "select 1") + sync())
        .backend(parse_complete() + parse_complete() + ready())
        .frontend_gets(parse_complete() + parse_complete() + ready())
        .leased();
    script.check();
}

/// Without a backend a reset is answered at once.
Script& with_backend(Script& script) {
    return script.frontend(query("select 0"))
        .backend(none + ready())
        .frontend_gets(none + ready())
        .whatever_backend_got();
}

TEST(RelaySession, SettingsOfTheClientComeBackBehindItsReset) {
    for (const char* text : {"RESET ALL", "discard all", "set search_path to Default"}) {
        Script script(session_scene(users));
        with_backend(script)
            .frontend(query(text))
            .backend_gets(query(text))
            .backend(command_complete("RESET") + ready())
            .frontend_gets(command_complete("RESET"))
            .backend_gets(restore_query())
            .backend(restored)
            .frontend_gets(ready())
            .frontend(query("select 1"))
            .backend_gets(query("select 1"))
            .backend(none + ready())
            .frontend_gets(none + ready())
            .leased();
        script.check();
    }
}

TEST(RelaySession, SettingsWithADotComeBackWhereTheTextTakesThemAway) {
    const Label dotted = Label::of({{"app.x", "7"}});
    MovedSettings all;
    all.add_all();
    std::string sql;
    ASSERT_TRUE(append_restore_sql(sql, dotted, all));
    for (const char* text : {"RESET ALL", "discard all", "reset App.x", "set app.x to default"}) {
        Script script(session_scene(dotted));
        with_backend(script)
            .frontend(query(text))
            .backend_gets(query(text))
            .backend(command_complete("RESET") + ready())
            .frontend_gets(command_complete("RESET"))
            .backend_gets(helper(sql) + sync())
            .backend(restored)
            .frontend_gets(ready())
            .leased();
        script.check_whole();
    }
    // That another one is reset says nothing of it.
    Script script(session_scene(dotted));
    script.frontend(query("reset work_mem"))
        .backend_gets(query("reset work_mem"))
        .backend(command_complete("RESET") + ready())
        .frontend_gets(command_complete("RESET") + ready())
        .leased();
    script.check_whole();
}

TEST(RelaySession, WhatWasSentBehindAResetWaitsForTheSettings) {
    const std::string batch = parse("", "reset all") + bind("", "") + execute() + sync();
    Script script(session_scene(users));
    script.frontend(batch + query("select 1"))
        .backend_gets(batch)
        .backend(parse_complete() + bind_complete() + command_complete("RESET") + ready())
        .backend_gets(restore_query())
        .backend(restored)
        .backend_gets(query("select 1"))
        .backend(none + ready())
        .frontend_gets(parse_complete() + bind_complete() + command_complete("RESET") + ready() +
                       none + ready())
        .leased();
    script.check();
}

TEST(RelaySession, OnlyWhatIsOtherInTheEndIsToldOfASettingThatComesBack) {
    Script script(session_scene(Label::of({{"timezone", "Asia/Tokyo"}})));
    const auto zone = [](const char* name) { return parameter_status("TimeZone", name); };
    script.frontend(query("set timezone to 'UTC'"))
        .backend(command_complete("SET") + zone("UTC") + ready())
        .frontend_gets(command_complete("SET") + zone("UTC") + ready())
        .frontend(query("reset timezone"))
        .backend(command_complete("RESET") + zone("GMT") + ready())
        .frontend_gets(command_complete("RESET"))
        .backend(zone("Asia/Tokyo") + restored)
        .frontend_gets(zone("Asia/Tokyo") + ready())
        .frontend(query("reset timezone"))
        .backend(command_complete("RESET") + zone("GMT") + ready())
        .backend(zone("Asia/Tokyo") + restored)
        .frontend_gets(command_complete("RESET") + ready())
        .leased();
    script.check_whole();
}

TEST(RelaySession, UnnamedPortalOutlivesTheReturnOfTheSettings) {
    const std::string batch = parse("", "reset all") + bind("", "") + execute() + sync();
    const std::string answers =
        parse_complete() + bind_complete() + command_complete("RESET") + ready('T');
    const std::string again = error("55000", "portal \"\" cannot be run");
    Script script(session_scene(users));
    script.frontend(query("begin"))
        .backend(command_complete("BEGIN") + ready('T'))
        .whatever_backend_got()
        .frontend(batch)
        .backend(answers)
        .backend(helped('T'))
        .whatever_backend_got()
        .frontend(execute() + sync())
        .backend_gets(execute() + sync())
        .backend(again + ready('E'))
        .frontend_gets(command_complete("BEGIN") + ready('T') + answers + again + ready('E'))
        .leased();
    script.check_whole();
}

TEST(RelaySession, LateEndOfACopyDoesNotKeepTheSettingsAway) {
    const std::string reset = parse("", "reset all") + bind("", "") + execute();
    Script script(session_scene(users));
    script.frontend(query("begin"))
        .backend(command_complete("BEGIN") + ready('T'))
        .whatever_backend_got()
        .frontend(reset + query("copy t from stdin"))
        .backend(parse_complete() + bind_complete() + command_complete("RESET") +
                 copy_in_response())
        .frontend(copy_done() + copy_fail("late"))
        .whatever_backend_got()
        .frontend(query("select 1"))
        .backend(command_complete("COPY 0") + ready('T'))
        .backend(helped('T'))
        .backend(none + ready('T'))
        .leased();
    script.check_whole();
}

TEST(RelaySession, ResetOfAnotherSettingNeedsNothing) {
    Script script(session_scene(users));
    script.frontend(query("reset work_mem"))
        .backend_gets(query("reset work_mem"))
        .backend(command_complete("RESET") + ready())
        .frontend_gets(command_complete("RESET") + ready())
        .backend_gets("")
        .leased();
    script.check();
}

TEST(RelaySession, SettingsComeBackWhenAFailedTransactionIsOver) {
    Script script(session_scene(users));
    script.frontend(query("begin;reset all;select 1/0"))
        .backend(command_complete("BEGIN") + command_complete("RESET") +
                 error("22012", "division by zero") + ready('E'))
        .whatever_backend_got()
        .frontend(query("rollback"))
        .backend_gets(query("rollback"))
        .backend(command_complete("ROLLBACK") + ready())
        .backend_gets(restore_query())
        .backend(restored)
        .leased();
    script.check();
}

const std::string cancelled = error("57014", "canceling statement due to user request");

TEST(RelaySession, RestoreThatIsCancelledIsRepeatedAndNothingRunsBeforeIt) {
    Script script(session_scene(users));
    with_backend(script)
        .frontend(query("reset all") + query("select 1"))
        .backend_gets(query("reset all"))
        .backend(command_complete("RESET") + ready())
        .frontend_gets(command_complete("RESET"));
    for (int tried = 1; tried < limits::restores_max; ++tried)
        script.backend_gets(restore_query()).backend(cancelled + ready()).frontend_gets("");
    script.backend_gets(restore_query())
        .backend(restored)
        .frontend_gets(ready())
        .backend_gets(query("select 1"))
        .backend(none + ready())
        .frontend_gets(none + ready())
        .leased();
    script.check_whole();
}

TEST(RelaySession, RestoreIsNotRepeatedForEver) {
    Script script(session_scene(users));
    with_backend(script)
        .frontend(query("reset all"))
        .backend(command_complete("RESET") + ready())
        .frontend_gets(command_complete("RESET"))
        .whatever_backend_got();
    for (int tried = 1; tried < limits::restores_max; ++tried)
        script.backend(cancelled + ready()).backend_gets(restore_query());
    script.backend(cancelled + ready()).frontend_gets(ready()).leased();
    script.check_whole();
}

TEST(RelaySession, RestoreThatIsRefusedIsToldInATransactionOnly) {
    const std::string refused = error("22023", "role \"gone\" does not exist");
    Script idle(session_scene(users));
    with_backend(idle)
        .frontend(query("reset all"))
        .backend(command_complete("RESET") + ready())
        .backend(refused + ready())
        .frontend_gets(command_complete("RESET") + ready())
        .leased();
    idle.check_whole();
    Script open(session_scene(users));
    open.frontend(query("begin"))
        .backend(command_complete("BEGIN") + ready('T'))
        .frontend_gets(command_complete("BEGIN") + ready('T'))
        .frontend(query("reset all"))
        .backend(command_complete("RESET") + ready('T'))
        .backend(refused + ready('E'))
        .frontend_gets(command_complete("RESET") + refused + ready('E'))
        .leased();
    open.check_whole();
}

TEST(RelaySession, RestingClientIsToldOfTheShutdownAtOnce) {
    Script script(session_scene());
    script.frontend(query("select 1"))
        .backend(none + ready())
        .frontend_gets(none + ready())
        .drain()
        .frontend_gets(own_fatal("57P01", "terminating connection due to administrator command"))
        .closes(CloseReason::shutdown);
    script.check_whole();
}

TEST(RelaySession, BusyClientIsToldBehindItsTransaction) {
    Script script(session_scene());
    script.frontend(query("begin"))
        .backend(command_complete("BEGIN") + ready('T'))
        .drain()
        .open()
        .frontend(query("commit"))
        .backend(command_complete("COMMIT") + ready())
        .frontend_gets(command_complete("BEGIN") + ready('T') + command_complete("COMMIT") +
                       ready() +
                       own_fatal("57P01", "terminating connection due to administrator command"))
        .closes(CloseReason::shutdown);
    script.check_whole();
}

Scene statement_scene() {
    Scene scene;
    scene.service.mode = PoolMode::statement;
    scene.service.name = "users";
    return scene;
}

const std::string no_transactions = "transactions are not allowed in statement mode";
const std::string statement_hint =
    "pool.mode of \"users\" is statement; transaction lets it begin one.";

TEST(RelayStatementMode, EachStatementHasItsBackendAlone) {
    Script script(statement_scene());
    script.frontend(query("select 1"))
        .backend_gets(query("select 1"))
        .backend(none + ready())
        .frontend_gets(none + ready())
        .released();
    script.check_whole();
}

TEST(RelayStatementMode, ATransactionIsRefusedAndTheClientGoesOn) {
    for (const char* text : {"begin", "start transaction", "select 1; begin; select 2"}) {
        Script script(statement_scene());
        script.frontend(query(text))
            .backend_gets("")
            .frontend_gets(own_error("0A000", no_transactions, "", statement_hint) + ready())
            .released()
            .frontend(query("select 1"))
            .backend_gets(query("select 1"))
            .backend(none + ready())
            .frontend_gets(none + ready())
            .released();
        script.check_whole();
    }
}

TEST(RelayStatementMode, ATransactionInTheExtendedProtocolIsRefusedToo) {
    Script script(statement_scene());
    script.frontend(parse("", "begin") + bind("", "") + execute() + sync())
        .whatever_backend_got()
        .backend(parse_complete() + error("26000", "no such statement") + ready())
        .frontend_gets(parse_complete() + own_error("0A000", no_transactions, "", statement_hint) +
                       ready());
    script.check_whole();
}

TEST(RelayStatementMode, ATransactionThatNoTextShowedEndsTheClient) {
    Scene scene = statement_scene();
    scene.service.max_query_bytes = 16;
    scene.service.braces = scene.service.angles = false;
    const std::string text = query("begin; select 'too long to be looked at'");
    Script script(scene);
    script.frontend(text)
        .backend_gets(text)
        .backend(command_complete("BEGIN") + none + ready('T'))
        .frontend_gets(command_complete("BEGIN") + none +
                       own_fatal("0A000", no_transactions, "", statement_hint))
        .closes(CloseReason::transaction_refused);
    script.check_whole();
}

}  // namespace
}  // namespace schemux::core::relay_script
