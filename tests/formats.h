// The four float formats from their definitions (IEEE 754 binary16, binary32, binary64, and the
// upper half of a binary32), independent of the library: rounding to nearest even, bits to value
// and back.
#pragma once

#include <instnorm/tensor.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

namespace instnorm::test {

inline constexpr DType kFloats[] = {DType::float16, DType::bfloat16, DType::float32,
                                    DType::float64};

// Normal values are 1.f * 2^e with emin <= e <= emax and `digits` significant bits.
struct Format {
  int digits, emin, emax;
};

inline Format format_of(DType dtype) {
  switch (dtype) {
    case DType::float16:
      return {11, -14, 15};
    case DType::bfloat16:
      return {8, -126, 127};
    case DType::float32:
      return {24, -126, 127};
    default:
      return {53, -1022, 1023};
  }
}

inline bool is_16_bit(DType dtype) { return dtype == DType::float16 || dtype == DType::bfloat16; }

// Half a unit in the last place of 1: the largest relative error of rounding once.
inline double unit_roundoff(DType dtype) { return std::ldexp(1.0, -format_of(dtype).digits); }

inline double smallest_subnormal(DType dtype) {
  const Format f = format_of(dtype);
  return std::ldexp(1.0, f.emin - f.digits + 1);
}

inline double largest(DType dtype) {
  switch (dtype) {
    case DType::float16:
      return 0x1.ffcp15;
    case DType::bfloat16:
      return 0x1.fep127;
    case DType::float32:
      return 0x1.fffffep127;
    default:
      return 0x1.fffffffffffffp1023;
  }
}

// The nearest value of the format, ties to even, overflow to infinity.
inline long double round_to(DType dtype, long double v) {
  if (v == 0.0L || !std::isfinite(v)) return v;
  const Format f = format_of(dtype);
  const int e = std::max(std::ilogb(v), f.emin) - f.digits + 1;
  const long double rounded = std::ldexp(std::rint(std::ldexp(v, -e)), e);
  if (std::fabs(rounded) >= std::ldexp(1.0L, f.emax + 1)) {
    return std::copysign(std::numeric_limits<long double>::infinity(), v);
  }
  return rounded;
}

// Of a normal double; 2^e of an e that a normal double has.
inline int exponent_of(double v) {
  return static_cast<int>((std::bit_cast<std::uint64_t>(v) >> 52) & 0x7ff) - 1023;
}
inline double power_of_two(int e) {
  return std::bit_cast<double>(static_cast<std::uint64_t>(e + 1023) << 52);
}

// The same for a double, faster: adding 1.5 * 2^52 units of the last place and taking it away again
// leaves whole units, rounded to nearest even.
inline double quantize(DType dtype, double v) {
  const Format f = format_of(dtype);
  if (f.digits == 53 || v == 0.0 || !std::isfinite(v)) return v;
  const int e = exponent_of(v);
  if (e >= f.emax + 1) return std::copysign(std::numeric_limits<double>::infinity(), v);
  const double shift = 0x1.8p52 * power_of_two(std::max(e, f.emin) - f.digits + 1);
  const double rounded = std::copysign((v + shift) - shift, v);
  if (std::fabs(rounded) > largest(dtype)) {
    return std::copysign(std::numeric_limits<double>::infinity(), v);
  }
  return rounded;
}

inline double value_of_16_bits(DType dtype, std::uint16_t bits) {
  const Format f = format_of(dtype);
  const int fraction_bits = f.digits - 1;
  const int fraction = bits & ((1 << fraction_bits) - 1);
  const int biased = (bits & 0x7fff) >> fraction_bits;
  const double sign = bits & 0x8000 ? -1.0 : 1.0;
  if (biased == f.emax - f.emin + 2) {
    return fraction ? std::numeric_limits<double>::quiet_NaN()
                    : sign * std::numeric_limits<double>::infinity();
  }
  const int significand = biased ? fraction + (1 << fraction_bits) : fraction;
  return sign * std::ldexp(significand, f.emin - fraction_bits + (biased ? biased - 1 : 0));
}

// Of a value that the format holds exactly.
inline std::uint16_t bits_of_16(DType dtype, double v) {
  const Format f = format_of(dtype);
  const int fraction_bits = f.digits - 1;
  const int special = (f.emax - f.emin + 2) << fraction_bits;
  const int sign = std::signbit(v) ? 0x8000 : 0;
  if (std::isnan(v)) return static_cast<std::uint16_t>(sign | special | 1 << (fraction_bits - 1));
  if (std::isinf(v)) return static_cast<std::uint16_t>(sign | special);
  if (v == 0.0) return static_cast<std::uint16_t>(sign);
  const int e = std::max(exponent_of(v), f.emin);
  const int significand = static_cast<int>(std::fabs(v) * power_of_two(fraction_bits - e));
  const int biased = significand >> fraction_bits ? e - f.emin + 1 : 0;
  return static_cast<std::uint16_t>(sign | biased << fraction_bits |
                                    (significand & ((1 << fraction_bits) - 1)));
}

inline void store(DType dtype, std::byte* p, double v) {
  if (is_16_bit(dtype)) {
    const std::uint16_t bits = bits_of_16(dtype, quantize(dtype, v));
    std::memcpy(p, &bits, sizeof bits);
  } else if (dtype == DType::float32) {
    const auto f = static_cast<float>(v);
    std::memcpy(p, &f, sizeof f);
  } else {
    std::memcpy(p, &v, sizeof v);
  }
}

inline std::vector<double> all_values_of_16_bits(DType dtype) {
  std::vector<double> values(0x10000);
  for (std::uint32_t i = 0; i < values.size(); ++i) {
    values[i] = value_of_16_bits(dtype, static_cast<std::uint16_t>(i));
  }
  return values;
}

inline double load(DType dtype, const std::byte* p) {
  if (is_16_bit(dtype)) {
    static const std::vector<double> kValues[] = {all_values_of_16_bits(DType::float16),
                                                  all_values_of_16_bits(DType::bfloat16)};
    std::uint16_t bits = 0;
    std::memcpy(&bits, p, sizeof bits);
    return kValues[dtype == DType::bfloat16][bits];
  }
  if (dtype == DType::float32) {
    float f = 0.0f;
    std::memcpy(&f, p, sizeof f);
    return static_cast<double>(f);
  }
  double v = 0.0;
  std::memcpy(&v, p, sizeof v);
  return v;
}

}  // namespace instnorm::test
