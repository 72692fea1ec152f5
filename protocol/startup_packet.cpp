#include "protocol/startup_packet.h"

#include "protocol/sqlstate.h"
#include "protocol/wire_reader.h"
#include "protocol/wire_writer.h"

#include <algorithm>
#include <array>
#include <cassert>

namespace schemux::protocol {

namespace {

// The codes of the requests are version numbers that no protocol will have: major 1234.
constexpr std::uint16_t request_major = 1234;
constexpr std::uint16_t cancel_request_minor = 5678;
constexpr std::uint16_t ssl_request_minor = 5679;
constexpr std::uint16_t gss_encryption_request_minor = 5680;
constexpr std::uint16_t supported_major = 3;

/// The one word for `replication` that is no boolean.
constexpr std::string_view replication_of_database = "database";

constexpr std::uint32_t version(std::uint16_t major, std::uint16_t minor) {
    return static_cast<std::uint32_t>(major) << 16 | minor;
}

// The server's locale does not matter here: these six are white space in every one.
bool is_space(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

char lower(char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

std::string lower(std::string_view text) {
    std::string result(text);
    std::transform(result.begin(), result.end(), result.begin(), [](char c) { return lower(c); });
    return result;
}

ErrorFields fatal(std::string_view sqlstate, std::string message) {
    ErrorFields error;
    error.severity = Severity::fatal;
    error.sqlstate = sqlstate;
    error.message = std::move(message);
    return error;
}

FirstPacket read_startup_message(std::uint16_t minor, WireReader& reader) {
    StartupMessage message{minor, {}};
    while (true) {
        const std::string_view name = reader.cstring();
        if (reader.failed()) return PacketFault::layout;
        if (name.empty()) break;
        const std::string_view value = reader.cstring();
        if (reader.failed()) return PacketFault::layout;
        if (message.parameters.size() == startup_parameters_max)
            return PacketFault::too_many_parameters;
        message.parameters.emplace_back(name, value);
    }
    if (!reader.finished()) return PacketFault::layout;
    return message;
}

FirstPacket read_cancel_request(WireReader& reader) {
    const std::uint32_t pid = reader.u32();
    const std::string_view secret = reader.remaining();
    const bool fits = secret.size() >= cancel_secret_min && secret.size() <= cancel_secret_max;
    if (reader.failed() || !fits) return PacketFault::length;
    return CancelRequest{pid, secret};
}

/// The words of an `options` text. Each call to `next` takes at least one byte or returns nothing.
class OptionWords {
  public:
    explicit OptionWords(std::string_view text) : text_(text) {}

    std::optional<std::string> next() {
        while (at_ < text_.size() && is_space(text_[at_]))
            ++at_;
        if (at_ == text_.size()) return {};
        std::string word;
        bool escaped = false;
        for (; at_ < text_.size(); ++at_) {
            const char c = text_[at_];
            if (!escaped && is_space(c)) break;
            if (!escaped && c == '\\') {
                escaped = true;
                continue;
            }
            escaped = false;
            word.push_back(c);
        }
        return word;
    }

  private:
    std::string_view text_;
    std::size_t at_ = 0;
};

ErrorFields bad_argument(std::string_view word) {
    ErrorFields error =
        fatal(sqlstate::syntax_error,
              "invalid command-line argument for server process: " + std::string(word));
    error.hint = "Only -c name=value and --name=value are accepted in \"options\".";
    return error;
}

ErrorFields bad_replication(std::string_view value) {
    ErrorFields error =
        fatal(sqlstate::invalid_parameter_value,
              "invalid value for parameter \"replication\": \"" + std::string(value) + '"');
    error.hint = R"(Valid values are: "false", 0, "true", 1, "database".)";
    return error;
}

/// `name=value`; dashes in the name stand for underscores. `switch_text` is "-c " or "--".
std::variant<Setting, ErrorFields> read_assignment(std::string_view switch_text,
                                                   std::string_view text) {
    const std::size_t equals = text.find('=');
    if (equals == 0 || text.empty()) return bad_argument(std::string(switch_text).append(text));
    if (equals == std::string_view::npos)
        return fatal(sqlstate::syntax_error,
                     std::string(switch_text).append(text).append(" requires a value"));
    std::string name = lower(text.substr(0, equals));
    std::replace(name.begin(), name.end(), '-', '_');
    return Setting{std::move(name), std::string(text.substr(equals + 1))};
}

/// The last value wins, and takes the last place in the order.
void put(std::vector<Setting>& settings, Setting setting) {
    std::erase_if(settings, [&](const Setting& old) { return old.first == setting.first; });
    settings.push_back(std::move(setting));
}

}  // namespace

std::optional<std::size_t> startup_packet_bytes(std::string_view first_bytes) {
    assert(first_bytes.size() >= startup_length_bytes);
    const std::uint32_t length = read_u32(first_bytes.data());
    if (length < startup_packet_min || length > startup_packet_max) return {};
    return length;
}

FirstPacket read_first_packet(std::string_view packet) {
    WireReader reader(packet);
    const std::uint32_t length = reader.u32();
    const std::uint16_t major = reader.u16();
    const std::uint16_t minor = reader.u16();
    if (reader.failed() || length != packet.size() || length > startup_packet_max)
        return PacketFault::length;
    if (major == supported_major) return read_startup_message(minor, reader);
    if (major != request_major) return UnsupportedProtocol{major, minor};
    switch (minor) {
        case cancel_request_minor:
            return read_cancel_request(reader);
        case ssl_request_minor:
            if (!reader.finished()) return PacketFault::length;
            return SslRequest{};
        case gss_encryption_request_minor:
            if (!reader.finished()) return PacketFault::length;
            return GssEncryptionRequest{};
        default:
            return UnsupportedProtocol{major, minor};
    }
}

void append_startup_message(std::string& out, const StartupMessage& message) {
    WireWriter writer(out);
    writer.begin_untyped().u32(version(supported_major, message.minor));
    for (const auto& [name, value] : message.parameters) {
        assert(!name.empty());
        writer.cstring(name).cstring(value);
    }
    writer.u8(0).end_message();
}

void append_ssl_request(std::string& out) {
    WireWriter(out).begin_untyped().u32(version(request_major, ssl_request_minor)).end_message();
}

void append_gss_encryption_request(std::string& out) {
    WireWriter(out)
        .begin_untyped()
        .u32(version(request_major, gss_encryption_request_minor))
        .end_message();
}

std::variant<std::vector<Setting>, ErrorFields> read_options(std::string_view options) {
    std::vector<Setting> settings;
    OptionWords words(options);
    while (const auto word = words.next()) {
        std::string switch_text = "-c ";
        std::string assignment;
        if (word->starts_with("--")) {
            switch_text = "--";
            assignment = word->substr(2);
        } else if (*word == "-c") {
            const auto argument = words.next();
            if (!argument) return bad_argument(*word);
            assignment = *argument;
        } else if (word->starts_with("-c")) {
            assignment = word->substr(2);
        } else {
            return bad_argument(*word);
        }
        auto setting = read_assignment(switch_text, assignment);
        if (auto* error = std::get_if<ErrorFields>(&setting)) return std::move(*error);
        put(settings, std::get<Setting>(std::move(setting)));
        if (settings.size() > startup_settings_max)
            return fatal(sqlstate::program_limit_exceeded, "too many settings in startup packet");
    }
    return settings;
}

std::variant<StartupParameters, ErrorFields> interpret(const StartupMessage& message) {
    StartupParameters result;
    result.minor = message.minor;
    std::string_view options;
    std::vector<Setting> own;
    for (const auto& [name, value] : message.parameters) {
        if (name == "user") {
            result.user = value;
        } else if (name == "database") {
            result.database = value;
        } else if (name == "options") {
            options = value;
        } else if (name == "replication") {
            if (value != replication_of_database && !read_boolean(value))
                return bad_replication(value);
            result.replication = value;
        } else if (name.starts_with("_pq_.")) {
            result.unknown_options.emplace_back(name);
        } else {
            put(own, {lower(name), std::string(value)});
        }
    }
    if (result.user.empty())
        return fatal(sqlstate::invalid_authorization_specification,
                     "no PostgreSQL user name specified in startup packet");
    if (result.database.empty()) result.database = result.user;

    auto settings = read_options(options);
    if (auto* error = std::get_if<ErrorFields>(&settings)) return std::move(*error);
    result.settings = std::get<std::vector<Setting>>(std::move(settings));
    for (Setting& setting : own)
        put(result.settings, std::move(setting));
    if (result.settings.size() > startup_settings_max)
        return fatal(sqlstate::program_limit_exceeded, "too many settings in startup packet");
    return result;
}

bool StartupParameters::wants_replication() const {
    return replication == replication_of_database || read_boolean(replication).value_or(false);
}

std::optional<bool> read_boolean(std::string_view text) {
    struct Word {
        std::string_view text;
        std::size_t shortest;
        bool value;
    };
    // One letter is enough where no other word starts with it: "o" is neither on nor off.
    static constexpr std::array<Word, 8> words{{{"true", 1, true},
                                                {"false", 1, false},
                                                {"yes", 1, true},
                                                {"no", 1, false},
                                                {"on", 2, true},
                                                {"off", 2, false},
                                                {"1", 1, true},
                                                {"0", 1, false}}};
    const std::string folded = lower(text);
    for (const Word& word : words) {
        if (folded.size() >= word.shortest && word.text.starts_with(folded)) return word.value;
    }
    return {};
}

}  // namespace schemux::protocol
