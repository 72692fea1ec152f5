// Passwords of files and programs: the first line, in time, and nothing of it in an error.
#include "daemon/password_source.h"

#include <sys/stat.h>

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <variant>

namespace schemux::daemon {
namespace {

class PasswordSourceTest : public testing::Test {
  protected:
    void SetUp() override {
        std::string name = (std::filesystem::temp_directory_path() / "schemux-XXXXXX").string();
        ASSERT_NE(::mkdtemp(name.data()), nullptr);
        folder_ = name;
    }
    void TearDown() override { std::filesystem::remove_all(folder_); }

    std::string file(std::string_view text) {
        const std::string name = (folder_ / "password").string();
        std::ofstream(name, std::ios::binary) << text;
        return name;
    }
    /// A program of the shell.
    static PasswordSource program(const std::string& script) {
        return {{"/bin/sh", "-c", script}, {}};
    }
    static std::string got(const PasswordSource& source) {
        const auto read = read_password(source);
        if (const auto* none = std::get_if<NoPassword>(&read)) return "error: " + none->why;
        return std::string(std::get<protocol::Secret>(read).view());
    }

    std::filesystem::path folder_;
};

TEST_F(PasswordSourceTest, TheFirstLineOfAFile) {
    EXPECT_EQ(got({{}, file("pencil\r\nmore")}), "pencil");
    EXPECT_EQ(got({{}, file("pencil")}), "pencil");
    const std::string empty = file("\npencil");
    EXPECT_EQ(got({{}, empty}), "error: " + empty + " has no password in its first line");
    EXPECT_EQ(got({{}, "/nowhere/at/all"}), "error: cannot read /nowhere/at/all");
}

TEST_F(PasswordSourceTest, TheFirstLineThatAProgramPrints) {
    EXPECT_EQ(got(program("echo pencil; echo more; echo complaint >&2")), "pencil");
    EXPECT_EQ(got({{"/bin/echo", "a  b", "$HOME"}, {}}), "a  b $HOME") << "there is no shell";
    EXPECT_EQ(got(program("cat; printf 'no input\\n'")), "no input");
}

TEST_F(PasswordSourceTest, ProgramsThatFail) {
    EXPECT_EQ(got({{"/nowhere/token"}, {}}), "error: /nowhere/token: No such file or directory");
    EXPECT_EQ(got(program("echo secret; exit 3")), "error: /bin/sh ended with status 3");
    EXPECT_EQ(got(program("echo secret; kill -9 $$")), "error: /bin/sh was ended by signal 9");
    EXPECT_EQ(got(program("true")), "error: /bin/sh has no password in its first line");
    EXPECT_EQ(got(program("head -c 100000 /dev/zero")),
              "error: /bin/sh took too long, or printed too much");
    EXPECT_EQ(got(program("printf 'a\\0b\\n'")),
              "error: /bin/sh has a zero byte in its first line");
}

TEST_F(PasswordSourceTest, AProgramGetsNoneOfOurSignalsOrDescriptors) {
    sigset_t blocked;
    sigset_t before;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &blocked, &before);
    EXPECT_EQ(got(program("grep SigBlk /proc/self/status | tr -d '\\t'")),
              "SigBlk:0000000000000000");
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    // Its own four: input, output, errors, and the folder that it lists.
    EXPECT_EQ(got({{"/bin/sh", "-c", "ls /proc/self/fd | wc -l | tr -d ' '"}, {}}), "4");
}

TEST_F(PasswordSourceTest, AProgramIsNotWaitedForByWhoStops) {
    const std::atomic<bool> stopped = true;
    const auto began = std::chrono::steady_clock::now();
    for (const char* script : {"sleep 60", "exec >&-; sleep 60"})
        EXPECT_TRUE(std::holds_alternative<NoPassword>(read_password(program(script), &stopped)));
    EXPECT_LT(std::chrono::steady_clock::now() - began, password_command_timeout);
}

}  // namespace
}  // namespace schemux::daemon
