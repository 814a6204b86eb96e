// Row sums and row combine of rows that are columns in memory (channels last): a step goes from one
// value of all of them to the next. What is added up in which order is as in sums-inl.h, so the
// bits are those of the same row, dense.
//
// Virtual lane v of a row is every kVirtualLanes-th of its values from v on. A group is one value
// of each lane; where the rows are all that memory holds (flat), it is one run of it, whose vectors
// have nothing to do with where a row begins.
#if defined(INSTNORM_CPU_COLUMNS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef INSTNORM_CPU_COLUMNS_INL_H_
#undef INSTNORM_CPU_COLUMNS_INL_H_
#else
#define INSTNORM_CPU_COLUMNS_INL_H_
#endif

#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include <algorithm>
#include <type_traits>

#include "cpu/io-inl.h"
#include "cpu/kernels.h"
#include "cpu/lanes-inl.h"
#include "cpu/output-inl.h"
#include "cpu/sums-inl.h"
#include "plan.h"

HWY_BEFORE_NAMESPACE();
namespace instnorm::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

#if INSTNORM_SIZED_VECTORS

// One number of each row of a tile in the compute type, and again from the first on, for a vector
// that begins with one of the last.
template <class D>
class RowConstants {
 public:
  using Compute = hn::TFromD<D>;
  template <class Number>
  HWY_INLINE RowConstants(const Number* of_rows, size_t count) {
    for (size_t i = 0; i < count; ++i) values_[i] = static_cast<Compute>(of_rows[i]);
    size_t row = 0;
    for (size_t i = count; i < count + hn::MaxLanes(D()); ++i) {
      values_[i] = static_cast<Compute>(of_rows[row]);
      if (++row == count) row = 0;
    }
  }
  HWY_INLINE hn::Vec<D> From(size_t row) const { return hn::LoadU(D(), values_ + row); }
  HWY_INLINE Compute operator[](size_t row) const { return values_[row]; }

 private:
  HWY_ALIGN Compute values_[static_cast<size_t>(kTileRows) + hn::MaxLanes(D())];
};

// One number of each virtual lane of each row of a tile.
template <class D>
struct LaneNumbers {
  using Compute = hn::TFromD<D>;
  static constexpr size_t kVectorLanes = hn::MaxLanes(D());
  HWY_ALIGN Compute values[kVirtualLanes<Compute> * static_cast<size_t>(kTileRows) + kVectorLanes];

  // The rows' sums over the first `lanes` lanes, by the additions of VirtualVector's folds, to the
  // first `width` values. What is read behind the last lane comes to nothing that is used.
  HWY_INLINE void Fold(D d, size_t width, size_t lanes = kVirtualLanes<Compute>) {
    for (size_t h = lanes / 2; h > 0; h /= 2) {
      for (size_t i = 0; i < h * width; i += kVectorLanes) {
        hn::StoreU(hn::Add(hn::LoadU(d, values + i), hn::LoadU(d, values + i + h * width)), d,
                   values + i);
      }
    }
  }
};

// How a tile's values lie: `count` rows beside each other.
struct Columns {
  size_t count;
  bool flat;  // and nothing but them, so that from one value to the next it is `count` elements

  // Numbers from one virtual lane to the next in LaneNumbers.
  template <class D>
  HWY_INLINE size_t Width(D d) const {
    const size_t lanes = hn::Lanes(d);
    return flat ? count : (count + lanes - 1) / lanes * lanes;
  }

  // Calls f(reader, l, i, row, at) for each vector of the values l = 0 ... n - 1 of all rows: it
  // begins i elements behind value l of the first row, with a value of `row`; `at` is its place in
  // LaneNumbers.
  template <class D, class F>
  HWY_INLINE void EachVector(D d, size_t n, const F& f) const {
    const size_t lanes = hn::Lanes(d), width = Width(d);
    const size_t runs = flat ? 1 : n, length = flat ? n * count : count;
    const size_t step = lanes % count;
    for (size_t l = 0; l < runs; ++l) {
      size_t i = 0, row = 0;
      for (; i + lanes <= length; i += lanes) {
        f(Whole<D>(), l, i, row, l * width + i);
        row += step;
        if (row >= count) row -= count;
      }
      if (i < length) f(Part<D>{length - i}, l, i, row, l * width + i);
    }
  }
};

