// How the rows of the option table are written down: a small language, so that a row reads as a
// sentence. Only the files of rows speak it.
#pragma once

#include "config/option_table.h"

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace schemux::config {

using FieldOf = Field (*)(const Scope&);
using Names = std::vector<std::string_view>;

// Durations are in milliseconds, sizes in bytes.
inline constexpr std::uint64_t second = 1'000;
inline constexpr std::uint64_t hour = 3'600 * second;
inline constexpr std::uint64_t kib = 1'024;
inline constexpr std::uint64_t mib = 1'024 * kib;

/// Readable rows: `row(path, type, sentence).by_default("1s").range(1, 2).on_reload(…).at(…)`.
struct Row {
    Option option;

    Row by_default(std::string_view text) && {
        option.presence = Presence::defaulted;
        option.default_text = text;
        return std::move(*this);
    }
    Row required(std::string_view example) && {
        return std::move(*this).present(Presence::required, example);
    }
    Row optional(std::string_view example) && {
        return std::move(*this).present(Presence::optional, example);
    }
    Row one_of(std::string_view example) && {
        return std::move(*this).present(Presence::one_of, example);
    }
    Row range(std::uint64_t min, std::uint64_t max) && {
        option.min = min;
        option.max = max;
        return std::move(*this);
    }
    Row choices(Names names) && {
        option.choices = std::move(names);
        return std::move(*this);
    }
    Row on_reload(Reload reload) && {
        option.reload = reload;
        return std::move(*this);
    }
    Row secret() && {
        option.secret = true;
        return std::move(*this);
    }
    Row opens(Scope (*open)(const Scope&)) && {
        option.open = open;
        return std::move(*this);
    }
    Option at(FieldOf field) && {
        option.field = field;
        return std::move(option);
    }
    Option done() && { return std::move(option); }

  private:
    Row present(Presence presence, std::string_view example) && {
        option.presence = presence;
        option.example = example;
        return std::move(*this);
    }
};

inline Row row(std::string_view path, OptionType type, std::string_view sentence) {
    Row result;
    result.option.path = path;
    result.option.type = type;
    result.option.sentence = sentence;
    return result;
}

inline Option reserved(std::string_view path, std::string_view sentence) {
    Option option;
    option.path = path;
    option.presence = Presence::optional;
    option.status = Status::reserved;
    option.sentence = sentence;
    return option;
}

}  // namespace schemux::config
