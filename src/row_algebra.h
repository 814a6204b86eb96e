// Row algebra: from the sums of a row to the coefficients of its combine. Every option that is
// constant along a row ends here and never reaches a kernel. The formulas stand in docs/math.md
// under the same names; all arithmetic is double.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

namespace instnorm {

// An unevaluated sum hi + lo, |lo| at most half a unit in the last place of hi.
struct Pair {
  double hi = 0.0, lo = 0.0;
};

// Exact sum of two doubles (Knuth, TAOCP 2, 4.2.2, theorem B).
inline Pair two_sum(double a, double b) {
  const double s = a + b;
  const double t = s - a;
  const double error = (a - (s - t)) + (b - t);
  // An infinite sum has no error term; without this it would be NaN.
  return {s, std::fabs(s) <= std::numeric_limits<double>::max() ? error : 0.0};
}

inline Pair add(Pair a, double b) {
  const Pair s = two_sum(a.hi, b);
  return two_sum(s.hi, s.lo + a.lo);
}

// What a kernel says of one block of a row: sums about a centre near the block's mean.
struct BlockSums {
  double count = 0.0;
  double centre = 0.0;
  double s = 0.0;         // sum of x - centre
  double q = 0.0;         // sum of (x - centre)^2
  bool constant = false;  // all values equal the centre
};

// Statistics of one row. Values and statistics are in units of 1 / scale.
struct RowMoments {
  double count = 0.0;
  Pair mean;
  double m2 = 0.0;
  double m2_error = 0.0;  // compensation of m2
  double scale = 1.0;     // a power of two, not 1 only where double would overflow or underflow
  bool constant = true;   // all values are the same

