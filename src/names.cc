// The options that have names.
#include <instnorm/functional.h>

#include <array>
#include <cstddef>
#include <stdexcept>
#include <string>

namespace instnorm {
namespace {

template <class E, std::size_t kCount>
E named(const char* option, const std::array<const char*, kCount>& names, const std::string& name) {
  std::string possible;
  for (std::size_t i = 0; i < kCount; ++i) {
    if (name == names[i]) return static_cast<E>(i);
    possible += i == 0 ? "" : i + 1 < kCount ? ", " : " or ";
    possible += std::string("\"") + names[i] + "\"";
  }
  throw std::invalid_argument(std::string(option) + " must be " + possible + ", got \"" + name +
                              "\"");
}

}  // namespace

NanPolicy nan_policy_of(const std::string& name) {
  return named<NanPolicy, 3>("nan_policy", {"propagate", "omit", "raise"}, name);
}

DataFormat data_format_of(const std::string& name) {
  return named<DataFormat, 2>("data_format", {"NCL", "NLC"}, name);
}

Activation activation_of(const std::string& name) {
  return named<Activation, 6>("activation",
                              {"none", "relu", "leaky_relu", "gelu", "gelu_tanh", "silu"}, name);
}

}  // namespace instnorm
