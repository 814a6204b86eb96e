// Memory under test: views of every stride pattern that people make, surrounded by NaN that must be
// neither read nor written.
#pragma once

#include <instnorm/tensor.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "formats.h"

namespace instnorm::test {

enum class Pattern {
  dense,
  shifted,        // dense, one element behind an aligned address
  padded,         // rows with three elements between them
  stepped,        // every second element in each dimension
  reversed,       // all strides negative
  transposed,     // first dimension fastest
  channels_last,  // (N, D1, D2, ..., C) in memory
  crossed,        // the dimensions behind the channels in reverse order: a row is no single run
  repeat_first,   // stride 0 along the first dimension
  repeat_last,    // stride 0 along the last dimension
  repeat_all,     // one element
};

inline const char* name_of(Pattern p) {
  static constexpr const char* kNames[] = {
      "dense",         "shifted", "padded",       "stepped",     "reversed",  "transposed",
      "channels_last", "crossed", "repeat_first", "repeat_last", "repeat_all"};
  return kNames[static_cast<int>(p)];
}

// An output must not meet itself; an input may.
inline constexpr Pattern kOutputPatterns[] = {
    Pattern::dense,    Pattern::shifted,    Pattern::padded,        Pattern::stepped,
    Pattern::reversed, Pattern::transposed, Pattern::channels_last, Pattern::crossed};
inline constexpr Pattern kInputPatterns[] = {
    Pattern::dense,       Pattern::shifted,      Pattern::padded,        Pattern::stepped,
    Pattern::reversed,    Pattern::transposed,   Pattern::channels_last, Pattern::crossed,
    Pattern::repeat_last, Pattern::repeat_first, Pattern::repeat_all};

// Strides in elements.
inline Dims strides_of(Pattern pattern, const Dims& shape) {
  const int rank = shape.rank(), last = rank - 1;
  Dims order = shape;  // dimensions from the fastest to the slowest
  for (int i = 0; i < rank; ++i) order[i] = last - i;
  const int rows = rank > 2 ? 2 : 1;  // the first dimension behind the channels
  if (pattern == Pattern::transposed) std::reverse(&order[0], &order[0] + rank);
  if (pattern == Pattern::crossed) std::reverse(&order[0], &order[0] + (rank - rows));
  if (pattern == Pattern::channels_last) {
    std::rotate(&order[0], &order[0] + (rank - rows), &order[0] + (rank - rows + 1));
  }
  Dims strides = shape;
  std::int64_t stride = 1;
  for (int i = 0; i < rank; ++i) {
    const int d = static_cast<int>(order[i]);
    if (pattern == Pattern::stepped) stride *= 2;
    strides[d] = pattern == Pattern::reversed ? -stride : stride;
    stride *= std::max<std::int64_t>(shape[d], 1);
    if (pattern == Pattern::padded && i == 0) stride += 3;
  }
  for (int d = 0; d < rank; ++d) {
    if (pattern == Pattern::repeat_all || (pattern == Pattern::repeat_first && d == 0) ||
        (pattern == Pattern::repeat_last && d == last)) {
      strides[d] = 0;
    }
  }
  return strides;
}

// Calls f(offset in elements) for each element in row-major order.
template <class F>
void each_offset(const Dims& shape, const Dims& strides, const F& f) {
  const std::int64_t size = shape.product();
  Dims at = shape;
  for (int d = 0; d < shape.rank(); ++d) at[d] = 0;
  std::int64_t offset = 0;
  for (std::int64_t i = 0; i < size; ++i) {
    f(offset);
    for (int d = shape.rank() - 1; d >= 0; --d) {
      offset += strides[d];
      if (++at[d] < shape[d]) break;
      offset -= strides[d] * shape[d];
      at[d] = 0;
    }
  }
}

class Array {
 public:
  Array() = default;

