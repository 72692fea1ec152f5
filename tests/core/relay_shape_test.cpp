// A client never gets another result type than it was told, whichever backend prepares its
// statement again: scripts with tables that change in between.
#include "core/limits.h"
#include "tests/support/relay_script.h"

#include <gtest/gtest.h>

namespace schemux::core::relay_script {
namespace {

const std::string none = command_complete("SELECT 0");
const std::string prepared = parse_complete() + ready();
const std::string changed = own_error("0A000", "cached plan must not change result type");

std::string described(std::string_view column) {
    return parameter_description() + row_description(column);
}

/// s1 is on backend 1, and the client was told of its column `a`.
Script told_of_a() {
    Script script(two_backends());
    script.frontend(parse("s1", "select * from t") + describe_statement("s1") + sync())
        .backend_gets(parse("@1", "select * from t") + describe_statement("@1") + sync())
        .backend(parse_complete() + described("a") + ready())
        .frontend_gets(parse_complete() + described("a") + ready());
    return script;
}

TEST(RelayShape, RepeatedParseIsComparedBeforeAnythingRuns) {
    Script script = told_of_a();
    script.on_backend(2)
        .frontend(run("s1"))
        .backend_gets(parse("@1", "select * from t") + describe_statement("@1") + flush())
        .backend(parse_complete() + described("a"))
        .backend_gets(run("@1"))
        .backend(bind_complete() + none + ready())
        .frontend_gets(bind_complete() + none + ready())
        .released()
        .on_backend(2)
        .frontend(run("s1"))
        .backend_gets(run("@1"))
        .backend(bind_complete() + none + ready())
        .released();
    script.check();
}

TEST(RelayShape, ChangedResultIsRefusedAndNothingRuns) {
    Script script = told_of_a();
    script.on_backend(2)
        .frontend(run("s1"))
        .backend_gets(parse("@1", "select * from t") + describe_statement("@1") + flush())
        .backend(parse_complete() + described("b"))
        .backend_gets(bound_to_fail() + execute() + sync())
        .backend(error("26000", "sx_refused") + ready())
        .frontend_gets(changed + ready())
        .released()
        // Not even with the copy that is there now.
        .on_backend(2)
        .frontend(run("s1"))
        .whatever_backend_got()
        .backend(close_complete() + parse_complete() + described("b"))
        .backend_gets(bound_to_fail() + execute() + sync())
        .backend(error("26000", "sx_refused") + ready())
        .frontend_gets(changed + ready())
        .released();
    script.check();
}

TEST(RelayShape, DescribeOfAChangedResultIsRefusedToo) {
    Script script = told_of_a();
    script.on_backend(2)
        .frontend(describe_statement("s1") + sync())
        .backend_gets(parse("@1", "select * from t") + describe_statement("@1") + flush())
        .backend(parse_complete() + described("b"))
        .backend_gets(bound_to_fail() + sync())
        .backend(error("26000", "sx_refused") + ready())
        .frontend_gets(changed + ready())
        .released();
    script.check();
}

TEST(RelayShape, TableAndFormatOfAColumnDoNotCount) {
    std::string elsewhere = described("a");
    elsewhere[elsewhere.size() - 16] = '\7';  // the table that the column is from
    Script script = told_of_a();
    script.on_backend(2)
        .frontend(run("s1"))
        .whatever_backend_got()
        .backend(parse_complete() + elsewhere)
        .backend_gets(run("@1"))
        .backend(bind_complete() + none + ready())
        .frontend_gets(bind_complete() + none + ready())
        .released();
    script.check();
}

TEST(RelayShape, CopyOfAnotherClientThatNobodyDescribedIsAskedAbout) {
    Script script = told_of_a();
    script.client(2)
        .on_backend(2)
        .frontend(parse("mine", "select * from t") + sync())
        .backend_gets(parse("@1", "select * from t") + sync())
        .backend(prepared)
        .frontend_gets(prepared)
        .client(1)
        .on_backend(2)
        .frontend(run("s1"))
        .backend_gets(describe_statement("@1") + flush())
        .backend(described("a"))
        .backend_gets(run("@1"))
        .backend(bind_complete() + none + ready())
        .frontend_gets(bind_complete() + none + ready())
        .released();
    script.check();
}

TEST(RelayShape, StaleCopyOfAnotherClientIsReplaced) {
    // Client 2 prepared before the table changed, client 1 after it: PostgreSQL decides.
    Script script = told_of_a();
    script.client(2)
        .on_backend(2)
        .frontend(parse("mine", "select * from t") + describe_statement("mine") + sync())
        .whatever_backend_got()
        .backend(parse_complete() + described("old") + ready())
        .client(1)
        .on_backend(2)
        .frontend(run("s1"))
        .backend_gets(close_statement("@1") + parse("@1", "select * from t") +
                      describe_statement("@1") + flush())
        .backend(close_complete() + parse_complete() + described("a"))
        .backend_gets(run("@1"))
        .backend(bind_complete() + none + ready())
        .frontend_gets(bind_complete() + none + ready())
        .released();
    script.check();
}

TEST(RelayShape, ParametersKeepTheTypesThatTheyWereFoundToHave) {
    const std::string_view one_integer("\0\1\0\0\0\27", 6);
    const std::string answer = message('t', one_integer) + no_data();
    Script script(two_backends());
    script.frontend(parse("s1", "select $1 from t") + describe_statement("s1") + sync())
        .backend(parse_complete() + answer + ready())
        .frontend_gets(parse_complete() + answer + ready())
        .on_backend(2)
        .frontend(run("s1"))
        .that([one_integer](World& world) {
            const std::string& sent = world.server(1).received;
            EXPECT_NE(sent.find(std::string("select $1 from t\0", 17) + std::string(one_integer)),
                      std::string::npos);
        })
        .whatever_backend_got()
        .backend(parse_complete() + answer)
        .backend_gets(run("@1"))
        .backend(bind_complete() + none + ready())
        .released();
    script.check_whole();
}

TEST(RelayShape, FailedTransactionIsToldOfAtOnce) {
    Script script = told_of_a();
    script.on_backend(2)
        .frontend(query("begin"))
        .backend(command_complete("BEGIN") + ready('T'))
        .whatever_backend_got()
        .frontend(run("s1"))
        .backend_gets(parse("@1", "select * from t") + describe_statement("@1") + flush())
        .backend(error("42P01", "relation does not exist"))
        .backend_gets(sync())
        .backend(ready('E'))
        .frontend_gets(command_complete("BEGIN") + ready('T') +
                       error("42P01", "relation does not exist") + ready('E'));
    script.check();
}

TEST(RelayShape, TooWideADescriptionPassesAndIsNotCompared) {
    const std::string wide = row_description(std::string(limits::description_max, 'c'));
    Script script(two_backends());
    script.frontend(parse("s1", "select * from t") + describe_statement("s1") + sync())
        .backend(parse_complete() + parameter_description() + wide + ready())
        .frontend_gets(parse_complete() + parameter_description() + wide + ready())
        .on_backend(2)
        .frontend(run("s1"))
        .backend_gets(parse("@1", "select * from t") + run("@1"))
        .backend(parse_complete() + bind_complete() + none + ready())
        .frontend_gets(bind_complete() + none + ready())
        .released();
    script.check_whole();
}

}  // namespace
}  // namespace schemux::core::relay_script
