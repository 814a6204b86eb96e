// Row combine: a linear combination of operands with coefficients that are constant along the row.
#if defined(INSTNORM_CPU_COMBINE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef INSTNORM_CPU_COMBINE_INL_H_
#undef INSTNORM_CPU_COMBINE_INL_H_
#else
#define INSTNORM_CPU_COMBINE_INL_H_
#endif

#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "cpu/activation-inl.h"
#include "cpu/io-inl.h"
#include "cpu/lanes-inl.h"
#include "cpu/output-inl.h"
#include "row_algebra.h"

HWY_BEFORE_NAMESPACE();
namespace instnorm::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// y[i] = Act of value(reader, i) for all i of a block. y may be one of the operands that `value`
// reads. Code is copied for each use of `value`, so a long one (kLong) gets no special cases: its
// arithmetic hides what they save.
template <bool kLong, class Act, class D, class T, class Value>
HWY_INLINE void Combine(D d, T* y, size_t n, bool stream, const Value& value) {
  const size_t lanes = hn::Lanes(d);
  // Whole cache lines only are streamed: a line that is streamed in part, and stored in part by the
  // row beside it, goes to memory several times. That halved the speed of rows that do not begin
  // with a line.
  constexpr size_t per_line = kLineBytes / sizeof(T);
  const size_t before = (kLineBytes - reinterpret_cast<uintptr_t>(y) % kLineBytes) % kLineBytes;
  const size_t head = stream ? std::min(n, before / sizeof(T)) : 0;
  const size_t end = stream ? head + (n - head) / per_line * per_line : head;
  size_t i = 0;
  if constexpr (kLong) {
    Output<Act, D, T> out(y, stream);
    const auto parts = [&](size_t until) INSTNORM_INLINED {
      while (i < until) {
        const size_t here = std::min(lanes, until - i);
        out.PutPart(value(Part<D>{here}, i), i, here);
        i += here;
      }
    };
    parts(head);
    for (; i + lanes <= end; i += lanes) out.Put(value(Whole<D>(), i), i);
    out.EndStream();
    for (; i + lanes <= n; i += lanes) out.Put(value(Whole<D>(), i), i);
    out.Flush();
    parts(n);
  } else {
    static_assert(std::is_same_v<Act, NoActivation>);
    // The end of the row as a whole vector that overlaps the one before it. Taken first, since y
    // may be what it reads; not when streaming, which would not store into a line twice.
    hn::Vec<D> end_of_row;
    const bool overlap = !stream && n > lanes;
    if (overlap) end_of_row = value(Whole<D>(), n - lanes);
    if (stream) {
      for (; i + lanes <= head; i += lanes) StoreAs(d, value(Whole<D>(), i), y + i);
      if (i < head) StorePartAs(d, value(Part<D>{head - i}, i), y + i, head - i);
      i = head;
      for (; i + lanes <= end; i += lanes) StreamAs(d, value(Whole<D>(), i), y + i);
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
    if (overlap) return StoreAs(d, end_of_row, y + n - lanes);
    if (i < n) StorePartAs(d, value(Part<D>{n - i}, i), y + i, n - i);
  }
}

// The same of one row in steps, as the work beside the sums of another of the same n. It stores
// whole lines from the first one on that begins in the row, and what is before and behind them in
// parts.
template <bool kStream, class D, class T, class Value>
class CombineBeside {
 public:
  HWY_INLINE CombineBeside(T* y, size_t n, const Value& value)
      : y_(y),
        n_(n),
        first_(std::min(n, BytesBeforeLine(y) / sizeof(T))),
        end_(kStream ? first_ + (n - first_) / kPerLine * kPerLine : n),
        value_(value) {}

  HWY_INLINE void Begin() const { Parts(0, first_); }
  HWY_INLINE void Step(size_t i) const {
    if (first_ + i + hn::Lanes(D()) <= end_) Put(first_ + i);
  }
  HWY_INLINE void End() const {
    const size_t lanes = hn::Lanes(D());
    const size_t steps = n_ / kVirtualLanes<hn::TFromD<D>> * kVirtualLanes<hn::TFromD<D>>;
    size_t i = first_ + std::min(steps, (end_ - first_) / lanes * lanes);
    for (; i + lanes <= end_; i += lanes) Put(i);
    Parts(i, n_);
  }

 private:
  static constexpr size_t kPerLine = kLineBytes / sizeof(T);

  static HWY_INLINE size_t BytesBeforeLine(const T* y) {
    return (kLineBytes - reinterpret_cast<uintptr_t>(y) % kLineBytes) % kLineBytes;
  }
  HWY_INLINE void Put(size_t i) const {
    if constexpr (kStream) {
      StreamAs(D(), value_(Whole<D>(), i), y_ + i);
    } else {
      StoreAs(D(), value_(Whole<D>(), i), y_ + i);
    }
  }
  HWY_INLINE void Parts(size_t i, size_t end) const {
    while (i < end) {
      const size_t here = std::min(hn::Lanes(D()), end - i);
      StorePartAs(D(), value_(Part<D>{here}, i), y_ + i, here);
      i += here;
    }
  }

  T* y_;
  size_t n_, first_, end_;
  Value value_;
};

// The same of `count` rows of n values each that lie end to end, as one run: value_of(i) is the
// `value` of row i, of all the run's elements. A vector that lies across the border of two rows is
// put together of both, so that no store is a part of a vector, and none but the first and the last
// is a part of a cache line. n is at least what a line holds. When streaming, fetch_next(i)
// is called for element i of the next rows, which may be none.
template <class Act, class D, class T, class ValueOf, class FetchNext>
HWY_INLINE void CombineRun(D d, T* y, size_t count, size_t n, bool stream, const ValueOf& value_of,
                           const FetchNext& fetch_next) {
  const size_t lanes = hn::Lanes(d), total = count * n;
  constexpr size_t per_line = kLineBytes / sizeof(T);
  const size_t misaligned = reinterpret_cast<uintptr_t>(y) % kLineBytes / sizeof(T);
  size_t i = (per_line - misaligned) % per_line, row = 0, end_of_row = n;
  auto value = value_of(size_t{0});
  Output<Act, D, T> out(y, stream);
  for (size_t head = 0; head < i; head += lanes) {
    const size_t here = std::min(lanes, i - head);
    out.PutPart(value(Part<D>{here}, head), head, here);
  }
  const size_t end = stream ? i + (total - i) / per_line * per_line : total;
  const auto put = [&](hn::Vec<D> v) INSTNORM_INLINED {
    if (stream) fetch_next(i);
    out.Put(v, i);
    i += lanes;
  };
  const auto next_row = [&]() INSTNORM_INLINED {
    value = value_of(++row);
    end_of_row += n;
  };
  while (i + lanes <= end) {
    const size_t until = std::min(end, end_of_row);
    while (i + lanes <= until) put(value(Whole<D>(), i));
    if (i == end_of_row && row + 1 < count) {
      next_row();
      continue;
    }
    if (i + lanes > end) break;
    const auto of_this = value(Whole<D>(), i);
    const auto here = hn::FirstN(d, end_of_row - i);
    next_row();
    put(hn::IfThenElse(here, of_this, value(Whole<D>(), i)));
  }
  out.Flush();
  while (i < total) {
    if (i >= end_of_row) next_row();
    const size_t here = std::min({lanes, total - i, end_of_row - i});
    out.PutPart(value(Part<D>{here}, i), i, here);
    i += here;
  }
}

// (x * scale - centre) * a + b
template <class D, class T, bool kScaled>
struct AffineValue {
  const T* x;
  Repeated<D> scale, centre, a, b;
  size_t step = 1;  // from one value to the next
  template <class Reader>
  HWY_INLINE hn::Vec<D> operator()(const Reader& reader, size_t i) const {
    auto v = reader.Load(x + i * step);
    if constexpr (kScaled) v = hn::Mul(v, All(D(), scale));
    const D d;
    return hn::MulAdd(hn::Sub(v, All(d, centre)), All(d, a), All(d, b));
  }
};

// Is the combine of these rows one run? Where stores are not streamed, it saves nothing for rows
// whose every vector lies across a border. A row by itself is one where its arithmetic is long:
// what the run fetches of the next row then comes meanwhile.
template <bool kLong, class D, class T>
HWY_INLINE bool IsRun(D d, int64_t count, int64_t n, int64_t step, bool stream) {
  constexpr auto size = static_cast<int64_t>(sizeof(T));
  if (n * size < static_cast<int64_t>(kLineBytes)) return false;
  if (count == 1) return kLong && stream;
  return step == n * size && (stream || n >= 2 * static_cast<int64_t>(hn::Lanes(d)));
}

template <class Act, class D, class T, class Compute = hn::TFromD<D>>
HWY_INLINE void BlockAffine(D d, const T* x, T* y, size_t n, double scale_of_x, Compute centre_of_x,
                            Compute a_of_x, Compute b_of_x, bool stream) {
  const Repeated<D> scale = Repeat(d, scale_of_x), centre = Repeat(d, centre_of_x);
  const Repeated<D> a = Repeat(d, a_of_x), b = Repeat(d, b_of_x);
  constexpr bool kLong = kLongValue<D, T, Act>;
  if constexpr (std::is_same_v<T, double>) {
    if (scale_of_x != 1.0) {
      Combine<true, Act>(d, y, n, stream, AffineValue<D, T, true>{x, scale, centre, a, b});
      return;
    }
  }
  Combine<kLong, Act>(d, y, n, stream, AffineValue<D, T, false>{x, scale, centre, a, b});
}

// p * g: x, which may be NaN, has no part in it
template <class D, class G>
struct ScaledValue {
  const G* g;
  Repeated<D> p;
  template <class Reader>
  HWY_INLINE hn::Vec<D> operator()(const Reader& reader, size_t i) const {
    return hn::Mul(reader.Load(g + i), All(D(), p));
  }
};

// p * g + q * (x - centre) + r
template <class D, class G, class T>
struct BackwardValue {
  const G* g;
  const T* x;
  Repeated<D> centre, p, q, r;
  template <class Reader>
  HWY_INLINE hn::Vec<D> operator()(const Reader& reader, size_t i) const {
    const D d;
    const auto from_centre = hn::Sub(reader.Load(x + i), All(d, centre));
    return hn::MulAdd(reader.Load(g + i), All(d, p), hn::MulAdd(from_centre, All(d, q), All(d, r)));
  }
};

template <class D, class G, class T>
HWY_INLINE void BlockBackward(D d, const G* g, const T* x, T* dx, size_t n,
                              const BackwardCoefficients& k, bool stream) {
  constexpr bool kLong = kLongValue<D, T, NoActivation>;
  if (k.q == 0.0 && k.r == 0.0) {
    Combine<kLong, NoActivation>(d, dx, n, stream, ScaledValue<D, G>{g, Repeat(d, k.p)});
    return;
  }
  Combine<kLong, NoActivation>(d, dx, n, stream,
                               BackwardValue<D, G, T>{g, x, Repeat(d, k.centre), Repeat(d, k.p),
                                                      Repeat(d, k.q), Repeat(d, k.r)});
}

// p * g + s * u + q * (x - centre) + r
template <class D, class T>
struct DoubleValue {
  const T *g, *u, *x;
  Repeated<D> centre, p, s, q, r;
  template <class Reader>
  HWY_INLINE hn::Vec<D> operator()(const Reader& reader, size_t i) const {
    const D d;
    const auto from_centre = hn::Sub(reader.Load(x + i), All(d, centre));
    const auto of_x = hn::MulAdd(from_centre, All(d, q), All(d, r));
    const auto rest = hn::MulAdd(reader.Load(u + i), All(d, s), of_x);
    return hn::MulAdd(reader.Load(g + i), All(d, p), rest);
  }
};

template <class D, class T>
HWY_INLINE void BlockDouble(D d, const T* g, const T* u, const T* x, T* dx, size_t n, double centre,
                            double p, double s, double q, double r, bool stream) {
  if (s == 0.0 && q == 0.0 && r == 0.0) {
    Combine<true, NoActivation>(d, dx, n, stream, ScaledValue<D, T>{g, Repeat(d, p)});
    return;
  }
  Combine<true, NoActivation>(d, dx, n, stream,
                              DoubleValue<D, T>{g, u, x, Repeat(d, centre), Repeat(d, p),
                                                Repeat(d, s), Repeat(d, q), Repeat(d, r)});
}

// g * slope of a short activation at (x - centre) * a + b
template <class Act, class D, class T>
struct SlopeValue {
  const T *g, *x;
  Repeated<D> centre, a, b;
  template <class Reader>
  HWY_INLINE hn::Vec<D> operator()(const Reader& reader, size_t i) const {
    const D d;
    const auto from_centre = hn::Sub(reader.Load(x + i), All(d, centre));
    const auto z = hn::MulAdd(from_centre, All(d, a), All(d, b));
    return hn::Mul(reader.Load(g + i), Act::Slope(d, z));
  }
};

// g * slope
template <class D, class T>
struct SlopedValue {
  const T* g;
  const hn::TFromD<D>* slope;
  template <class Reader>
  HWY_INLINE hn::Vec<D> operator()(const Reader& reader, size_t i) const {
    return hn::Mul(reader.Load(g + i), reader.Load(slope + i));
  }
};

template <class Act, class D, class T, class Compute = hn::TFromD<D>>
HWY_INLINE void BlockSlope(D d, const T* g, const T* x, Compute* h, size_t n,
                           const AffineCoefficients& k) {
  const Repeated<D> centre = Repeat(d, k.centre), a = Repeat(d, k.a), b = Repeat(d, k.b);
  if constexpr (Act::kLong) {
    const size_t lanes = hn::Lanes(d);
    HWY_ALIGN Compute group[kGroup<Compute>];
    for (size_t i = 0; i < n; i += kGroup<Compute>) {
      const size_t here = std::min(kGroup<Compute>, n - i);
      const size_t whole = (here + lanes - 1) / lanes * lanes;
      hn::Store(hn::Zero(d), d, group + whole - lanes);  // what is behind `here`
      Combine<true, NoActivation>(d, group, here, false,
                                  AffineValue<D, T, false>{x + i, Repeat(d, 1.0), centre, a, b});
      LongSlopes<Act>(d, group, whole);
      Combine<true, NoActivation>(d, h + i, here, false, SlopedValue<D, T>{g + i, group});
    }
  } else {
    Combine<true, NoActivation>(d, h, n, false, SlopeValue<Act, D, T>{g, x, centre, a, b});
  }
}

}  // namespace instnorm::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
