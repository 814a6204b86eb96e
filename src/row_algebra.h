// Row algebra: from the sums of a row to the coefficients of its combine. Every option that is
// constant along a row ends here and never reaches a kernel. The formulas stand in docs/math.md
// under the same names; all arithmetic is double.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

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
  return {s, std::isfinite(s) ? error : 0.0};
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

// Chan, Golub, LeVeque 1979: statistics of the union of the row so far and one more block.
inline void merge(RowMoments& row, const BlockSums& block) {
  const double block_mean_lo = block.s / block.count;
  const double m2 = std::max(block.q - block.s * block_mean_lo, 0.0);  // NaN stays NaN
  const Pair block_mean = two_sum(block.centre, block_mean_lo);
  if (row.count == 0.0) {
    row.count = block.count;
    row.mean = block_mean;
    row.m2 = m2;
    row.constant = block.constant;
    return;
  }
  const double total = row.count + block.count;
  const double delta = (block_mean.hi - row.mean.hi) + (block_mean.lo - row.mean.lo);
  row.constant = row.constant && block.constant && delta == 0.0;
  if (std::isfinite(delta)) {
    row.mean = add(row.mean, delta * (block.count / total));
  } else {
    row.mean = {row.mean.hi + block_mean.hi, 0.0};  // Inf or NaN, as the sum of the values is
  }
  const Pair sum = two_sum(row.m2, m2 + delta * delta * (row.count * block.count / total));
  row.m2 = sum.hi;
  row.m2_error += sum.lo;
  row.count = total;
}

// After the last block.
inline void finish(RowMoments& row) { row.m2 += row.m2_error; }

// 1 / sqrt(var + eps) of a row normalised by moments, its own or given ones: 0 where the result is
// the bias by definition, that is for fewer than 2 values and for zero variance with eps = 0.
inline double rstd_of_moments(double count, double var, double eps) {
  if (count < 2.0 || (var == 0.0 && eps == 0.0)) return 0.0;
  return 1.0 / std::sqrt(var + eps);
}

// y = (x * scale - centre) * a + b
struct AffineCoefficients {
  double scale = 1.0, centre = 0.0, a = 0.0, b = 0.0;
};

// y = (x - mean) * rstd * weight + bias, where mean and rstd are those of x * scale. `centre` is
// mean.hi rounded to the compute type; what the rounding loses goes into b, where it is smaller
// than 2^-24 |mean| * rstd * |weight|: x - centre is exact for x near the mean, so no digit is lost
// at a large mean.
template <class Compute>
AffineCoefficients affine(Pair mean, double rstd, double weight, double bias, double scale = 1.0) {
  AffineCoefficients k;
  k.scale = scale;
  k.a = rstd * weight;
  k.centre = static_cast<double>(static_cast<Compute>(mean.hi));
  const double rest = (mean.hi - k.centre) + mean.lo;
  // A row that is bias by definition stays so where the mean is infinite or NaN * 0 would poison
  // it.
  k.b = rest == 0.0 ? bias : bias - rest * k.a;
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
// weight * rstd * g.
inline BackwardCoefficients backward_coefficients(const ParameterGradients& sums, double centre,
                                                  double mean, double rstd, double weight,
                                                  double count, bool constant_moments) {
  BackwardCoefficients k;
  k.centre = centre;
  k.p = weight * rstd;
  if (constant_moments) return k;
  k.q = -k.p * rstd * sums.weight / count;
  k.r = -k.p * sums.bias / count - k.q * (mean - centre);
  return k;
}

// PyTorch's rule: over the instances, the mean of momentum * new + (1 - momentum) * old.
inline double running_update(double mean_of_new, double old, double momentum) {
  return momentum * mean_of_new + (1.0 - momentum) * old;
}

}  // namespace instnorm
