#include "config/diagnostic.h"

namespace schemux::config {

std::string to_string(const Diagnostic& diagnostic) {
    std::string text = diagnostic.file + ':' + std::to_string(diagnostic.position.line) + ':' +
                       std::to_string(diagnostic.position.column) + ": " + diagnostic.path + ": " +
                       diagnostic.message;
    // Quoted YAML keys and values may hold line breaks; a finding stays one line.
    for (char& c : text)
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
    return text;
}

std::string parent_path(const std::string& path) {
    const std::size_t cut = path.find_last_of(".[");
    return cut == std::string::npos ? std::string() : path.substr(0, cut);
}

}  // namespace schemux::config
