// The secrets that a configuration names: where they may come from, and what is said about bad
// ones.
#include "daemon/loading.h"

#include <stdlib.h>
#include <sys/stat.h>

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

namespace schemux::daemon {
namespace {

using namespace std::string_literals;

constexpr std::string_view verifier_text =
    "SCRAM-SHA-256$4096:Pld5E0O9qckLHvJ+VcPs2w==$6BiAT7o3UxojMf1i0ePmxegDcZuf+h66oA6MrTy889k=:"
    "Ab6n7wplB75WkOPQKgdxhMkgK20HMmFNbwlNH2HG4/c=";

class Loading : public testing::Test {
  protected:
    void SetUp() override {
        std::string name = testing::TempDir() + "schemux-loading-XXXXXX";
        ASSERT_NE(mkdtemp(name.data()), nullptr);
        folder_ = name;
    }
    void TearDown() override { std::filesystem::remove_all(folder_); }

    void write(const std::string& name, std::string_view text, mode_t mode = 0600) {
        std::ofstream(folder_ / name, std::ios::binary) << text;
        ::chmod((folder_ / name).c_str(), mode);
    }
    /// One user, `{ name: ann, <secret> }`, in line 4 of the file.
    LoadOutcome load(const std::string& secret, const std::string& backend_more = "") {
        write("schemux.yaml", "backend: { dsn: \"host=127.0.0.1 dbname=app user=app\"" +
                                  backend_more +
                                  " }\n"
                                  "auth:\n  method: scram-sha-256\n  users: [{ name: ann, " +
                                  secret + " }]\nservices: [{ name: users }]\n");
        return load_everything((folder_ / "schemux.yaml").string());
    }
    static std::string password_in(const LoadOutcome& outcome) {
        if (!outcome.loaded || outcome.loaded->secrets.size() != 1) return "(none)";
        const auto* password = std::get_if<protocol::Secret>(&outcome.loaded->secrets[0].secret);
        return password == nullptr ? "(verifier)" : std::string(password->view());
    }
    static void expect_error(const LoadOutcome& outcome, const std::string& path,
                             std::string_view part) {
        ASSERT_EQ(outcome.errors.size(), 1U);
        EXPECT_FALSE(outcome.loaded);
        EXPECT_EQ(outcome.errors[0].path, path);
        EXPECT_EQ(outcome.errors[0].position.line, path.starts_with("auth") ? 4U : 1U);
        EXPECT_NE(outcome.errors[0].message.find(part), std::string::npos)
            << outcome.errors[0].message;
    }

