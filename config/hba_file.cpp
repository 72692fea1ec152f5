#include "config/hba_file.h"

#include "config/address.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

namespace schemux::config {

namespace {

struct Token {
    std::string text;
    bool quoted = false;  ///< has no meaning but itself

    bool is(std::string_view keyword) const { return !quoted && text == keyword; }
};
/// Tokens with commas between them.
using Field = std::vector<Token>;

bool is_blank(char c) {
    return c == ' ' || c == '\t' || c == '\r';
}

/// One logical line: a backslash at the end of a line goes on with the next one.
class LineSource {
  public:
    explicit LineSource(std::string_view text) : rest_(text) {}

    bool next(std::string& line) {
        if (rest_.empty()) return false;
        line.clear();
        first_ = number_ + 1;
        bool goes_on = true;
        while (goes_on && !rest_.empty()) {
            const std::size_t end = std::min(rest_.find('\n'), rest_.size());
            std::string_view part = rest_.substr(0, end);
            rest_.remove_prefix(std::min(end + 1, rest_.size()));
            ++number_;
            if (part.ends_with('\r')) part.remove_suffix(1);
            goes_on = part.ends_with('\\');
            if (goes_on) part.remove_suffix(1);
            line += part;
        }
        return true;
    }
    unsigned number() const { return first_; }

  private:
    std::string_view rest_;
    unsigned number_ = 0;
    unsigned first_ = 0;
};

class Tokenizer {
  public:
    explicit Tokenizer(std::string_view line) : rest_(line) {}

    /// nullopt: `error()` says what is wrong.
    std::optional<std::vector<Field>> fields() {
        std::vector<Field> all;
        while (skip_blanks()) {
            Field field;
            do {
                auto token = next_token();
                if (!token) return {};
                if (!token->text.empty() || token->quoted) field.push_back(std::move(*token));
                if (field.size() > hba_names_max) {
                    error_ = "more than " + std::to_string(hba_names_max) + " names in one field";
                    return {};
                }
            } while (takes_comma() && skip_blanks());
            all.push_back(std::move(field));
        }
        return all;
    }
    const std::string& error() const { return error_; }

  private:
    /// False at the end of the line, or of what is no comment.
    bool skip_blanks() {
        while (!rest_.empty() && is_blank(rest_.front()))
            rest_.remove_prefix(1);
        return !rest_.empty() && rest_.front() != '#';
    }
    bool takes_comma() {
        if (!rest_.starts_with(',')) return false;
        rest_.remove_prefix(1);
        return true;
    }
    std::optional<Token> next_token() {
        Token token;
        bool in_quotes = false;
        while (!rest_.empty()) {
            const char c = rest_.front();
            if (!in_quotes && (is_blank(c) || c == ',' || c == '#')) break;
            rest_.remove_prefix(1);
            if (c != '"') {
                token.text += c;
                continue;
            }
            token.quoted = true;
            // Two quotes inside of quotes are one.
            if (in_quotes && rest_.starts_with('"')) {
                token.text += '"';
                rest_.remove_prefix(1);
            } else {
                in_quotes = !in_quotes;
            }
        }
        if (in_quotes) {
            error_ = "a quote is not closed";
            return {};
        }
        return token;
    }

    std::string_view rest_;
    std::string error_;
};

std::optional<AuthMethod> method_named(std::string_view name, RuleType type) {
    static constexpr std::array<std::pair<std::string_view, AuthMethod>, 7> methods{
        {{"trust", AuthMethod::trust},
         {"scram-sha-256", AuthMethod::scram_sha_256},
         {"password", AuthMethod::password},
         {"cert", AuthMethod::cert},
         {"peer", AuthMethod::peer},
         {"md5", AuthMethod::md5},
         {"reject", AuthMethod::reject}}};
    // PostgreSQL's own reading of it.
    if (name == "ident" && type == RuleType::local) return AuthMethod::peer;
    for (const auto& [known, method] : methods) {
        if (known == name) return method;
    }
    return {};
}

/// One record.
class Record {
  public:
    Record(std::vector<Field> fields, unsigned line) : fields_(std::move(fields)) {
        rule_.line = line;
    }

    /// nullopt with an empty `error()`: it is for connections that are never made here.
    std::optional<LoginRule> read() {
        if (!read_type()) return {};
        if (!read_services() || !read_users()) return {};
        if (rule_.type != RuleType::local && !read_address()) return {};
        if (!read_method()) return {};
        while (at_ < fields_.size()) {
            if (!read_option()) return {};
        }
        if (never_) return {};
        return std::move(rule_);
    }
    const std::string& error() const { return error_; }

  private:
    bool fail(std::string message) {
        error_ = std::move(message);
        return false;
    }
    const Field* next(std::string_view what) {
        if (at_ < fields_.size()) return &fields_[at_++];
        error_ = "the line ends before " + std::string(what);
        return nullptr;
    }
    const Token* next_single(std::string_view what) {
        const Field* field = next(what);
        if (field == nullptr) return nullptr;
        if (field->size() == 1) return &field->front();
        error_ = "one " + std::string(what) + " is expected, no list";
        return nullptr;
    }

