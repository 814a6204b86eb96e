// The one list of element types: names, sizes and the C++ type behind each DType.
#pragma once

#include <instnorm/tensor.h>

#include <cstddef>
#include <cstdint>

namespace instnorm {

inline constexpr int kFloatDTypes = 4;  // float16, bfloat16, float32, float64 are DTypes 0 to 3

inline bool is_float(DType dtype) { return static_cast<int>(dtype) < kFloatDTypes; }

// In bytes. That of a dimension of one element or none may be any number, and says nothing.
inline std::int64_t stride_in_bytes(const ConstView& v, int axis) {
  return static_cast<std::int64_t>(static_cast<std::uint64_t>(v.strides[axis]) *
                                   static_cast<std::uint64_t>(size_of(v.dtype)));
}

// Calls f with a value-initialised element of the type behind a float dtype.
template <class F>
decltype(auto) visit_float(DType dtype, F&& f) {
  switch (dtype) {
    case DType::float16:
      return f(float16());
    case DType::bfloat16:
      return f(bfloat16());
    case DType::float64:
      return f(double());
    default:
      return f(float());
  }
}

// One element of a float dtype, read exactly; written with one rounding to nearest even.
double load_double(const std::byte* p, DType dtype);
void store_double(std::byte* p, DType dtype, double value);

}  // namespace instnorm
