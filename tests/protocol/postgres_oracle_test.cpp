// Secrets against PostgreSQL's own library (libpgcommon): what it makes of a password, and what we
// make of it, must be the same bytes.
#include "protocol/md5_password.h"
#include "protocol/scram_keys.h"

#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <string_view>

// From src/include/common/scram-common.h and md5.h; PostgreSQL's headers do not compile as C++.
extern "C" {
char* scram_build_secret(const char* salt, int saltlen, int iterations, const char* password,
                         const char** errstr);
bool pg_md5_encrypt(const char* passwd, const char* salt, std::size_t salt_len, char* buf,
                    const char** errstr);
}

namespace schemux::protocol {
namespace {

constexpr int cases = 500;

std::string postgresqls_verifier(const std::string& password, std::string_view salt,
                                 std::uint32_t iterations) {
    const char* error = nullptr;
    const std::unique_ptr<char, decltype(&std::free)> secret(
        scram_build_secret(salt.data(), static_cast<int>(salt.size()), static_cast<int>(iterations),
                           password.c_str(), &error),
        &std::free);
    return secret ? std::string(secret.get()) : std::string(error);
}

std::string postgresqls_md5(const std::string& password, std::string_view salt) {
    std::array<char, 64> buffer{};
    const char* error = nullptr;
    EXPECT_TRUE(pg_md5_encrypt(password.c_str(), salt.data(), salt.size(), buffer.data(), &error));
    return buffer.data();
}

class Dice {
  public:
    std::size_t below(std::size_t bound) { return random_() % bound; }
    std::string text(std::size_t longest, char from, char to) {
        std::string made(1 + below(longest), '\0');
        for (char& c : made)
            c = static_cast<char>(from + static_cast<char>(below(std::size_t(to - from) + 1)));
        return made;
    }
    std::string bytes(std::size_t count) {
        std::string made(count, '\0');
        for (char& c : made)
            c = static_cast<char>(random_());
        return made;
    }

  private:
    std::mt19937_64 random_{20};
};

std::string our_verifier(const std::string& password, std::string_view salt,
                         std::uint32_t iterations) {
    const auto keys = derive_keys(password, salt, iterations);
    return keys ? verifier_text(make_verifier(*keys, salt, iterations)) : "";
}

TEST(PostgresqlsLibrary, MakesTheSameScramVerifiers) {
    Dice dice;
    for (int i = 0; i < cases; ++i) {
        const std::string password = dice.text(80, ' ', '~');
        const std::string salt = dice.bytes(16);
        const auto iterations = static_cast<std::uint32_t>(1 + dice.below(50));
        const std::string theirs = postgresqls_verifier(password, salt, iterations);
        ASSERT_EQ(our_verifier(password, salt, iterations), theirs) << password;
        const auto read = read_verifier(theirs);
        ASSERT_TRUE(read);
        ASSERT_EQ(verifier_text(*read), theirs);
    }
}

TEST(PostgresqlsLibrary, AgreesOnTextThatSaslprepLeavesAlone) {
    for (const char* password : {"pässwörd", "密码", "пароль", "\xff\xfe",
                                 "a\x01"
                                 "b"}) {
        EXPECT_EQ(our_verifier(password, "0123456789abcdef", 3),
                  postgresqls_verifier(password, "0123456789abcdef", 3))
            << password;
    }
}

TEST(PostgresqlsLibrary, MakesTheSameMd5Answers) {
    Dice dice;
    for (int i = 0; i < cases; ++i) {
        const std::string user = dice.text(63, '!', '~');
        const std::string password = dice.text(80, ' ', '~');
        const std::string salt = dice.bytes(4);
        // Twice: pg_authid's hash without its "md5", then the answer to the server's salt.
        const std::string stored = postgresqls_md5(password, user).substr(3);
        ASSERT_EQ(md5_password(user, password, salt), postgresqls_md5(stored, salt));
    }
}

TEST(Md5Password, IsWhatPostgresqlExpects) {
    EXPECT_EQ(md5_password("app", "pencil", std::string_view("\x01\x02\x03\x04", 4)),
              "md54bfca4ca571b8df74c2fc2247888d96f");
}

}  // namespace
}  // namespace schemux::protocol
