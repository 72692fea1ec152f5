#include "daemon/throwaway_postgres.h"

#include "daemon/child_process.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <libpq-fe.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <thread>

namespace schemux::daemon {

namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr seconds initdb_bound{60};
constexpr seconds ready_bound{30};
constexpr seconds stop_bound{5};
constexpr std::size_t log_tail_bytes = 4096;
constexpr const char* port = "5432";  // only the name of the socket's file

bool has_server(const fs::path& folder) {
    return access((folder / "initdb").c_str(), X_OK) == 0 &&
           access((folder / "postgres").c_str(), X_OK) == 0;
}

std::vector<std::string> path_folders() {
    std::vector<std::string> folders;
    const char* path = getenv("PATH");
    std::string rest = path == nullptr ? "" : path;
    while (!rest.empty()) {
        const auto colon = rest.find(':');
        if (colon != 0) folders.push_back(rest.substr(0, colon));
        rest = colon == std::string::npos ? "" : rest.substr(colon + 1);
    }
    return folders;
}

std::string last_bytes(const fs::path& file, std::size_t bytes) {
    std::ifstream in(file, std::ios::binary | std::ios::ate);
    if (!in) return {};
    const auto size = static_cast<std::size_t>(std::max<std::streamoff>(in.tellg(), 0));
    const std::size_t take = std::min(size, bytes);
    in.seekg(static_cast<std::streamoff>(size - take));
    std::string text(take, '\0');
    in.read(text.data(), static_cast<std::streamsize>(take));
    return text;
}

// pg_config speaks for the newest server only where the server's own packages are complete.
std::optional<std::string> ask_pg_config() {
    for (const std::string& folder : path_folders()) {
        const std::string program = folder + "/pg_config";
        if (access(program.c_str(), X_OK) != 0) continue;
        std::string answer = (fs::temp_directory_path() / "schemux-pg-config-XXXXXX").string();
        const int file = mkstemp(answer.data());
        if (file < 0) return std::nullopt;
        close(file);
        ChildOptions options;
        options.argv = {program, "--bindir"};
        options.environment = {"PATH=/usr/bin:/bin", "LC_ALL=C"};
        options.output_file = answer;
        const auto result = run_child(options, seconds(5));
        std::string text = last_bytes(answer, log_tail_bytes);
        unlink(answer.c_str());
        const auto* end = std::get_if<ChildExit>(&result);
        if (end == nullptr || !end->succeeded()) return std::nullopt;
        while (!text.empty() && text.back() == '\n')
            text.pop_back();
        return text;
    }
    return std::nullopt;
}

std::optional<std::string> newest_debian_server() {
    std::optional<std::string> newest;
    double newest_version = 0;
    std::error_code error;
    for (const auto& entry : fs::directory_iterator("/usr/lib/postgresql", error)) {
        const double version = strtod(entry.path().filename().c_str(), nullptr);
        if (version > newest_version && has_server(entry.path() / "bin")) {
            newest_version = version;
            newest = (entry.path() / "bin").string();
        }
    }
    return newest;
}

struct ResultDeleter {
    void operator()(PGresult* result) const { PQclear(result); }
};
struct ConnectionDeleter {
    void operator()(PGconn* connection) const { PQfinish(connection); }
};

std::optional<std::string> run_sql(const std::string& dsn, const std::vector<const char*>& texts) {
    const std::unique_ptr<PGconn, ConnectionDeleter> connection(PQconnectdb(dsn.c_str()));
    if (PQstatus(connection.get()) != CONNECTION_OK) return PQerrorMessage(connection.get());
    for (const char* text : texts) {
        const std::unique_ptr<PGresult, ResultDeleter> result(PQexec(connection.get(), text));
        if (PQresultStatus(result.get()) != PGRES_COMMAND_OK) {
            return PQerrorMessage(connection.get());
        }
    }
    return std::nullopt;
}

}  // namespace

std::optional<std::string> find_postgres_bin_folder() {
    if (const auto folder = ask_pg_config(); folder && has_server(*folder)) return folder;
    if (auto folder = newest_debian_server()) return folder;
    for (const std::string& folder : path_folders()) {
        if (has_server(folder)) return folder;
    }
    return std::nullopt;
}

/// Everything there is to clean up, so that every way out of start() does.
struct ThrowawayPostgres::State {
    State() = default;
    State(const State&) = delete;
    State& operator=(const State&) = delete;
    ~State() { clean_up(); }

