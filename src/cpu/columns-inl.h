// Row sums and row combine of rows that are columns in memory (channels last): each lane is a row,
// and a step goes from one value of all of them to the next. What is added up in which order is as
// in sums-inl.h, so the bits are those of the same row, dense.
#if defined(INSTNORM_CPU_COLUMNS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef INSTNORM_CPU_COLUMNS_INL_H_
#undef INSTNORM_CPU_COLUMNS_INL_H_
#else
#define INSTNORM_CPU_COLUMNS_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <type_traits>

#include "cpu/combine-inl.h"
#include "cpu/io-inl.h"
#include "cpu/kernels.h"
#include "cpu/lanes-inl.h"
#include "cpu/sums-inl.h"
#include "plan.h"

HWY_BEFORE_NAMESPACE();
namespace instnorm::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

#if INSTNORM_SIZED_VECTORS

// A virtual vector of each row: element v is virtual lane v of all rows.
template <class D>
using VirtualColumns = hn::Vec<D>[kVirtualLanes<hn::TFromD<D>>];

// VirtualVector::FoldToVector and Fold, of the first `count` virtual lanes.
template <class D>
HWY_INLINE hn::Vec<D> FoldColumns(D, VirtualColumns<D>& lanes,
                                  size_t count = kVirtualLanes<hn::TFromD<D>>) {
  for (size_t h = count / 2; h > 0; h /= 2) {
    for (size_t v = 0; v < h; ++v) lanes[v] = hn::Add(lanes[v], lanes[v + h]);
  }
  return lanes[0];
}

// Vectors that a strip of rows is wide: with two on AVX2, it is a whole line of memory.
template <class D>
constexpr size_t kStripVectors =
    HWY_MAX(size_t{1}, kLineBytes / (hn::MaxLanes(D()) * sizeof(hn::TFromD<D>)));

// TwoSums, for each vector k of a strip. `terms(k)(reader, l, u, v)` gives both terms of its rows
// at l.
template <size_t kVectors, class D, class Reader, class Terms>
HWY_INLINE void TwoColumnSums(D d, const Reader& reader, size_t n, const Terms& terms,
                              hn::Vec<D>* HWY_RESTRICT sum_u, hn::Vec<D>* HWY_RESTRICT sum_uv) {
  using V = hn::Vec<D>;
  constexpr size_t kStep = kVirtualLanes<hn::TFromD<D>>;
  // Virtual lanes at a time: as many independent additions as hide their latency.
  constexpr size_t kAtOnce = HWY_MAX(size_t{1}, 4 / kVectors);
  const size_t whole = n / kStep * kStep;
  VirtualColumns<D> total_u[kVectors], total_uv[kVectors];
  size_t begin = 0;
  do {
    size_t end = begin + kChain * kStep;
    if (end >= whole) end = n;  // the last chain takes the rest
    const size_t full = (end - begin) / kStep, rest = (end - begin) % kStep;
    for (size_t v = 0; v < kStep; v += kAtOnce) {
      V u[kAtOnce][kVectors], uv[kAtOnce][kVectors];
      const auto add = [&](size_t l, size_t q) INSTNORM_INLINED {
        for (size_t k = 0; k < kVectors; ++k) {
          V a, b;
          terms(k)(reader, l, a, b);
          u[q][k] = hn::Add(u[q][k], a);
          uv[q][k] = hn::MulAdd(a, b, uv[q][k]);
        }
      };
      for (size_t q = 0; q < kAtOnce; ++q) {
        for (size_t k = 0; k < kVectors; ++k) u[q][k] = uv[q][k] = hn::Zero(d);
      }
      size_t l = begin + v;
      for (size_t j = 0; j < full; ++j, l += kStep) {
        for (size_t q = 0; q < kAtOnce; ++q) add(l + q, q);
      }
      for (size_t q = 0; q < kAtOnce; ++q) {
        if (v + q < rest) add(l + q, q);
        for (size_t k = 0; k < kVectors; ++k) {
          V &to_u = total_u[k][v + q], &to_uv = total_uv[k][v + q];
          to_u = begin == 0 ? u[q][k] : hn::Add(to_u, u[q][k]);
          to_uv = begin == 0 ? uv[q][k] : hn::Add(to_uv, uv[q][k]);
        }
      }
    }
    begin = end;
  } while (begin < n);
  for (size_t k = 0; k < kVectors; ++k) {
    sum_u[k] = FoldColumns(d, total_u[k]);
    sum_uv[k] = FoldColumns(d, total_uv[k]);
  }
}

