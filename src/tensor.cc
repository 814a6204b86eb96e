#include <instnorm/tensor.h>

#include <cstdint>
#include <limits>
#include <new>
#include <stdexcept>
#include <string>

#include "memory.h"

namespace instnorm {
namespace {

constexpr std::align_val_t kAlignment{64};

void check_shape(const Dims& shape) {
  // The product of the non-zero extents, so that a zero elsewhere hides no overflow.
  std::int64_t product = 1;
  for (std::int64_t extent : shape) {
    if (extent < 0) throw std::invalid_argument("[view] negative extent in shape " + shape.str());
    if (extent > 0 && __builtin_mul_overflow(product, extent, &product)) {
      throw std::invalid_argument("[view] too many elements in shape " + shape.str());
    }
  }
}

template <class V, class P>
V make_view(P* data, DType dtype, const Dims& shape, const Dims& strides) {
  check_shape(shape);
  if (strides.rank() != 0 && strides.rank() != shape.rank()) {
    throw std::invalid_argument("[view] strides " + strides.str() + " do not fit shape " +
                                shape.str());
  }
  return {data, dtype, shape, strides.rank() ? strides : contiguous_strides(shape)};
}

}  // namespace

Dims::Dims(const std::int64_t* dims, std::size_t rank) : rank_(static_cast<int>(rank)) {
  if (rank > static_cast<std::size_t>(kMaxRank)) {
    throw std::invalid_argument("[view] rank " + std::to_string(rank) + " is above the largest, " +
                                std::to_string(kMaxRank));
  }
  for (std::size_t i = 0; i < rank; ++i) dims_[i] = dims[i];
}

std::string Dims::str() const {
  std::string s = "(";
  for (int i = 0; i < rank_; ++i) {
    if (i) s += ", ";
    s += std::to_string((*this)[i]);
  }
  return s + (rank_ == 1 ? ",)" : ")");
}

Dims contiguous_strides(const Dims& shape) {
  Dims strides = shape;
  std::int64_t stride = 1;
  for (int i = shape.rank() - 1; i >= 0; --i) {
    strides[i] = stride;
    // 1 for empty extents, as NumPy and PyTorch have it.
    stride *= shape[i] > 0 ? shape[i] : 1;
  }
  return strides;
}

View view(void* data, DType dtype, const Dims& shape, const Dims& strides) {
  return make_view<View>(data, dtype, shape, strides);
}

ConstView view(const void* data, DType dtype, const Dims& shape, const Dims& strides) {
  return make_view<ConstView>(data, dtype, shape, strides);
}

void detail::check_fits(std::size_t size, const Dims& shape, const Dims& strides) {
  const ConstView v = view(static_cast<const void*>(nullptr), DType::float32, shape, strides);
  std::int64_t first = 0, last = 0;
  for (int i = 0; i < shape.rank(); ++i) {
    if (shape[i] == 0) return;
    std::int64_t reach = 0;
    std::int64_t& end = v.strides[i] < 0 ? first : last;
    if (__builtin_mul_overflow(shape[i] - 1, v.strides[i], &reach) ||
        __builtin_add_overflow(end, reach, &end)) {
      throw std::invalid_argument("[view] strides " + v.strides.str() + " overflow");
    }
  }
  if (first < 0 || static_cast<std::uint64_t>(last) >= size) {
    throw std::invalid_argument("[view] shape " + shape.str() + " with strides " + v.strides.str() +
                                " does not fit a container of " + std::to_string(size) +
                                " elements");
  }
}

Tensor::Tensor(const Dims& shape, DType dtype) : shape_(shape), dtype_(dtype), defined_(true) {
  check_shape(shape);
  std::int64_t bytes = 0;
  if (__builtin_mul_overflow(shape.product(), size_of(dtype), &bytes)) throw std::bad_alloc();
  const auto size = static_cast<std::size_t>(bytes);
  void* data = size < kKeptFrom ? ::operator new(size, kAlignment) : take_memory(size);
  data_ = std::unique_ptr<void, Free>(data, Free{size});
}

void Tensor::Free::operator()(void* p) const {
  if (bytes < kKeptFrom) {
    ::operator delete(p, kAlignment);
  } else {
    give_memory(p, bytes);
  }
}

View Tensor::view() { return defined_ ? instnorm::view(data(), dtype_, shape_) : View{}; }

ConstView Tensor::view() const {
  return defined_ ? instnorm::view(data(), dtype_, shape_) : ConstView{};
}

void Tensor::check_dtype(DType wanted) const {
  if (dtype_ != wanted) {
    throw std::invalid_argument(std::string("[Tensor] dtype is ") + name(dtype_) + ", not " +
                                name(wanted));
  }
}

}  // namespace instnorm
