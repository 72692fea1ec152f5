// Templates on their way through the relay: what is rewritten, what passes untouched, where an
// error's position points. The grammar itself is tested in template_rewriter_test.cpp.

#include "tests/support/relay_script.h"

#include <gtest/gtest.h>

namespace schemux::core::relay_script {
namespace {

const std::string none = command_complete("SELECT 0");

TEST(RelayTemplates, QueryIsRewritten) {
    Script script(with_schema("app"));
    script.frontend(query("select * from {{tables.users}}"))
        .backend_gets(query("select * from \"app\".users"))
        .backend(none + ready())
        .frontend_gets(none + ready())
        .released();
    script.check();
}

TEST(RelayTemplates, ServiceWithoutASchemaLosesTheTemplateOnly) {
    Script script;
    script.frontend(query("select * from {{tables.users}}"))
        .backend_gets(query("select * from users"))
        .backend(none + ready())
        .released();
    script.check();
}

TEST(RelayTemplates, ParseIsRewritten) {
    Script script(with_schema("app"));
    script
        .frontend(parse("", "select * from {{tables.users}}") +
                  parse("s1", "select * from <<tables.users>>") + sync())
        .backend_gets(parse("", "select * from \"app\".users") +
                      parse("@1", "select * from \"app\".users") + sync())
        .backend(parse_complete() + parse_complete() + ready())
        .released();
    script.check();
}

TEST(RelayTemplates, DifferentTextsOfOneMeaningShareACopy) {
    Script script(with_schema("app"));
    script
        .frontend(parse("s1", "select * from {{tables.users}}") +
                  parse("s2", "select * from <<tables.users>>") + sync())
        .backend_gets(parse("@1", "select * from \"app\".users") + sync())
        .backend(parse_complete() + ready())
        .frontend_gets(parse_complete() + parse_complete() + ready())
        .released();
    script.check();
}

TEST(RelayTemplates, PositionOfAnErrorIsOfTheClientsText) {
    Script script(with_schema("app"));
    // select * from "app".users where x  <-  select * from {{tables.users}} where x
    script.frontend(query("select * from {{tables.users}} where x"))
        .backend(error("42703", "no column", 33) + ready())
        .frontend_gets(error("42703", "no column", 38) + ready())
        .released();
    script.check();
}

TEST(RelayTemplates, PositionOfANoticeIsOfTheClientsText) {
    Script script(with_schema("app"));
    script.frontend(query("select * from {{tables.users}} where x"))
        .backend(notice("hm", 33) + none + ready())
        .frontend_gets(notice("hm", 38) + none + ready())
        .released();
    script.check();
}

TEST(RelayTemplates, NoticeComesBehindTheAnswersThatWeMakeBeforeIt) {
    Script script(with_schema("app"));
    script.frontend(query("begin"))
        .backend(command_complete("BEGIN") + ready('T'))
        .frontend(close_statement("s1") + query("select * from {{tables.users}} where x"))
        .backend(notice("hm", 33) + none + ready())
        .frontend_gets(command_complete("BEGIN") + ready('T') + close_complete() +
                       notice("hm", 38) + none + ready())
        .released();
    script.check();
}

TEST(RelayTemplates, PositionInAParseIsOfItsOwnText) {
    Script script(with_schema("app"));
    script
        .frontend(parse("", "select 1") + parse("s1", "select * from {{tables.users}} where x") +
                  sync())
        .backend(parse_complete() + error("42703", "no column", 33) + ready())
        .frontend_gets(parse_complete() + error("42703", "no column", 38) + ready())
        .released();
    script.check();
}

TEST(RelayTemplates, PositionInUntouchedTextStays) {
    Script script(with_schema("app"));
    script.frontend(query("select x"))
        .backend(error("42703", "no column", 8) + ready())
        .frontend_gets(error("42703", "no column", 8) + ready())
        .released();
    script.check();
}

TEST(RelayTemplates, UnknownTemplateIsAnsweredWithoutABackend) {
    Script script(with_schema("app"));
    script.frontend(query("select {{nonsense}}"))
        .backend_gets("")
        .that([](World& world) {
            const std::string told = world.describe(world.client(0).received);
            EXPECT_NE(told.find("C42601"), told.npos) << told;
            EXPECT_TRUE(world.client(0).received.ends_with(ready()));
            EXPECT_EQ(world.counters().template_errors.value(), 1U);
        })
        .released()
        .open();
    script.check();
}

TEST(RelayTemplates, UnknownTemplateInAParseSkipsToTheSync) {
    Script script(with_schema("app"));
    script.frontend(parse("", "select {{nonsense}}") + bind("", "") + execute())
        .backend_gets("")
        .frontend(sync())
        .backend_gets("")
        .that([](World& world) { EXPECT_TRUE(world.client(0).received.ends_with(ready())); })
        .released()
        .open();
    script.check();
}

TEST(RelayTemplates, UnknownTemplateFailsTheTransaction) {
    Script script(with_schema("app"));
    script.frontend(query("begin"))
        .backend(command_complete("BEGIN") + ready('T'))
        .whatever_backend_got()
        .frontend(query("select {{nonsense}}"))
        .backend_gets(query("{"))
        .backend(error("42601", "syntax error at or near \"{\"", 1) + ready('E'))
        .that([](World& world) {
            const std::string told = world.describe(world.client(0).received);
            EXPECT_NE(told.find("{{nonsense}}"), told.npos) << told;
            EXPECT_EQ(told.find("at or near"), told.npos) << told;
            EXPECT_TRUE(world.client(0).received.ends_with(ready('E')));
        })
        .leased()
        .open();
    script.check();
}

TEST(RelayTemplates, SchemaThatIsNotAllowedIsRefused) {
    Scene scene = with_schema("app");
    scene.service.allow_schemas = {"shared"};
    Script script(scene);
    script.frontend(query("select * from {{tables.shared.a}}"))
        .backend_gets(query("select * from \"shared\".a"))
        .backend(none + ready())
        .frontend(query("select * from {{tables.other.a}}"))
        .backend_gets("")
        .that([](World& world) {
            const std::string told = world.describe(world.client(0).received);
            EXPECT_NE(told.find("C42501"), told.npos) << told;
        })
        .released();
    script.check();
}

TEST(RelayTemplates, ServiceThatTurnsThemOffPassesThem) {
    Scene scene = with_schema("app");
    scene.service.braces = false;
    scene.service.angles = false;
    Script script(scene);
    script.frontend(query("select '{{tables.users}}' <<tables.x>> 1"))
        .backend_gets(query("select '{{tables.users}}' <<tables.x>> 1"))
        .backend(none + ready())
        .released();
    script.check();
}

TEST(RelayTemplates, RewritesAreCounted) {
    Script script(with_schema("app"));
    script.frontend(query("select * from {{tables.users}}"))
        .backend(none + ready())
        .frontend(query("select 1"))
        .backend(none + ready())
        .that([](World& world) {
            EXPECT_EQ(world.counters().rewrites.value(), 1U);
            EXPECT_EQ(world.counters().queries_simple.value(), 2U);
        });
    script.check();
}

TEST(RelayTemplates, EncodingOfASetThatWasUndoneIsNotBelieved) {
    Script script(with_schema("app"));
    script.frontend(query("do 'something'"))
        .backend(parameter_status("client_encoding", "SJIS") + command_complete("DO") + ready())
        .released_after(full_reset)
        .that([](World& world) {
            // What RESET ALL makes the server report.
            world.server(0).state.note_parameter("client_encoding", "UTF8");
        })
        .whatever_backend_got()
        .frontend(query("select * from {{tables.users}}"))
        .backend_gets(query("select * from \"app\".users"))
        .backend(none + ready())
        .released();
    script.check_whole();
}

TEST(RelayTemplates, EncodingThatIsNotSafeRefusesTemplatesOnly) {
    Script script(with_schema("app"));
    script.frontend(query("begin; set local client_encoding = sjis"))
        .backend(parameter_status("client_encoding", "SJIS") + command_complete("SET") + ready('T'))
        .whatever_backend_got()
        .frontend(query("select 1"))
        .backend_gets(query("select 1"))
        .backend(one_row("1") + ready('T'))
        .frontend(query("select * from {{tables.users}}"))
        .backend_gets(query("{"));
    script.check();
}

/// Text without templates is passed from where it was received.
TEST(RelayTemplates, UntouchedTextIsNotCopied) {
    WorkerContext context;
    const StatementNamer namer;
    context.namer = &namer;
    ServiceCounters counters;
    Service service;
    service.schema = "app";
    const Settings welcome;
    Relay relay(context, std::make_shared<const Service>(service), counters, {}, {1, "key.", "p"});
    relay.start(&welcome);
    context.settle();
    Backend backend;

    const std::string begin = query("begin");
    relay.on_frontend_bytes(begin);
    ASSERT_EQ(relay.on_granted(backend).next, Next::proceed);
    context.settle();
    relay.on_backend_bytes(command_complete("BEGIN") + ready('T'));
    context.settle();

    const std::string received = query("select '<<' || " + std::string(2000, '1')) +
                                 parse("", "select 2") + bind("", "") + execute() + sync();
    relay.on_frontend_bytes(received);
    ASSERT_EQ(context.to_backend.count(), 1U);
    EXPECT_EQ(context.to_backend.segment(0).data(), received.data());
    EXPECT_EQ(context.to_backend.segment(0).size(), received.size());
    context.settle();

    const std::string answer = one_row(std::string(4000, 'x')) + ready('T') + parse_complete() +
                               bind_complete() + none + ready('T');
    relay.on_backend_bytes(answer);
    ASSERT_EQ(context.to_frontend.count(), 1U);
    EXPECT_EQ(context.to_frontend.segment(0).data(), answer.data());
    EXPECT_EQ(context.to_frontend.segment(0).size(), answer.size());
}

}  // namespace
}  // namespace schemux::core::relay_script