    bool read_type() {
        const Token* token = next_single("type");
        if (token == nullptr) return false;
        never_ = token->text == "hostgssenc";
        if (token->text == "local") {
            rule_.type = RuleType::local;
        } else if (token->text == "hostssl") {
            rule_.type = RuleType::hostssl;
        } else if (token->text == "hostnossl") {
            rule_.type = RuleType::hostnossl;
        } else if (token->text == "host" || token->text == "hostnogssenc" || never_) {
            rule_.type = RuleType::host;
        } else {
            return fail("'" + token->text +
                        "' is no type of connection: local, host, hostssl, hostnossl");
        }
        return true;
    }

    bool read_services() {
        const Field* field = next("the databases");
        if (field == nullptr) return false;
        bool all = false;
        for (const Token& token : *field) {
            if (token.is("all")) {
                all = true;
            } else if (token.is("sameuser")) {
                rule_.service_is_user = true;
            } else if (token.is("samerole") || token.is("samegroup")) {
                return fail(token.text + " needs PostgreSQL's roles, which schemux does not know");
            } else if (token.is("replication")) {
                continue;
            } else if (!add_name(token, rule_.services)) {
                return false;
            }
        }
        // Of replication alone nothing is left.
        never_ = never_ || (!all && rule_.services.empty() && !rule_.service_is_user);
        if (all) {
            rule_.services.clear();
            rule_.service_is_user = false;
        }
        return true;
    }

    bool read_users() {
        const Field* field = next("the users");
        if (field == nullptr) return false;
        bool all = false;
        for (const Token& token : *field) {
            if (token.is("all")) {
                all = true;
            } else if (!token.quoted && token.text.starts_with('+')) {
                return fail(token.text + ": groups need PostgreSQL's roles, which schemux does " +
                            "not know; name the users");
            } else if (!add_name(token, rule_.users)) {
                return false;
            }
        }
        if (all) rule_.users.clear();
        return all || !rule_.users.empty() || fail("no user is named");
    }

    bool add_name(const Token& token, std::vector<std::string>& names) {
        if (!token.quoted && token.text.starts_with('@'))
            return fail(token.text + ": included files are not read; put the names here");
        if (!token.quoted && token.text.starts_with('/'))
            return fail(token.text + ": regular expressions are not understood; name all");
        names.push_back(token.text);
        return true;
    }

    bool read_address() {
        const Token* token = next_single("address");
        if (token == nullptr) return false;
        if (token->is("all")) return true;
        if (token->is("samehost") || token->is("samenet"))
            return fail(token->text + " is not understood; write the address");
        if (token->text.find('/') != std::string::npos) {
            if (!parse_ip_range(token->text))
                return fail("'" + token->text + "' is no address range such as 10.0.0.0/8");
            rule_.addresses.push_back(token->text);
            return true;
        }
        const auto address = parse_ip_address(token->text);
        if (!address) return fail("'" + token->text + "' is no IP address; names are not resolved");
        const std::string text = token->text;
        const Token* mask_text = next_single("mask");
        if (mask_text == nullptr) return false;
        const auto mask = parse_ip_address(mask_text->text);
        const auto prefix = mask ? prefix_of_mask(*mask) : std::nullopt;
        if (!prefix || mask->is_v6 != address->is_v6)
            return fail("'" + mask_text->text + "' is no mask for " + text);
        rule_.addresses.push_back(text + '/' + std::to_string(*prefix));
        return true;
    }

    bool read_method() {
        const Token* token = next_single("method");
        if (token == nullptr) return false;
        const auto method = method_named(token->text, rule_.type);
        if (!method)
            return fail("'" + token->text + "' is no method of schemux: trust, scram-sha-256, " +
                        "password, cert, peer, md5, reject");
        rule_.method = *method;
        return true;
    }

    bool read_option() {
        const Token* token = next_single("option");
        if (token == nullptr) return false;
        const std::size_t equals = token->text.find('=');
        const std::string name = token->text.substr(0, equals);
        const std::string value = equals == std::string::npos ? "" : token->text.substr(equals + 1);
        if (name == "map" && !value.empty()) {
            rule_.map = value;
        } else if (name == "clientcert" && value == "verify-ca") {
            rule_.client_certificate = ClientCertificate::verify_ca;
        } else if (name == "clientcert" && value == "verify-full") {
            rule_.client_certificate = ClientCertificate::verify_full;
        } else if (name != "clientname" || value != "CN") {
            return fail("'" + token->text + "' is no option that schemux knows: map, clientcert");
        }
        return true;
    }

    std::vector<Field> fields_;
    std::size_t at_ = 0;
    LoginRule rule_;
    bool never_ = false;
    std::string error_;
};

}  // namespace

HbaFile read_hba_file(std::string_view text) {
    HbaFile file;
    LineSource lines(text);
    std::string line;
    while (lines.next(line)) {
        Tokenizer tokenizer(line);
        auto fields = tokenizer.fields();
        if (!fields) {
            file.errors.push_back({lines.number(), tokenizer.error()});
            continue;
        }
        if (fields->empty()) continue;
        Record record(std::move(*fields), lines.number());
        auto rule = record.read();
        if (!record.error().empty()) file.errors.push_back({lines.number(), record.error()});
        if (!rule) continue;
        file.rules.push_back(std::move(*rule));
        if (file.rules.size() <= hba_rules_max) continue;
        file.errors.push_back(
            {lines.number(), "more than " + std::to_string(hba_rules_max) + " rules"});
        break;
    }
    return file;
}

}  // namespace schemux::config
