// yaml-cpp's Node API drops duplicate keys and follows aliases without a word, so this listens
// to its event parser. yaml-cpp counts lines and columns from 0 and takes a byte 0x04 for the
// end of the file; both stop here.
#include "config/yaml_tree.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <istream>
#include <map>
#include <optional>
#include <sstream>
#include <utility>

namespace schemux::config {

namespace {

Position position_of(const YAML::Mark& mark) {
    if (mark.line < 0 || mark.column < 0) return {};
    return {static_cast<std::size_t>(mark.line) + 1, static_cast<std::size_t>(mark.column) + 1};
}

/// Ends the parse from inside an event; caught in parse_yaml.
struct StopParsing {};

class TreeBuilder final : public YAML::EventHandler {
  public:
    explicit TreeBuilder(YamlTree& tree) : tree_(tree) {}

    void OnDocumentStart(const YAML::Mark& mark) override {
        if (document_seen_) {
            report(position_of(mark), "syntax",
                   "more text after the first YAML document; a configuration is one document");
            throw StopParsing{};
        }
        document_seen_ = true;
    }
    void OnDocumentEnd() override {}

    void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
        refuse_decoration(position_of(mark), "", anchor);
        add(Node{NodeKind::null, position_of(mark), {}, {}, {}});
    }

    void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
        report(position_of(mark), path_here(), "YAML aliases (*name) are not allowed");
        add(Node{NodeKind::null, position_of(mark), {}, {}, {}});
    }

    void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  const std::string& value) override {
        refuse_decoration(position_of(mark), tag, anchor);
        add(Node{NodeKind::scalar, position_of(mark), value, {}, {}});
    }

    void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                         YAML::EmitterStyle::value) override {
        open(NodeKind::sequence, position_of(mark), tag, anchor);
    }
    void OnSequenceEnd() override { close(); }

    void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                    YAML::EmitterStyle::value) override {
        open(NodeKind::map, position_of(mark), tag, anchor);
    }
    void OnMapEnd() override { close(); }

    void report(Position position, std::string path, std::string message) {
        tree_.errors.push_back({"", position, std::move(path), std::move(message)});
        if (tree_.errors.size() >= max_diagnostics) throw StopParsing{};
    }

  private:
    struct PendingKey {
        std::string text;
        Position position;
        bool keep = true;  ///< false: reported already, its value is read and dropped
    };
    struct Frame {
        Node node;
        std::string path;
        std::optional<PendingKey> key;
        std::map<std::string, Position, std::less<>> seen;
    };

    bool expects_key() const {
        return !frames_.empty() && frames_.back().node.kind == NodeKind::map && !frames_.back().key;
    }

    /// The path of the value that comes next.
    std::string path_here() const {
        if (frames_.empty()) return "file";
        const Frame& frame = frames_.back();
        if (frame.node.kind == NodeKind::sequence)
            return frame.path + '[' + std::to_string(frame.node.items.size()) + ']';
        if (!frame.key) return frame.path.empty() ? "file" : frame.path;
        return frame.path.empty() ? frame.key->text : frame.path + '.' + frame.key->text;
    }

    void refuse_decoration(Position position, const std::string& tag, YAML::anchor_t anchor) {
        if (anchor != 0) report(position, path_here(), "YAML anchors (&name) are not allowed");
        // "?" and "!" are what yaml-cpp gives a plain and a quoted scalar without a tag.
        if (!tag.empty() && tag != "?" && tag != "!")
            report(position, path_here(), "YAML tags (!name) are not allowed");
    }

    void open(NodeKind kind, Position position, const std::string& tag, YAML::anchor_t anchor) {
        refuse_decoration(position, tag, anchor);
        if (frames_.size() >= max_yaml_depth) {
            report(position, path_here(),
                   "nested deeper than " + std::to_string(max_yaml_depth) + " levels");
            throw StopParsing{};
        }
        if (expects_key()) {
            report(position, path_here(), "a key must be a plain word");
            throw StopParsing{};
        }
        const std::string path = frames_.empty() ? std::string() : path_here();
        frames_.push_back(Frame{Node{kind, position, {}, {}, {}}, path, {}, {}});
    }

    void close() {
        Node done = std::move(frames_.back().node);
        frames_.pop_back();
        add(std::move(done));
    }

    void add(Node node) {
        if (frames_.empty()) {
            tree_.root = std::move(node);
            return;
        }
        Frame& frame = frames_.back();
        if (frame.node.kind == NodeKind::sequence) {
            // A missing value has the position of whatever follows it.
            if (node.kind == NodeKind::null) node.position = frame.node.position;
            frame.node.items.push_back(std::move(node));
        } else if (!frame.key) {
            add_key(frame, std::move(node));
        } else {
            if (node.kind == NodeKind::null) node.position = frame.key->position;
            if (frame.key->keep)
                frame.node.members.push_back(
                    {std::move(frame.key->text), frame.key->position, std::move(node)});
            frame.key.reset();
        }
    }

    void add_key(Frame& frame, Node node) {
        PendingKey key{std::move(node.scalar), node.position, true};
        const std::string path = frame.path.empty() ? key.text : frame.path + '.' + key.text;
        if (node.kind != NodeKind::scalar || key.text.empty()) {
            report(key.position, path_here(), "a key must be a plain word");
            key.keep = false;
        } else if (key.text == "<<") {
            report(key.position, path, "YAML merge keys (<<) are not allowed");
            key.keep = false;
        } else if (const auto [at, is_new] = frame.seen.emplace(key.text, key.position); !is_new) {
            report(key.position, path,
                   "duplicate key; it is already set at line " + std::to_string(at->second.line));
            key.keep = false;
        }
        frame.key = std::move(key);
    }

    YamlTree& tree_;
    std::vector<Frame> frames_;
    bool document_seen_ = false;
};

