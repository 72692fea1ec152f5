// pg_hba.conf as PostgreSQL reads it, and what of it schemux does not have.
#include "config/hba_file.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

namespace schemux::config {
namespace {

using Names = std::vector<std::string>;

std::vector<LoginRule> rules_of(std::string_view text) {
    HbaFile file = read_hba_file(text);
    for (const LineError& error : file.errors)
        ADD_FAILURE() << error.line << ": " << error.message;
    return file.rules;
}

LoginRule rule_of(std::string_view text) {
    auto rules = rules_of(text);
    EXPECT_EQ(rules.size(), 1U) << text;
    return rules.empty() ? LoginRule{} : rules[0];
}

/// Of the one line that is wrong.
std::string error_of(std::string_view text) {
    const HbaFile file = read_hba_file(text);
    EXPECT_EQ(file.errors.size(), 1U) << text;
    EXPECT_TRUE(file.rules.empty()) << text;
    return file.errors.empty() ? "" : file.errors[0].message;
}

TEST(HbaFile, DebiansOwnIsRead) {
    const auto rules = rules_of(
        "# Database administrative login by Unix domain socket\n"
        "local   all             postgres                                peer\n"
        "# TYPE  DATABASE        USER            ADDRESS                 METHOD\n"
        "local   all             all                                     peer\n"
        "host    all             all             127.0.0.1/32            scram-sha-256\n"
        "host    all             all             ::1/128                 scram-sha-256\n"
        "local   replication     all                                     peer\n"
        "host    replication     all             127.0.0.1/32            scram-sha-256\n");
    ASSERT_EQ(rules.size(), 4U) << "nobody replicates here";
    EXPECT_EQ(rules[0].type, RuleType::local);
    EXPECT_EQ(rules[0].users, Names{"postgres"});
    EXPECT_EQ(rules[0].method, AuthMethod::peer);
    EXPECT_EQ(rules[1].users, Names{});
    EXPECT_EQ(rules[2].type, RuleType::host);
    EXPECT_EQ(rules[2].addresses, Names{"127.0.0.1/32"});
    EXPECT_EQ(rules[2].method, AuthMethod::scram_sha_256);
    EXPECT_EQ(rules[2].line, 5U);
    EXPECT_EQ(rules[3].addresses, Names{"::1/128"});
}

TEST(HbaFile, TypesAndMethods) {
    EXPECT_EQ(rule_of("hostssl all all all cert").type, RuleType::hostssl);
    EXPECT_EQ(rule_of("hostnossl all all all reject").type, RuleType::hostnossl);
    EXPECT_EQ(rule_of("hostnogssenc all all all md5").type, RuleType::host);
    EXPECT_EQ(rule_of("host all all all password").method, AuthMethod::password);
    EXPECT_EQ(rule_of("local all all trust").method, AuthMethod::trust);
    EXPECT_EQ(rule_of("local all all ident").method, AuthMethod::peer);
    EXPECT_TRUE(rules_of("hostgssenc all all all scram-sha-256").empty());
    EXPECT_NE(error_of("hosts all all all md5").find("'hosts' is no type"), std::string::npos);
    for (const char* method : {"ldap", "gss", "ident", "radius", "pam", "MD5", "\"trust\"x"})
        EXPECT_NE(error_of("host all all all " + std::string(method)).find("is no method"),
                  std::string::npos)
            << method;
}

TEST(HbaFile, ListsAndQuotes) {
    const LoginRule rule =
        rule_of("host users,orders, \"a b\" ann,\"all\",\"x\"\"y\" all md5 # why");
    EXPECT_EQ(rule.services, (Names{"users", "orders", "a b"}));
    EXPECT_EQ(rule.users, (Names{"ann", "all", "x\"y"})) << "a quoted word means itself";
    EXPECT_EQ(rule_of("host \"sameuser\" all all md5").services, Names{"sameuser"});
    EXPECT_EQ(error_of("host users \"ann all md5"), "a quote is not closed");
    EXPECT_EQ(rule_of("local users,all ann,all md5"), ([] {
                  LoginRule all;
                  all.type = RuleType::local;
                  all.method = AuthMethod::md5;
                  all.line = 1;
                  return all;
              }()));
}

TEST(HbaFile, TheUsersOwnDatabase) {
    const LoginRule rule = rule_of("local sameuser,users all md5");
    EXPECT_TRUE(rule.service_is_user);
    EXPECT_EQ(rule.services, Names{"users"});
    EXPECT_FALSE(rule_of("local sameuser,all all md5").service_is_user);
}

TEST(HbaFile, AddressesAndMasks) {
    EXPECT_EQ(rule_of("host all all 10.0.0.0/8 md5").addresses, Names{"10.0.0.0/8"});
    EXPECT_EQ(rule_of("host all all 10.0.0.0 255.0.0.0 md5").addresses, Names{"10.0.0.0/8"});
    EXPECT_EQ(rule_of("host all all ::1 ffff::  md5").addresses, Names{"::1/16"});
    EXPECT_EQ(rule_of("host all all all md5").addresses, Names{});
    EXPECT_EQ(error_of("host all all 10.0.0.0 md5"), "'md5' is no mask for 10.0.0.0");
    EXPECT_EQ(error_of("host all all 10.0.0.0 255.0.255.0 md5"),
              "'255.0.255.0' is no mask for 10.0.0.0");
    EXPECT_EQ(error_of("host all all 10.0.0.0 ffff:: md5"), "'ffff::' is no mask for 10.0.0.0");
    EXPECT_NE(error_of("host all all 10.0.0.0/33 md5").find("no address range"), std::string::npos);
    EXPECT_NE(error_of("host all all db.example md5").find("not resolved"), std::string::npos);
    EXPECT_NE(error_of("host all all .example md5").find("not resolved"), std::string::npos);
    EXPECT_NE(error_of("host all all samenet md5").find("not understood"), std::string::npos);
    EXPECT_NE(error_of("host all all samehost md5").find("not understood"), std::string::npos);
}

TEST(HbaFile, Options) {
    const LoginRule rule = rule_of("hostssl all all all cert map=machines clientname=CN");
    EXPECT_EQ(rule.map, "machines");
    EXPECT_EQ(rule_of("hostssl all all all md5 clientcert=verify-ca").client_certificate,
              ClientCertificate::verify_ca);
    EXPECT_EQ(rule_of("hostssl all all all md5 \"clientcert=verify-full\"").client_certificate,
              ClientCertificate::verify_full);
    for (const char* option : {"clientcert=1", "clientname=DN", "map=", "map", "krb_realm=X"})
        EXPECT_NE(error_of("hostssl all all all cert " + std::string(option)).find("is no option"),
                  std::string::npos)
            << option;
}

TEST(HbaFile, WhatItCannotKnowIsSaid) {
    EXPECT_NE(error_of("local all +admins md5").find("groups"), std::string::npos);
    EXPECT_NE(error_of("local @dbs all md5").find("included files"), std::string::npos);
    EXPECT_NE(error_of("local all @users md5").find("included files"), std::string::npos);
    EXPECT_NE(error_of("local /^a all md5").find("regular expressions"), std::string::npos);
    EXPECT_NE(error_of("local samerole all md5").find("roles"), std::string::npos);
    EXPECT_EQ(rule_of("local \"+x\" \"@y\",\"/z\" md5").users, (Names{"@y", "/z"}));
}

TEST(HbaFile, LinesThatEndEarly) {
    EXPECT_EQ(error_of("host"), "the line ends before the databases");
    EXPECT_EQ(error_of("host all"), "the line ends before the users");
    EXPECT_EQ(error_of("host all all"), "the line ends before address");
    EXPECT_EQ(error_of("host all all all"), "the line ends before method");
    EXPECT_EQ(error_of("host all all 10.0.0.0"), "the line ends before mask");
    EXPECT_EQ(error_of("host,local all all md5"), "one type is expected, no list");
    EXPECT_EQ(error_of("local all \"\"all, md5"), error_of("local all x, md5"));
}

TEST(HbaFile, LinesGoOnBehindABackslash) {
    const auto rules = rules_of("host all \\\n  ann \\\r\n all md5\r\n\nlocal all all peer");
    ASSERT_EQ(rules.size(), 2U);
    EXPECT_EQ(rules[0].users, Names{"ann"});
    EXPECT_EQ(rules[0].line, 1U);
    EXPECT_EQ(rules[1].line, 5U);
}

TEST(HbaFile, EveryFaultIsToldAndTheRestIsRead) {
    const HbaFile file = read_hba_file("local all all peer\nx\nlocal all all md5\ny");
    EXPECT_EQ(file.rules.size(), 2U);
    ASSERT_EQ(file.errors.size(), 2U);
    EXPECT_EQ(file.errors[0].line, 2U);
    EXPECT_EQ(file.errors[1].line, 4U);
}

TEST(HbaFile, ThereIsAnEndToIt) {
    std::string many;
    for (std::size_t i = 0; i < hba_rules_max + 5; ++i)
        many += "local all all peer\n";
    const HbaFile file = read_hba_file(many);
    ASSERT_EQ(file.errors.size(), 1U);
    EXPECT_EQ(file.errors[0].line, hba_rules_max + 1);
    std::string wide = "local all a";
    for (std::size_t i = 0; i < hba_names_max; ++i)
        wide += ",a";
    EXPECT_NE(error_of(wide + " peer").find("names in one field"), std::string::npos);
}

}  // namespace
}  // namespace schemux::config
