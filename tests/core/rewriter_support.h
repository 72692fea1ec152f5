// What the rewriter's tests share: contexts, and a result as one string.
// It must not know which texts are tested.
#pragma once

#include "core/template_rewriter.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

namespace schemux::core::rewriter_tests {

using Outcome = RewriteResult::Outcome;

inline const std::vector<std::string> allowed = {"other", "Shared_1"};

inline TemplateContext with_schema(std::string_view schema = "app") {
    TemplateContext context;
    context.schema = schema;
    context.allowed_schemas = allowed;
    return context;
}

inline TemplateContext with_literals(LiteralTemplates literals, std::string_view schema = "app") {
    TemplateContext context = with_schema(schema);
    context.literals = literals;
    return context;
}

// The text afterwards, `=` when it is unchanged, or the SQLSTATE and position of an error.
inline std::string rewritten(std::string_view text,
                             const TemplateContext& context = with_schema()) {
    std::string out = "before:";
    const RewriteResult result = rewrite_templates(text, context, out, nullptr);
    EXPECT_TRUE(out.starts_with("before:"));
    switch (result.outcome) {
        case Outcome::unchanged:
            EXPECT_EQ(out, "before:") << text;
            return "=";
        case Outcome::rewritten:
            return out.substr(7);
        case Outcome::error:
            EXPECT_EQ(out, "before:") << text;
            return result.error->sqlstate + "@" + std::to_string(result.error->position);
    }
    return {};
}

}  // namespace schemux::core::rewriter_tests
