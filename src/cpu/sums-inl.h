// Row sums: inner products over one block, in virtual lanes, in a fixed order.
#if defined(INSTNORM_CPU_SUMS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef INSTNORM_CPU_SUMS_INL_H_
#undef INSTNORM_CPU_SUMS_INL_H_
#else
#define INSTNORM_CPU_SUMS_INL_H_
#endif

#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>

#include "cpu/activation-inl.h"
#include "cpu/io-inl.h"
#include "cpu/kernels.h"
#include "cpu/lanes-inl.h"
#include "row_algebra.h"

HWY_BEFORE_NAMESPACE();
namespace instnorm::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Virtual vectors that one lane adds up before it is put aside. A block then has at most 16 + 16
// additions in a row per lane and 5 in the fold, instead of 128 + 5: the error grows with that
// depth.
constexpr size_t kChain = 16;

// Work that is done beside the sums of a block: Begin, then Step(i) beside vector i of those that
// the loop takes, then End. This is none.
struct NoWork {
  HWY_INLINE void Begin() const {}
  HWY_INLINE void Step(size_t) const {}
  HWY_INLINE void End() const {}
};

// Two sums over i of a block, of u(i) and of u(i) * v(i), still to be folded. `terms(reader, i, u,
// v)` gives both for one vector; u is zero in lanes behind the end. What is inlined once is inlined
// in every kernel of every instruction set: so the end of a block has one copy of the code for part
// of a vector.
template <class D, class Terms, class Work = NoWork>
HWY_INLINE void TwoSums(D d, size_t n, const Terms& terms, hn::Vec<D>& sum_u, hn::Vec<D>& sum_uv,
                        const Work& beside = {}) {
  using Vectors = VirtualVector<D>;
  constexpr size_t kStep = kVirtualLanes<hn::TFromD<D>>;
  const size_t lanes = hn::Lanes(d);
  const size_t whole = n / kStep * kStep;
  Vectors total_u, total_uv;
  size_t i = 0;
  bool first = true;
  beside.Begin();
  do {
    Vectors chain_u, chain_uv;
    chain_u.SetZero();
    chain_uv.SetZero();
    hn::Vec<D> u, v;
    const auto add = [&](size_t k) INSTNORM_INLINED {
      chain_u.Set(k, hn::Add(chain_u.Get(k), u));
      chain_uv.Set(k, hn::MulAdd(u, v, chain_uv.Get(k)));
    };
    const size_t end = std::min(whole, i + kChain * kStep);
    for (; i < end; i += kStep) {
      Vectors::Each([&](auto k) INSTNORM_INLINED {
        terms(Whole<D>(), i + k * lanes, u, v);
        add(k);
        beside.Step(i + k * lanes);
      });
    }
    if (i == whole) {
      const size_t full = (n - i) / lanes, part = n % lanes;
      Vectors::Each([&](auto k) INSTNORM_INLINED {
        if (k >= full) return;
        terms(Whole<D>(), i + k * lanes, u, v);
        add(k);
      });
      if (part != 0) {
        terms(Part<D>{part}, i + full * lanes, u, v);
        Vectors::Each([&](auto k) INSTNORM_INLINED {
          if (k == full) add(k);
        });
      }
      i = n;
    }
    if (first) {
      total_u = chain_u;
      total_uv = chain_uv;
    } else {
      total_u.Add(chain_u);
      total_uv.Add(chain_uv);
    }
    first = false;
  } while (i < n);
  beside.End();
  sum_u = total_u.FoldToVector();
  sum_uv = total_uv.FoldToVector();
}

// Values whose mean is near enough to the block's: half a virtual vector, one register of AVX-512.
template <class T>
constexpr size_t kHeadLanes = kVirtualLanes<T> / 2;

