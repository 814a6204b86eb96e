#include <instnorm/tensor.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <new>
#include <stdexcept>
#include <string>

#include "fault.h"
#include "memory.h"

namespace instnorm {
namespace {

constexpr std::align_val_t kAlignment{64};

void refuse(Fault fault, const ConstView& v) {
  if (fault != Fault::none) throw std::invalid_argument("[view] " + text_of(fault, v));
}

template <class V, class P>
V make_view(P* data, DType dtype, const Dims& shape, const Dims& strides) {
  const V v{data, dtype, shape, strides.rank() ? strides : contiguous_strides(shape)};
  refuse(fault_of(v), v);
  return v;
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
  std::uint64_t stride = 1;
  for (int i = shape.rank() - 1; i >= 0; --i) {
    strides[i] = static_cast<std::int64_t>(stride);
    // 1 for empty extents, as NumPy and PyTorch have it.
    stride *= static_cast<std::uint64_t>(std::max<std::int64_t>(shape[i], 1));
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
  if (shape.product() == 0) return;
  std::int64_t first = 0, last = 0;
  for (int i = 0; i < shape.rank(); ++i) {
    const std::int64_t reach = (shape[i] - 1) * v.strides[i];
    (reach < 0 ? first : last) += reach;
  }
  if (first < 0 || static_cast<std::uint64_t>(last) >= size) {
    throw std::invalid_argument("[view] shape " + shape.str() + " with strides " + v.strides.str() +
                                " does not fit a container of " + std::to_string(size) +
                                " elements");
  }
}

Tensor::Tensor(const Dims& shape, DType dtype) : shape_(shape), dtype_(dtype), defined_(true) {
  const ConstView v{nullptr, dtype, shape, {}};
  refuse(size_of(dtype) == 0 ? Fault::dtype
                             : fault_of(shape, 1, std::numeric_limits<std::int64_t>::max()),
         v);
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

View Tensor::view() {
  return defined_ ? View{data(), dtype_, shape_, contiguous_strides(shape_)} : View{};
}

ConstView Tensor::view() const {
  return defined_ ? ConstView{data(), dtype_, shape_, contiguous_strides(shape_)} : ConstView{};
}

void Tensor::check_dtype(DType wanted) const {
  if (dtype_ != wanted) {
    throw std::invalid_argument(std::string("[Tensor] dtype is ") + name(dtype_) + ", not " +
                                name(wanted));
  }
}

}  // namespace instnorm
