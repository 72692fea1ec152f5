// Which texts would change a setting that is fixed.
#include "core/fixed_settings.h"

#include <gtest/gtest.h>

#include <string_view>

namespace schemux::core {
namespace {

bool forbids(std::string_view text) {
    Service service;
    service.name = "app";
    service.fixed_settings = {"work_mem", "app.tenant", "timezone"};
    return forbid_fixed_settings(service, text, classify_effects(text, true), true).has_value();
}

TEST(FixedSettings, TextsThatSetOneAreRefused) {
    for (const std::string_view text :
         {"SET work_mem = 1", "set session WORK_MEM to 1", "SET LOCAL work_mem = 1",
          "SET \"work_mem\" = 1", "SET app.tenant = 'b'", "set local App . Tenant = 'b'",
          "SELECT set_config('work_mem', '1', false)", "SELECT SET_CONFIG('app.tenant', $1, true)",
          "SELECT 1; SET work_mem = 1", "BEGIN; SET LOCAL work_mem = 1; COMMIT",
          "SET TIME ZONE 'UTC'", "select pg_catalog.set_config('Work_Mem','1',true) from t"})
        EXPECT_TRUE(forbids(text)) << text;
}

TEST(FixedSettings, OtherTextsAreNot) {
    for (const std::string_view text :
         {"SELECT 1", "SET lock_timeout = 1", "RESET work_mem", "RESET ALL", "DISCARD ALL",
          "SET work_mem TO DEFAULT", "SET LOCAL work_mem = DEFAULT", "SHOW work_mem",
          "SELECT 'SET work_mem = 1'", "SELECT set_config('lock_timeout', '1', true)",
          "SELECT set_config($1, $2, true)", "SET TIME ZONE DEFAULT", "UPDATE t SET work_mem = 1"})
        EXPECT_FALSE(forbids(text)) << text;
    EXPECT_FALSE(forbid_fixed_settings(Service{}, "SET work_mem = 1",
                                       classify_effects("SET work_mem = 1", true), true));
}

}  // namespace
}  // namespace schemux::core
