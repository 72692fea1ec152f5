// One call operator out of several lambdas, for std::visit: a missing case does not compile.
#pragma once

namespace schemux::core {

template <typename... Cases>
struct Overload : Cases... {
    using Cases::operator()...;
};
template <typename... Cases>
Overload(Cases...) -> Overload<Cases...>;

}  // namespace schemux::core
