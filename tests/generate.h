// Seeded data: the same numbers on every machine, and the named rows that broke somebody's
// normalisation.
#pragma once

#include <instnorm/tensor.h>

#include <cmath>
#include <cstdint>
#include <numbers>
#include <string>
#include <vector>

#include "formats.h"
#include "scale.h"

namespace instnorm::test {

// SplitMix64 (Steele, Lea, Flood 2014).
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}

  std::uint64_t bits() {
    std::uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  double uniform() { return static_cast<double>(bits() >> 11) * 0x1p-53; }
  double uniform(double low, double high) { return low + (high - low) * uniform(); }
  std::int64_t integer(std::int64_t low, std::int64_t high) {  // both included
    return low + static_cast<std::int64_t>(bits() % static_cast<std::uint64_t>(high - low + 1));
  }
  double normal() {  // Box, Muller 1958
    return std::sqrt(-2.0 * std::log(1.0 - uniform())) *
           std::cos(2.0 * std::numbers::pi * uniform());
  }

 private:
  std::uint64_t state_;
};

inline std::vector<double> normal_values(Random& random, std::int64_t n, double mean = 0.0,
                                         double std = 1.0) {
  std::vector<double> v(static_cast<std::size_t>(n));
  for (double& x : v) x = mean + std * random.normal();
  return v;
}

inline std::vector<double> uniform_values(Random& random, std::int64_t n, double low, double high) {
  std::vector<double> v(static_cast<std::size_t>(n));
  for (double& x : v) x = random.uniform(low, high);
  return v;
}

inline void quantize(DType dtype, std::vector<double>& values) {
  for (double& v : values) v = quantize(dtype, v);
}

// A row of a known kind; `fill` writes element i of L.
struct RowCase {
  const char* name;
  std::int64_t L;
  double eps;
  double (*element)(Random& random, std::int64_t i, std::int64_t L);
  bool half_range = true;  // its values are within float16's range
};

// Every kind of row of the contract. `L` is the length that it is known for.
inline const std::vector<RowCase>& row_cases() {
  using I = std::int64_t;
  static const std::vector<RowCase> kCases = {
      {"N(0, 1)", 4096, 1e-5, [](Random& r, I, I) { return r.normal(); }},
      {"N(1e4, 1), L = 100", 100, 1e-5, [](Random& r, I, I) { return 1e4 + r.normal(); }},
      {"N(1e4, 1), L = 4096", 4096, 1e-5, [](Random& r, I, I) { return 1e4 + r.normal(); }},
      {"N(1e4, 1), L = 100000", scaled(100000), 1e-5,
       [](Random& r, I, I) { return 1e4 + r.normal(); }},
      {"N(1e6, 1), L = 100", 100, 1e-5, [](Random& r, I, I) { return 1e6 + r.normal(); }, false},
      {"N(1e6, 1), L = 4096", 4096, 1e-5, [](Random& r, I, I) { return 1e6 + r.normal(); }, false},
      {"N(1e6, 1), L = 100000", scaled(100000), 1e-5,
       [](Random& r, I, I) { return 1e6 + r.normal(); }, false},
      {"N(1e7, 1), L = 100", 100, 1e-5, [](Random& r, I, I) { return 1e7 + r.normal(); }, false},
      {"N(1e7, 1), L = 4096", 4096, 1e-5, [](Random& r, I, I) { return 1e7 + r.normal(); }, false},
      {"N(1e7, 1), L = 100000", scaled(100000), 1e-5,
       [](Random& r, I, I) { return 1e7 + r.normal(); }, false},
      {"half N(0, 1), half N(1e6, 1)", 10000, 1e-5,
       [](Random& r, I i, I L) { return (i < L / 2 ? 0.0 : 1e6) + r.normal(); }, false},
      {"10 % zeros, then N(1e4, 1)", 10000, 1e-5,
       [](Random& r, I i, I L) { return i < L / 10 ? 0.0 : 1e4 + r.normal(); }},
      {"first 1e6, rest N(0, 1)", 10000, 1e-5,
       [](Random& r, I i, I) { return i == 0 ? 1e6 : r.normal(); }, false},
      {"ramp 0 .. 1e6", 10000, 1e-5,
       [](Random&, I i, I L) { return 1e6 * static_cast<double>(i) / static_cast<double>(L - 1); },
       false},
      {"[1e20, -1e20, 2e20, 0]", 4, 1e-5,
       [](Random&, I i, I) {
         constexpr double kRow[] = {1e20, -1e20, 2e20, 0.0};
         return kRow[i % 4];
       },
       false},
      {"[3e38, 3e38, 3e38, -3e38]", 4, 1e-5,
       [](Random&, I i, I) { return i % 4 == 3 ? -3e38 : 3e38; }, false},
      {"3e38 and its neighbours, L = 5000", 5000, 1e-5,
       [](Random& r, I, I) { return 3e38 * (1.0 + 0.1 * r.uniform(-1.0, 1.0)); }, false},
      {"[1, -1, 2, 0] * 1e-23, eps = 0", 4, 0.0,
       [](Random&, I i, I) {
         constexpr double kRow[] = {1e-23, -1e-23, 2e-23, 0.0};
         return kRow[i % 4];
       },
       false},
      {"subnormal N(0, 1e-40), eps = 0", 1000, 0.0,
       [](Random& r, I, I) { return 1e-40 * r.normal(); }, false},
      {"ragged, 1000 + small, L = 37", 37, 1e-5,
       [](Random& r, I, I) { return 1000.0 + 0.01 * r.normal(); }},
      {"+-512 checkerboard", 1024, 1e-5, [](Random&, I i, I) { return i % 2 ? 512.0 : -512.0; }},
      {"variance above 65504", 1000, 1e-5, [](Random& r, I, I) { return r.uniform(-6e4, 6e4); }},
      {"log-mel floor -15.94, one frame off", 1000, 1e-5,
       [](Random&, I i, I) { return i == 613 ? -15.1 : -15.94; }},
      {"one step of the last place above 1e4/3", 1000, 0.0,
       [](Random&, I i, I) {
         return i == 500 ? static_cast<double>(std::nextafter(static_cast<float>(1e4 / 3), 1e9f))
                         : static_cast<double>(static_cast<float>(1e4 / 3));
       }},
  };
  return kCases;
}

inline std::vector<double> rows_of(const RowCase& c, DType dtype, std::int64_t rows,
                                   std::uint64_t seed = 1) {
  Random random(seed);
  std::vector<double> x;
  x.reserve(static_cast<std::size_t>(rows * c.L));
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t i = 0; i < c.L; ++i) x.push_back(c.element(random, i, c.L));
  }
  quantize(dtype, x);
  return x;
}

inline const RowCase& row_case(const std::string& name) {
  for (const RowCase& c : row_cases()) {
    if (name == c.name) return c;
  }
  throw std::logic_error("no such case: " + name);
}

inline bool holds(DType dtype, const RowCase& c) { return dtype != DType::float16 || c.half_range; }

}  // namespace instnorm::test
