// SQL's PREPARE, EXECUTE and DEALLOCATE: each client's names are its own, and follow it from one
// backend to the next.

#include "tests/support/relay_script.h"

#include <gtest/gtest.h>

namespace schemux::core::relay_script {
namespace {

const std::string none = command_complete("SELECT 0");
const std::string made = command_complete("PREPARE") + ready();
const std::string ran = none + ready();

/// What prepares a statement of SQL's again, under the name `at`.
std::string again(const std::string& at, const std::string& rest) {
    return helper("PREPARE " + at + rest);
}

const std::string done_again = parse_complete() + bind_complete() + command_complete("PREPARE") +
                               close_complete() + close_complete();

TEST(RelayNames, EachClientHasItsOwn) {
    Script script;
    script.frontend(query("PREPARE p AS select 1"))
        .backend_gets(query("PREPARE @1 AS select 1"))
        .backend(made)
        .frontend_gets(made)
        .released()
        .client(2)
        .frontend(query("execute P"))
        .backend_gets(query("execute @2"))
        .backend(error("26000", "no") + ready())
        .frontend_gets(error("26000", "no") + ready())
        .client(1)
        .whatever_backend_got()
        .frontend(query("execute P"))
        .backend_gets(query("execute @1"))
        .backend(ran)
        .frontend_gets(ran)
        .released();
    script.check();
}

TEST(RelayNames, AreCarriedToABackendThatLacksThem) {
    Script script(two_backends());
    script.on_backend(1)
        .frontend(query("PREPARE p (int) AS select $1; select 2"))
        .backend_gets(query("PREPARE @1 (int) AS select $1; select 2"))
        .backend(command_complete("PREPARE") + ran)
        .frontend_gets(command_complete("PREPARE") + ran)
        .on_backend(2)
        .frontend(query("execute p(1)"))
        .backend_gets(again("@1", " (int) AS select $1") + sync())
        .backend(done_again + ready())
        .backend_gets(query("execute @1(1)"))
        .backend(ran)
        .frontend_gets(ran)
        .released();
    script.check_whole();
}

TEST(RelayNames, ErrorThereIsTheAnswerToTheQuery) {
    Script script(two_backends());
    const std::string gone = error("42P01", "relation \"t\" does not exist");
    script.on_backend(1)
        .frontend(query("prepare p as select * from t"))
        .backend(made)
        .frontend_gets(made)
        .whatever_backend_got()
        .on_backend(2)
        .frontend(query("execute p") + query("select 2"))
        .backend_gets(again("@1", " as select * from t") + sync())
        .backend(parse_complete() + bind_complete() + gone + ready())
        .backend_gets(query("select 2"))
        .backend(ran)
        .frontend_gets(gone + ready() + ran)
        .released();
    script.check_whole();
}

TEST(RelayNames, PreparingAgainMayFailAndBeTriedAgain) {
    Script script(two_backends());
    const std::string gone = error("42P01", "relation \"t\" does not exist");
    script.on_backend(1)
        .frontend(query("prepare p as select * from t"))
        .backend(made)
        .frontend_gets(made)
        .whatever_backend_got()
        .on_backend(2)
        .frontend(query("execute p"))
        .backend_gets(again("@1", " as select * from t") + sync())
        .backend(parse_complete() + bind_complete() + gone + ready())
        .frontend_gets(gone + ready())
        .released()
        .on_backend(2)
        .frontend(query("execute p"))
        .backend_gets(close_statement("@prepare") + again("@1", " as select * from t") + sync())
        .backend(close_complete() + done_again + ready())
        .backend_gets(query("execute @1"))
        .backend(ran)
        .frontend_gets(ran)
        .released();
    script.check_whole();
}

TEST(RelayNames, ExtendedProtocolCarriesThemToo) {
    Script script(two_backends());
    const std::string rows = bind_complete() + ran;
    script.on_backend(1)
        .frontend(query("prepare p as select 1"))
        .backend(made)
        .frontend_gets(made)
        .whatever_backend_got()
        .on_backend(2)
        .frontend(parse("", "execute p") + run(""))
        .backend_gets(again("@1", " as select 1") + parse("", "execute @1") + run(""))
        .backend(done_again + parse_complete() + rows)
        .frontend_gets(parse_complete() + rows)
        .released();
    script.check();
}

TEST(RelayNames, PrepareInABatchIsThereForWhatFollows) {
    Script script;
    const std::string answers = parse_complete() + bind_complete() + command_complete("PREPARE") +
                                parse_complete() + bind_complete() + ran;
    script
        .frontend(parse("", "prepare p as select 1") + bind("", "") + execute() +
                  parse("", "execute p") + run(""))
        .backend_gets(parse("", "prepare @1 as select 1") + bind("", "") + execute() +
                      parse("", "execute @1") + run(""))
        .backend(answers)
        .frontend_gets(answers)
        .released()
        .frontend(parse("p", "select 2") + sync())
        .frontend_gets(own_error("42P05", "prepared statement \"p\" already exists") + ready());
    script.check();
}

TEST(RelayNames, TextIsSpelledAsTheNameIsMeantWhenItIsBound) {
    Script script;
    const std::string deallocated =
        parse_complete() + bind_complete() + command_complete("DEALLOCATE") + ready();
    script.frontend(parse("p", "select 1") + parse("e", "execute p") + sync())
        .backend_gets(parse("@1", "select 1") + parse("@2", "execute @1") + sync())
        .backend(parse_complete() + parse_complete() + ready())
        .frontend_gets(parse_complete() + parse_complete() + ready())
        .frontend(close_statement("p") + parse("p", "select 2") + sync())
        .backend_gets(parse("@3", "select 2") + sync())
        .backend(parse_complete() + ready())
        .frontend_gets(close_complete() + parse_complete() + ready())
        .frontend(run("e"))
        .backend_gets(parse("@4", "execute @3") + run("@4"))
        .backend(parse_complete() + bind_complete() + ran)
        .frontend_gets(bind_complete() + ran)
        .released();
    script.check();
}

TEST(RelayNames, NoticesOfPreparingAgainAreNotTold) {
    Script script(two_backends());
    script.on_backend(1)
        .frontend(query("prepare p as select '\\'"))
        .backend(notice("nonstandard use of \\") + made)
        .frontend_gets(notice("nonstandard use of \\") + made)
        .whatever_backend_got()
        .on_backend(2)
        .frontend(query("execute p"))
        .whatever_backend_got()
        .backend(parse_complete() + bind_complete() + notice("nonstandard use of \\") +
                 command_complete("PREPARE") + close_complete() + close_complete() + ready())
        .backend(notice("of its own") + ran)
        .frontend_gets(notice("of its own") + ran);
    script.check();
}

TEST(RelayNames, OneThatWasGivenUpElsewhereIsNotFound) {
    Script script(two_backends());
    const std::string missing = error("26000", "no") + ready();
    script.on_backend(1)
        .frontend(query("prepare p as select 1"))
        .backend(made)
        .frontend_gets(made)
        .frontend(query("deallocate p"))
        .frontend_gets(command_complete("DEALLOCATE") + ready())
        .whatever_backend_got()
        .on_backend(1)
        .frontend(query("execute p"))
        // The copy was still there.
        .backend_gets(close_statement("@1") + query("execute @1"))
        .backend(close_complete() + missing)
        .frontend_gets(missing)
        .released();
    script.check();
}

TEST(RelayNames, OlderOneOfTheNameIsReplaced) {
    Script script(two_backends());
    script.on_backend(1)
        .frontend(query("prepare p as select 1"))
        .backend(made)
        .frontend_gets(made)
        .on_backend(2)
        .frontend(query("deallocate p") + query("prepare p as select 2"))
        .backend(made)
        .frontend_gets(command_complete("DEALLOCATE") + ready() + made)
        .on_backend(1)
        .whatever_backend_got()
        .frontend(query("execute p"))
        .backend_gets(close_statement("@1") + again("@1", " as select 2") + sync())
        .backend(close_complete() + done_again + ready())
        .backend_gets(query("execute @1"))
        .backend(ran)
        .frontend_gets(ran)
        .released();
    script.check_whole();
}

TEST(RelayNames, WhatCameTrueBeforeAnErrorOfTheSameQueryStays) {
    Script script;
    const std::string answer = command_complete("PREPARE") + error("22012", "division") + ready();
    script.frontend(query("prepare a as select 1; select 1/0; prepare b as select 2"))
        .backend(answer)
        .frontend_gets(answer)
        .whatever_backend_got()
        .frontend(parse("b", "select 3") + sync())
        .backend_gets(parse("@3", "select 3") + sync())
        .backend(parse_complete() + ready())
        .frontend_gets(parse_complete() + ready())
        .frontend(parse("a", "select 3") + sync())
        .frontend_gets(own_error("42P05", "prepared statement \"a\" already exists") + ready());
    script.check();
}

TEST(RelayNames, WhatFollowsWaitsUntilAQueryHasToldWhatItDid) {
    Script script;
    const std::string rows = bind_complete() + ran;
    script.frontend(query("prepare p as select 1") + run("p"))
        .backend_gets(query("prepare @1 as select 1"))
        .backend(made)
        .backend_gets(run("@1"))
        .backend(rows)
        .frontend_gets(made + rows)
        .released();
    script.check_whole();
}

TEST(RelayNames, PositionIsOneInTheClientsText) {
    Script script;
    script.frontend(query("prepare p as select 1"))
        .backend(made)
        .frontend_gets(made)
        .frontend(query("execute p + 1"))
        .backend(error("42601", "syntax error", 45) + ready())
        .frontend_gets(error("42601", "syntax error", 11) + ready())
        .released();
    script.check();
}

TEST(RelayNames, ExecuteHasTheEffectsOfItsStatement) {
    Script script;
    script.frontend(query("prepare p as select set_config('a', 'b', false)"))
        .backend(made)
        .frontend_gets(made)
        .released()
        .frontend(query("execute p"))
        .session_has({{"a", "b"}})
        .backend(ran)
        .frontend_gets(ran)
        .released()
        .that([](World& world) {
            EXPECT_EQ(world.client(0).relay->label(), Label::of({{"a", "b"}}));
        })
        .frontend(query("prepare q as select nextval('s')"))
        .backend(made)
        .frontend_gets(made)
        .released_after("DISCARD SEQUENCES")
        .frontend(query("execute q"))
        .backend(ran)
        .frontend_gets(ran)
        .released_after("DISCARD SEQUENCES");
    script.check_whole();
}

TEST(RelayNames, OneThatIsClosedBehindTheBindIsNotFoundByTheExecute) {
    Script script;
    const std::string prepared = parse_complete() + ready();
    const std::string missing = error("26000", "prepared statement \"x\" does not exist");
    script.frontend(parse("x", "select nextval('s')") + sync())
        .backend(prepared)
        .frontend(parse("e", "execute x") + sync())
        .backend(prepared)
        .frontend_gets(prepared + prepared)
        .whatever_backend_got()
        .released_after("DISCARD SEQUENCES")
        .frontend(bind("", "e") + close_statement("x") + execute() + sync())
        .backend_gets(bind("", "@2") + close_statement("@1") + execute() + sync())
        .backend(bind_complete() + close_complete() + missing + ready())
        .frontend_gets(bind_complete() + close_complete() + missing + ready())
        .released_after("DISCARD SEQUENCES");
    script.check();
}

TEST(RelayNames, ExecuteOfAnExecuteIsFollowedByAReset) {
    Script script;
    const std::string prepared = parse_complete() + ready();
    script.frontend(query("prepare y as select 1"))
        .backend(made)
        .frontend(parse("e", "execute y") + sync())
        .backend(prepared)
        .frontend_gets(made + prepared)
        .whatever_backend_got()
        .released()
        .frontend(query("execute e"))
        .backend(ran)
        .frontend_gets(ran)
        .released_after(full_reset);
    script.check_whole();
}

TEST(RelayNames, WhatANestedExecuteLacksHasTheClientsName) {
    const auto lacks = [](std::string_view name) {
        return error("26000", "prepared statement \"" + std::string(name) + "\" does not exist") +
               ready();
    };
    const std::string prepared = parse_complete() + ready();
    // In the second the name's end comes first; in the third its target was another one once.
    for (const std::string text :
         {"execute e", "execute e; deallocate e; execute e", "execute e "}) {
        Script script;
        script.frontend(parse("e", "execute gone") + sync())
            .backend(prepared)
            .frontend_gets(prepared)
            .whatever_backend_got()
            .frontend(query(text))
            .that([&](World& world) {
                const std::string_view got = world.server(0).received;
                const std::size_t at =
                    got.find("execute sx_") + std::string_view{"execute "}.size();
                const std::string_view spelled = got.substr(at, backend_name_bytes);
                const bool other = text.ends_with(' ');
                world.from_backend(0,
                                   lacks(other ? "sx_0123456789abcdef0123456789abcdef" : spelled));
            })
            .frontend_gets(lacks("gone"));
        script.check_whole();
    }
}

TEST(RelayNames, TooManyInOneTextAreRefused) {
    Script script;
    std::string text;
    for (std::size_t i = 0; i <= limits::names_in_text_max; ++i)
        text += "execute p" + std::to_string(i) + ';';
    script.frontend(query(text))
        .frontend_gets(own_error("54000", "a query names more than 1000 prepared statements") +
                       ready())
        .released();
    script.check_whole();
}

TEST(RelayNames, NamedPortalChangesNamesAsWell) {
    Script script;
    const std::string gone =
        parse_complete() + bind_complete() + command_complete("DEALLOCATE") + ready();
    script.frontend(parse("s1", "select 1") + sync())
        .backend(parse_complete() + ready())
        .frontend_gets(parse_complete() + ready())
        .frontend(parse("", "deallocate s1") + bind("c1", "") + execute("c1") + sync())
        .backend(gone)
        .frontend_gets(gone)
        .released()
        .frontend(run("s1"))
        .frontend_gets(own_error("26000", "prepared statement \"s1\" does not exist") + ready());
    script.check();
}

TEST(RelayNames, TextThatNamesStatementsIsParsedEachTime) {
    // What its names stand for is looked up there, and refused in a failed transaction.
    Script script;
    const std::string prepared = parse_complete() + ready();
    script.frontend(parse("a", "execute p") + sync())
        .backend_gets(parse("@1", "execute @2") + sync())
        .backend(prepared)
        .frontend(parse("b", "execute p") + sync())
        .backend_gets(parse("@3", "execute @2") + sync())
        .backend(prepared)
        .frontend_gets(prepared + prepared)
        .released();
    script.check();
}

TEST(RelayNames, ParseOfSeveralCommandsIsForPostgresqlToRefuse) {
    Script script(two_backends());
    const std::string refused = error("42601", "cannot insert multiple commands") + ready();
    script.on_backend(1)
        .frontend(query("prepare p as select 1"))
        .backend(made)
        .frontend_gets(made)
        .whatever_backend_got()
        .on_backend(2)
        .frontend(parse("", "execute p; select 2") + sync())
        .backend_gets(parse("", "execute p; select 2") + sync())
        .backend(refused)
        .frontend_gets(refused)
        .released();
    script.check();
}

TEST(RelayNames, QueryBehindAnOpenBatchSharesItsFate) {
    Script script(two_backends());
    script.on_backend(1)
        .frontend(query("prepare p as select 1"))
        .backend(made)
        .frontend_gets(made)
        .whatever_backend_got()
        .on_backend(2)
        .frontend(parse("", "select nothing") + query("execute p") + sync())
        .backend_gets(parse("", "select nothing") + again("@1", " as select 1") + flush())
        .backend(error("42703", "no column"))
        .backend_gets(sync())
        .backend(ready())
        .frontend_gets(error("42703", "no column") + ready())
        .released();
    script.check_whole();
}

TEST(RelayNames, WhatIsPreparedForAQueryDoesNotEndABatchThatMayHaveFailed) {
    Script script(two_backends());
    const std::string no_portal = error("34000", "portal does not exist");
    script.on_backend(1)
        .frontend(query("prepare p as select 1"))
        .backend(made)
        .frontend_gets(made)
        .whatever_backend_got()
        .on_backend(2)
        .frontend(execute("none") + query("select 2") + query("execute p") + sync())
        .backend_gets(execute("none") + query("select 2") + again("@1", " as select 1") + flush())
        .backend(no_portal)
        .backend_gets(sync())
        .backend(ready())
        .frontend_gets(no_portal + ready());
    script.check_whole();
}

TEST(RelayNames, TwoOfOneTextMayGoInOne) {
    Script script;
    const std::string gone =
        command_complete("DEALLOCATE") + command_complete("DEALLOCATE") + ready();
    script.frontend(parse("a", "select 1") + parse("b", "select 1") + sync())
        .backend_gets(parse("@1", "select 1") + sync())
        .backend(parse_complete() + ready())
        .frontend_gets(parse_complete() + parse_complete() + ready())
        .frontend(query("deallocate a; deallocate b"))
        .backend_gets(parse("@2", "select 1") + sync())
        .backend(parse_complete() + ready())
        .backend_gets(query("deallocate @1; deallocate @2"))
        .backend(gone)
        .frontend_gets(gone)
        .released();
    script.check_whole();
}

}  // namespace
}  // namespace schemux::core::relay_script
