// Views over memory that the caller owns, and the one tensor that owns its memory.
#pragma once

#include <instnorm/export.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <ranges>
#include <string>
#include <type_traits>

namespace instnorm {

// float16 (IEEE binary16), bfloat16 (upper half of a binary32), float32, float64: what is
// normalised. boolean, int32, int64: masks and lengths.
enum class DType : std::uint8_t { float16, bfloat16, float32, float64, boolean, int32, int64 };

// "float16", ...; "no dtype" for a value that is none.
INSTNORM_API const char* name(DType dtype);
// Bytes of an element; 0 for a value that is no DType.
constexpr std::int64_t size_of(DType dtype) {
  constexpr std::int64_t kSizes[] = {2, 2, 4, 8, 1, 4, 8};
  return dtype <= DType::int64 ? kSizes[static_cast<std::size_t>(dtype)] : 0;
}

// Storage of 16-bit floats. Conversion from float rounds to nearest, ties to even; NaN stays NaN.
struct float16 {
  std::uint16_t bits = 0;
  float16() = default;
  INSTNORM_API explicit float16(float value);
  INSTNORM_API explicit operator float() const;
};
struct bfloat16 {
  std::uint16_t bits = 0;
  bfloat16() = default;
  INSTNORM_API explicit bfloat16(float value);
  INSTNORM_API explicit operator float() const;
};

// The DType of a C++ element type; undefined for types that have none.
template <class T>
struct dtype_of;
template <>
struct dtype_of<float16> : std::integral_constant<DType, DType::float16> {};
template <>
struct dtype_of<bfloat16> : std::integral_constant<DType, DType::bfloat16> {};
template <>
struct dtype_of<float> : std::integral_constant<DType, DType::float32> {};
template <>
struct dtype_of<double> : std::integral_constant<DType, DType::float64> {};
template <>
struct dtype_of<bool> : std::integral_constant<DType, DType::boolean> {};
template <>
struct dtype_of<std::int32_t> : std::integral_constant<DType, DType::int32> {};
template <>
struct dtype_of<std::int64_t> : std::integral_constant<DType, DType::int64> {};
// GCC defines the macro on Arm from 12 on, and the type for C++ only from 13 on.
#if defined(__FLT16_MANT_DIG__) && (defined(__x86_64__) || defined(__clang__) || __GNUC__ >= 13)
template <>
struct dtype_of<_Float16> : std::integral_constant<DType, DType::float16> {};
#endif

inline constexpr int kMaxRank = 8;

// Extents or strides of a view: up to kMaxRank numbers, without an allocation.
class Dims {
 public:
  Dims() {}  // with "= default", {} would clear the array first
  Dims(std::initializer_list<std::int64_t> dims) : Dims(dims.begin(), dims.size()) {}
  // Throws std::invalid_argument if rank > kMaxRank.
  INSTNORM_API Dims(const std::int64_t* dims, std::size_t rank);

  int rank() const { return rank_; }
  std::int64_t operator[](int i) const { return dims_[i]; }
  std::int64_t& operator[](int i) { return dims_[i]; }
  const std::int64_t* begin() const { return dims_; }
  const std::int64_t* end() const { return dims_ + rank_; }
  bool operator==(const Dims& other) const {
    if (rank_ != other.rank_) return false;
    for (int i = 0; i < rank_; ++i) {
      if ((*this)[i] != other[i]) return false;
    }
    return true;
  }

  std::int64_t product() const {  // 1 for rank 0; modulo 2^64
    std::uint64_t product = 1;
    for (std::int64_t extent : *this) product *= static_cast<std::uint64_t>(extent);
    return static_cast<std::int64_t>(product);
  }
  INSTNORM_API std::string str() const;  // "(20, 100, 40)", "(3,)", "()"

 private:
  std::int64_t dims_[kMaxRank];  // those behind the rank mean nothing
  int rank_ = 0;
};

// Strides, in elements, of a dense row-major array of that shape; modulo 2^64.
INSTNORM_API Dims contiguous_strides(const Dims& shape);

// data + dtype + shape + strides (in elements, may be 0 or negative). Owns nothing. A
// default-constructed view means "absent".
struct ConstView {
  const void* data = nullptr;
  DType dtype = DType::float32;
  Dims shape;
  Dims strides;
  bool defined() const { return data != nullptr || shape.rank() > 0; }
};
struct View {
  void* data = nullptr;
  DType dtype = DType::float32;
  Dims shape;
  Dims strides;
  bool defined() const { return data != nullptr || shape.rank() > 0; }
  operator ConstView() const { return {data, dtype, shape, strides}; }
};

// Views over raw memory. `strides` empty means dense row-major. Throw std::invalid_argument for
// what describes no memory: a negative extent, strides of another rank, a value that is no DType,
// more than 2^60 bytes from end to end.
INSTNORM_API View view(void* data, DType dtype, const Dims& shape, const Dims& strides = {});
INSTNORM_API ConstView view(const void* data, DType dtype, const Dims& shape,
                            const Dims& strides = {});

template <class P>
  requires std::is_pointer_v<P>
auto view(const P& data, const Dims& shape, const Dims& strides = {}) {
  using T = std::remove_pointer_t<P>;
  constexpr DType dtype = dtype_of<std::remove_const_t<T>>::value;
  using Void = std::conditional_t<std::is_const_v<T>, const void, void>;
  return view(static_cast<Void*>(data), dtype, shape, strides);
}

namespace detail {
INSTNORM_API void check_fits(std::size_t size, const Dims& shape, const Dims& strides);
}

// Views over a contiguous container (std::vector, std::array, std::span, ...) that outlives them.
// Throw std::invalid_argument if an element of the view would lie outside the container. With
// strides the first element of the view is that of the container.
template <class Container>
  requires std::ranges::contiguous_range<Container> && std::ranges::borrowed_range<Container>
auto view(Container&& container, const Dims& shape, const Dims& strides = {}) {
  detail::check_fits(std::ranges::size(container), shape, strides);
  return view(std::ranges::data(container), shape, strides);
}

// Dense row-major memory of its own, 64-byte aligned; move-only.
class Tensor {
 public:
  Tensor() = default;
  // Uninitialised. Throws std::bad_alloc, or std::invalid_argument for what view() does not take.
  INSTNORM_API Tensor(const Dims& shape, DType dtype);

  const Dims& shape() const { return shape_; }
  DType dtype() const { return dtype_; }
  bool defined() const { return defined_; }
  std::int64_t numel() const { return defined_ ? shape_.product() : 0; }

  void* data() { return data_.get(); }
  const void* data() const { return data_.get(); }
  // Throw std::invalid_argument if T is not the tensor's dtype.
  template <class T>
  T* data() {
    check_dtype(dtype_of<T>::value);
    return static_cast<T*>(data());
  }
  template <class T>
  const T* data() const {
    check_dtype(dtype_of<T>::value);
    return static_cast<const T*>(data());
  }

  INSTNORM_API View view();
  INSTNORM_API ConstView view() const;
  operator View() { return view(); }
  operator ConstView() const { return view(); }

 private:
  INSTNORM_API void check_dtype(DType wanted) const;
  struct Free {
    Free() : bytes(0) {}
    explicit Free(std::size_t size) : bytes(size) {}
    std::size_t bytes;
    INSTNORM_API void operator()(void* p) const;
  };
  std::unique_ptr<void, Free> data_;
  Dims shape_;
  DType dtype_ = DType::float32;
  bool defined_ = false;
};

}  // namespace instnorm