// A value near the block's mean: that of its first values, where lanes behind the end count as the
// first value. Exactly that value if all are the same. Still to be folded.
template <class D, class T>
HWY_INLINE hn::Vec<D> HeadMean(D d, const T* x, size_t n, hn::Vec<D> scale) {
  using Compute = hn::TFromD<D>;
  using Vectors = VirtualVector<D>;
  // Divided first: the sum of many large values would overflow.
  const auto share =
      hn::Mul(scale, hn::Set(d, Compute{1} / static_cast<Compute>(kHeadLanes<Compute>)));
  const size_t lanes = hn::Lanes(d);
  Vectors head;
  if (n >= kHeadLanes<Compute> && lanes <= kHeadLanes<Compute>) {
    Vectors::Each([&](auto k) INSTNORM_INLINED {
      if (k * lanes < kHeadLanes<Compute>) {
        head.Set(k, hn::Mul(LoadAs(d, x + k * lanes), share));
      } else {
        head.Set(k, hn::Zero(d));
      }
    });
    return head.FoldHead();
  }
  const auto first = hn::Set(d, hn::GetLane(LoadPartAs(d, x, 1)));
  Vectors::Each([&](auto k) INSTNORM_INLINED {
    const size_t at = k * lanes;
    const size_t there = at < n ? std::min(lanes, n - at) : 0;
    const size_t wanted = at < kHeadLanes<Compute> ? std::min(lanes, kHeadLanes<Compute> - at) : 0;
    const auto v = hn::IfThenElse(hn::FirstN(d, there), LoadPartAs(d, x + at, there), first);
    head.Set(k, hn::IfThenElseZero(hn::FirstN(d, wanted), hn::Mul(v, share)));
  });
  return head.FoldHead();
}

// Zero in the place of a mean that is not finite.
template <class D>
HWY_INLINE hn::Vec<D> FiniteOrZero(D d, hn::Vec<D> mean) {
  return hn::IfThenElseZero(hn::Eq(hn::Sub(mean, mean), hn::Zero(d)), mean);
}

template <class D, class T>
HWY_INLINE bool AllEqual(D d, const T* x, size_t n) {
  const auto first = hn::Set(d, hn::GetLane(LoadPartAs(d, x, 1)));
  const size_t lanes = hn::Lanes(d);
  for (size_t i = 0; i < n; i += lanes) {
    const size_t here = std::min(lanes, n - i);
    const auto different = hn::Ne(LoadPartAs(d, x + i, here), first);
    if (!hn::AllFalse(d, hn::And(different, hn::FirstN(d, here)))) return false;
  }
  return true;
}

// Fetches what a loop over memory from p on reads in a while: the machine's own prefetchers stop at
// the end of a page.
template <class T>
HWY_INLINE void FetchAhead(const T* p) {
  constexpr size_t kAheadBytes = 1536;
  hwy::Prefetch(p + kAheadBytes / sizeof(T));
}

template <class D, class T, bool kScaled = false, bool kAhead = false>
struct MomentTerms {
  const T* x;
  Repeated<D> scale, centre;
  size_t step = 1;  // from one value to the next
  template <class Reader>
  HWY_INLINE void operator()(const Reader& reader, size_t i, hn::Vec<D>& u, hn::Vec<D>& v) const {
    if constexpr (kAhead) FetchAhead(x + i);
    auto value = reader.Load(x + i * step);
    if constexpr (kScaled) value = hn::Mul(value, All(D(), scale));
    u = v = reader.Keep(hn::Sub(value, All(D(), centre)));
  }
};

// A centre further than two standard deviations from the mean, (s/n)^2 > 4 (q/n - (s/n)^2), costs
// digits by cancellation.
template <class Compute>
HWY_INLINE bool FarFromMean(Compute s, Compute q, size_t n) {
  return 5 * s * s > 4 * static_cast<Compute>(n) * q;
}

// What a block's sums are taken about.
template <class D, class T>
HWY_INLINE hn::TFromD<D> HeadCentre(D d, const T* x, size_t n, hn::Vec<D> scale) {
  return hn::GetLane(FiniteOrZero(d, hn::Set(d, Fold(d, HeadMean(d, x, n, scale)))));
}

