// Which settings a text changes, by name: SET, RESET and set_config, as far as the text shows.
// It must not know what a session's settings are.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace schemux::core {

struct SettingReferences {
    std::vector<std::string> set;    ///< given a value until the session ends; in lower case
    std::vector<std::string> local;  ///< given a value until the transaction ends
    std::vector<std::string> reset;  ///< given back the value that the session began with
    bool any = false;                ///< others may be changed as well
    bool resets_all = false;         ///< RESET ALL, DISCARD ALL
    bool resets_who = false;         ///< DISCARD ALL: user and role too
};

/// In the order of the text. Worth a call when the effects of the text have settings or a role.
SettingReferences find_settings(std::string_view text, bool standard_conforming_strings);

/// Appends what in `text` looks like a setting's name with a dot in it, wherever it stands: a text
/// that is not understood may set it. At most `most` of them.
void find_dotted_names(std::string_view text, std::size_t most, std::vector<std::string>& names);

/// Whether a setting can be asked for by this name: letters, digits, `_`, `$` and dots of ASCII,
/// the same bytes in every encoding; and not too long.
bool is_plain_setting(std::string_view name);

/// Whether the name is an old one of a setting that PostgreSQL knows by another.
bool is_old_setting(std::string_view name);

/// As settings are known here; PostgreSQL does not mind.
std::string in_lower_case(std::string_view name);

/// Whether PostgreSQL and we read the text alike whatever the settings are: pure ASCII, and no
/// backslash that standard_conforming_strings could make a beginning of an escape.
bool reads_alike(std::string_view text);

/// Whether behind a change of the setting another text would be read otherwise here.
bool decides_how_text_reads(std::string_view setting);

/// Whether a prepared statement means the same whatever the setting is: what limits, logs, labels
/// or plans alone. Settings with a dot are the application's, and read when a statement runs.
bool leaves_meaning_alone(std::string_view setting);

}  // namespace schemux::core
