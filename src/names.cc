// The options that have names.
#include <instnorm/functional.h>

#include <array>
#include <cstddef>
#include <stdexcept>
#include <string>

#include "quotes.h"

namespace instnorm {
namespace {

template <class E, std::size_t kCount>
E named(const char* option, const std::array<const char*, kCount>& names, E first,
        const std::string& name) {
  std::string possible;
  for (std::size_t i = 0; i < kCount; ++i) {
    if (name == names[i]) return static_cast<E>(static_cast<std::size_t>(first) + i);
    possible += i == 0 ? "" : i + 1 < kCount ? ", " : " or ";
    possible += std::string("\"") + names[i] + "\"";
  }
  throw std::invalid_argument(std::string(option) + " must be " + possible + ", got " +
                              in_quotes(name));
}

}  // namespace

NanPolicy nan_policy_of(const std::string& name) {
  return named<NanPolicy, 3>("nan_policy", {"propagate", "omit", "raise"}, NanPolicy::propagate,
                             name);
}

DataFormat data_format_of(const std::string& name) {
  return named<DataFormat, 2>("data_format", {"NCL", "NLC"}, DataFormat::NCL, name);
}

Activation activation_of(const std::string& name) {
  return named<Activation, 5>("activation", {"relu", "leaky_relu", "gelu", "gelu_tanh", "silu"},
                              Activation::relu, name);
}

}  // namespace instnorm
