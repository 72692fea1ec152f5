// Prepared statements over changing backends: what one client defined is there on whichever
// backend it gets, and what PostgreSQL refused or skipped is not.

#include "tests/support/relay_script.h"

#include <gtest/gtest.h>

namespace schemux::core::relay_script {
namespace {

const std::string none = command_complete("SELECT 0");
const std::string prepared = parse_complete() + ready();

TEST(RelayStatements, NamedStatementIsParsedAgainOnAnotherBackend) {
    Script script(two_backends());
    script.frontend(parse("s1", "select 1") + sync())
        .backend_gets(parse("@1", "select 1") + sync())
        .backend(prepared)
        .frontend_gets(prepared)
        .on_backend(2)
        .frontend(run("s1"))
        .backend_gets(parse("@1", "select 1") + run("@1"))
        // The ParseComplete that the client did not ask for stays here.
        .backend(parse_complete() + bind_complete() + none + ready())
        .frontend_gets(bind_complete() + none + ready())
        .on_backend(1)
        .frontend(run("s1"))
        .backend_gets(run("@1"))
        .backend(bind_complete() + none + ready())
        .frontend_gets(bind_complete() + none + ready())
        .released();
    script.check();
}

TEST(RelayStatements, DescribeOnAnotherBackendParsesAgainToo) {
    Script script(two_backends());
    const std::string described = parameter_description() + row_description() + ready();
    script.frontend(parse("s1", "select 1") + sync())
        .backend_gets(parse("@1", "select 1") + sync())
        .backend(prepared)
        .frontend_gets(prepared)
        .on_backend(2)
        .frontend(describe_statement("s1") + sync())
        .backend_gets(parse("@1", "select 1") + describe_statement("@1") + sync())
        .backend(parse_complete() + described)
        .frontend_gets(described)
        .released();
    script.check();
}

TEST(RelayStatements, RepeatedParseThatFailsIsTheBindsError) {
    Script script(two_backends());
    script.frontend(parse("s1", "select a from t") + sync())
        .backend(prepared)
        .frontend_gets(prepared)
        .on_backend(2)
        .frontend(run("s1"))
        .backend(error("42P01", "relation does not exist") + ready())
        .frontend_gets(error("42P01", "relation does not exist") + ready())
        .released()
        .on_backend(2)
        .whatever_backend_got()
        .frontend(run("s1"))
        .backend_gets(parse("@1", "select a from t") + run("@1"))
        .backend(parse_complete() + bind_complete() + none + ready())
        .frontend_gets(bind_complete() + none + ready())
        .released();
    script.check();
}

TEST(RelayStatements, SecondClientSharesTheBackendsCopy) {
    Script script;
    script.frontend(parse("s1", "select 1") + sync())
        .backend(prepared)
        .frontend_gets(prepared)
        .client(2)
        .frontend(parse("other", "select 1") + describe_statement("other") + run("other"))
        .backend_gets(parse("@1", "select 1") + sync() + describe_statement("@1") + run("@1"))
        .backend(parameter_description() + no_data() + bind_complete() + none + ready())
        .frontend_gets(parse_complete() + parameter_description() + no_data() + bind_complete() +
                       none + ready())
        .released();
    script.check();
}

TEST(RelayStatements, FabricatedAnswersComeInTheirTurn) {
    Script script;
    script.frontend(parse("s1", "select 1") + sync())
        .backend(prepared)
        .frontend_gets(prepared)
        .frontend(parse("", "select 2") + bind("", "") + execute() + parse("s2", "select 1") +
                  close_statement("s2") + parse("s3", "select 3") + sync())
        .backend_gets(parse("@1", "select 1") + sync() + parse("", "select 2") + bind("", "") +
                      execute() + parse("@2", "select 3") + sync())
        .backend(parse_complete())
        .frontend_gets(parse_complete())
        .backend(bind_complete() + none)
        .backend(parse_complete() + ready())
        .frontend_gets(bind_complete() + none + parse_complete() + close_complete() +
                       parse_complete() + ready())
        .released();
    script.check();
}

TEST(RelayStatements, ParseAndCloseInOneBatch) {
    Script script;
    script.frontend(parse("s1", "select 1") + close_statement("s1") + sync())
        .backend_gets(parse("@1", "select 1") + sync())
        .backend(prepared)
        .frontend_gets(parse_complete() + close_complete() + ready())
        .frontend(parse("s1", "select 1") + close_statement("s1") + sync())
        .backend_gets(sync())
        .backend(ready())
        .frontend_gets(parse_complete() + close_complete() + ready())
        .released();
    script.check();
}

TEST(RelayStatements, FabricatedAnswersGoOutWithoutASync) {
    Script script;
    script.frontend(parse("s1", "select 1") + sync())
        .backend(prepared)
        .frontend_gets(prepared)
        .frontend(parse("s2", "select 1") + flush())
        .frontend_gets(parse_complete())
        .leased()
        .frontend(sync())
        .backend(ready())
        .frontend_gets(ready())
        .released();
    script.check();
}

TEST(RelayStatements, FabricatedAnswersDoNotWaitForWhatIsOwedBehindThem) {
    Script script;
    script.frontend(query("begin"))
        .backend(command_complete("BEGIN") + ready('T'))
        .frontend_gets(command_complete("BEGIN") + ready('T'))
        .whatever_backend_got()
        .frontend(close_statement("s1") + flush() + describe_portal("p"))
        .backend_gets(flush() + describe_portal("p"))
        .frontend_gets(close_complete())
        .frontend(sync())
        .backend(no_data() + ready('T'))
        .frontend_gets(no_data() + ready('T'));
    script.check();
}

TEST(RelayStatements, ChangedSettingIsToldBehindTheAnswersThatWeMakeBeforeIt) {
    Script script;
    script
        .frontend(parse("", "set x to y") + bind("", "") + execute() + close_statement("s") +
                  sync())
        .backend(parse_complete() + bind_complete() + command_complete("SET"))
        .backend(parameter_status("x", "y") + ready())
        .frontend_gets(parse_complete() + bind_complete() + command_complete("SET") +
                       close_complete() + parameter_status("x", "y") + ready());
    script.check_whole();
}

TEST(RelayStatements, NothingComesBetweenThePartsOfAnAnswer) {
    Script script;
    const std::string described = row_description(std::string(40, 'c'));
    script.frontend(parse("s1", "select 1") + sync())
        .backend(prepared)
        .frontend_gets(prepared)
        .frontend(bind_with("", "s1", no_parameters) + describe_portal("") + flush())
        .backend(bind_complete() + described.substr(0, 20))
        .frontend_gets(bind_complete() + described.substr(0, 20))
        .frontend(parse("s2", "select 1") + sync())
        .frontend_gets("")
        .backend(described.substr(20) + ready())
        .that([described](World& world) {
            const std::string& all = world.client(0).received;
            EXPECT_TRUE(all.ends_with(described + parse_complete() + ready()));
        });
    script.check();
}

TEST(RelayStatements, UnnamedStatementSurvivesAnotherClientOnItsBackend) {
    Script script;
    script.frontend(parse("", "select 1") + describe_statement("") + sync())
        .backend(parse_complete() + parameter_description() + no_data() + ready())
        .frontend_gets(parse_complete() + parameter_description() + no_data() + ready())
        .client(2)
        .frontend(parse("", "select 2") + describe_statement("") + sync())
        .backend(parse_complete() + parameter_description() + no_data() + ready())
        .frontend_gets(parse_complete() + parameter_description() + no_data() + ready())
        .client(1)
        .whatever_backend_got()
        .frontend(run(""))
        .backend_gets(parse("", "select 1") + describe_statement("") + flush())
        .backend(parse_complete() + parameter_description() + no_data())
        .backend_gets(run(""))
        .backend(bind_complete() + none + ready())
        .frontend_gets(bind_complete() + none + ready())
        .client(2)
        .frontend(run(""))
        .backend_gets(parse("", "select 2") + describe_statement("") + flush())
        .backend(parse_complete() + parameter_description() + no_data())
        .backend_gets(run(""))
        .backend(bind_complete() + none + ready())
        .frontend_gets(bind_complete() + none + ready())
        .released();
    script.check();
}

TEST(RelayStatements, UnnamedStatementIsNotSentAgainToItsOwnBackend) {
    Script script;
    script.frontend(parse("", "select 1") + sync())
        .backend(prepared)
        .frontend(run("") + run(""))
        .backend_gets(parse("", "select 1") + sync() + run("") + run(""))
        .backend(bind_complete() + none + ready() + bind_complete() + none + ready())
        .released();
    script.check();
}

TEST(RelayStatements, SimpleQueryDropsTheUnnamedStatement) {
    Script script;
    script.frontend(parse("", "select 1") + sync())
        .backend(prepared)
        .frontend(query("select 2"))
        .backend(none + ready())
        .frontend_gets(prepared + none + ready())
        .frontend(run(""))
        .frontend_gets(own_error("26000", "unnamed prepared statement does not exist") + ready())
        .released();
    script.check();
}

TEST(RelayStatements, RefusedQueryAndRefusedParseDropTheUnnamedStatementToo) {
    Script script(with_schema("app"));
    const std::string gone = own_error("26000", "unnamed prepared statement does not exist");
    script.frontend(parse("", "select 1") + sync())
        .backend(prepared)
        .frontend(query("select {{nonsense}}") + run(""))
        .that([gone](World& world) {
            EXPECT_TRUE(world.client(0).received.ends_with(ready() + gone + ready()));
        })
        .frontend(parse("", "select 1") + sync())
        .backend(prepared)
        .frontend(parse("", "select {{nonsense}}") + sync() + run(""))
        .that([gone](World& world) {
            EXPECT_TRUE(world.client(0).received.ends_with(ready() + gone + ready()));
        })
        .released();
    script.check();
}

TEST(RelayStatements, FailedParseDropsTheOldUnnamedStatement) {
    Script script;
    script.frontend(parse("", "select 1") + sync())
        .backend(prepared)
        .frontend(parse("", "select nothing") + sync())
        .backend(error("42703", "no column") + ready())
        .frontend_gets(prepared + error("42703", "no column") + ready())
        .frontend(run(""))
        .frontend_gets(own_error("26000", "unnamed prepared statement does not exist") + ready())
        .released();
    script.check();
}

TEST(RelayStatements, SkippedParseLeavesTheOldUnnamedStatement) {
    Script script;
    script.frontend(parse("", "select 1") + parse("s", "select 1/0") + sync())
        .backend(parse_complete() + prepared)
        .frontend(bind("", "s") + execute() + parse("", "select 2") + sync())
        .backend(bind_complete() + error("22012", "division") + ready())
        .whatever_backend_got()
        .frontend(run(""))
        .backend_gets(run(""))
        .backend(bind_complete() + none + ready())
        .released();
    script.check();
}

TEST(RelayStatements, UndoneDefinitionDoesNotTouchALaterOne) {
    // libpq's pipeline mode: the first batch fails, the second defines the unnamed statement anew.
    Script script;
    script.frontend(parse("", "select 1") + sync())
        .backend(prepared)
        .frontend(parse("x", "select nothing") + parse("", "select 2") + sync() +
                  parse("", "select 3") + run(""))
        .backend(error("42703", "no column") + ready() + parse_complete() + bind_complete() + none +
                 ready())
        .whatever_backend_got()
        .frontend(run(""))
        .backend_gets(run(""))
        .backend(bind_complete() + none + ready())
        .client(2)
        .frontend(query("select 4"))
        .backend(none + ready())
        .client(1)
        .whatever_backend_got()
        .frontend(run(""))
        .backend_gets(parse("", "select 3") + run(""))
        .backend(parse_complete() + bind_complete() + none + ready())
        .released();
    script.check();
}

TEST(RelayStatements, NameThatASkippedCloseGivesBackIsTakenByALaterOne) {
    Script script;
    script.frontend(parse("s1", "select 1") + sync())
        .backend(parse_complete() + ready())
        .frontend_gets(parse_complete() + ready())
        .frontend(execute("none") + close_statement("s1") + sync() + close_statement("s1") + sync())
        .backend(error("34000", "no portal") + ready() + ready())
        .frontend_gets(error("34000", "no portal") + ready() + close_complete() + ready())
        .released()
        .frontend(describe_statement("s1") + sync())
        .frontend_gets(own_error("26000", "prepared statement \"s1\" does not exist") + ready());
    script.check();
}

TEST(RelayStatements, ParseThatWasSkippedThoughTheBackendHasItsTextMakesNoStatement) {
    Script script;
    script.frontend(parse("x", "select 1") + sync() + close_statement("x") + sync())
        .backend(prepared + ready())
        .frontend_gets(prepared + close_complete() + ready())
        .frontend(execute("none") + parse("f", "select 1") + sync() + bind("", "f") + sync())
        .backend(error("34000", "no portal") + ready())
        .frontend_gets(error("34000", "no portal") + ready() +
                       own_error("26000", "prepared statement \"f\" does not exist") + ready())
        .released();
    script.check_whole();
}

TEST(RelayStatements, NameWhoseCloseWasSkippedIsStillTaken) {
    Script script;
    script.frontend(parse("s1", "select 1") + sync())
        .backend(parse_complete() + ready())
        .frontend_gets(parse_complete() + ready())
        .frontend(execute("none") + close_statement("s1") + sync() + parse("s1", "select 2") +
                  sync())
        .backend(error("34000", "no portal") + ready())
        .frontend_gets(error("34000", "no portal") + ready() +
                       own_error("42P05", "prepared statement \"s1\" already exists") + ready())
        .released();
    // Cut elsewhere, the Parse that must fail goes to the backend.
    script.check_whole();
}

TEST(RelayStatements, UnnamedStatementThatASkippedQueryGivesBackIsDroppedByALaterOne) {
    Script script;
    script
        .frontend(parse("", "select 1") + execute("none") + query("select 2") + sync() +
                  query("select 3"))
        .backend(parse_complete() + error("34000", "no portal") + ready() +
                 command_complete("SELECT 1") + ready())
        .frontend_gets(parse_complete() + error("34000", "no portal") + ready() +
                       command_complete("SELECT 1") + ready())
        .released_after(full_reset)  // PostgreSQL 18 fails what comes next
        .frontend(describe_statement("") + sync())
        .frontend_gets(own_error("26000", "unnamed prepared statement does not exist") + ready());
    script.check();
}

TEST(RelayStatements, BindWaitsUntilItIsKnownThatTheStatementIsThere) {
    // The Parse that we repeat is skipped with the failed batch; the next batch must not rely on
    // it.
    Script script(two_backends());
    script.frontend(parse("a", "select 1/0") + parse("b", "select 1") + sync())
        .backend(parse_complete() + prepared)
        .frontend_gets(parse_complete() + prepared)
        .whatever_backend_got()
        .on_backend(2)
        .frontend(bind("", "a") + execute() + bind("", "b") + execute() + sync() + run("b"))
        .backend_gets(parse("@1", "select 1/0") + bind("", "@1") + execute() +
                      parse("@2", "select 1") + bind("", "@2") + execute() + sync())
        .that([](World& world) { EXPECT_FALSE(world.client(0).relay->wants_frontend_bytes()); })
        .backend(parse_complete() + bind_complete() + error("22012", "division") + ready())
        .backend_gets(parse("@2", "select 1") + run("@2"))
        .backend(parse_complete() + bind_complete() + none + ready())
        .frontend_gets(bind_complete() + error("22012", "division") + ready() + bind_complete() +
                       none + ready())
        .released();
    script.check();
}

TEST(RelayStatements, AnotherClientsUnnamedStatementIsNeverRun) {
    // Ours was skipped; what the backend has under the empty name is a stranger's.
    Script script;
    script.client(2)
        .frontend(parse("", "select 'secret'") + sync())
        .backend(prepared)
        .client(1)
        .frontend(parse("x", "select nothing") + parse("", "select 2") + sync() + run(""))
        .backend_gets(parse("", "select 'secret'") + sync() + parse("@1", "select nothing") +
                      parse("", "select 2") + sync())
        .backend(error("42703", "no column") + ready())
        .backend_gets("")
        .frontend_gets(error("42703", "no column") + ready() +
                       own_error("26000", "unnamed prepared statement does not exist") + ready())
        .released();
    script.check_whole();
}

TEST(RelayStatements, NameIsFreeAgainBehindTheSyncOfAFailedParse) {
    Script script;
    script.frontend(parse("s1", "select nothing") + sync() + parse("s1", "select 1") + sync())
        .backend_gets(parse("@1", "select nothing") + sync())
        .backend(error("42703", "no column") + ready())
        .backend_gets(parse("@2", "select 1") + sync())
        .backend(prepared)
        .frontend_gets(error("42703", "no column") + ready() + prepared)
        .released();
    script.check();
}

TEST(RelayStatements, SharedCopyOfAFailedBatchIsNotReliedOn) {
    Script script;
    script
        .frontend(parse("x", "select nothing") + parse("s1", "select 1") + sync() +
                  parse("s2", "select 1") + run("s2"))
        .backend_gets(parse("@1", "select nothing") + parse("@2", "select 1") + sync())
        .backend(error("42703", "no column") + ready())
        .backend_gets(parse("@2", "select 1") + run("@2"))
        .backend(parse_complete() + bind_complete() + none + ready())
        .frontend_gets(error("42703", "no column") + ready() + parse_complete() + bind_complete() +
                       none + ready())
        .released();
    script.check();
}

TEST(RelayStatements, PipelineThatSucceedsDoesNotWaitForNamesItHas) {
    Script script;
    script.frontend(parse("s1", "select 1") + sync())
        .backend(prepared)
        .frontend(run("s1") + run("s1") + run("s1"))
        .backend_gets(parse("@1", "select 1") + sync() + run("@1") + run("@1") + run("@1"));
    script.check();
}

TEST(RelayStatements, ErrorOfABackendsNameSpeaksOfTheClients) {
    Script script;
    script.frontend(parse("s1", "select 1") + sync())
        .backend(prepared)
        .frontend_gets(prepared)
        .frontend(run("s1"))
        // Something dropped it behind our back.
        .backend(error("26000", "prepared statement \"sx_…\" does not exist") + ready())
        .frontend_gets(own_error("26000", "prepared statement \"s1\" does not exist") + ready())
        .whatever_backend_got()
        .frontend(run("s1"))
        .backend_gets(parse("@1", "select 1") + run("@1"))
        .backend(parse_complete() + bind_complete() + none + ready())
        .frontend_gets(bind_complete() + none + ready())
        .released();
    script.check();
}

TEST(RelayStatements, DuplicateOnTheBackendIsPutRightByAReset) {
    Script script;
    script.frontend(parse("s1", "select 1") + sync())
        .backend(error("42P05", "prepared statement \"sx_…\" already exists") + ready())
        .released_after(full_reset)
        .open();
    script.check();
}

}  // namespace
}  // namespace schemux::core::relay_script
