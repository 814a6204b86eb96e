// The row algebra of many rows: the formulas of row_algebra.h, of as many rows at a time as a
// vector has doubles.
#if defined(INSTNORM_CPU_ALGEBRA_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef INSTNORM_CPU_ALGEBRA_INL_H_
#undef INSTNORM_CPU_ALGEBRA_INL_H_
#else
#define INSTNORM_CPU_ALGEBRA_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "cpu/kernels.h"
#include "cpu/lanes-inl.h"
#include "plan.h"
#include "row_algebra.h"

// Vectors as a class are for optimised code alone: without -O, GCC 12 leaves the class on a stack
// that it does not align for it, and crashes. One row at a time has the same bits.
#ifdef __OPTIMIZE__
#define INSTNORM_DOUBLES INSTNORM_SIZED_VECTORS
#else
#define INSTNORM_DOUBLES 0
#endif

HWY_BEFORE_NAMESPACE();
namespace instnorm::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Always inlined: a function that is not hands vectors over by the rules of the instruction set
// that its compiler takes for its own.
#define INSTNORM_FORMULA HWY_INLINE
#include "row_formulas-inl.h"
#undef INSTNORM_FORMULA

// How Real is read and written, for Real = double.
HWY_INLINE void Write(double x, double* p) { *p = x; }
HWY_INLINE bool WriteAnswer(bool yes, bool, std::int64_t* p) {
  *p = yes;
  return yes;
}

#if INSTNORM_DOUBLES
using DoublesTag = hn::ScalableTag<double>;

struct Answers {
  hn::Mask<DoublesTag> mask;
  friend HWY_INLINE Answers operator&(Answers a, Answers b) { return {hn::And(a.mask, b.mask)}; }
  friend HWY_INLINE Answers operator|(Answers a, Answers b) { return {hn::Or(a.mask, b.mask)}; }
  HWY_INLINE Answers operator!() const { return {hn::Not(mask)}; }
};

struct Doubles {
  hn::Vec<DoublesTag> v;

  Doubles() = default;
  explicit HWY_INLINE Doubles(hn::Vec<DoublesTag> vector) : v(vector) {}
  explicit HWY_INLINE Doubles(double x) : v(hn::Set(DoublesTag(), x)) {}
  static HWY_INLINE Doubles Read(const double* p, hn::Mask<DoublesTag> there) {
    return Doubles(hn::MaskedLoad(there, DoublesTag(), p));
  }

  friend HWY_INLINE Doubles operator+(Doubles a, Doubles b) { return Doubles(hn::Add(a.v, b.v)); }
  friend HWY_INLINE Doubles operator-(Doubles a, Doubles b) { return Doubles(hn::Sub(a.v, b.v)); }
  friend HWY_INLINE Doubles operator*(Doubles a, Doubles b) { return Doubles(hn::Mul(a.v, b.v)); }
  friend HWY_INLINE Doubles operator/(Doubles a, Doubles b) { return Doubles(hn::Div(a.v, b.v)); }
  friend HWY_INLINE Answers operator<(Doubles a, Doubles b) { return {hn::Lt(a.v, b.v)}; }
  friend HWY_INLINE Answers operator>(Doubles a, Doubles b) { return {hn::Gt(a.v, b.v)}; }
  friend HWY_INLINE Answers operator<=(Doubles a, Doubles b) { return {hn::Le(a.v, b.v)}; }
  friend HWY_INLINE Answers operator==(Doubles a, Doubles b) { return {hn::Eq(a.v, b.v)}; }
  friend HWY_INLINE Answers operator!=(Doubles a, Doubles b) { return {hn::Ne(a.v, b.v)}; }

  friend HWY_INLINE Doubles choose(Answers condition, Doubles yes, Doubles no) {
    return Doubles(hn::IfThenElse(condition.mask, yes.v, no.v));
  }
  friend HWY_INLINE Doubles magnitude(Doubles x) { return Doubles(hn::Abs(x.v)); }
  friend HWY_INLINE Doubles square_root(Doubles x) { return Doubles(hn::Sqrt(x.v)); }
};

HWY_INLINE Doubles to_float_and_back(Doubles x) {
  const hn::Rebind<float, DoublesTag> df;
  return Doubles(hn::PromoteTo(DoublesTag(), hn::DemoteTo(df, x.v)));
}

HWY_INLINE Doubles float_inverse_root(Doubles x) {
  const hn::Rebind<float, DoublesTag> df;
  const auto one = hn::Set(df, 1.0f);
  return Doubles(hn::PromoteTo(DoublesTag(), hn::Div(one, hn::Sqrt(hn::DemoteTo(df, x.v)))));
}

