#include "dtype.h"

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>

namespace instnorm {

const char* name(DType dtype) {
  static constexpr const char* kNames[] = {"float16", "bfloat16", "float32", "float64",
                                           "bool",    "int32",    "int64"};
  return dtype <= DType::int64 ? kNames[static_cast<std::size_t>(dtype)] : "no dtype";
}

float16::float16(float value) {
  std::uint32_t u = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = u & 0x80000000u;
  u ^= sign;
  if (u > 0x7f800000u) {
    u = 0x7e00u | ((u >> 13) & 0x3ffu);  // quiet NaN
  } else if (u >= 0x47800000u) {         // 2^16 and above
    u = 0x7c00u;
  } else if (u < 0x38800000u) {  // below 2^-14, the smallest normal float16
    // Adding 0.5 leaves the value in units of 2^-24, rounded, in the low bits of the sum.
    const float shifted = std::bit_cast<float>(u) + 0.5f;
    u = std::bit_cast<std::uint32_t>(shifted) - std::bit_cast<std::uint32_t>(0.5f);
  } else {
    u += 0xfffu + ((u >> 13) & 1u);
    u = (u - (112u << 23)) >> 13;  // exponent bias 127 -> 15
  }
  bits = static_cast<std::uint16_t>(u | (sign >> 16));
}

float16::operator float() const {
  const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000u) << 16;
  const std::uint32_t magnitude = bits & 0x7fffu;
  if (magnitude >= 0x7c00u)
    return std::bit_cast<float>(sign | 0x7f800000u | ((magnitude & 0x3ffu) << 13));
  const float value = std::ldexp(std::bit_cast<float>(magnitude << 13), 112);
  return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(value));
}

bfloat16::bfloat16(float value) {
  const std::uint32_t u = std::bit_cast<std::uint32_t>(value);
  if (value != value) {
    bits = static_cast<std::uint16_t>((u >> 16) | 0x40u);
  } else {
    bits = static_cast<std::uint16_t>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
  }
}

bfloat16::operator float() const {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

double load_double(const std::byte* p, DType dtype) {
  return visit_float(dtype, [p](auto element) {
    std::memcpy(&element, p, sizeof element);
    if constexpr (std::is_same_v<decltype(element), double>) {
      return element;
    } else {
      return static_cast<double>(static_cast<float>(element));
    }
  });
}

// A double rounded to float such that rounding that float to 16 bits equals rounding the double:
// round to odd (Boldo, Melquiond 2008), which needs two spare bits and float has thirteen.
static float round_to_odd(double value) {
  const float nearest = static_cast<float>(value);
  const double error = value - static_cast<double>(nearest);
  const std::uint32_t u = std::bit_cast<std::uint32_t>(nearest);
  if (!(error != 0.0) || !std::isfinite(nearest) || (u & 1u)) return nearest;
  const bool away = (error > 0.0) == (value > 0.0);
  return std::bit_cast<float>(away ? u + 1u : u - 1u);
}

void store_double(std::byte* p, DType dtype, double value) {
  visit_float(dtype, [p, value](auto element) {
    using T = decltype(element);
    if constexpr (sizeof(T) == 2) {
      element = T(round_to_odd(value));
    } else {
      element = static_cast<T>(value);
    }
    std::memcpy(p, &element, sizeof element);
  });
}

}  // namespace instnorm