    std::filesystem::path folder_;
};

TEST_F(Loading, PasswordIsTheFirstLineOfAFileBesideTheConfiguration) {
    for (const std::string_view text : {"pen cil", "pen cil\n", "pen cil\r\nsecond line\n"}) {
        write("ann.password", text);
        const LoadOutcome outcome = load("password_file: ann.password");
        EXPECT_EQ(password_in(outcome), "pen cil");
        EXPECT_TRUE(outcome.warnings.empty());
    }
}

TEST_F(Loading, PasswordComesFromTheEnvironment) {
    ASSERT_EQ(::setenv("SCHEMUX_TEST_PASSWORD", "pencil", 1), 0);
    const LoadOutcome outcome = load("password: \"${SCHEMUX_TEST_PASSWORD}\"");
    ::unsetenv("SCHEMUX_TEST_PASSWORD");
    EXPECT_EQ(password_in(outcome), "pencil");
    EXPECT_TRUE(outcome.warnings.empty());
}

TEST_F(Loading, PasswordInTheFileItselfIsWarnedAbout) {
    const LoadOutcome outcome = load("password: pencil");
    EXPECT_EQ(password_in(outcome), "pencil");
    ASSERT_EQ(outcome.warnings.size(), 1U);
    EXPECT_EQ(outcome.warnings[0].message.find("pencil"), std::string::npos);
}

TEST_F(Loading, VerifierIsTakenInEveryPlaceOfAPassword) {
    const std::string quoted = '"' + std::string(verifier_text) + '"';
    write("ann.password", verifier_text);
    for (const std::string& secret :
         {"scram_verifier: " + quoted, "password: " + quoted, "password_file: ann.password"s}) {
        const LoadOutcome outcome = load(secret);
        EXPECT_EQ(password_in(outcome), "(verifier)") << secret;
        EXPECT_TRUE(outcome.warnings.empty()) << secret;
    }
}

TEST_F(Loading, BadSecretsAreNamedByTheirPlaceAndNeverShown) {
    write("empty", "\nsecond");
    write("md5", "md5" + std::string(32, 'a'));
    write("zero", std::string_view("a\0b", 3));
    expect_error(load("password_file: missing"), "auth.users[0].password_file", "cannot read");
    expect_error(load("password_file: empty"), "auth.users[0].password_file", "no password");
    expect_error(load("password_file: md5"), "auth.users[0].password_file", "md5");
    expect_error(load("password_file: zero"), "auth.users[0].password_file", "zero byte");
    const LoadOutcome bad = load("scram_verifier: \"SCRAM-SHA-256$4096:secretstuff\"");
    expect_error(bad, "auth.users[0].scram_verifier", "SCRAM-SHA-256$<iterations>");
    EXPECT_EQ(bad.errors[0].message.find("secretstuff"), std::string::npos);
}

TEST_F(Loading, PasswordLikeAnMd5HashButNotOneIsAPassword) {
    write("ann.password", "md5" + std::string(32, 'z'));
    EXPECT_EQ(password_in(load("password_file: ann.password")), "md5" + std::string(32, 'z'));
}

TEST_F(Loading, BackendPasswordFileIsReadAndMissed) {
    write("ann.password", "pencil");
    write("backend.password", "pool secret\n");
    const LoadOutcome outcome =
        load("password_file: ann.password", ", password_file: backend.password");
    ASSERT_TRUE(outcome.loaded);
    EXPECT_EQ(outcome.loaded->backends.at(0).target.hosts.at(0).password, "pool secret");
    expect_error(load("password_file: ann.password", ", password_file: nowhere"),
                 "backend.password_file", "cannot read");
}

TEST_F(Loading, FileThatEverybodyCanReadIsWarnedAbout) {
    write("ann.password", "pencil", 0644);
    const LoadOutcome outcome = load("password_file: ann.password");
    EXPECT_EQ(password_in(outcome), "pencil");
    ASSERT_EQ(outcome.warnings.size(), 1U);
    EXPECT_EQ(outcome.warnings[0].path, "auth.users[0].password_file");
}

TEST_F(Loading, SecretsAreNotReadUnderTrust) {
    write("schemux.yaml",
          "backend: { dsn: \"host=127.0.0.1\" }\nauth: { method: trust, users: [{ name: ann, "
          "password_file: missing }] }\nservices: [{ name: users }]\n");
    const LoadOutcome outcome = load_everything((folder_ / "schemux.yaml").string());
    ASSERT_TRUE(outcome.loaded);
    EXPECT_TRUE(outcome.loaded->secrets.empty());
    EXPECT_EQ(outcome.warnings.size(), 1U);
}

/// A whole auth section, in line 2.
class LoadingAuth : public Loading {
  protected:
    LoadOutcome load_auth(const std::string& auth) {
        write("schemux.yaml", "backend: { dsn: \"host=127.0.0.1 dbname=app user=app\" }\nauth: { " +
                                  auth + " }\nservices: [{ name: users }]\n");
        return load_everything((folder_ / "schemux.yaml").string());
    }
    static void expect_one(const LoadOutcome& outcome, const std::string& path,
                           std::string_view part) {
        ASSERT_EQ(outcome.errors.size(), 1U);
        EXPECT_EQ(outcome.errors[0].path, path);
        EXPECT_EQ(outcome.errors[0].position.line, 2U);
        EXPECT_NE(outcome.errors[0].message.find(part), std::string::npos)
            << outcome.errors[0].message;
    }
};

TEST_F(LoadingAuth, RulesOfAFileTakeTheirPlace) {
    write("hba", "# comment\nlocal all all peer\nhostssl all bob 10.0.0.0/8 scram-sha-256\n");
    const auto outcome =
        load_auth("method: reject, hba_file: hba, users: [{ name: bob, password: x }]");
    ASSERT_TRUE(outcome.loaded) << outcome.errors[0].message;
    ASSERT_EQ(outcome.loaded->settings.auth.rules.size(), 2U);
    EXPECT_EQ(outcome.loaded->settings.auth.rules[1].line, 3U);
    EXPECT_EQ(outcome.loaded->secrets.size(), 1U);
}

TEST_F(LoadingAuth, FaultsOfARulesFileAreNamedWithTheirLines) {
    write("hba", "local all all peer\nhost all all 0.0.0.0/0 kerberos\n");
    expect_one(load_auth("method: reject, hba_file: hba"), "auth.hba_file",
               "hba line 2: 'kerberos' is no method");
    write("hba", "\nhost all all all trust map=x\n");
    const auto unwise = load_auth("method: reject, hba_file: hba");
    ASSERT_EQ(unwise.errors.size(), 2U);
    EXPECT_NE(unwise.errors[0].message.find("hba line 2: 'x' is not in auth.maps"),
              std::string::npos);
    write("hba", "host all all 127.0.0.1/32 md5\n");
    expect_one(load_auth("method: reject, hba_file: hba"), "auth.hba_file", "need users");
    expect_one(load_auth("method: reject, hba_file: gone"), "auth.hba_file", "cannot read");
    write("hba", std::string(1024 * 1024 + 1, '\n'));
    expect_one(load_auth("method: reject, hba_file: hba"), "auth.hba_file", "longer than");
}

TEST_F(LoadingAuth, UsersOfAFileStandBesideThoseOfTheConfiguration) {
    write("list", "; PgBouncer's\n\"ann\" \"other\"\n\"bob\" \"crayon\"\n\"eve\" \"\"\n");
    const auto outcome = load_auth(
        "method: scram-sha-256, users_file: list, users: [{ name: ann, password: pencil }]");
    ASSERT_TRUE(outcome.loaded);
    EXPECT_EQ(outcome.loaded->users, (std::vector<std::string>{"ann", "bob", "eve"}));
    ASSERT_EQ(outcome.loaded->secrets.size(), 2U) << "eve has none, ann's is the configuration's";
    EXPECT_EQ(std::get<protocol::Secret>(outcome.loaded->secrets[0].secret).view(), "pencil");
    EXPECT_EQ(outcome.loaded->secrets[1].user, "bob");
}

TEST_F(LoadingAuth, FaultsOfAUsersFileNameTheLineAndNeverTheSecret) {
    write("list", "\"bob\" \"SCRAM-SHA-256$4096:secretstuff\"\n");
    const auto bad = load_auth("method: scram-sha-256, users_file: list");
    expect_one(bad, "auth.users_file", "list line 1: user 'bob': not a verifier");
    EXPECT_EQ(bad.errors[0].message.find("secretstuff"), std::string::npos);
    write("list", "\"bob\" \"md5" + std::string(32, 'a') + "\"\n");
    const auto weak = load_auth("method: scram-sha-256, users_file: list");
    ASSERT_TRUE(weak.loaded);
    ASSERT_EQ(weak.warnings.size(), 1U);
    EXPECT_NE(weak.warnings[0].message.find("cannot serve a SCRAM login"), std::string::npos);
    const auto fine = load_auth("method: md5, users_file: list");
    ASSERT_TRUE(fine.loaded);
    ASSERT_EQ(fine.warnings.size(), 1U);
    EXPECT_EQ(fine.warnings[0].path, "auth.method");
}

}  // namespace
}  // namespace schemux::daemon