template <bool kScaled, class D, class T>
HWY_INLINE void BlockMomentsOf(D d, const T* x, size_t n, double scale, const MomentSums& out) {
  using Compute = hn::TFromD<D>;
  Compute centre = HeadCentre(d, x, n, Constant(d, scale));
  Compute s, q;
  for (bool again = false;; again = true) {
    hn::Vec<D> u, uv;
    TwoSums(d, n, MomentTerms<D, T, kScaled>{x, Repeat(d, scale), Repeat(d, centre)}, u, uv);
    s = Fold(d, u);
    q = Fold(d, uv);
    if (again || !FarFromMean(s, q, n)) break;
    // Once more, the data is in L1, about the mean just found.
    centre += s / static_cast<Compute>(n);
  }
  // Squares vanish for constant blocks, and for differences below the square root of the smallest
  // float.
  const bool constant = q == 0 && AllEqual(d, x, n);
  *out.centre = constant ? static_cast<double>(hn::GetLane(LoadPartAs(d, x, 1))) * scale
                         : static_cast<double>(centre);
  *out.s = constant ? 0.0 : static_cast<double>(s);
  *out.q = static_cast<double>(q);
  *out.constant = constant;
}

template <class D, class T>
HWY_NOINLINE void BlockMoments(D d, const T* x, size_t n, double scale, const MomentSums& out) {
  if constexpr (std::is_same_v<T, double>) {
    if (scale != 1.0) return BlockMomentsOf<true>(d, x, n, scale, out);
  }
  BlockMomentsOf<false>(d, x, n, 1.0, out);
}

// Must BlockMoments look at a block by itself whose sums are these?
template <class Compute>
HWY_INLINE bool AgainByItself(double s, double q, size_t n) {
  return q == 0 || FarFromMean(static_cast<Compute>(s), static_cast<Compute>(q), n);
}

// BlockMoments, with the same bits, and other work beside its sums.
template <class D, class T, class Work>
HWY_INLINE void BlockMomentsBeside(D d, const T* x, size_t n, const MomentSums& out,
                                   const Work& beside) {
  const auto centre = HeadCentre(d, x, n, Constant(d, 1.0));
  hn::Vec<D> u, uv;
  TwoSums(d, n, MomentTerms<D, T, false, true>{x, Repeat(d, 1.0), Repeat(d, centre)}, u, uv,
          beside);
  *out.centre = static_cast<double>(centre);
  *out.s = static_cast<double>(Fold(d, u));
  *out.q = static_cast<double>(Fold(d, uv));
  *out.constant = false;
  if (AgainByItself<hn::TFromD<D>>(*out.s, *out.q, n)) BlockMoments(d, x, n, 1.0, out);
}

// Lane i of v to out[i], for the first `count` lanes.
template <class D>
HWY_INLINE void StoreLanes(D d, hn::Vec<D> v, size_t count, double* out) {
  HWY_ALIGN hn::TFromD<D> lanes[hn::MaxLanes(D())];
  hn::Store(v, d, lanes);
  for (size_t i = 0; i < count; ++i) out[i] = static_cast<double>(lanes[i]);
}

#if INSTNORM_SIZED_VECTORS
// From this much in a block on, its head is read just before the rest of it. The heads of all
// blocks first, folded together, are faster for short ones; for others they are as many places of
// memory to wait for.
constexpr size_t kHeadOfEachBytes = 1024;

