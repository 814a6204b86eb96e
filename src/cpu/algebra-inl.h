// The row algebra of many rows at a time: the formulas of row_algebra.h in loops that the compiler
// turns into vectors of this instruction set. No row needs another one's result, and IEEE
// arithmetic has the same bits one by one and four by four.
#if defined(INSTNORM_CPU_ALGEBRA_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef INSTNORM_CPU_ALGEBRA_INL_H_
#undef INSTNORM_CPU_ALGEBRA_INL_H_
#else
#define INSTNORM_CPU_ALGEBRA_INL_H_
#endif

#include <hwy/highway.h>

#include <cstdint>
#include <type_traits>

#include "cpu/kernels.h"
#include "row_algebra.h"

// No iteration of the loop that follows needs another one's result, and no arrays overlap.
#if defined(__clang__)
#define INSTNORM_INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#else
#define INSTNORM_INDEPENDENT _Pragma("GCC ivdep")
#endif

HWY_BEFORE_NAMESPACE();
namespace instnorm::cpu::HWY_NAMESPACE {

template <class Compute>
bool ForwardAlgebra(const RowsForward& rows) {
  const RowsForward r = rows;  // a copy, so that no store can change it
  std::int64_t all = 1;
  INSTNORM_INDEPENDENT
  for (std::int64_t i = 0; i < r.count; ++i) {
    const RowMoments m = moments_of({r.n, r.sums.centre[i], r.sums.s[i], r.sums.q[i], false});
    const double var = m.variance();
    const AffineCoefficients k =
        affine<Compute>(m.mean, rstd_of(r.n, var, r.eps), r.weight[i], r.bias[i]);
    r.mean_hi[i] = m.mean.hi;
    r.mean_lo[i] = m.mean.lo;
    r.m2[i] = m.m2;
    r.centre[i] = k.centre;
    r.a[i] = k.a;
    r.b[i] = k.b;
    const bool variance_fits = common_variance<Compute>(var, r.eps);
    const bool k_fits = !std::is_same_v<Compute, float> || fits_float(k);
    r.fits[i] = variance_fits & k_fits;
    all &= r.fits[i];
  }
  return all != 0;
}

template <class Compute, bool kConstantMoments>
bool BackwardAlgebraOf(const RowsBackward& rows) {
  const RowsBackward r = rows;
  std::int64_t all = 1;
  INSTNORM_INDEPENDENT
  for (std::int64_t i = 0; i < r.count; ++i) {
    const double count = r.moments_count[i], var = r.m2[i] / count, mean = r.mean[i];
    const double rstd = rstd_of(count, var, r.eps);
    const GradientSums sums{r.sum_g[i], r.sum_gx[i]};
    const ParameterGradients gradients = parameter_gradients(sums, r.centre[i], mean, rstd);
    const BackwardCoefficients k = backward_coefficients(gradients, r.centre[i], mean, rstd,
                                                         r.weight[i], count, kConstantMoments);
    r.grad_weight[i] = gradients.weight;
    r.grad_bias[i] = gradients.bias;
    r.p[i] = k.p;
    r.q[i] = k.q;
    r.r[i] = k.r;
    const bool sums_fit = common_gradient<Compute>(sums, mean, var);
    const bool k_fits = !std::is_same_v<Compute, float> || fits_float(k);
    const bool is_bias = is_bias_whatever_x(count, var, r.eps, kConstantMoments);
    r.fits[i] = sums_fit & k_fits & !is_bias;
    all &= r.fits[i];
  }
  return all != 0;
}

// The choice inside the loop would keep GCC 12 from making vectors of it.
template <class Compute>
bool BackwardAlgebra(const RowsBackward& rows) {
  return rows.constant_moments ? BackwardAlgebraOf<Compute, true>(rows)
                               : BackwardAlgebraOf<Compute, false>(rows);
}

}  // namespace instnorm::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