// TwoSums of each row. `terms(reader, l, i, row, u, v)` gives both terms of a vector as EachVector
// has it. Their sums are the first values of `sum_u` and `sum_uv`.
template <class D, class Terms>
HWY_INLINE void TwoColumnSums(D d, const Columns& columns, size_t n, const Terms& terms,
                              LaneNumbers<D>& sum_u, LaneNumbers<D>& sum_uv) {
  using V = hn::Vec<D>;
  constexpr size_t kStep = kVirtualLanes<hn::TFromD<D>>;
  // Groups that are added before a sum goes back to memory.
  constexpr size_t kAtOnce = 4;
  const size_t width = columns.Width(d), whole = n / kStep * kStep;
  LaneNumbers<D> chain_u, chain_uv;
  size_t begin = 0;
  do {
    size_t end = begin + kChain * kStep;
    if (end >= whole) end = n;  // the last chain takes the rest
    LaneNumbers<D>&to_u = begin == 0 ? sum_u : chain_u, &to_uv = begin == 0 ? sum_uv : chain_uv;
    const auto add = [&](size_t first, size_t rows, size_t groups, bool fresh) INSTNORM_INLINED {
      columns.EachVector(d, rows,
                         [&](const auto& reader, size_t l, size_t i, size_t row, size_t at)
                             INSTNORM_INLINED {
                               V u = hn::Zero(d), uv = u;
                               if (!fresh) {
                                 u = hn::LoadU(d, to_u.values + at);
                                 uv = hn::LoadU(d, to_uv.values + at);
                               }
                               for (size_t q = 0; q < groups; ++q) {
                                 V a, b;
                                 terms(reader, first + q * kStep + l, i, row, a, b);
                                 u = hn::Add(u, a);
                                 uv = hn::MulAdd(a, b, uv);
                               }
                               hn::StoreU(u, d, to_u.values + at);
                               hn::StoreU(uv, d, to_uv.values + at);
                             });
    };
    size_t first = begin;
    while (first + kStep <= end) {
      const size_t groups = std::min(kAtOnce, (end - first) / kStep);
      add(first, kStep, groups, first == begin);
      first += groups * kStep;
    }
    if (first == begin) {
      std::fill_n(to_u.values, kStep * width, hn::TFromD<D>{0});
      std::fill_n(to_uv.values, kStep * width, hn::TFromD<D>{0});
    }
    if (first < end) add(first, end - first, 1, false);
    if (begin != 0) {
      for (size_t i = 0; i < kStep * width; i += hn::MaxLanes(d)) {
        const auto add_chain = [&](LaneNumbers<D>& sum,
                                   const LaneNumbers<D>& chain) INSTNORM_INLINED {
          hn::StoreU(hn::Add(hn::LoadU(d, sum.values + i), hn::LoadU(d, chain.values + i)), d,
                     sum.values + i);
        };
        add_chain(sum_u, chain_u);
        add_chain(sum_uv, chain_uv);
      }
    }
    begin = end;
  } while (begin < n);
  sum_u.Fold(d, width);
  sum_uv.Fold(d, width);
}

// HeadMean of each row, finite, as the first values of `head`.
template <class D, class T>
HWY_INLINE void ColumnHeadMeans(D d, const Columns& columns, const T* x, size_t step, size_t n,
                                LaneNumbers<D>& head) {
  using Compute = hn::TFromD<D>;
  constexpr size_t kHead = kHeadLanes<Compute>;
  const auto share = hn::Set(d, Compute{1} / static_cast<Compute>(kHead));
  const size_t width = columns.Width(d), there = std::min(n, kHead);
  columns.EachVector(
      d, there, [&](const auto& reader, size_t l, size_t i, size_t, size_t at) INSTNORM_INLINED {
        hn::StoreU(hn::Mul(reader.Load(x + l * step + i), share), d, head.values + at);
      });
  for (size_t v = there; v < kHead; ++v) std::copy_n(head.values, width, head.values + v * width);
  head.Fold(d, width, kHead);
  for (size_t i = 0; i < columns.count; i += hn::MaxLanes(d)) {
    hn::StoreU(FiniteOrZero(d, hn::LoadU(d, head.values + i)), d, head.values + i);
  }
}