/// Length of the well-formed UTF-8 character at `at` (RFC 3629), 0 if there is none.
std::size_t utf8_length(std::string_view text, std::size_t at) {
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    const unsigned first = byte(at);
    if (first < 0x80) return 1;
    const std::size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if (first < 0xc2 || first > 0xf4 || at + length > text.size()) return 0;
    for (std::size_t i = at + 1; i < at + length; ++i)
        if ((byte(i) & 0xc0U) != 0x80) return 0;
    const unsigned second = byte(at + 1);
    const bool overlong = (first == 0xe0 && second < 0xa0) || (first == 0xf0 && second < 0x90);
    const bool surrogate = first == 0xed && second >= 0xa0;
    const bool beyond = first == 0xf4 && second >= 0x90;
    return overlong || surrogate || beyond ? 0 : length;
}

/// What yaml-cpp would misread without a word: control characters, broken UTF-8, directives.
std::optional<Diagnostic> check_bytes(std::string_view text) {
    Position position;
    for (std::size_t i = 0; i < text.size();) {
        // yaml-cpp drops such a line wherever it stands.
        if (text[i] == '%' && position.column == 1)
            return Diagnostic{"", position, "syntax", "a line must not begin with '%'"};
        const auto byte = static_cast<unsigned char>(text[i]);
        const bool is_space = byte == '\t' || byte == '\n' || byte == '\r';
        if ((byte < 0x20 && !is_space) || byte == 0x7f)
            return Diagnostic{"", position, "file", "control character; the file must be text"};
        const std::size_t length = utf8_length(text, i);
        if (length == 0) return Diagnostic{"", position, "file", "the file is not valid UTF-8"};
        position.column += length;
        if (byte == '\n') position = {position.line + 1, 1};
        i += length;
    }
    return {};
}

}  // namespace

YamlTree parse_yaml(std::string_view text) {
    YamlTree tree;
    if (text.size() > max_file_bytes) {
        tree.errors.push_back({"", {}, "file", "larger than 1 MiB"});
        return tree;
    }
    if (auto bad = check_bytes(text)) {
        tree.errors.push_back(std::move(*bad));
        return tree;
    }
    TreeBuilder builder(tree);
    try {
        // Blanks at the end would let yaml-cpp take an unclosed quote for closed.
        const std::size_t last = text.find_last_not_of(" \t\r\n");
        std::istringstream stream{std::string(text.substr(0, last + 1))};
        YAML::Parser parser(stream);
        while (parser.HandleNextDocument(builder)) {
        }
        tree.complete = true;
    } catch (const StopParsing&) {
        // The reason is in the list.
    } catch (const YAML::Exception& error) {
        const bool open_quote = error.msg == YAML::ErrorMsg::EOF_IN_SCALAR;
        tree.errors.push_back({"", position_of(error.mark), "syntax",
                               open_quote ? "a quoted value is not closed" : error.msg});
    }
    return tree;
}

}  // namespace schemux::config