  double variance() const { return m2 / count; }
};

// Statistics of one block.
inline RowMoments moments_of(const BlockSums& block) {
  const double mean_lo = block.s / block.count;
  RowMoments row;
  row.count = block.count;
  row.mean = two_sum(block.centre, mean_lo);
  row.m2 = std::max(block.q - block.s * mean_lo, 0.0);  // NaN stays NaN
  row.constant = block.constant;
  return row;
}

// Chan, Golub, LeVeque 1979: statistics of the union of the row so far and one more block.
inline void merge(RowMoments& row, const BlockSums& next) {
  const RowMoments block = moments_of(next);
  if (row.count == 0.0) {
    const double scale = row.scale;
    row = block;
    row.scale = scale;
    return;
  }
  const double total = row.count + block.count;
  const double delta = (block.mean.hi - row.mean.hi) + (block.mean.lo - row.mean.lo);
  row.constant = row.constant && block.constant && delta == 0.0;
  if (std::isfinite(delta)) {
    row.mean = add(row.mean, delta * (block.count / total));
  } else {
    row.mean = {row.mean.hi + block.mean.hi, 0.0};  // Inf or NaN, as the sum of the values is
  }
  const Pair sum = two_sum(row.m2, block.m2 + delta * delta * (row.count * block.count / total));
  row.m2 = sum.hi;
  row.m2_error += sum.lo;
  row.count = total;
}

// After the last block.
inline void finish(RowMoments& row) { row.m2 += row.m2_error; }

// Statistics of a row as they are kept: in units of x.
struct KeptMoments {
  double count = 0.0, mean = 0.0, m2 = 0.0;
};

inline KeptMoments keep(const RowMoments& row) {
  return {row.count, row.mean.hi / row.scale, row.m2 / row.scale / row.scale};
}

// A row normalised by moments, its own or given ones, is its bias by definition for fewer than 2
// values and for zero variance with eps = 0.
inline bool is_bias(double count, double var, double eps) {
  return (count < 2.0) | ((var == 0.0) & (eps == 0.0));
}

// And is it that whatever x is, Inf and NaN too? Where x has the zero variance itself, all
// x - mean are 0, and the row is an ordinary one.
inline bool is_bias_whatever_x(double count, double var, double eps, bool given_moments) {
  return (count < 2.0) | (given_moments & (var == 0.0) & (eps == 0.0));
}

// 1 / sqrt(var + eps), and 0 where a row normalised by moments is its bias.
inline double rstd_of(double count, double var, double eps) {
  return is_bias(count, var, eps) ? 0.0 : 1.0 / std::sqrt(var + eps);
}

// ---- What float arithmetic can hold. Rows beyond it take the wide kernels.

// A centre within this range cannot make x - centre overflow for a finite float x that would not
// round to the largest float anyway.
inline constexpr double kLargestCentre = 0x1p100;

// A square is off by at most 2^-150, half the smallest float, by underflow: 2^-40 of this variance.
inline constexpr double kSmallestVariance = 0x1p-110;

inline constexpr double kFloatMax = std::numeric_limits<float>::max();
inline constexpr double kFloatMin = std::numeric_limits<float>::min();

// Is this variance, taken in float, right?
inline bool float_variance(double var) {
  return (var > kSmallestVariance) & (var <= std::numeric_limits<double>::max());
}

// Can statistics with this variance, taken in the common arithmetic of the compute type, be
// trusted? double is left by squares beyond 2^1024 and, unless eps makes that irrelevant, below
// 2^-900.
template <class Compute>
bool common_variance(double var, double eps) {
  if constexpr (std::is_same_v<Compute, float>) {
    return float_variance(var);
  } else {
    return (var <= std::numeric_limits<double>::max()) & ((var > 0x1p-900) | (eps > 0x1p-800));
  }
}

// Written with & and | so that compilers take many rows at a time. NaN fits: it poisons the row
// either way.
inline bool float_factor(double a) {
  const double magnitude = std::fabs(a);
  return !((magnitude > kFloatMax) | ((magnitude < kFloatMin) & (magnitude != 0.0)));
}

// y = (x * scale - centre) * a + b
struct AffineCoefficients {
  double scale = 1.0, centre = 0.0, a = 0.0, b = 0.0;
};

inline bool fits_float(const AffineCoefficients& k) {
  const bool a_fits = float_factor(k.a);
  return !(std::fabs(k.centre) > kLargestCentre) & a_fits & (k.scale == 1.0) &
         !(std::fabs(k.b) > kFloatMax);
}

// y = (x - mean) * rstd * weight + bias, where mean and rstd are those of x * scale. `centre` is
// mean.hi rounded to the compute type; what the rounding loses goes into b, where it is smaller
// than 2^-24 |mean| * rstd * |weight|: x - centre is exact for x near the mean, so no digit is lost
// at a large mean.
template <class Compute>
AffineCoefficients affine(Pair mean, double rstd, double weight, double bias, double scale = 1.0) {
  AffineCoefficients k;
  k.scale = scale;
  k.a = rstd * weight;
  const double centre = static_cast<double>(static_cast<Compute>(mean.hi));
  const double rest = (mean.hi - centre) + mean.lo;
  // A row that is its bias by definition takes nothing from the mean, which may be infinite.
  k.centre = rstd == 0.0 ? 0.0 : centre;
  const bool only_bias = (rstd == 0.0) | (rest == 0.0);
  k.b = only_bias ? bias : bias - rest * k.a;
  return k;
}

// x = (y - bias) / weight / rstd + mean
template <class Compute>
AffineCoefficients inverse_affine(double mean, double std, double weight, double bias) {
  AffineCoefficients k;
  k.a = std / weight;
  k.centre = static_cast<double>(static_cast<Compute>(bias));
  const double rest = bias - k.centre;
  k.b = rest == 0.0 ? mean : mean - rest * k.a;
  return k;
}

// Sums of a backward over one row: about `centre`, the mean rounded to the compute type.
struct GradientSums {
  double g = 0.0;   // sum of g
  double gx = 0.0;  // sum of g * (x - centre)
};

// dx = p * g + q * (x - centre) + r
struct BackwardCoefficients {
  double centre = 0.0, p = 0.0, q = 0.0, r = 0.0;
};

inline bool fits_float(const BackwardCoefficients& k) {
  const bool p_fits = float_factor(k.p), q_fits = float_factor(k.q);
  return !(std::fabs(k.centre) > kLargestCentre) & p_fits & q_fits & !(std::fabs(k.r) > kFloatMax);
}

// May a row with these moments have its gradient sums taken in the common arithmetic?
template <class Compute>
bool common_gradient_row(double mean, double var) {
  if constexpr (!std::is_same_v<Compute, float>) return true;
  const bool vanishing = (var != 0.0) & (var < kSmallestVariance);
  const bool far = std::fabs(mean) > kLargestCentre;
  return !(vanishing | far);
}

// And can the sums that came of it be trusted?
template <class Compute>
bool common_gradient(const GradientSums& sums, double mean, double var) {
  constexpr double kMax = std::numeric_limits<double>::max();
  if constexpr (!std::is_same_v<Compute, float>) return true;
  const bool row_fits = common_gradient_row<Compute>(mean, var);
  return row_fits & (std::fabs(sums.g) <= kMax) & (std::fabs(sums.gx) <= kMax);
}

// What a row gives to the gradients of its weight and bias.
struct ParameterGradients {
  double weight = 0.0, bias = 0.0;
};

// With xhat = (x - mean) * rstd: sum of g * xhat, and sum of g.
inline ParameterGradients parameter_gradients(const GradientSums& sums, double centre, double mean,
                                              double rstd) {
  return {(sums.gx - (mean - centre) * sums.g) * rstd, sums.g};
}

// dx = weight * rstd * (g - mean(g) - xhat * mean(g * xhat)); where the moments are constants,
// weight * rstd * g; where the row is its bias (rstd = 0, the count may be 0), 0.
inline BackwardCoefficients backward_coefficients(const ParameterGradients& sums, double centre,
                                                  double mean, double rstd, double weight,
                                                  double count, bool constant_moments) {
  BackwardCoefficients k;
  k.centre = centre;
  k.p = weight * rstd;
  const double q = -k.p * rstd * sums.weight / count;
  const double r = -k.p * sums.bias / count - q * (mean - centre);
  const bool only_g = constant_moments | (rstd == 0.0);
  k.q = only_g ? 0.0 : q;
  k.r = only_g ? 0.0 : r;
  return k;
}

// What one channel's instances give to the running statistics, added up in order. Those with fewer
// than 2 values give nothing.
struct RunningSums {
  double mean = 0.0, var = 0.0, instances = 0.0;

  void add(const KeptMoments& row) {
    if (row.count < 2.0) return;
    mean += row.mean;
    var += row.m2 / (row.count - 1.0);  // unbiased
    instances += 1.0;
  }
};

// PyTorch's rule: over the instances, the mean of momentum * new + (1 - momentum) * old.
inline double running_update(double mean_of_new, double old, double momentum) {
  return momentum * mean_of_new + (1.0 - momentum) * old;
}

}  // namespace instnorm