// BlockMoments of `count` rows, n values of each; from one to the next it is `step` elements.
template <class D, class T>
HWY_INLINE void ColumnMoments(D d, const T* x, size_t step, size_t count, size_t n,
                              const MomentSums& out) {
  using Compute = hn::TFromD<D>;
  const Columns columns{count, step == count};
  LaneNumbers<D> s, q;
  ColumnHeadMeans(d, columns, x, step, n, s);
  const RowConstants<D> centre(s.values, count);
  const auto terms = [&](const auto& reader, size_t l, size_t i, size_t row, hn::Vec<D>& u,
                         hn::Vec<D>& v) INSTNORM_INLINED {
    const T* at = x + l * step + i;
    FetchAhead(at);
    u = v = reader.Keep(hn::Sub(reader.Load(at), centre.From(row)));
  };
  TwoColumnSums(d, columns, n, terms, s, q);
  for (size_t i = 0; i < count; ++i) {
    out.centre[i] = static_cast<double>(centre[i]);
    out.s[i] = static_cast<double>(s.values[i]);
    out.q[i] = static_cast<double>(q.values[i]);
    out.constant[i] = false;
  }
  for (size_t i = 0; i < count; ++i) {
    if (!AgainByItself<Compute>(out.s[i], out.q[i], n)) continue;
    T row[static_cast<size_t>(kBlockBytes) / sizeof(Compute)];
    for (size_t l = 0; l < n; ++l) CopyPart<1>(row + l, x + l * step + i, 1);
    BlockMoments(d, row, n, 1.0, out.at(static_cast<int64_t>(i)));
  }
}

template <class D, class G, class T>
HWY_INLINE void ColumnGradientSums(D d, const G* g, size_t g_step, const T* x, size_t x_step,
                                   size_t count, size_t n, const double* centres,
                                   const GradientSumsOut& out) {
  const RowConstants<D> centre(centres, count);
  const Columns columns{count, g_step == count && x_step == count};
  LaneNumbers<D> sum_g, sum_gx;
  const auto terms = [&](const auto& reader, size_t l, size_t i, size_t row, hn::Vec<D>& u,
                         hn::Vec<D>& v) INSTNORM_INLINED {
    const G* of_g = g + l * g_step + i;
    const T* of_x = x + l * x_step + i;
    FetchAhead(of_g);
    FetchAhead(of_x);
    u = reader.Load(of_g);
    v = hn::Sub(reader.Load(of_x), centre.From(row));
  };
  TwoColumnSums(d, columns, n, terms, sum_g, sum_gx);
  for (size_t i = 0; i < count; ++i) {
    out.g[i] = static_cast<double>(sum_g.values[i]);
    out.gx[i] = static_cast<double>(sum_gx.values[i]);
  }
}

