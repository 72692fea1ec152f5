// The one table of every configuration key: loading, suggestions, the default file, the reference
// and the reload report are all driven by it. A key that is not here does not exist.
// It must not know YAML or where a key stands in a file.
#pragma once

#include "config/settings.h"

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace schemux::config {

enum class OptionType : std::uint8_t {
    section,       ///< a mapping of further keys
    section_list,  ///< a list of mappings; its keys have the path `<path>[].…`
    text,
    path,  ///< text; relative to the folder of the file
    text_list,
    text_map,  ///< a mapping of names that the table does not know to texts
    boolean,
    integer,
    size,
    duration,
    choice,
};

/// What a reload does with a changed value.
enum class Reload : std::uint8_t {
    live,             ///< in force at once
    new_connections,  ///< for connections (of frontends or to the backend) made afterwards
    restart,          ///< kept as it was until the daemon starts again
};

/// Reserved keys are refused, so that nobody believes they work.
enum class Status : std::uint8_t { active, reserved };

enum class Presence : std::uint8_t {
    defaulted,  ///< may be left out; the default is in force
    optional,   ///< may be left out; then the feature is off
    required,
    one_of,  ///< this or a sibling is required, which validate() checks
};

/// The structs a key of the table can live in: `settings` always, the others inside their list.
struct Scope {
    Settings* settings = nullptr;
    Listener* listener = nullptr;
    Backend* backend = nullptr;
    User* user = nullptr;
    LoginRule* rule = nullptr;
    IdentityMap* map = nullptr;
    Service* service = nullptr;
};

using Field =
    std::variant<std::string*, std::vector<std::string>*, std::optional<std::vector<std::string>>*,
                 TextMap*, Isolation*, bool*, std::uint16_t*, std::uint32_t*, std::uint64_t*,
                 std::chrono::milliseconds*, IoEngine*, PoolMode*, ServiceMode*, AuthMethod*,
                 RuleType*, ClientCertificate*, TlsMode*, TlsVersion*, TlsNegotiation*,
                 LiteralScope*, ChannelScope*, FeaturePolicy*, OverPinBudget*, StateCare*,
                 Placeholder*, LogFormat*, LogLevel*, SlowQueryText*, IsolationAudit*,
                 ConsoleCompat*>;

struct Option {
    std::string_view path;  ///< `pool.max_connections`, `services[].schema`
    OptionType type = OptionType::section;
    Presence presence = Presence::defaulted;
    std::string_view default_text;  ///< as YAML; only for `defaulted` values
    std::string_view example;       ///< as YAML; for values without a default
    /// Inclusive range of an integer, size (bytes), duration (milliseconds) or list length.
    std::uint64_t min = 0;
    std::uint64_t max = 0;
    std::vector<std::string_view> choices;  ///< in the order of the enum
    Reload reload = Reload::live;
    Status status = Status::active;
    bool secret = false;  ///< never printed
    std::string_view sentence;
    /// Where the value lives; null for sections and reserved keys.
    Field (*field)(const Scope&) = nullptr;
    /// Section lists: appends an element and returns its scope. Sections: makes it present.
    Scope (*open)(const Scope&) = nullptr;
};

/// In the order of the documentation; a section comes before its keys.
const std::vector<Option>& option_table();

/// Null if there is no such key. List indices are written `[]`.
const Option* find_option(std::string_view path);

/// The keys directly inside a section ("" is the top level, `services[]` one service).
std::vector<const Option*> options_inside(std::string_view section);

/// `schema` of `services[].schema`.
std::string_view last_key(std::string_view path);

std::string_view name_of(OptionType type);
std::string_view name_of(Reload reload);

}  // namespace schemux::config
