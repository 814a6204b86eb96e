// What the tests of equal bits call the functions with, and on how many threads.
#pragma once

#include <instnorm/runtime.h>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <vector>

#include "calls.h"

namespace instnorm::test {

class Threads {
 public:
  explicit Threads(int k) : before_(get_num_threads()) { set_num_threads(k); }
  ~Threads() { set_num_threads(before_); }
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;

 private:
  int before_;
};

struct Inputs {
  Array x, g;
  Pattern out = Pattern::dense;
};

struct Values {
  std::vector<double> x, g;
};

// Most tests come back for the same ones.
inline const Values& values_of(std::int64_t size) {
  static std::map<std::int64_t, Values> all;
  const auto [entry, is_new] = all.try_emplace(size);
  if (is_new) {
    Random random(21);
    entry->second = {normal_values(random, size, 2.0, 1.0), normal_values(random, size)};
  }
  return entry->second;
}

inline Inputs inputs(DType dtype, const Dims& shape, Pattern in = Pattern::dense,
                     Pattern out = Pattern::dense) {
  const Values& values = values_of(shape.product());
  return {Array(dtype, shape, values.x, in), Array(dtype, shape, values.g, in), out};
}

// Rows that need other arithmetic than most, or none: constant, large, small, not finite.
inline void make_special(std::vector<double>& x, std::int64_t row, std::int64_t L, int kind) {
  for (std::int64_t l = 0; l < L; ++l) {
    double& value = x[static_cast<std::size_t>(row * L + l)];
    if (kind == 0) value = 0.1;
    if (kind == 1) value *= 1e37;
    if (kind == 2) value *= 1e-37;
    if (kind == 3 && l == L / 2) value = std::numeric_limits<double>::quiet_NaN();
    if (kind == 4 && l == L - 1) value = std::numeric_limits<double>::infinity();
  }
}

inline Inputs with_special_rows(DType dtype, const Dims& shape, Pattern pattern = Pattern::dense) {
  const Inputs plain = inputs(dtype, shape);
  std::vector<double> x = plain.x.values();
  const std::int64_t rows = shape[0] * shape[1];
  for (std::int64_t row = 2; row < rows; row += 3) {
    make_special(x, row, shape[2], static_cast<int>(row / 3 % 6));  // 5: an ordinary row
  }
  return {Array(dtype, shape, x, pattern), Array(dtype, shape, plain.g.values(), pattern), pattern};
}

}  // namespace instnorm::test