// BlockMoments of up to kFoldedTogether blocks, with the same bits: what is said of one block in
// scalars is said of all in a vector. `block(i)` is where block i begins.
template <class D, class Block>
HWY_INLINE void BlockMomentsTogether(D d, const Block& block, size_t count, size_t n,
                                     const MomentSums& out) {
  using Compute = hn::TFromD<D>;
  constexpr size_t kTogether = kFoldedTogether<D>;
  using T = std::remove_cv_t<std::remove_pointer_t<decltype(block(0))>>;
  const auto one = Constant(d, 1.0);
  hn::Vec<D> u[kTogether], uv[kTogether];
  HWY_ALIGN Compute centres[kTogether];
  const bool heads_first = n * sizeof(T) < kHeadOfEachBytes;
  if (heads_first) {
    for (size_t i = 0; i < count; ++i) u[i] = HeadMean(d, block(i), n, one);
    for (size_t i = count; i < kTogether; ++i) u[i] = hn::Zero(d);
    hn::Store(FiniteOrZero(d, FoldEach(d, u)), d, centres);
  }
  for (size_t i = 0; i < count; ++i) {
    if (!heads_first) centres[i] = HeadCentre(d, block(i), n, one);
    TwoSums(d, n, MomentTerms<D, T>{block(i), Repeat(d, 1.0), Repeat(d, centres[i])}, u[i], uv[i]);
  }
  for (size_t i = count; i < kTogether; ++i) u[i] = uv[i] = one;
  const auto s = FoldEach(d, u), q = FoldEach(d, uv);
  StoreLanes(d, hn::Load(d, centres), count, out.centre);
  StoreLanes(d, s, count, out.s);
  StoreLanes(d, q, count, out.q);
  for (size_t i = 0; i < count; ++i) out.constant[i] = false;
  const auto far = hn::Gt(hn::Mul(hn::Mul(Constant(d, 5.0), s), s),
                          hn::Mul(Constant(d, 4.0 * static_cast<double>(n)), q));
  if (hn::AllFalse(d, hn::Or(far, hn::Eq(q, hn::Zero(d))))) return;
  for (size_t i = 0; i < count; ++i) {
    if (!AgainByItself<Compute>(out.s[i], out.q[i], n)) continue;
    BlockMoments(d, block(i), n, 1.0, out.at(static_cast<int64_t>(i)));
  }
}
#endif

template <class D, class G, class T, bool kAhead = false>
struct GradientTerms {
  const G* g;
  const T* x;
  Repeated<D> centre;
  template <class Reader>
  HWY_INLINE void operator()(const Reader& reader, size_t i, hn::Vec<D>& u, hn::Vec<D>& v) const {
    if constexpr (kAhead) {
      FetchAhead(g + i);
      FetchAhead(x + i);
    }
    u = reader.Load(g + i);
    v = hn::Sub(reader.Load(x + i), All(D(), centre));
  }
};

#if INSTNORM_SIZED_VECTORS
// The same of up to kFoldedTogether blocks. g(i) and x(i) are where block i begins, centre(i) is
// what it is taken about.
template <class D, class OfG, class OfX, class Centre>
HWY_INLINE void BlockGradientSumsTogether(D d, const OfG& g, const OfX& x, const Centre& centre,
                                          size_t count, size_t n, const GradientSumsOut& out) {
  constexpr size_t kTogether = kFoldedTogether<D>;
  using G = std::remove_cv_t<std::remove_pointer_t<decltype(g(0))>>;
  using T = std::remove_cv_t<std::remove_pointer_t<decltype(x(0))>>;
  hn::Vec<D> u[kTogether], uv[kTogether];
  for (size_t i = 0; i < count; ++i) {
    TwoSums(d, n, GradientTerms<D, G, T>{g(i), x(i), Repeat(d, centre(i))}, u[i], uv[i]);
  }
  for (size_t i = count; i < kTogether; ++i) u[i] = uv[i] = hn::Zero(d);
  StoreLanes(d, FoldEach(d, u), count, out.g);
  StoreLanes(d, FoldEach(d, uv), count, out.gx);
}
#endif

template <class Work, class D, class G, class T>
HWY_INLINE void BlockGradientSums(D d, const G* g, const T* x, size_t n, double centre,
                                  double& sum_g, double& sum_gx, const Work& beside) {
  constexpr bool kAhead = !std::is_same_v<Work, NoWork>;
  hn::Vec<D> u, uv;
  TwoSums(d, n, GradientTerms<D, G, T, kAhead>{g, x, Repeat(d, centre)}, u, uv, beside);
  sum_g = static_cast<double>(Fold(d, u));
  sum_gx = static_cast<double>(Fold(d, uv));
}

}  // namespace instnorm::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
