// Audits: what is asked of a backend that nobody has, and what its answer says. Whether PostgreSQL
// finds what there is: tests/integration/state_test.py.
#include "core/audit.h"

#include "core/upkeep.h"
#include "tests/support/byte_splitter.h"
#include "tests/support/relay_script.h"

#include <gtest/gtest.h>

namespace schemux::core {
namespace {

using namespace relay_script;

std::string finding_row(std::string_view kind, std::string_view name) {
    const std::string value(name);
    return setting_row(kind, &value);
}

std::string sql_for(const Label& label) {
    std::string sql;
    append_audit_sql(sql, label, {});
    return sql;
}

struct Bench {
    Backend backend;
    std::string sent;
    Carry carry;
    BufferPool pool;
    Upkeep upkeep = Upkeep::audit(backend, sent);

    UpkeepState answer(std::string_view bytes) {
        return upkeep.on_bytes(bytes, backend, carry, pool);
    }
};

const std::string head = row_description();
const std::string over = command_complete("SELECT 1") + ready();

TEST(Audit, OfTheBaseLabelAsksForAllThatIsTheSessions) {
    const std::string sql = sql_for({});
    EXPECT_EQ(sql.find("set_config"), sql.npos);
    EXPECT_EQ(sql.find("SET LOCAL"), sql.npos);
    for (const char* part : {"'setting'", "'role'", "'statement'", "'temp_table'",
                             "'advisory_lock'", "'hold_cursor'", "'listen'", "session_user"}) {
        EXPECT_NE(sql.find(part), sql.npos) << part;
    }
}

/// SQL that nobody saw may have dropped ours, or put its own in the place of one.
TEST(Audit, CountsOurStatementsAndThoseOfPrepare) {
    BackendStatements statements;
    StatementId id{};
    std::uint64_t request = 0;
    for (const std::uint64_t version : {0, 0, 7}) {
        ++id[0];
        statements.add(++request, When::done, id, version, 10);
        statements.succeeded(request);
    }
    std::string sql;
    append_audit_sql(sql, {}, statements.census());
    EXPECT_NE(sql.find("count(*)OPERATOR(pg_catalog.<>)3 OR"), sql.npos);
    EXPECT_NE(sql.find("p.from_sql)OPERATOR(pg_catalog.<>)1"), sql.npos);
}

TEST(Audit, OfALabelComparesItsValuesAndPassesOverItsNames) {
    const std::string sql = sql_for(Label::of({{"role", "x"}, {"work_mem", "it's"}}));
    EXPECT_TRUE(sql.starts_with("SELECT 'setting',l.n FROM (VALUES ('role','x'),('work_mem',"));
    EXPECT_NE(sql.find("set_config(l.n,l.v,true);"), sql.npos);
    EXPECT_NE(sql.find("'seed','role','work_mem']"), sql.npos);
    EXPECT_EQ(sql.find("current_setting('role')"), sql.npos);
}

TEST(Audit, ATimeoutOfTheLabelDoesNotEndIt) {
    EXPECT_NE(sql_for(Label::of({{"statement_timeout", "1"}})).find("SET LOCAL"),
              std::string::npos);
}

TEST(Audit, WithoutFindingsTheBackendIsAsItWas) {
    testing::for_each_split(head + over, [](const testing::Parts& parts) {
        Bench bench;
        EXPECT_EQ(bench.sent, query(sql_for({})));
        for (const std::string_view part : parts)
            bench.answer(part);
        EXPECT_EQ(bench.upkeep.state(), UpkeepState::done);
        EXPECT_TRUE(bench.upkeep.findings().empty());
        EXPECT_TRUE(bench.backend.at_rest());
    });
}

TEST(Audit, FindingsAreTold) {
    const std::string told = head + finding_row("setting", "work_mem") + over.substr(0, 14) + head +
                             finding_row("listen", "") + over;
    testing::for_each_split(told, [](const testing::Parts& parts) {
        Bench bench;
        for (const std::string_view part : parts)
            bench.answer(part);
        ASSERT_EQ(bench.upkeep.state(), UpkeepState::done);
        ASSERT_EQ(bench.upkeep.findings().size(), 2U);
        EXPECT_EQ(bench.upkeep.findings()[0].kind, AuditKind::setting);
        EXPECT_EQ(bench.upkeep.findings()[0].name, "work_mem");
        EXPECT_EQ(bench.upkeep.findings()[1].kind, AuditKind::listen);
    });
}

TEST(Audit, TooManyFindingsAreCutOff) {
    Bench bench;
    bench.answer(head);
    for (std::size_t row = 0; row < limits::audit_findings_max + 9; ++row)
        EXPECT_EQ(bench.answer(finding_row("statement", "")), UpkeepState::running);
    EXPECT_EQ(bench.answer(over), UpkeepState::done);
    EXPECT_EQ(bench.upkeep.findings().size(), limits::audit_findings_max);
}

TEST(Audit, FailsClosed) {
    Bench refused;
    EXPECT_EQ(refused.answer(error("57014", "canceled") + ready()), UpkeepState::failed);
    EXPECT_EQ(refused.upkeep.desync(), "");
    for (const std::string& row : {finding_row("unheard", "of"), data_row("setting"),
                                   setting_row("setting", nullptr), message('D', "\0\1")}) {
        Bench bench;
        EXPECT_EQ(bench.answer(head + row), UpkeepState::failed);
        EXPECT_NE(bench.upkeep.desync(), "");
    }
}

TEST(Audit, NamesAreThoseOfMetrics) {
    for (std::size_t at = 0; at < audit_kind_count; ++at) {
        const std::string row = finding_row(name_of(static_cast<AuditKind>(at)), "");
        const auto read = read_audit_row(std::string_view(row).substr(protocol::header_bytes));
        ASSERT_TRUE(read.has_value());
        EXPECT_EQ(static_cast<std::size_t>(read->kind), at);
    }
}

Scene with_care(StateCare care) {
    Scene scene;
    scene.service.state = care;
    return scene;
}

TEST(StateCare, StrictResetsBehindEachLease) {
    const std::string answer = command_complete("SELECT 0") + ready();
    Script strict(with_care(StateCare::strict));
    strict.frontend(query("select 1"))
        .backend(answer)
        .frontend_gets(answer)
        .released_after(full_reset);
    strict.check();
    for (const StateCare care : {StateCare::fast, StateCare::verify}) {
        Script script(with_care(care));
        script.frontend(query("select 1")).backend(answer).frontend_gets(answer).released();
        script.check_whole();
    }
}

TEST(StateCare, BackendThatKnowsAnApplicationsSettingMayBeClosed) {
    const std::string answer = command_complete("SET") + ready();
    struct Case {
        const char* text;
        bool closes;
    };
    for (const Case& one :
         {Case{"set local app.x = 1", true}, Case{"set local work_mem = 1", false},
          Case{"select set_config('app.x', '1', true)", true},
          Case{"select app.x from app", false}}) {
        for (const bool close : {false, true}) {
            Scene scene;
            scene.service.close_placeholders = close;
            Script script(scene);
            script.frontend(query(one.text))
                .backend(answer)
                .frontend_gets(answer)
                .that([&one, close](World& world) {
                    EXPECT_EQ(world.server(0).state.dying, close && one.closes) << one.text;
                });
            script.check_whole();
        }
    }
}

}  // namespace
}  // namespace schemux::core
