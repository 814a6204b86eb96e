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

#include "cpu/activation-inl.h"
#include "cpu/io-inl.h"
#include "cpu/lanes-inl.h"
#include "row_algebra.h"

HWY_BEFORE_NAMESPACE();
namespace instnorm::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// What a write to memory takes at a time, on x86 and nearly all Arm.
constexpr size_t kLineBytes = 64;

// y[i] = value(reader, i) for all i of a block. y may be one of the operands that `value` reads.
// Code is copied for each use of `value`, so a long one (kLong) gets no special cases: its
// arithmetic hides what they save.
template <bool kLong, class D, class T, class Value>
HWY_INLINE void Combine(D d, T* y, size_t n, bool stream, const Value& value) {
  const size_t lanes = hn::Lanes(d);
  size_t i = 0;
  // The end of the row as a whole vector that overlaps the one before it. Taken first, since y may
  // be what it reads; not when streaming, which would not store into a line twice.
  [[maybe_unused]] hn::Vec<D> end_of_row;
  const bool overlap = !kLong && !stream && n > lanes;
  if constexpr (!kLong) {
    if (overlap) end_of_row = value(Whole<D>(), n - lanes);
  }
  if constexpr (!kLong && std::is_same_v<hn::TFromD<D>, T>) {
    if (stream) {
      // Whole cache lines only: a line that is streamed in part, and stored in part by the row
      // beside it, goes to memory several times. That halved the speed of rows that do not begin
      // with a line.
      const size_t before = (kLineBytes - reinterpret_cast<uintptr_t>(y) % kLineBytes) % kLineBytes;
      const size_t head = std::min(n, before / sizeof(T));
      for (; i + lanes <= head; i += lanes) StoreAs(d, value(Whole<D>(), i), y + i);
      if (i < head) StorePartAs(d, value(Part<D>{head - i}, i), y + i, head - i);
      i = head;
      constexpr size_t per_line = kLineBytes / sizeof(T);
      const size_t end = head + (n - head) / per_line * per_line;
      for (; i + lanes <= end; i += lanes) hn::Stream(value(Whole<D>(), i), d, y + i);
    }
  }
  if constexpr (!kLong) {
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
  }
  for (; i + lanes <= n; i += lanes) StoreAs(d, value(Whole<D>(), i), y + i);
  if constexpr (!kLong) {
    if (overlap) return StoreAs(d, end_of_row, y + n - lanes);
  }
  if (i < n) StorePartAs(d, value(Part<D>{n - i}, i), y + i, n - i);
}

// activation((x * scale - centre) * a + b)
template <class D, class T, class Act, bool kScaled>
struct AffineValue {
  const T* x;
  hn::Vec<D> scale, centre, a, b;
  size_t step = 1;  // from one value to the next
  template <class Reader>
  HWY_INLINE hn::Vec<D> operator()(const Reader& reader, size_t i) const {
    auto v = reader.Load(x + i * step);
    if constexpr (kScaled) v = hn::Mul(v, scale);
    return Act::Value(D(), hn::MulAdd(hn::Sub(v, centre), a, b));
  }
};

template <class Act, class D, class T, class Compute = hn::TFromD<D>>
HWY_INLINE void BlockAffine(D d, const T* x, T* y, size_t n, double scale_of_x, Compute centre_of_x,
                            Compute a_of_x, Compute b_of_x, bool stream) {
  const auto scale = Constant(d, scale_of_x), centre = hn::Set(d, centre_of_x);
  const auto a = hn::Set(d, a_of_x), b = hn::Set(d, b_of_x);
  constexpr bool kLong = kLongValue<D, T, Act>;
  if constexpr (std::is_same_v<T, double>) {
    if (scale_of_x != 1.0) {
      Combine<true>(d, y, n, stream, AffineValue<D, T, Act, true>{x, scale, centre, a, b});
      return;
    }
  }
  Combine<kLong>(d, y, n, stream, AffineValue<D, T, Act, false>{x, scale, centre, a, b});
}

// p * g: x, which may be NaN, has no part in it
template <class D, class G>
struct ScaledValue {
  const G* g;
  hn::Vec<D> p;
  template <class Reader>
  HWY_INLINE hn::Vec<D> operator()(const Reader& reader, size_t i) const {
    return hn::Mul(reader.Load(g + i), p);
  }
};

// p * g + q * (x - centre) + r
template <class D, class G, class T>
struct BackwardValue {
  const G* g;
  const T* x;
  hn::Vec<D> centre, p, q, r;
  size_t g_step = 1, x_step = 1;
  template <class Reader>
  HWY_INLINE hn::Vec<D> operator()(const Reader& reader, size_t i) const {
    const auto d = hn::Sub(reader.Load(x + i * x_step), centre);
    return hn::MulAdd(reader.Load(g + i * g_step), p, hn::MulAdd(d, q, r));
  }
};

template <class D, class G, class T>
HWY_INLINE void BlockBackward(D d, const G* g, const T* x, T* dx, size_t n,
                              const BackwardCoefficients& k, bool stream) {
  constexpr bool kLong = kLongValue<D, T, NoActivation>;
  if (k.q == 0.0 && k.r == 0.0) {
    Combine<kLong>(d, dx, n, stream, ScaledValue<D, G>{g, Constant(d, k.p)});
    return;
  }
  Combine<kLong>(d, dx, n, stream,
                 BackwardValue<D, G, T>{g, x, Constant(d, k.centre), Constant(d, k.p),
                                        Constant(d, k.q), Constant(d, k.r)});
}

// p * g + s * u + q * (x - centre) + r
template <class D, class T>
struct DoubleValue {
  const T *g, *u, *x;
  hn::Vec<D> centre, p, s, q, r;
  template <class Reader>
  HWY_INLINE hn::Vec<D> operator()(const Reader& reader, size_t i) const {
    const auto d = hn::Sub(reader.Load(x + i), centre);
    const auto rest = hn::MulAdd(reader.Load(u + i), s, hn::MulAdd(d, q, r));
    return hn::MulAdd(reader.Load(g + i), p, rest);
  }
};

template <class D, class T>
HWY_INLINE void BlockDouble(D d, const T* g, const T* u, const T* x, T* dx, size_t n, double centre,
                            double p, double s, double q, double r, bool stream) {
  if (s == 0.0 && q == 0.0 && r == 0.0) {
    Combine<true>(d, dx, n, stream, ScaledValue<D, T>{g, Constant(d, p)});
    return;
  }
  Combine<true>(d, dx, n, stream,
                DoubleValue<D, T>{g, u, x, Constant(d, centre), Constant(d, p), Constant(d, s),
                                  Constant(d, q), Constant(d, r)});
}

// g * slope of the activation at (x - centre) * a + b
template <class D, class T, class Act>
struct SlopeValue {
  const T *g, *x;
  hn::Vec<D> centre, a, b;
  template <class Reader>
  HWY_INLINE hn::Vec<D> operator()(const Reader& reader, size_t i) const {
    const auto z = hn::MulAdd(hn::Sub(reader.Load(x + i), centre), a, b);
    return hn::Mul(reader.Load(g + i), Act::Slope(D(), z));
  }
};

template <class Act, class D, class T>
HWY_INLINE void BlockSlope(D d, const T* g, const T* x, hn::TFromD<D>* h, size_t n,
                           const AffineCoefficients& k) {
  Combine<true>(
      d, h, n, false,
      SlopeValue<D, T, Act>{g, x, Constant(d, k.centre), Constant(d, k.a), Constant(d, k.b)});
}

}  // namespace instnorm::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
