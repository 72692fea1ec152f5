// The throwaway PostgreSQL: usable at once, and nothing of it left, whichever way it ends.
#include "daemon/throwaway_postgres.h"

#include "daemon/child_process.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>
#include <libpq-fe.h>

#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>

namespace schemux::daemon {
namespace {

namespace fs = std::filesystem;

std::string query(const std::string& dsn, const char* text) {
    const std::unique_ptr<PGconn, decltype(&PQfinish)> connection(PQconnectdb(dsn.c_str()),
                                                                  &PQfinish);
    const std::unique_ptr<PGresult, decltype(&PQclear)> result(PQexec(connection.get(), text),
                                                               &PQclear);
    if (PQntuples(result.get()) != 1) return PQerrorMessage(connection.get());
    return PQgetvalue(result.get(), 0, 0);
}

// A folder that the server's user can enter, and whose being empty shows that nothing was left.
class Throwaway : public testing::Test {
  protected:
    void SetUp() override {
        std::string name = "/tmp/schemux-test-XXXXXX";
        ASSERT_NE(mkdtemp(name.data()), nullptr);
        options_.base_folder = name;
        ASSERT_EQ(chmod(name.c_str(), 0755), 0);
    }
    void TearDown() override { fs::remove_all(options_.base_folder); }

    bool nothing_left() const { return fs::is_empty(options_.base_folder); }

