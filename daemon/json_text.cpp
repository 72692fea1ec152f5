#include "daemon/json_text.h"

#include "daemon/log_text.h"

#include <boost/json/serialize.hpp>

namespace schemux::daemon {

void JsonText::begin_value() {
    if (comma_) out_ += ',';
    comma_ = true;
}

JsonText& JsonText::raw(std::string_view text) {
    begin_value();
    out_ += text;
    return *this;
}

JsonText& JsonText::begin_object() {
    raw("{");
    comma_ = false;
    return *this;
}

JsonText& JsonText::end_object() {
    out_ += '}';
    comma_ = true;
    return *this;
}

JsonText& JsonText::begin_array() {
    raw("[");
    comma_ = false;
    return *this;
}

JsonText& JsonText::end_array() {
    out_ += ']';
    comma_ = true;
    return *this;
}

JsonText& JsonText::key(std::string_view name) {
    begin_value();
    out_ += '"';
    out_ += name;
    out_ += "\":";
    comma_ = false;
    return *this;
}

JsonText& JsonText::text(std::string_view value) {
    const std::string good = well_formed_utf8(value);
    return raw(boost::json::serialize(boost::json::string_view(good.data(), good.size())));
}

JsonText& JsonText::number(std::uint64_t value) {
    return raw(std::to_string(value));
}

JsonText& JsonText::number(double value) {
    begin_value();
    append_number(out_, value);
    return *this;
}

JsonText& JsonText::number(const std::optional<double>& value) {
    return value ? number(*value) : raw("null");
}

JsonText& JsonText::flag(bool value) {
    return raw(value ? "true" : "false");
}

}  // namespace schemux::daemon
