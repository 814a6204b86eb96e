#include "quotes.h"

#include <cstddef>
#include <nlohmann/json.hpp>

namespace instnorm {

std::string in_quotes(std::string_view name) {
  using json = nlohmann::json;
  constexpr std::size_t kShown = 80;
  const std::string shown(name.substr(0, kShown));
  return json(shown).dump(-1, ' ', true, json::error_handler_t::replace) +
         (name.size() > kShown ? "..." : "");
}

}  // namespace instnorm