// HeadMean.
template <class D, class Reader, class T>
HWY_INLINE hn::Vec<D> ColumnHeadMean(D d, const Reader& reader, const T* x, size_t n, size_t step) {
  using Compute = hn::TFromD<D>;
  constexpr size_t kHead = kHeadLanes<Compute>;
  const auto share = hn::Set(d, Compute{1} / static_cast<Compute>(kHead));
  VirtualColumns<D> head;
  for (size_t v = 0; v < kHead; ++v) {
    head[v] = hn::Mul(reader.Load(x + (v < n ? v : 0) * step), share);
  }
  return FiniteOrZero(d, FoldColumns(d, head, kHead));
}

// Calls strip(reader, vectors, first row, rows) for the rows of a tile, kVectors vectors of
// them at a time. The last ones are a whole strip too, which overlaps the one before, unless `once`
// or there are too few.
template <size_t kVectors, class D, class Strip>
HWY_INLINE void EachStrip(D d, size_t count, bool once, const Strip& strip) {
  const size_t lanes = hn::Lanes(d);
  const std::integral_constant<size_t, kVectors> vectors;
  const size_t wide = vectors * lanes;
  for (size_t i = 0; i < count;) {
    if (count - i < wide && !once && count >= wide) i = count - wide;
    if (count - i >= wide) {
      strip(Whole<D>(), vectors, i, wide);
      i += wide;
    } else {
      const size_t rows = std::min(lanes, count - i);
      strip(Part<D>{rows}, std::integral_constant<size_t, 1>(), i, rows);
      i += rows;
    }
  }
}

// Coefficients of a tile's rows in the compute type, with as many more as a vector may read.
template <class D>
class RowConstants {
 public:
  using Compute = hn::TFromD<D>;
  HWY_INLINE RowConstants(const double* of_rows, size_t count) {
    for (size_t i = 0; i < count; ++i) values_[i] = static_cast<Compute>(of_rows[i]);
    for (size_t i = count; i < count + hn::MaxLanes(D()); ++i) values_[i] = Compute{0};
  }
  HWY_INLINE hn::Vec<D> From(size_t first) const { return hn::LoadU(D(), values_ + first); }

 private:
  Compute values_[kTileRows + hn::MaxLanes(D())];
};

// BlockMoments of `count` rows, n values of each; from one to the next it is `step` elements.
template <class D, class T>
HWY_INLINE void ColumnMoments(D d, const T* x, size_t step, size_t count, size_t n,
                              const MomentSums& out) {
  using Compute = hn::TFromD<D>;
  const auto of_strip = [&](const auto& reader, auto vectors, size_t first, size_t rows)
                            INSTNORM_INLINED {
                              const T* strip = x + first;
                              const size_t lanes = hn::Lanes(d), each = std::min(lanes, rows);
                              hn::Vec<D> centre[vectors], s[vectors], q[vectors];
                              for (size_t k = 0; k < vectors; ++k) {
                                centre[k] = ColumnHeadMean(d, reader, strip + k * lanes, n, step);
                              }
                              const auto one = Constant(d, 1.0);
                              const auto terms = [&](size_t k) INSTNORM_INLINED {
                                return MomentTerms<D, T>{strip + k * lanes, one, centre[k], step};
                              };
                              TwoColumnSums<vectors>(d, reader, n, terms, s, q);
                              const MomentSums at = out.at(static_cast<int64_t>(first));
                              for (size_t k = 0; k < vectors; ++k) {
                                StoreLanes(d, centre[k], each, at.centre + k * lanes);
                                StoreLanes(d, s[k], each, at.s + k * lanes);
                                StoreLanes(d, q[k], each, at.q + k * lanes);
                              }
                              for (size_t i = 0; i < rows; ++i) {
                                at.constant[i] = false;
                                if (!AgainByItself<Compute>(at.s[i], at.q[i], n)) continue;
                                T row[static_cast<size_t>(kBlockBytes) / sizeof(Compute)];
                                for (size_t l = 0; l < n; ++l) row[l] = strip[l * step + i];
                                BlockMoments(d, row, n, 1.0, at.at(static_cast<int64_t>(i)));
                              }
                            };
  EachStrip<kStripVectors<D>>(d, count, false, of_strip);
}