    std::string folder;
    std::string bin_folder;
    std::optional<UserIdentity> run_as;
    std::optional<pid_t> pid;  ///< a process not waited for yet, so its id cannot be another's

    std::string log_file() const { return folder + "/server.log"; }
    std::string data_folder() const { return folder + "/data"; }
    std::string conninfo(const char* user, const char* database) const;
    ChildOptions child(std::vector<std::string> argv) const;
    std::optional<std::string> make_folder(const std::string& base);
    std::optional<std::string> make_cluster() const;
    std::optional<std::string> start_server(const ThrowawayOptions& options);
    std::optional<std::string> wait_ready(const ThrowawayOptions& options);
    void clean_up();
};

// Says also what it does not want, so that PGHOSTADDR or PGSSLMODE of the user's own environment
// do not reach into it.
std::string ThrowawayPostgres::State::conninfo(const char* user, const char* database) const {
    std::string quoted;
    for (const char c : folder) {
        if (c == '\'' || c == '\\') quoted += '\\';
        quoted += c;
    }
    return "host='" + quoted + "' port=" + port + " user=" + user + " dbname=" + database +
           " hostaddr='' options='' sslmode=disable target_session_attrs=any";
}

ChildOptions ThrowawayPostgres::State::child(std::vector<std::string> argv) const {
    ChildOptions options;
    options.argv = std::move(argv);
    options.environment = {"PATH=" + bin_folder + ":/usr/bin:/bin", "LC_ALL=C", "HOME=" + folder,
                           "TZ=UTC"};
    options.working_folder = folder;
    options.output_file = log_file();
    options.run_as = run_as;
    options.parent_death_signal = SIGINT;  // PostgreSQL's fast shutdown
    return options;
}

std::optional<std::string> ThrowawayPostgres::State::make_folder(const std::string& base) {
    std::string name = base + "/schemux-dev-XXXXXX";
    // unix(7): 107 bytes for the whole path of the socket.
    if (name.size() + std::strlen("/.s.PGSQL.") + std::strlen(port) > 107) {
        return "the temporary folder's path is too long for a unix socket: " + base;
    }
    if (mkdtemp(name.data()) == nullptr) return name + ": " + strerror(errno);
    folder = name;  // mode 0700
    if (run_as && chown(folder.c_str(), run_as->uid, run_as->gid) != 0) {
        return folder + ": " + strerror(errno);
    }
    return std::nullopt;
}

std::optional<std::string> ThrowawayPostgres::State::make_cluster() const {
    // `trust` is enough: only this user can enter the folder with the socket.
    const auto result =
        run_child(child({bin_folder + "/initdb", "--pgdata=" + data_folder(), "--username=postgres",
                         "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"}),
                  initdb_bound);
    if (const auto* error = std::get_if<SpawnError>(&result)) return error->message;
    const auto& end = std::get<ChildExit>(result);
    if (end.succeeded()) return std::nullopt;
    return "initdb failed (" + end.to_string() + ")\n" + last_bytes(log_file(), log_tail_bytes);
}

std::optional<std::string> ThrowawayPostgres::State::start_server(const ThrowawayOptions& options) {
    std::vector<std::string> argv = {
        bin_folder + "/postgres", "-D", data_folder(), "-k", folder, "-p", port};
    std::vector<std::string> settings = {
        "listen_addresses=", "max_connections=" + std::to_string(options.max_connections),
        // What happens to the data after a crash is of no interest here.
        "fsync=off", "synchronous_commit=off", "full_page_writes=off", "wal_level=minimal",
        "max_wal_senders=0", "shared_buffers=32MB", "max_wal_size=128MB", "min_wal_size=32MB",
        "jit=off", "log_timezone=UTC"};
    settings.insert(settings.end(), options.settings.begin(), options.settings.end());
    for (std::string& setting : settings) {
        argv.emplace_back("-c");
        argv.push_back(std::move(setting));
    }
    auto started = spawn_child(child(std::move(argv)));
    if (const auto* error = std::get_if<SpawnError>(&started)) return error->message;
    pid = std::get<pid_t>(started);
    return std::nullopt;
}

