// Where a text of SQL names a channel of LISTEN, UNLISTEN, NOTIFY or pg_notify(), for services that
// have their channels for themselves: there the name gets the service's prefix. Fed with the tokens
// of a text, or of one body in it, in their order; it says what to write in place of a token, or in
// front of it. Names that only come about when a function runs (EXECUTE, pg_notify under another
// name) are beyond it.
// It must not know templates, sessions, or where the new text goes.
#pragma once

#include "protocol/sql_lexer.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace schemux::core {

/// What every channel of the service begins with, on the server: its name, or a digest of it where
/// it is long or has other characters than ASCII letters, digits, `_` and `-`; and a colon.
std::string channel_prefix(std::string_view service_name);

/// Whether a word of these commands occurs anywhere: without one a text names no channel.
bool may_name_channel(std::string_view text);

class ChannelSpeller {
  public:
    enum class Place : std::uint8_t { text, body };
    enum class Edit : std::uint8_t {
        none,
        spell,  ///< the token becomes what `append_channel` makes of it
        open,   ///< `append_opening` in front of it: an argument that is a channel begins
        close,  ///< a `)` in front of it: the argument ends
    };

    ChannelSpeller() = default;
    explicit ChannelSpeller(Place place) : place_(place) {}

    /// Takes the next token that is neither whitespace nor comment; `lexer` stands behind it.
    Edit see(const protocol::Token& token, const protocol::SqlLexer& lexer);

    static void append_channel(std::string& out, const protocol::Token& token,
                               std::string_view text, std::string_view prefix);
    static void append_opening(std::string& out, std::string_view prefix);

  private:
    /// What the token before this one was, as far as it matters.
    enum class Before : std::uint8_t {
        other,
        statement,      ///< a statement begins here
        rule,           ///< the action of a rule begins here, perhaps in parentheses
        command,        ///< LISTEN, UNLISTEN, NOTIFY
        object,         ///< FUNCTION, TABLE …: a name of what is made or meant, and no call
        catalog,        ///< pg_catalog
        catalog_point,  ///< pg_catalog.
        point,          ///< another name's
        function,       ///< pg_notify, where it may be called
        opening,        ///< pg_notify(
    };

    void see_self(char self, Before before);
    void see_word(std::string_view word, Before before);
    bool is_channel(const protocol::Token& token, const protocol::SqlLexer& lexer) const;
    bool closes_call(char self);

    /// Calls of pg_notify in the channel of another; deeper, they stay as they are.
    static constexpr std::size_t calls_max = 8;

    Place place_ = Place::text;
    Before before_ = Before::statement;
    bool defines_ = false;   ///< GRANT, DROP …: names of functions, and no calls
    bool declares_ = false;  ///< PL/pgSQL's DECLARE: names of variables, and no commands
    std::size_t depth_ = 0;
    std::array<std::size_t, calls_max> calls_{};  ///< the depths of arguments that are open
    std::size_t open_calls_ = 0;
};

}  // namespace schemux::core