    ThrowawayOptions options_;
};

std::string error_of(const ThrowawayOptions& options) {
    const auto result = ThrowawayPostgres::start(options);
    const auto* error = std::get_if<ThrowawayError>(&result);
    return error == nullptr ? "(it started)" : error->message;
}

TEST_F(Throwaway, ServesAnOwnedDatabaseAndLeavesNothing) {
    // The environment of the person who runs it must not redirect it.
    setenv("PGHOSTADDR", "127.0.0.1", 1);
    setenv("PGSSLMODE", "require", 1);
    int lines = 0;
    options_.progress = [&](std::string_view) { ++lines; };
    auto result = ThrowawayPostgres::start(options_);
    ASSERT_TRUE(std::holds_alternative<ThrowawayPostgres>(result))
        << std::get<ThrowawayError>(result).message;
    auto server = std::get<ThrowawayPostgres>(std::move(result));
    EXPECT_GE(lines, 2);
    EXPECT_EQ(query(server.dsn(), "SELECT current_user || ' ' || current_database()"),
              "schemux app");
    EXPECT_EQ(query(server.dsn(), "SELECT rolsuper FROM pg_roles WHERE rolname = current_user"),
              "f");
    EXPECT_EQ(
        query(server.admin_dsn(), "SELECT rolsuper FROM pg_roles WHERE rolname = current_user"),
        "t");
    EXPECT_EQ(query(server.admin_dsn(), "SHOW listen_addresses"), "");
    unsetenv("PGHOSTADDR");
    unsetenv("PGSSLMODE");

    struct stat folder {};
    ASSERT_EQ(stat(server.folder().c_str(), &folder), 0);
    EXPECT_EQ(folder.st_mode & 0777U, 0700U);
    EXPECT_NE(folder.st_uid, 0U);

    EXPECT_TRUE(server.is_running());
    const pid_t pid = server.pid();
    server.stop();
    EXPECT_FALSE(server.is_running());
    EXPECT_EQ(kill(pid, 0), -1);
    EXPECT_TRUE(nothing_left());
    server.stop();  // the second time is harmless
}

TEST_F(Throwaway, DestructorStopsTheServer) {
    pid_t pid = -1;
    {
        const auto result = ThrowawayPostgres::start(options_);
        ASSERT_TRUE(std::holds_alternative<ThrowawayPostgres>(result));
        pid = std::get<ThrowawayPostgres>(result).pid();
        ASSERT_EQ(kill(pid, 0), 0);
    }
    EXPECT_EQ(kill(pid, 0), -1);
    EXPECT_TRUE(nothing_left());
}

TEST_F(Throwaway, ServerThatRefusesItsSettingsSaysWhyAndLeavesNothing) {
    options_.settings = {"no_such_setting=1"};
    EXPECT_NE(error_of(options_).find("no_such_setting"), std::string::npos);
    EXPECT_TRUE(nothing_left());
}

TEST_F(Throwaway, FailedInitdbSaysWhyAndLeavesNothing) {
    const fs::path bin = fs::path(options_.base_folder) / "bin";
    fs::create_directory(bin);
    for (const char* name : {"initdb", "postgres"}) {
        std::ofstream(bin / name) << "#!/bin/sh\necho no space here\nexit 3\n";
        ASSERT_EQ(chmod((bin / name).c_str(), 0755), 0);
    }
    options_.bin_folder = bin;
    const std::string message = error_of(options_);
    EXPECT_NE(message.find("exit status 3"), std::string::npos) << message;
    EXPECT_NE(message.find("no space here"), std::string::npos) << message;
    fs::remove_all(bin);
    EXPECT_TRUE(nothing_left());
}

TEST_F(Throwaway, MissingProgramsAndBadFoldersAreErrors) {
    ThrowawayOptions options = options_;
    options.bin_folder = options_.base_folder;
    EXPECT_NE(error_of(options).find("no PostgreSQL server found"), std::string::npos);
    options = options_;
    options.base_folder += "/" + std::string(100, 'x');
    EXPECT_NE(error_of(options).find("too long"), std::string::npos);
    options.base_folder = "/nonexistent";
    EXPECT_NE(error_of(options).find("/nonexistent"), std::string::npos);
}

TEST_F(Throwaway, ServerDoesNotOutliveAKilledParent) {
    // The orphan becomes ours, so that its end can be waited for.
    ASSERT_EQ(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
    int channel[2];
    ASSERT_EQ(pipe(channel), 0);
    const pid_t parent = fork();
    if (parent == 0) {
        auto result = ThrowawayPostgres::start(options_);
        const auto* server = std::get_if<ThrowawayPostgres>(&result);
        const pid_t pid = server == nullptr ? -1 : server->pid();
        if (write(channel[1], &pid, sizeof(pid)) != sizeof(pid)) _exit(1);
        raise(SIGKILL);
    }
    close(channel[1]);
    pid_t server = -1;
    ASSERT_EQ(read(channel[0], &server, sizeof(server)), ssize_t{sizeof(server)});
    close(channel[0]);
    ASSERT_GT(server, 0);
    ASSERT_TRUE(wait_child(parent, std::chrono::seconds(10)).has_value());
    const auto end = wait_child(server, std::chrono::seconds(20));
    if (!end) kill(server, SIGKILL);
    EXPECT_TRUE(end.has_value());
    prctl(PR_SET_CHILD_SUBREAPER, 0);
}

TEST(ChildProcess, ReportsExitSignalsAndTimeouts) {
    ChildOptions options;
    options.output_file = testing::TempDir() + "schemux-child-output";
    options.environment = {"PATH=/usr/bin:/bin"};
    const auto run = [&](const char* script, std::chrono::milliseconds limit) {
        options.argv = {"/bin/sh", "-c", script};
        return run_child(options, limit);
    };
    EXPECT_TRUE(std::get<ChildExit>(run("exit 0", std::chrono::seconds(10))).succeeded());
    EXPECT_EQ(std::get<ChildExit>(run("exit 9", std::chrono::seconds(10))).to_string(),
              "exit status 9");
    EXPECT_EQ(std::get<ChildExit>(run("kill -9 $$", std::chrono::seconds(10))).to_string(),
              "ended by signal 9");
    EXPECT_TRUE(
        std::holds_alternative<SpawnError>(run("exec sleep 600", std::chrono::milliseconds(1))));
    options.argv = {"/nonexistent/program"};
    EXPECT_EQ(std::get<ChildExit>(run_child(options, std::chrono::seconds(10))).to_string(),
              "exit status 127");
    unlink(options.output_file.c_str());
}

}  // namespace
}  // namespace schemux::daemon
