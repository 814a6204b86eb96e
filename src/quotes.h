// What somebody gave, as an error may repeat it.
#pragma once

#include <string>
#include <string_view>

namespace instnorm {

// A name between quotes, shortened, escaped, and safe to print.
std::string in_quotes(std::string_view name);

}  // namespace instnorm
