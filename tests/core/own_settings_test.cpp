// Which texts ask schemux itself, and what becomes of them; which are about databases.
#include "core/own_settings.h"

#include "core/statement_effects.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

namespace schemux::core {
namespace {

TEST(OwnSettings, AreAskedForByOneShowAlone) {
    for (const std::string_view text :
         {"SHOW schemux.service", "show SCHEMUX.Service;", " /* a */ ShOw\tschemux . service ;; ",
          "SHOW schemux./* b */service -- c"})
        EXPECT_EQ(own_setting_of(text), "service") << text;
    for (const std::string_view text :
         {"", "SHOW", "SHOW schemux", "SHOW schemux.", "SHOW schemux.service x", "SHOW x.service",
          "SHOW schemux.service; SELECT 1", "SELECT 1; SHOW schemux.service",
          "SHOW 'schemux.service'", "SHOW \"schemux\".service", "SHOW schemux.service.x",
          "RESET schemux.service"})
        EXPECT_FALSE(own_setting_of(text)) << text;
    EXPECT_FALSE(own_setting_of("SHOW schemux.service" + std::string(300, ' ')));
}

TEST(OwnSettings, BecomeASelectOfTheSameName) {
    Service service;
    service.name = "it's";
    service.schema = "app";
    service.isolation = Isolation::strict;
    const auto shown = [&service](std::string_view name) {
        std::string sql;
        return append_own_setting(sql, name, service, "1.2") ? sql : "";
    };
    EXPECT_EQ(shown("schema"), "SELECT 'app'::pg_catalog.text AS \"schemux.schema\"");
    EXPECT_EQ(shown("version"), "SELECT '1.2'::pg_catalog.text AS \"schemux.version\"");
    EXPECT_EQ(shown("isolation"), "SELECT 'strict'::pg_catalog.text AS \"schemux.isolation\"");
    EXPECT_EQ(shown("backend_pid"),
              "SELECT pg_catalog.pg_backend_pid()::pg_catalog.text AS \"schemux.backend_pid\"");
    EXPECT_NE(shown("service").find("AS \"schemux.service\""), std::string::npos);
    EXPECT_EQ(shown("password"), "");
}

TEST(StatementEffects, DatabasesThatAreToBeChangedAreSaid) {
    for (const std::string_view text :
         {"DROP DATABASE a", "create /**/ database a template b", "ALTER DATABASE a RENAME TO b",
          "SELECT 1; drop database if exists a"})
        EXPECT_TRUE(classify_effects(text, true).databases) << text;
    for (const std::string_view text :
         {"DROP TABLE database", "SELECT 'DROP DATABASE a'", "DROP SCHEMA a", "CREATE TABLE a()"})
        EXPECT_FALSE(classify_effects(text, true).databases) << text;
}

}  // namespace
}  // namespace schemux::core
