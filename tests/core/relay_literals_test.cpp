// What a literal means is settled when its statement is prepared: one that is prepared again on
// another backend is read under the settings that held then.

#include "tests/support/relay_script.h"

#include <gtest/gtest.h>

namespace schemux::core::relay_script {
namespace {

const std::string none = command_complete("SELECT 0");
const std::string prepared = parse_complete() + ready();

const std::string one_row_only = data_row("x") + command_complete("SELECT 1");

/// A transaction in which literals are read otherwise.
void begin_reading_otherwise(Script& script) {
    const std::string begun = command_complete("BEGIN") + ready('T') + command_complete("SET") +
                              parameter_status("standard_conforming_strings", "off") + ready('T');
    script.frontend(query("begin") + query("set local standard_conforming_strings to off"))
        .backend(begun)
        .frontend_gets(begun)
        .whatever_backend_got();
}

TEST(RelayLiterals, LiteralsAreReadAgainAsTheyWereFirst) {
    Script script(two_backends());
    script.frontend(parse("s1", "select date '1/2/3'") + sync())
        .backend(prepared)
        .frontend_gets(prepared)
        .whatever_backend_got()
        .on_backend(2);
    begin_reading_otherwise(script);
    const std::string helped =
        parse_complete() + bind_complete() + one_row_only + close_complete() + close_complete();
    script.frontend(run("s1"))
        .backend_gets(
            helper("SELECT pg_catalog.set_config('standard_conforming_strings','on',true)") +
            parse("@1", "select date '1/2/3'") +
            helper("SELECT pg_catalog.set_config('standard_conforming_strings','off',true)") +
            run("@1"))
        .backend(helped + parse_complete() + helped + bind_complete() + none + ready('T'))
        .frontend_gets(bind_complete() + none + ready('T'));
    script.check();
}

TEST(RelayLiterals, LiteralsOfATransactionAreReadAgainAsInIt) {
    Script script(two_backends());
    begin_reading_otherwise(script);
    script.frontend(parse("s1", "select date '1/2/3'") + sync())
        .backend(parse_complete() + ready('T'))
        .frontend_gets(parse_complete() + ready('T'))
        .frontend(query("commit"))
        .backend(command_complete("COMMIT") +
                 parameter_status("standard_conforming_strings", "on") + ready())
        .whatever_backend_got()
        .released_after(full_reset)
        .on_backend(2)
        .frontend(run("s1"))
        .backend_gets(
            helper("SELECT pg_catalog.set_config('standard_conforming_strings','off',true)") +
            parse("@1", "select date '1/2/3'") +
            helper("SELECT pg_catalog.set_config('standard_conforming_strings','on',true)") +
            run("@1"));
    script.check_whole();
}

TEST(RelayLiterals, OtherSettingsAndTextsWithoutLiteralsNeedNothing) {
    Script script(two_backends());
    script.frontend(parse("s1", "select 1") + parse("s2", "select '1'") + sync())
        .backend(parse_complete() + prepared)
        .frontend_gets(parse_complete() + prepared)
        .whatever_backend_got()
        .on_backend(2);
    begin_reading_otherwise(script);
    script.frontend(run("s1"))
        .backend_gets(parse("@1", "select 1") + run("@1"))
        .backend(parse_complete() + bind_complete() + none + ready('T'))
        .frontend(query("rollback"))
        .backend(command_complete("ROLLBACK") +
                 parameter_status("standard_conforming_strings", "on") +
                 parameter_status("application_name", "x") + ready())
        .whatever_backend_got()
        .released_after(full_reset)
        .on_backend(2)
        .frontend(run("s2"))
        .backend_gets(parse("@2", "select '1'") + run("@2"));
    script.check_whole();
}

}  // namespace
}  // namespace schemux::core::relay_script
