#include "fault.h"

#include <cstdlib>

namespace instnorm {

Fault fault_of(const Dims& shape, std::int64_t size, std::int64_t largest) {
  std::int64_t product = size;
  for (const std::int64_t extent : shape) {
    if (extent < 0) return Fault::extent;
    if (extent > 0 && (__builtin_mul_overflow(product, extent, &product) || product > largest)) {
      return Fault::elements;
    }
  }
  return Fault::none;
}

namespace {

// Is it so small, as nearly all are, that nothing needs to be multiplied? Three extents below 2^19
// are 2^60 bytes at most, and so are the steps of three strides below 2^36.
bool small(const ConstView& v) {
  const int rank = v.shape.rank();
  if (rank > 3 || rank != v.strides.rank() || v.dtype > DType::int64) return false;
  std::uint64_t extents = 0, strides = 0;
  for (int i = 0; i < rank; ++i) {
    extents |= static_cast<std::uint64_t>(v.shape[i]);
    strides |= static_cast<std::uint64_t>(v.strides[i]);
  }
  return extents >> 19 == 0 && strides >> 36 == 0;
}

}  // namespace

Fault fault_of(const ConstView& v) {
  if (small(v)) return Fault::none;
  const std::int64_t size = size_of(v.dtype);
  if (size == 0) return Fault::dtype;
  const Fault of_shape = fault_of(v.shape, size, kLargestReach);
  if (of_shape != Fault::none) return of_shape;
  if (v.strides.rank() != v.shape.rank()) return Fault::rank;
  std::int64_t all = 0;
  for (int i = 0; i < v.shape.rank(); ++i) {
    if (v.shape[i] == 0) return Fault::none;  // nothing is reached
    std::int64_t reach = 0;
    if (__builtin_mul_overflow(v.shape[i] - 1, v.strides[i], &reach) ||
        __builtin_mul_overflow(reach, size, &reach) || reach > kLargestReach ||
        reach < -kLargestReach) {
      all = kLargestReach + 1;  // but a later extent may be 0
    } else if (all <= kLargestReach) {
      all += std::abs(reach);
    }
  }
  return all > kLargestReach ? Fault::reach : Fault::none;
}

std::string text_of(Fault fault, const ConstView& v) {
  switch (fault) {
    case Fault::none:
      return "";
    case Fault::dtype:
      return "no such dtype: " + std::to_string(static_cast<int>(v.dtype));
    case Fault::extent:
      return "negative extent in shape " + v.shape.str();
    case Fault::elements:
      return "too many elements in shape " + v.shape.str();
    case Fault::rank:
      return "strides " + v.strides.str() + " do not fit shape " + v.shape.str();
    case Fault::reach:
      return "strides " + v.strides.str() + " overflow for shape " + v.shape.str();
  }
  return "";
}

}  // namespace instnorm
