// Session mode: a client keeps its first backend until it goes, and its settings outlive its RESET.

#include "core/label.h"
#include "tests/support/relay_script.h"

#include <gtest/gtest.h>

namespace schemux::core::relay_script {
namespace {

const std::string none = command_complete("SELECT 0");
const Label users = Label::of({{"search_path", "users, public"}});

Scene session_scene(const Label& label = {}, std::size_t backends = 1) {
    Scene scene;
    scene.service.keeps_backend = true;
    scene.label = label;
    scene.backends = backends;
    return scene;
}

std::string restore_query() {
    std::string sql;
    append_restore_sql(sql, users);
    return query(sql);
}

const std::string restored =
    row_description() + data_row("users, public") + command_complete("SELECT 1") + ready();

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

TEST(RelaySession, SettingsOfTheClientComeBackBehindItsReset) {
    for (const char* text : {"RESET ALL", "discard all", "set search_path to Default"}) {
        Script script(session_scene(users));
        script.frontend(query(text))
            .backend_gets(query(text))
            .backend(command_complete("RESET") + ready())
            .frontend_gets(command_complete("RESET") + ready())
            .backend_gets(restore_query())
            .backend(restored)
            .frontend_gets("")
            .frontend(query("select 1"))
            .backend_gets(query("select 1"))
            .backend(none + ready())
            .frontend_gets(none + ready())
            .leased();
        script.check();
    }
}

TEST(RelaySession, WhatWasSentBehindAResetWaitsForTheSettings) {
    const std::string batch = parse("", "reset all") + bind("", "") + execute() + sync();
    Script script(session_scene(users));
    script.frontend(batch + query("select 1"))
        .backend_gets(batch)
        .backend(parse_complete() + bind_complete() + command_complete("RESET") + ready())
        .backend_gets(restore_query() + query("select 1"))
        .backend(restored + none + ready())
        .frontend_gets(parse_complete() + bind_complete() + command_complete("RESET") + ready() +
                       none + ready())
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

TEST(RelaySession, RestoreThatIsCancelledIsMadeGoodBehindTheNextAnswer) {
    Script script(session_scene(users));
    script.frontend(query("reset all"))
        .backend(command_complete("RESET") + ready())
        .frontend_gets(command_complete("RESET") + ready())
        .whatever_backend_got()
        .backend(error("57014", "canceling statement due to user request") + ready())
        .frontend_gets("")
        .frontend(query("select 1"))
        .backend_gets(query("select 1"))
        .backend(none + ready())
        .frontend_gets(none + ready())
        .backend_gets(restore_query())
        .backend(restored)
        .leased();
    script.check_whole();
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

}  // namespace
}  // namespace schemux::core::relay_script
