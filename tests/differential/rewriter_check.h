// The rewriter on one text, judged by PostgreSQL's scanner: the tokens of the rewritten text are
// those of the original, with each template replaced by the tokens of its expansion. The templates
// and expansions are found and made here once more, from the grammar alone.
// It must not know the rewriter's code.
#pragma once

#include <string>
#include <string_view>

namespace schemux::differential {

struct RewriterVerdict {
    std::string wrong;       ///< empty when all is as it must be
    bool rewritten = false;  ///< and the result scanned and compared
};

RewriterVerdict check_rewriter(std::string_view text, bool standard_conforming_strings,
                               std::string_view schema);

}  // namespace schemux::differential
