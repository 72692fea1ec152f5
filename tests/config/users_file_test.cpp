// PgBouncer's userlist.txt.
#include "config/users_file.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

namespace schemux::config {
namespace {

TEST(UsersFile, LinesOfTwoQuotedTexts) {
    const UsersFile file = read_users_file(
        "; users\r\n\"ann\" \"pencil\"\r\n\n# more\n  \"bob\"\t\"SCRAM-SHA-256$x\" \"ignored\"\n"
        "\"a \"\"b\"\"\" \"c\"\"d\"\n\"eve\"\"\"");
    EXPECT_TRUE(file.errors.size() == 1);
    ASSERT_EQ(file.users.size(), 3U);
    EXPECT_EQ(file.users[0].name, "ann");
    EXPECT_EQ(file.users[0].secret, "pencil");
    EXPECT_EQ(file.users[0].line, 2U);
    EXPECT_EQ(file.users[1].secret, "SCRAM-SHA-256$x");
    EXPECT_EQ(file.users[2].name, "a \"b\"");
    EXPECT_EQ(file.users[2].secret, "c\"d");
    EXPECT_EQ(file.errors[0].line, 7U) << "two quotes are one: the name does not end";
}

TEST(UsersFile, FaultsNameTheirLine) {
    for (const char* text :
         {"ann pencil", "\"ann\"", "\"ann\" pencil", "\"ann", "\"ann\" \"pen", "\"\" \"pencil\""}) {
        const UsersFile file = read_users_file(text);
        ASSERT_EQ(file.errors.size(), 1U) << text;
        EXPECT_EQ(file.errors[0].line, 1U);
        EXPECT_EQ(file.errors[0].message.find("pen"), std::string::npos);
        EXPECT_TRUE(file.users.empty());
    }
}

TEST(UsersFile, AUserIsThereOnce) {
    const UsersFile file = read_users_file("\"ann\" \"a\"\n\"bob\" \"b\"\n\"ann\" \"c\"\n");
    ASSERT_EQ(file.errors.size(), 1U);
    EXPECT_EQ(file.errors[0].line, 3U);
    EXPECT_EQ(file.errors[0].message, "this user is in line 1 already");
    EXPECT_EQ(file.users.size(), 2U);
}

TEST(UsersFile, EmptyIsFine) {
    EXPECT_TRUE(read_users_file("").users.empty());
    EXPECT_TRUE(read_users_file("\n\n ; x").errors.empty());
    EXPECT_EQ(read_users_file("\"ann\" \"\"").users.at(0).secret, "");
}

}  // namespace
}  // namespace schemux::config
