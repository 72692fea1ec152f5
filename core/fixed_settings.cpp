#include "core/fixed_settings.h"

#include "core/setting_references.h"
#include "protocol/sqlstate.h"

#include <algorithm>
#include <string>
#include <vector>

namespace schemux::core {

namespace {

/// In any case of its letters.
bool speaks_of_set_config(std::string_view text) {
    constexpr std::string_view name = "set_config";
    const auto same = [](char byte, char letter) {
        return letter == '_' ? byte == '_' : (byte | 0x20) == letter;
    };
    return std::search(text.begin(), text.end(), name.begin(), name.end(), same) != text.end();
}

}  // namespace

std::optional<protocol::ErrorFields> forbid_fixed_settings(const Service& service,
                                                           std::string_view text,
                                                           const StatementEffects& effects,
                                                           bool standard_conforming_strings) {
    if (service.fixed_settings.empty()) return {};
    const bool sets = effects.has(Effect::settings) || effects.sets_locally;
    if (!sets && !speaks_of_set_config(text)) return {};
    const SettingReferences references = find_settings(text, standard_conforming_strings);
    for (const std::vector<std::string>* names : {&references.set, &references.local}) {
        for (const std::string& name : *names) {
            const auto& fixed = service.fixed_settings;
            if (std::find(fixed.begin(), fixed.end(), name) == fixed.end()) continue;
            auto error = protocol::make_error(protocol::sqlstate::insufficient_privilege,
                                              "permission denied to set parameter \"" + name + '"');
            error.hint = "fixed_settings of service \"" + service.name + "\" has it.";
            return error;
        }
    }
    return {};
}

}  // namespace schemux::core
