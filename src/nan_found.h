// What NanPolicy::raise throws.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

namespace instnorm {

struct NanFound : std::invalid_argument {
  NanFound(const char* op, const char* x, std::int64_t of_n, std::int64_t of_c)
      : std::invalid_argument(std::string("[") + op + "] " + x +
                              " has a NaN at n = " + std::to_string(of_n) +
                              ", c = " + std::to_string(of_c) + ", and nan_policy is \"raise\""),
        n(of_n),
        c(of_c) {}
  std::int64_t n, c;
};

}  // namespace instnorm
