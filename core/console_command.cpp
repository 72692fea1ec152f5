#include "core/console_command.h"

#include "protocol/sqlstate.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <utility>

namespace schemux::core {

namespace {

namespace sqlstate = protocol::sqlstate;

struct ShowName {
    std::string_view name;
    ConsoleShow show;
};

constexpr std::array show_names{
    ShowName{"help", ConsoleShow::help},
    ShowName{"version", ConsoleShow::version},
    ShowName{"state", ConsoleShow::state},
    ShowName{"config", ConsoleShow::config},
    ShowName{"databases", ConsoleShow::databases},
    ShowName{"pools", ConsoleShow::pools},
    ShowName{"clients", ConsoleShow::clients},
    ShowName{"servers", ConsoleShow::servers},
    ShowName{"sockets", ConsoleShow::sockets},
    ShowName{"active_sockets", ConsoleShow::active_sockets},
    ShowName{"lists", ConsoleShow::lists},
    ShowName{"users", ConsoleShow::users},
    ShowName{"stats", ConsoleShow::stats},
    ShowName{"stats_totals", ConsoleShow::stats_totals},
    ShowName{"stats_averages", ConsoleShow::stats_averages},
    ShowName{"totals", ConsoleShow::totals},
    ShowName{"mem", ConsoleShow::mem},
    ShowName{"peers", ConsoleShow::peers},
    ShowName{"peer_pools", ConsoleShow::peer_pools},
    ShowName{"dns_hosts", ConsoleShow::dns_hosts},
    ShowName{"dns_zones", ConsoleShow::dns_zones},
    ShowName{"services", ConsoleShow::services},
    ShowName{"backends", ConsoleShow::backends},
    ShowName{"queue", ConsoleShow::queue},
    ShowName{"pins", ConsoleShow::pins},
    ShowName{"isolation", ConsoleShow::isolation},
    ShowName{"templates", ConsoleShow::templates},
    ShowName{"statements", ConsoleShow::statements},
    ShowName{"labels", ConsoleShow::labels},
    ShowName{"leases", ConsoleShow::leases},
    ShowName{"events", ConsoleShow::events},
};

/// Settings that drivers show or set when they begin a session; nothing here depends on them.
constexpr std::array<std::string_view, 17> session_settings{
    "application_name",
    "client_encoding",
    "client_min_messages",
    "datestyle",
    "default_transaction_isolation",
    "default_transaction_read_only",
    "extra_float_digits",
    "idle_in_transaction_session_timeout",
    "intervalstyle",
    "lock_timeout",
    "search_path",
    "server_version",
    "session",  // SET SESSION CHARACTERISTICS
    "standard_conforming_strings",
    "statement_timeout",
    "timezone",
    "transaction_isolation",
};

struct Verb {
    std::string_view word;
    ConsoleVerb verb;
    enum class Target : std::uint8_t { none, may, must } target;
};

constexpr std::array verbs{
    Verb{"pause", ConsoleVerb::pause, Verb::Target::may},
    Verb{"resume", ConsoleVerb::resume, Verb::Target::may},
    Verb{"reconnect", ConsoleVerb::reconnect, Verb::Target::may},
    Verb{"disable", ConsoleVerb::disable, Verb::Target::must},
    Verb{"enable", ConsoleVerb::enable, Verb::Target::must},
    Verb{"kill", ConsoleVerb::kill, Verb::Target::may},
    Verb{"wait_close", ConsoleVerb::wait_close, Verb::Target::may},
    Verb{"reload", ConsoleVerb::reload, Verb::Target::none},
    Verb{"begin", ConsoleVerb::begin, Verb::Target::none},
    Verb{"commit", ConsoleVerb::end, Verb::Target::none},
    Verb{"rollback", ConsoleVerb::end, Verb::Target::none},
};

bool is_space(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

std::string lower(std::string_view text) {
    std::string low(text);
    std::transform(low.begin(), low.end(), low.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    return low;
}

std::string upper(std::string_view text) {
    std::string high(text);
    std::transform(high.begin(), high.end(), high.begin(),
                   [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
    return high;
}

/// Words apart from each other by blanks; names may be quoted.
class Words {
  public:
    explicit Words(std::string_view text) : rest_(text) {}

    /// Nothing: the end. A word that is quoted and not closed is `broken`.
    std::optional<std::string> next() {
        skip();
        if (rest_.empty()) return {};
        if (rest_.front() == '"') return quoted();
        const auto end = std::find_if(rest_.begin(), rest_.end(),
                                      [](char c) { return is_space(c) || c == ';' || c == '='; });
        const auto size = std::max<std::size_t>(1, static_cast<std::size_t>(end - rest_.begin()));
        std::string word(rest_.substr(0, size));
        rest_.remove_prefix(size);
        return word;
    }
    bool at_end() {
        skip();
        if (!rest_.empty() && rest_.front() == ';') {
            rest_.remove_prefix(1);
            skip();
        }
        return rest_.empty() && !broken_;
    }
    bool broken() const { return broken_; }
    /// '…', in which '' stands for one quote. Nothing: there is none, or no end of it.
    std::optional<std::string> literal() {
        skip();
        if (rest_.empty() || rest_.front() != '\'') return {};
        return quoted();
    }

  private:
    /// Blanks and comments, as libraries put them in front.
    void skip() {
        while (!rest_.empty()) {
            if (is_space(rest_.front())) {
                rest_.remove_prefix(1);
            } else if (rest_.starts_with("--")) {
                rest_.remove_prefix(std::min(rest_.find('\n'), rest_.size()));
            } else if (rest_.starts_with("/*")) {
                const std::size_t end = rest_.find("*/", 2);
                broken_ = end == std::string_view::npos;
                rest_.remove_prefix(broken_ ? rest_.size() : end + 2);
            } else {
                return;
            }
        }
    }
    std::optional<std::string> quoted() {
        const char quote = rest_.front();
        std::string word;
        for (std::size_t at = 1; at < rest_.size(); ++at) {
            if (rest_[at] != quote) {
                word += rest_[at];
            } else if (at + 1 < rest_.size() && rest_[at + 1] == quote) {
                word += rest_[at++];
            } else {
                rest_.remove_prefix(at + 1);
                return word;
            }
        }
        rest_ = {};
        broken_ = true;
        return word;
    }

    std::string_view rest_;
    bool broken_ = false;
};

protocol::ErrorFields invalid(std::string_view text) {
    constexpr std::size_t shown_max = 200;
    std::string shown(text.substr(0, shown_max));
    if (text.size() > shown_max) shown += "...";
    auto error = protocol::make_error(sqlstate::syntax_error, "invalid command '" + shown + "'");
    error.hint = "SHOW HELP tells what there is.";
    return error;
}

protocol::ErrorFields fault(std::string message, std::string hint) {
    auto error = protocol::make_error(sqlstate::syntax_error, std::move(message));
    error.hint = std::move(hint);
    return error;
}

using Read = std::variant<ConsoleCommand, protocol::ErrorFields>;

protocol::ErrorFields not_supported(std::string message, std::string hint) {
    auto error = protocol::make_error(sqlstate::feature_not_supported, std::move(message));
    error.hint = std::move(hint);
    return error;
}

std::optional<std::uint32_t> number_of(std::string_view word) {
    std::uint32_t number = 0;
    const char* const end = word.data() + word.size();
    const auto [stopped, error] = std::from_chars(word.data(), end, number);
    if (error != std::errc() || stopped != end || word.empty()) return {};
    return number;
}

Read read_show(std::string_view text, Words& words) {
    ConsoleCommand command;
    command.verb = ConsoleVerb::show;
    command.tag = "SHOW";
    const std::string name = lower(words.next().value_or("help"));
    // SHOW TRANSACTION ISOLATION LEVEL, SHOW TIME ZONE
    if (name == "transaction" || name == "time") {
        command.verb = ConsoleVerb::show_setting;
        command.target = name == "time" ? "timezone" : "transaction_isolation";
        return command;
    }
    if (name == "fds")
        return not_supported("descriptors are not handed out",
                             "SHOW SOCKETS tells what connections there are.");
    if (name == "leases" && !words.at_end()) {
        const auto pid = number_of(words.next().value_or(""));
        if (!pid)
            return fault("SHOW LEASES wants the process id of a backend, or nothing",
                         "SHOW SERVERS tells those that there are.");
        command.number = *pid;
    }
    if (!words.at_end()) return invalid(text);
    const auto found = std::find_if(show_names.begin(), show_names.end(),
                                    [&name](const ShowName& one) { return one.name == name; });
    if (found != show_names.end()) {
        command.show = found->show;
        return command;
    }
    if (session_setting(name).empty()) return invalid(text);
    command.verb = ConsoleVerb::show_setting;
    command.target = name;
    return command;
}

Read read_set(Words& words) {
    std::string name = lower(words.next().value_or(""));
    if (name == "local") name = lower(words.next().value_or(""));
    if (!session_setting(name).empty()) {
        ConsoleCommand command;
        command.verb = ConsoleVerb::set_setting;
        command.tag = "SET";
        return command;
    }
    return fault("\"" + name + "\" cannot be set here",
                 "Write it into the configuration file, and say RELOAD.");
}

Read read_shutdown(std::string_view text, Words& words) {
    ConsoleCommand command;
    command.verb = ConsoleVerb::shutdown;
    command.tag = "SHUTDOWN";
    const std::string mode = lower(words.next().value_or(""));
    if (mode == "wait_for_servers") {
        command.shutdown = ShutdownMode::wait_for_servers;
    } else if (mode == "wait_for_clients") {
        command.shutdown = ShutdownMode::wait_for_clients;
    } else if (!mode.empty() && mode != ";") {
        return invalid(text);
    }
    return command;
}

Read read_kill_client(Words& words) {
    ConsoleCommand command;
    command.verb = ConsoleVerb::kill_client;
    command.tag = "KILL_CLIENT";
    const auto id = number_of(words.next().value_or(""));
    if (!id) return fault("KILL_CLIENT wants the id of a client", "SHOW CLIENTS tells them.");
    command.number = *id;
    return command;
}

/// EXPLAIN REWRITE service 'SELECT …'
Read read_explain(std::string_view text, Words& words) {
    ConsoleCommand command;
    command.verb = ConsoleVerb::explain_rewrite;
    command.tag = "EXPLAIN";
    if (lower(words.next().value_or("")) != "rewrite") return invalid(text);
    command.target = words.next().value_or("");
    auto sql = words.literal();
    if (command.target.empty() || !sql || words.broken())
        return fault("EXPLAIN REWRITE wants a service and a text",
                     "EXPLAIN REWRITE orders 'SELECT * FROM {{tables.items}}'; a quote in it is "
                     "written twice.");
    command.text = std::move(*sql);
    return command;
}

Read read_verb(std::string_view text, const Verb& verb, Words& words) {
    ConsoleCommand command;
    command.verb = verb.verb;
    command.tag = upper(verb.word);
    if (verb.target == Verb::Target::must && words.at_end())
        return fault(command.tag + " wants the name of a service",
                     "SHOW SERVICES tells which there are.");
    if (verb.target == Verb::Target::none || words.at_end()) return command;
    command.target = words.next().value_or("");
    if (command.target.empty()) return invalid(text);
    return command;
}

}  // namespace

std::variant<ConsoleCommand, protocol::ErrorFields> read_console_command(std::string_view text) {
    if (text.size() > console_command_bytes_max)
        return fault("the command is too long", "SHOW HELP tells what there is.");
    Words words(text);
    if (words.at_end()) return ConsoleCommand{};
    const std::string first = lower(words.next().value_or(""));
    Read read = invalid(text);
    if (first == "show") {
        read = read_show(text, words);
    } else if (first == "set") {
        return read_set(words);
    } else if (first == "shutdown") {
        read = read_shutdown(text, words);
    } else if (first == "suspend") {
        return not_supported("SUSPEND hands descriptors to another process, which is not done here",
                             "PAUSE waits for transactions to end and holds clients back.");
    } else if (first == "kill_client") {
        read = read_kill_client(words);
    } else if (first == "explain") {
        read = read_explain(text, words);
    } else {
        const auto verb = std::find_if(verbs.begin(), verbs.end(),
                                       [&first](const Verb& one) { return one.word == first; });
        if (verb != verbs.end()) read = read_verb(text, *verb, words);
    }
    const auto* command = std::get_if<ConsoleCommand>(&read);
    const bool has_tail = command != nullptr && (command->verb == ConsoleVerb::show_setting ||
                                                 command->verb == ConsoleVerb::begin ||
                                                 command->verb == ConsoleVerb::end);
    if (command != nullptr && !has_tail && !words.at_end()) return invalid(text);
    return read;
}

std::string_view session_setting(std::string_view text) {
    const auto found = std::find(session_settings.begin(), session_settings.end(), text);
    return found == session_settings.end() ? std::string_view() : *found;
}

std::string_view name_of(ConsoleShow show) {
    for (const ShowName& one : show_names) {
        if (one.show == show) return one.name;
    }
    return {};
}

std::string console_help() {
    return "\n\tSHOW HELP|CONFIG|DATABASES|POOLS|CLIENTS|SERVERS|USERS|VERSION"
           "\n\tSHOW PEERS|PEER_POOLS"
           "\n\tSHOW SOCKETS|ACTIVE_SOCKETS|LISTS|MEM|STATE"
           "\n\tSHOW DNS_HOSTS|DNS_ZONES"
           "\n\tSHOW STATS|STATS_TOTALS|STATS_AVERAGES|TOTALS"
           "\n\tSHOW SERVICES|BACKENDS|QUEUE|PINS|ISOLATION|TEMPLATES"
           "\n\tSHOW STATEMENTS|LABELS|EVENTS|LEASES [<server pid>]"
           "\n\tEXPLAIN REWRITE <db> '<sql>'"
           "\n\tRELOAD"
           "\n\tPAUSE [<db>]"
           "\n\tRESUME [<db>]"
           "\n\tRECONNECT [<db>]"
           "\n\tDISABLE <db>"
           "\n\tENABLE <db>"
           "\n\tKILL [<db>]"
           "\n\tKILL_CLIENT <client id>"
           "\n\tWAIT_CLOSE [<db>]"
           "\n\tSHUTDOWN [WAIT_FOR_SERVERS|WAIT_FOR_CLIENTS]";
}

}  // namespace schemux::core
