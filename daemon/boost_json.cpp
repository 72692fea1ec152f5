// The one place where Boost.JSON is compiled: it is used header-only, and its implementation is
// large. Everybody else includes only the declarations they need.
#include <boost/json/src.hpp>