template <class D, class G, class T>
HWY_INLINE void ColumnGradientSums(D d, const G* g, size_t g_step, const T* x, size_t x_step,
                                   size_t count, size_t n, const double* centres,
                                   const GradientSumsOut& out) {
  const RowConstants<D> centre(centres, count);
  const auto of_strip = [&](const auto& reader, auto vectors, size_t first,
                            size_t rows) INSTNORM_INLINED {
    const size_t lanes = hn::Lanes(d), each = std::min(lanes, rows);
    const auto terms = [&](size_t k) INSTNORM_INLINED {
      const size_t at = first + k * lanes;
      return GradientTerms<D, G, T>{g + at, x + at, centre.From(at), g_step, x_step};
    };
    hn::Vec<D> sum_g[vectors], sum_gx[vectors];
    TwoColumnSums<vectors>(d, reader, n, terms, sum_g, sum_gx);
    for (size_t k = 0; k < vectors; ++k) {
      StoreLanes(d, sum_g[k], each, out.g + first + k * lanes);
      StoreLanes(d, sum_gx[k], each, out.gx + first + k * lanes);
    }
  };
  EachStrip<kStripVectors<D>>(d, count, false, of_strip);
}

// Values of a row that a strip walks through before the next strip has its turn: lines that two
// strips share, and pages, are still at hand.
constexpr size_t kColumnChunk = 32;

// y at l = value(reader, l) of all rows and l. `value_of(first row)` makes `value` for a vector of
// rows.
template <class D, class T, class ValueOf>
HWY_INLINE void CombineColumns(D d, T* y, size_t step, size_t count, size_t n, bool in_place,
                               const ValueOf& value_of) {
  for (size_t begin = 0; begin < n; begin += kColumnChunk) {
    const size_t end = std::min(n, begin + kColumnChunk);
    const auto of_strip = [&](const auto& reader, auto, size_t first, size_t) INSTNORM_INLINED {
      const auto value = value_of(first);
      for (size_t l = begin; l < end; ++l) reader.Store(value(reader, l), y + l * step + first);
    };
    EachStrip<1>(d, count, in_place, of_strip);
  }
}

template <class Act, class D, class T>
HWY_INLINE void ColumnAffine(D d, const T* x, size_t x_step, T* y, size_t y_step, size_t count,
                             size_t n, const AffineColumns& k) {
  const RowConstants<D> centre(k.centre, count), a(k.a, count), b(k.b, count);
  CombineColumns(d, y, y_step, count, n, x == y, [&](size_t first) INSTNORM_INLINED {
    return AffineValue<D, T, Act, false>{x + first,     Constant(d, 1.0), centre.From(first),
                                         a.From(first), b.From(first),    x_step};
  });
}

template <class D, class T>
HWY_INLINE void ColumnBackward(D d, const T* g, size_t g_step, const T* x, size_t x_step, T* dx,
                               size_t step, size_t count, size_t n, const BackwardColumns& k) {
  const RowConstants<D> centre(k.centre, count), p(k.p, count), q(k.q, count), r(k.r, count);
  CombineColumns(d, dx, step, count, n, g == dx || x == dx, [&](size_t first) INSTNORM_INLINED {
    return BackwardValue<D, T, T>{g + first,     x + first,     centre.From(first),
                                  p.From(first), q.From(first), r.From(first),
                                  g_step,        x_step};
  });
}

#endif

}  // namespace instnorm::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
