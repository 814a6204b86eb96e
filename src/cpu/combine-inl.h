// Row combine: a linear combination of operands with coefficients that are constant along the row.
#if defined(INSTNORM_CPU_COMBINE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef INSTNORM_CPU_COMBINE_INL_H_
#undef INSTNORM_CPU_COMBINE_INL_H_
#else
#define INSTNORM_CPU_COMBINE_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "cpu/io-inl.h"
#include "cpu/lanes-inl.h"
#include "row_algebra.h"

HWY_BEFORE_NAMESPACE();
namespace instnorm::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// y[i] = value(reader, i) for all i of a block. y may be one of the operands that `value` reads.
template <class D, class T, class Value>
HWY_INLINE void Combine(D d, T* y, size_t n, bool stream, const Value& value) {
  const size_t lanes = hn::Lanes(d);
  size_t i = 0;
  if constexpr (std::is_same_v<hn::TFromD<D>, T>) {
    if (stream) {
      // Streaming stores need alignment.
      const size_t vector_bytes = lanes * sizeof(T);
      const size_t before =
          (vector_bytes - reinterpret_cast<uintptr_t>(y) % vector_bytes) % vector_bytes / sizeof(T);
      const size_t head = std::min(n, before);
      if (head) StorePartAs(d, value(Part<D>{head}, 0), y, head);
      i = head;
      for (; i + lanes <= n; i += lanes) hn::Stream(value(Whole<D>(), i), d, y + i);
    }
  }
  // Four at a time, so that four loads are under way before the first store.
  for (; i + 4 * lanes <= n; i += 4 * lanes) {
    const auto v0 = value(Whole<D>(), i);
    const auto v1 = value(Whole<D>(), i + lanes);
    const auto v2 = value(Whole<D>(), i + 2 * lanes);
    const auto v3 = value(Whole<D>(), i + 3 * lanes);
    StoreAs(d, v0, y + i);
    StoreAs(d, v1, y + i + lanes);
    StoreAs(d, v2, y + i + 2 * lanes);
    StoreAs(d, v3, y + i + 3 * lanes);
  }
  for (; i + lanes <= n; i += lanes) StoreAs(d, value(Whole<D>(), i), y + i);
  if (i < n) StorePartAs(d, value(Part<D>{n - i}, i), y + i, n - i);
}

// (x * scale - centre) * a + b
template <class D, class T, bool kScaled>
struct AffineValue {
  const T* x;
  hn::Vec<D> scale, centre, a, b;
  template <class Reader>
  HWY_INLINE hn::Vec<D> operator()(const Reader& reader, size_t i) const {
    auto v = reader.Load(x + i);
    if constexpr (kScaled) v = hn::Mul(v, scale);
    return hn::MulAdd(hn::Sub(v, centre), a, b);
  }
};

template <class D, class T>
HWY_INLINE void BlockAffine(D d, const T* x, T* y, size_t n, const AffineCoefficients& k,
                            bool stream) {
  using Compute = hn::TFromD<D>;
  const auto set = [d](double v) HWY_ATTR { return hn::Set(d, static_cast<Compute>(v)); };
  const auto scale = set(k.scale), centre = set(k.centre), a = set(k.a), b = set(k.b);
  if (k.scale == 1.0) {
    Combine(d, y, n, stream, AffineValue<D, T, false>{x, scale, centre, a, b});
  } else {
    Combine(d, y, n, stream, AffineValue<D, T, true>{x, scale, centre, a, b});
  }
}

// p * g: x, which may be NaN, has no part in it
template <class D, class T>
struct ScaledValue {
  const T* g;
  hn::Vec<D> p;
  template <class Reader>
  HWY_INLINE hn::Vec<D> operator()(const Reader& reader, size_t i) const {
    return hn::Mul(reader.Load(g + i), p);
  }
};

// p * g + q * (x - centre) + r
template <class D, class T>
struct BackwardValue {
  const T *g, *x;
  hn::Vec<D> centre, p, q, r;
  template <class Reader>
  HWY_INLINE hn::Vec<D> operator()(const Reader& reader, size_t i) const {
    const auto d = hn::Sub(reader.Load(x + i), centre);
    return hn::MulAdd(reader.Load(g + i), p, hn::MulAdd(d, q, r));
  }
};

template <class D, class T>
HWY_INLINE void BlockBackward(D d, const T* g, const T* x, T* dx, size_t n,
                              const BackwardCoefficients& k, bool stream) {
  using Compute = hn::TFromD<D>;
  const auto set = [d](double v) HWY_ATTR { return hn::Set(d, static_cast<Compute>(v)); };
  if (k.q == 0.0 && k.r == 0.0) {
    Combine(d, dx, n, stream, ScaledValue<D, T>{g, set(k.p)});
    return;
  }
  Combine(d, dx, n, stream, BackwardValue<D, T>{g, x, set(k.centre), set(k.p), set(k.q), set(k.r)});
}

}  // namespace instnorm::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
