// Who may log in to a service, and how one is found by name.
#include "core/service.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

namespace schemux::core {
namespace {

Service service_for(std::string name, std::vector<std::string> users = {}) {
    Service service;
    service.name = std::move(name);
    service.users = std::move(users);
    return service;
}

TEST(Service, WithoutAListAdmitsEverybody) {
    EXPECT_TRUE(service_for("a").admits("ann"));
    EXPECT_TRUE(service_for("a").admits(""));
}

TEST(Service, WithAListAdmitsExactlyThoseNamed) {
    const Service service = service_for("a", {"ann", "bob"});
    EXPECT_TRUE(service.admits("ann"));
    EXPECT_TRUE(service.admits("bob"));
    for (const char* other : {"", "an", "anna", "Ann", "ann ", "ann,bob", "carol"})
        EXPECT_FALSE(service.admits(other)) << other;
}

TEST(ServiceCatalog, FindsByTheWholeName) {
    ServiceCatalog catalog;
    catalog.add(service_for("one", {"ann"}));
    catalog.add(service_for("two"));
    ASSERT_NE(catalog.find("one"), nullptr);
    EXPECT_EQ(catalog.find("one")->users, std::vector<std::string>{"ann"});
    EXPECT_EQ(catalog.find("two")->name, "two");
    EXPECT_EQ(catalog.all().size(), 2U);
    for (const char* other : {"", "on", "one ", "One", "three"})
        EXPECT_EQ(catalog.find(other), nullptr) << other;
}

}  // namespace
}  // namespace schemux::core