// y at (l, i) = Act of value(reader, l, i, row) for all l and rows, as EachVector has them. When
// streaming, fetch_next(i) is called for element i of what is read next, which may be nothing.
template <class Act, class D, class T, class Value, class FetchNext>
HWY_INLINE void CombineColumns(D d, T* y, size_t step, const Columns& columns, size_t n,
                               bool stream, const Value& value, const FetchNext& fetch_next) {
  const size_t lanes = hn::Lanes(d), count = columns.count;
  const size_t runs = columns.flat ? 1 : n, length = columns.flat ? n * count : count;
  const size_t next_row = lanes % count;
  constexpr size_t per_line = kLineBytes / sizeof(T);
  for (size_t l = 0; l < runs; ++l) {
    T* to = y + l * step;
    Output<Act, D, T> out(to, stream);
    size_t i = 0, row = 0;
    const auto part = [&](size_t here) INSTNORM_INLINED {
      out.PutPart(value(Part<D>{here}, l, i, row), i, here);
      i += here;
      row = (row + here) % count;
    };
    const size_t before = (kLineBytes - reinterpret_cast<uintptr_t>(to) % kLineBytes) % kLineBytes;
    const size_t head = std::min(length, before / sizeof(T));
    const size_t end = stream ? head + (length - head) / per_line * per_line : length;
    while (i < head) part(std::min(lanes, head - i));
    for (; i + lanes <= end; i += lanes) {
      const auto v = value(Whole<D>(), l, i, row);
      if (stream) fetch_next(l * step + i);
      out.Put(v, i);
      row += next_row;
      if (row >= count) row -= count;
    }
    out.Flush();
    while (i < length) part(std::min(lanes, length - i));
  }
}

// Behind this much, what is read next would drive out of the second-level cache what is read now.
constexpr size_t kFetchNextBytes = size_t{512} << 10;

template <class Act, class D, class T>
HWY_INLINE void ColumnAffine(D d, const T* x, size_t x_step, T* y, size_t y_step, size_t count,
                             size_t n, const AffineColumns& k, bool stream) {
  const RowConstants<D> centre(k.centre, count), a(k.a, count), b(k.b, count);
  const Columns columns{count, x_step == count && y_step == count};
  const bool fetch = x_step * n * sizeof(T) <= kFetchNextBytes;
  CombineColumns<Act>(
      d, y, y_step, columns, n, stream,
      [&](const auto& reader, size_t l, size_t i, size_t row) INSTNORM_INLINED {
        const auto v = hn::Sub(reader.Load(x + l * x_step + i), centre.From(row));
        return hn::MulAdd(v, a.From(row), b.From(row));
      },
      [&](size_t i) INSTNORM_INLINED {
        if (fetch) hwy::Prefetch(x + x_step * n + i);
      });
}

template <class D, class T>
HWY_INLINE void ColumnBackward(D d, const T* g, size_t g_step, const T* x, size_t x_step, T* dx,
                               size_t step, size_t count, size_t n, const BackwardColumns& k,
                               bool stream) {
  const RowConstants<D> centre(k.centre, count), p(k.p, count), q(k.q, count), r(k.r, count);
  const Columns columns{count, g_step == count && x_step == count && step == count};
  const bool fetch = x_step * n * sizeof(T) <= kFetchNextBytes / 2;
  CombineColumns<NoActivation>(
      d, dx, step, columns, n, stream,
      [&](const auto& reader, size_t l, size_t i, size_t row) INSTNORM_INLINED {
        const auto v = hn::Sub(reader.Load(x + l * x_step + i), centre.From(row));
        const auto rest = hn::MulAdd(v, q.From(row), r.From(row));
        return hn::MulAdd(reader.Load(g + l * g_step + i), p.From(row), rest);
      },
      [&](size_t i) INSTNORM_INLINED {
        if (!fetch) return;
        hwy::Prefetch(g + g_step * n + i);
        hwy::Prefetch(x + x_step * n + i);
      });
}

// p * g: x, which may be NaN, has no part in it.
template <class D, class T>
HWY_INLINE void ColumnScaled(D d, const T* g, size_t g_step, T* dx, size_t step, size_t count,
                             size_t n, const double* factors, bool stream) {
  const RowConstants<D> p(factors, count);
  const Columns columns{count, g_step == count && step == count};
  CombineColumns<NoActivation>(
      d, dx, step, columns, n, stream,
      [&](const auto& reader, size_t l, size_t i, size_t row)
          INSTNORM_INLINED { return hn::Mul(reader.Load(g + l * g_step + i), p.From(row)); },
      [](size_t) {});
}

#endif

}  // namespace instnorm::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
