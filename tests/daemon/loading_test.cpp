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
        const auto* password = std::get_if<std::string>(&outcome.loaded->secrets[0].secret);
        return password == nullptr ? "(verifier)" : *password;
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
    EXPECT_EQ(outcome.loaded->target.hosts.at(0).password, "pool secret");
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

}  // namespace
}  // namespace schemux::daemon
