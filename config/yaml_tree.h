// A small YAML tree with a position on every key and value. What a configuration does not need
// (anchors, aliases, tags, merge keys, several documents, duplicate keys) is an error here.
// It must not know which keys exist; its .cpp is the only place that knows yaml-cpp.
#pragma once

#include "config/diagnostic.h"

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace schemux::config {

inline constexpr std::size_t max_file_bytes = 1024 * 1024;
inline constexpr std::size_t max_yaml_depth = 16;

enum class NodeKind { null, scalar, sequence, map };

struct Member;

struct Node {
    NodeKind kind = NodeKind::null;
    Position position;
    std::string scalar;           ///< of a scalar: text without quotes, nothing converted
    std::vector<Node> items;      ///< of a sequence
    std::vector<Member> members;  ///< of a map, in file order, keys unique
};

struct Member {
    std::string key;
    Position key_position;
    Node value;
};

struct YamlTree {
    Node root;
    std::vector<Diagnostic> errors;  ///< with no file name
    bool complete = false;           ///< false: an error ended the parse, the tree lacks the rest
};

/// Parses UTF-8 text of at most `max_file_bytes`. Never throws for what the text holds.
YamlTree parse_yaml(std::string_view text);

}  // namespace schemux::config
