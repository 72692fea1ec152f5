#include "daemon/log_file.h"

#include <sys/stat.h>

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

namespace schemux::daemon {
namespace {

class LogFileTest : public testing::Test {
  protected:
    LogFileTest() {
        std::string name = testing::TempDir() + "log_file_XXXXXX";
        folder_ = ::mkdtemp(name.data());
    }
    ~LogFileTest() override { std::filesystem::remove_all(folder_); }

    std::string path(const std::string& name) const { return folder_ + "/" + name; }
    std::string text_of(const std::string& name) const {
        const std::ifstream file(path(name));
        std::ostringstream text;
        text << file.rdbuf();
        return text.str();
    }

  private:
    std::string folder_;
};

TEST_F(LogFileTest, AppendsToWhatIsThere) {
    std::ofstream(path("log")) << "before\n";
    LogFile log;
    EXPECT_FALSE(log.open(path("log")));
    EXPECT_TRUE(log.write("behind\n"));
    EXPECT_EQ(text_of("log"), "before\nbehind\n");
}

TEST_F(LogFileTest, ANewFileIsForOwnerAndGroup) {
    const mode_t mask = ::umask(0);
    LogFile log;
    EXPECT_FALSE(log.open(path("log")));
    ::umask(mask);
    struct stat status {};
    ASSERT_EQ(::stat(path("log").c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777U, 0640U);
}

TEST_F(LogFileTest, OpenedAgainItIsTheFileAtThePath) {
    LogFile log;
    EXPECT_FALSE(log.open(path("log")));
    EXPECT_TRUE(log.write("one\n"));
    std::filesystem::rename(path("log"), path("log.1"));
    EXPECT_TRUE(log.write("two\n"));
    EXPECT_FALSE(log.open(path("log")));
    EXPECT_TRUE(log.write("three\n"));
    EXPECT_EQ(text_of("log.1"), "one\ntwo\n");
    EXPECT_EQ(text_of("log"), "three\n");
}

TEST_F(LogFileTest, WhatCannotBeOpenedLeavesTheOldOneInUse) {
    LogFile log;
    EXPECT_FALSE(log.open(path("log")));
    const auto error = log.open(path("none/log"));
    ASSERT_TRUE(error);
    EXPECT_EQ(*error, path("none/log") + ": No such file or directory");
    EXPECT_TRUE(log.write("still\n"));
    EXPECT_EQ(text_of("log"), "still\n");
}

TEST_F(LogFileTest, SaysWhatItDidNotWrite) {
    LogFile log;
    EXPECT_FALSE(log.write("no file\n"));
    EXPECT_FALSE(log.open("/dev/full"));
    EXPECT_FALSE(log.write("no room\n"));
    log.close();
    EXPECT_FALSE(log.write("closed\n"));
}

}  // namespace
}  // namespace schemux::daemon