HWY_INLINE void Write(Doubles x, double* p) { hn::StoreU(x.v, DoublesTag(), p); }

// 1 for yes. Returns whether those there are.
HWY_INLINE bool WriteAnswer(Answers answers, hn::Mask<DoublesTag> there, std::int64_t* p) {
  const hn::RebindToSigned<DoublesTag> di;
  hn::StoreU(hn::IfThenElseZero(hn::RebindMask(di, answers.mask), hn::Set(di, 1)), di, p);
  return hn::AllFalse(DoublesTag(), hn::AndNot(answers.mask, there));
}
#endif

// Calls rows(i, read, there) for i = 0 ... count - 1: read(p) is the numbers at p of as many rows
// from i on as are taken together. The last vector is a whole one too, zero in what is not there:
// what is written has room for it (kSpareRows).
template <class OfRows>
HWY_INLINE void EachRow(std::int64_t count, const OfRows& rows) {
#if INSTNORM_DOUBLES
  constexpr auto kLanes = static_cast<std::int64_t>(hn::MaxLanes(DoublesTag()));
  static_assert(kLanes <= kSpareRows + 1);
  for (std::int64_t i = 0; i < count; i += kLanes) {
    const auto there = hn::FirstN(DoublesTag(), static_cast<size_t>(std::min(count - i, kLanes)));
    rows(i, [&](const double* p) INSTNORM_INLINED { return Doubles::Read(p + i, there); }, there);
  }
#else
  for (std::int64_t i = 0; i < count; ++i) rows(i, [i](const double* p) { return p[i]; }, true);
#endif
}

template <class Compute>
bool ForwardAlgebra(const RowsForward& rows) {
  const RowsForward r = rows;  // a copy, so that no store can change it
  bool all = true;
  EachRow(r.count, [&](std::int64_t i, const auto& read, auto there) INSTNORM_INLINED {
    using Real = decltype(read(r.weight));
    const Real count(r.n), eps(r.eps);
    const MeanAndM2<Real> m =
        mean_and_m2(count, read(r.sums.centre), read(r.sums.s), read(r.sums.q));
    const Real var = variance_of<Compute>(count, m.m2);
    const Real rstd = rstd_of<Compute>(count, var, eps);
    const AffineCoefficientsOf<Real> k =
        affine<Compute>(m.mean, rstd, read(r.weight), read(r.bias));
    Write(m.mean.hi, r.mean_hi + i);
    Write(m.mean.lo, r.mean_lo + i);
    Write(m.m2, r.m2 + i);
    Write(k.centre, r.centre + i);
    Write(k.a, r.a + i);
    Write(k.b, r.b + i);
    Answer<Real> fits = common_variance<Compute>(var, eps);
    if constexpr (std::is_same_v<Compute, float>) {
      fits = fits & fits_float(k) & has_float_root(var + eps);
    }
    all &= WriteAnswer(fits, there, r.fits + i);
  });
  return all;
}

template <class Compute>
bool BackwardAlgebra(const RowsBackward& rows) {
  const RowsBackward r = rows;
  bool all = true;
  EachRow(r.count, [&](std::int64_t i, const auto& read, auto there) INSTNORM_INLINED {
    using Real = decltype(read(r.weight));
    const Real count = read(r.moments_count);
    const Real var = variance_of<Compute>(count, read(r.m2));
    const Real mean = read(r.mean), centre = read(r.centre), eps(r.eps);
    const Real rstd = rstd_of<Compute>(count, var, eps);
    const GradientSumsOf<Real> sums{read(r.sum_g), read(r.sum_gx)};
    const ParameterGradientsOf<Real> gradients = parameter_gradients(sums, centre, mean, rstd);
    const BackwardCoefficientsOf<Real> k = backward_coefficients(
        gradients, centre, mean, rstd, read(r.weight), count, r.constant_moments);
    Write(gradients.weight, r.grad_weight + i);
    Write(gradients.bias, r.grad_bias + i);
    Write(k.p, r.p + i);
    Write(k.q, r.q + i);
    Write(k.r, r.r + i);
    Answer<Real> fits = !is_bias_whatever_x(count, var, eps, r.constant_moments);
    if constexpr (std::is_same_v<Compute, float>) {
      const Answer<Real> root = has_float_root(var + eps) | is_bias(count, var, eps);
      fits = fits & float_gradient(sums, mean, var) & fits_float(k) & root;
    }
    all &= WriteAnswer(fits, there, r.fits + i);
  });
  return all;
}

}  // namespace instnorm::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
