// Row sums: inner products over one block, in virtual lanes, in a fixed order.
#if defined(INSTNORM_CPU_SUMS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef INSTNORM_CPU_SUMS_INL_H_
#undef INSTNORM_CPU_SUMS_INL_H_
#else
#define INSTNORM_CPU_SUMS_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cmath>

#include "cpu/activation-inl.h"
#include "cpu/io-inl.h"
#include "cpu/lanes-inl.h"
#include "row_algebra.h"

HWY_BEFORE_NAMESPACE();
namespace instnorm::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Virtual vectors that one lane adds up before it is put aside. A block then has at most 16 + 16
// additions in a row per lane and 5 in the fold, instead of 128 + 5: the error grows with that
// depth.
constexpr size_t kChain = 16;

// Two sums over i of a block: of u(i), and of u(i) * v(i). `terms(reader, i, u, v)` gives both for
// one vector; u is zero in lanes behind the end.
template <class D, class Terms>
HWY_INLINE void TwoSums(D d, size_t n, const Terms& terms, hn::TFromD<D>& sum_u,
                        hn::TFromD<D>& sum_uv) {
  using Vectors = VirtualVector<D>;
  constexpr size_t kStep = kVirtualLanes<hn::TFromD<D>>;
  const size_t lanes = hn::Lanes(d);
  const size_t whole = n / kStep * kStep;
  Vectors total_u, total_uv;
  total_u.SetZero();
  total_uv.SetZero();
  size_t i = 0;
  do {
    Vectors chain_u, chain_uv;
    chain_u.SetZero();
    chain_uv.SetZero();
    const auto add = [&](const auto& reader, size_t at, size_t k) HWY_ATTR {
      hn::Vec<D> u, v;
      terms(reader, at, u, v);
      chain_u.Set(k, hn::Add(chain_u.Get(k), u));
      chain_uv.Set(k, hn::MulAdd(u, v, chain_uv.Get(k)));
    };
    const size_t end = std::min(whole, i + kChain * kStep);
    for (; i < end; i += kStep) {
      for (size_t k = 0; k < Vectors::Count(); ++k) add(Whole<D>(), i + k * lanes, k);
    }
    if (i == whole) {
      for (size_t k = 0; k < Vectors::Count() && i < n; ++k, i += lanes) {
        add(Part<D>{std::min(lanes, n - i)}, i, k);
      }
      i = n;
    }
    total_u.Add(chain_u);
    total_uv.Add(chain_uv);
  } while (i < n);
  sum_u = total_u.Fold();
  sum_uv = total_uv.Fold();
}

// A value near the block's mean: that of its first virtual vector, where lanes behind the end count
// as the first value. Exactly that value if all are the same.
template <class D, class T>
HWY_INLINE hn::TFromD<D> HeadMean(D d, const T* x, size_t n, hn::Vec<D> scale) {
  using Compute = hn::TFromD<D>;
  constexpr size_t kStep = kVirtualLanes<Compute>;
  // Divided first: the sum of 32 large values would overflow.
  const auto share = hn::Mul(scale, hn::Set(d, Compute{1} / static_cast<Compute>(kStep)));
  const auto first = hn::Set(d, hn::GetLane(LoadPartAs(d, x, 1)));
  const size_t lanes = hn::Lanes(d);
  VirtualVector<D> head;
  for (size_t k = 0; k < VirtualVector<D>::Count(); ++k) {
    const size_t at = k * lanes;
    auto v = first;
    if (at < n) {
      const size_t here = std::min(lanes, n - at);
      v = hn::IfThenElse(hn::FirstN(d, here), LoadPartAs(d, x + at, here), first);
    }
    head.Set(k, hn::Mul(v, share));
  }
  const Compute mean = head.Fold();
  return std::isfinite(mean) ? mean : Compute{0};
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

template <class D, class T>
struct MomentTerms {
  const T* x;
  hn::Vec<D> scale, centre;
  bool scaled;
  template <class Reader>
  HWY_INLINE void operator()(const Reader& reader, size_t i, hn::Vec<D>& u, hn::Vec<D>& v) const {
    auto value = reader.Load(x + i);
    if (scaled) value = hn::Mul(value, scale);
    u = v = reader.Keep(hn::Sub(value, centre));
  }
};

template <class D, class T>
HWY_INLINE void BlockMoments(D d, const T* x, size_t n, double scale, BlockSums& out) {
  using Compute = hn::TFromD<D>;
  const auto scale_vector = hn::Set(d, static_cast<Compute>(scale));
  const auto count = static_cast<Compute>(n);
  Compute centre = HeadMean(d, x, n, scale_vector), s, q;
  TwoSums(d, n, MomentTerms<D, T>{x, scale_vector, hn::Set(d, centre), scale != 1.0}, s, q);
  // A centre further than two standard deviations from the mean, (s/n)^2 > 4 (q/n - (s/n)^2), would
  // cost digits by cancellation: take the sums again, the data is in L1, about the mean just found.
  if (5 * s * s > 4 * count * q) {
    centre += s / count;
    TwoSums(d, n, MomentTerms<D, T>{x, scale_vector, hn::Set(d, centre), scale != 1.0}, s, q);
  }
  out = {static_cast<double>(n), static_cast<double>(centre), static_cast<double>(s),
         static_cast<double>(q), false};
  // Squares vanish for constant blocks, and for differences below the square root of the smallest
  // float.
  if (q == 0 && AllEqual(d, x, n)) {
    out.centre = static_cast<double>(hn::GetLane(LoadPartAs(d, x, 1))) * scale;
    out.s = 0;
    out.constant = true;
  }
}

template <class D, class G, class T>
struct GradientTerms {
  const G* g;
  const T* x;
  hn::Vec<D> centre;
  template <class Reader>
  HWY_INLINE void operator()(const Reader& reader, size_t i, hn::Vec<D>& u, hn::Vec<D>& v) const {
    u = reader.Load(g + i);
    v = hn::Sub(reader.Load(x + i), centre);
  }
};

template <class D, class G, class T>
HWY_INLINE void BlockGradientSums(D d, const G* g, const T* x, size_t n, double centre,
                                  GradientSums& out) {
  using Compute = hn::TFromD<D>;
  Compute sum_g, sum_gx;
  TwoSums(d, n, GradientTerms<D, G, T>{g, x, Constant(d, centre)}, sum_g, sum_gx);
  out = {static_cast<double>(sum_g), static_cast<double>(sum_gx)};
}

}  // namespace instnorm::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