  // All bytes 0xff: NaN in every format.
  Array(DType dtype, const Dims& shape, Pattern pattern = Pattern::dense)
      : dtype_(dtype), shape_(shape), strides_(strides_of(pattern, shape)) {
    std::int64_t low = 0, high = 0;
    for (int d = 0; d < shape.rank(); ++d) {
      const std::int64_t reach = std::max<std::int64_t>(shape[d] - 1, 0) * strides_[d];
      (reach < 0 ? low : high) += reach;
    }
    origin_ = kGuard - low + (pattern == Pattern::shifted);
    const std::int64_t elements = 2 * kGuard + high - low + 2;
    storage_ = Tensor({elements * size_of(dtype)}, DType::boolean);
    std::fill_n(bytes(), storage_bytes(), std::byte{0xff});
  }

  Array(DType dtype, const Dims& shape, const std::vector<double>& values,
        Pattern pattern = Pattern::dense)
      : Array(dtype, shape, pattern) {
    set(values);
  }

  bool defined() const { return shape_.rank() > 0; }
  DType dtype() const { return dtype_; }
  const Dims& shape() const { return shape_; }

  View view() {
    return defined() ? instnorm::view(static_cast<void*>(data()), dtype_, shape_, strides_)
                     : View{};
  }

  // Rounded to the format, in row-major order. Where elements coincide the last one stays.
  void set(const std::vector<double>& values) {
    std::size_t i = 0;
    each_offset(shape_, strides_,
                [&](std::int64_t o) { store(dtype_, data() + o * size_of(dtype_), values[i++]); });
  }

  std::vector<double> values() const {
    std::vector<double> v;
    v.reserve(static_cast<std::size_t>(shape_.product()));
    each_offset(shape_, strides_,
                [&](std::int64_t o) { v.push_back(load(dtype_, data() + o * size_of(dtype_))); });
    return v;
  }

  // The elements' bits, in row-major order.
  std::vector<std::byte> bits() const {
    std::vector<std::byte> v;
    const std::int64_t size = size_of(dtype_);
    if (strides_ == contiguous_strides(shape_)) return {data(), data() + shape_.product() * size};
    v.reserve(static_cast<std::size_t>(shape_.product() * size));
    each_offset(shape_, strides_, [&](std::int64_t o) {
      v.insert(v.end(), data() + o * size, data() + (o + 1) * size);
    });
    return v;
  }

  // Everything, guards too.
  std::vector<std::byte> memory() const { return {bytes(), bytes() + storage_bytes()}; }

  // Are all bytes around the elements as they were made?
  bool surroundings_untouched() const {
    std::vector<std::byte> copy = memory();
    const std::int64_t size = size_of(dtype_);
    each_offset(shape_, strides_, [&](std::int64_t o) {
      std::fill_n(copy.begin() + (origin_ + o) * size, size, std::byte{0xff});
    });
    return std::all_of(copy.begin(), copy.end(), [](std::byte b) { return b == std::byte{0xff}; });
  }

 private:
  static constexpr std::int64_t kGuard = 64;  // elements: more than any vector

  std::int64_t storage_bytes() const { return storage_.numel(); }
  std::byte* bytes() { return static_cast<std::byte*>(storage_.data()); }
  const std::byte* bytes() const { return static_cast<const std::byte*>(storage_.data()); }
  std::byte* data() { return bytes() + origin_ * size_of(dtype_); }
  const std::byte* data() const { return bytes() + origin_ * size_of(dtype_); }

  DType dtype_ = DType::float32;
  Dims shape_, strides_;
  Tensor storage_;
  std::int64_t origin_ = 0;
};

// A shape's rows as the functions see them.
struct RowShape {
  std::int64_t N, C, L;
  explicit RowShape(const Dims& shape) : N(1), C(0), L(1) {
    const bool batched = shape.rank() > 2;
    if (batched) N = shape[0];
    C = shape[batched ? 1 : 0];
    for (int d = batched ? 2 : 1; d < shape.rank(); ++d) L *= shape[d];
  }
};

}  // namespace instnorm::test