std::optional<std::string> ThrowawayPostgres::State::wait_ready(const ThrowawayOptions& options) {
    const auto deadline = Clock::now() + ready_bound;
    auto next_line = Clock::now() + seconds(5);
    const std::string dsn = conninfo("postgres", "postgres") + " connect_timeout=2";
    while (PQping(dsn.c_str()) != PQPING_OK) {
        if (const auto end = wait_child(*pid, milliseconds(0))) {
            pid.reset();
            return "the server ended at once (" + end->to_string() + ")\n" +
                   last_bytes(log_file(), log_tail_bytes);
        }
        if (Clock::now() >= deadline) {
            return "the server was not ready after " + std::to_string(ready_bound.count()) +
                   " s\n" + last_bytes(log_file(), log_tail_bytes);
        }
        if (options.progress && Clock::now() >= next_line) {
            options.progress("still waiting for PostgreSQL to accept connections");
            next_line += seconds(5);
        }
        std::this_thread::sleep_for(milliseconds(20));
    }
    return run_sql(conninfo("postgres", "postgres"),
                   {"CREATE ROLE schemux LOGIN", "CREATE DATABASE app OWNER schemux"});
}

void ThrowawayPostgres::State::clean_up() {
    // postgres(1): SIGINT is the fast shutdown, SIGQUIT the immediate one. Its children notice a
    // killed postmaster by themselves.
    for (const int signal_number : {SIGINT, SIGQUIT, SIGKILL}) {
        if (!pid) break;
        kill(*pid, signal_number);
        if (wait_child(*pid, stop_bound)) pid.reset();
    }
    if (!folder.empty()) {
        std::error_code ignored;  // a stray file in a temporary folder is not worth an error
        fs::remove_all(folder, ignored);
        folder.clear();
    }
}

std::variant<ThrowawayPostgres, ThrowawayError> ThrowawayPostgres::start(
    const ThrowawayOptions& options) {
    const auto say = [&](const std::string& line) {
        if (options.progress) options.progress(line);
    };
    auto state = std::make_unique<State>();
    const auto found =
        options.bin_folder.empty() ? find_postgres_bin_folder() : std::optional(options.bin_folder);
    if (!found || !has_server(*found)) {
        return ThrowawayError{
            "no PostgreSQL server found (initdb and postgres); on Debian: apt install "
            "postgresql-15"};
    }
    state->bin_folder = *found;
    const bool root = geteuid() == 0;
    if (root) {
        state->run_as = find_user("postgres");
        if (!state->run_as) state->run_as = find_user("nobody");
        if (!state->run_as) return ThrowawayError{"PostgreSQL cannot run as root"};
    }
    // Another user may not be able to enter root's TMPDIR.
    const char* temporary = root ? nullptr : getenv("TMPDIR");
    std::string base = options.base_folder;
    if (base.empty()) base = temporary == nullptr || *temporary == '\0' ? "/tmp" : temporary;

    if (auto error = state->make_folder(base)) return ThrowawayError{*error};
    say("making a throwaway PostgreSQL in " + state->folder + " (a few seconds)");
    if (auto error = state->make_cluster()) return ThrowawayError{*error};
    say("starting it");
    if (auto error = state->start_server(options)) return ThrowawayError{*error};
    if (auto error = state->wait_ready(options)) return ThrowawayError{*error};
    return ThrowawayPostgres(std::move(state));
}

ThrowawayPostgres::ThrowawayPostgres(std::unique_ptr<State> state) : state_(std::move(state)) {}
ThrowawayPostgres::ThrowawayPostgres(ThrowawayPostgres&& other) noexcept = default;
ThrowawayPostgres& ThrowawayPostgres::operator=(ThrowawayPostgres&& other) noexcept = default;
ThrowawayPostgres::~ThrowawayPostgres() = default;

std::string ThrowawayPostgres::dsn() const {
    return state_->conninfo("schemux", "app");
}
std::string ThrowawayPostgres::admin_dsn() const {
    return state_->conninfo("postgres", "app");
}
const std::string& ThrowawayPostgres::folder() const {
    return state_->folder;
}
pid_t ThrowawayPostgres::pid() const {
    return state_->pid.value_or(-1);
}

bool ThrowawayPostgres::is_running() {
    if (state_->pid && wait_child(*state_->pid, milliseconds(0))) state_->pid.reset();
    return state_->pid.has_value();
}

std::string ThrowawayPostgres::log_tail() const {
    return last_bytes(state_->log_file(), log_tail_bytes);
}

void ThrowawayPostgres::stop() {
    if (state_ != nullptr) state_->clean_up();
}

}  // namespace schemux::daemon
