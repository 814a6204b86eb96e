// Row algebra: from the sums of a row to the coefficients of its combine. Every option that is
// constant along a row ends here and never reaches a kernel. The formulas stand in docs/math.md
// under the same names; all arithmetic is double.
// What every row takes of them stands in row_formulas-inl.h.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>
#include <utility>

namespace instnorm {

// The arithmetic of Real, where Real is double.
inline double choose(bool condition, double yes, double no) { return condition ? yes : no; }
inline double magnitude(double x) { return std::fabs(x); }
inline double square_root(double x) { return std::sqrt(x); }
inline double to_float_and_back(double x) { return static_cast<double>(static_cast<float>(x)); }
inline double float_inverse_root(double x) {
  return static_cast<double>(1.0f / std::sqrt(static_cast<float>(x)));
}

inline constexpr double kDoubleMax = std::numeric_limits<double>::max();

// ---- What float arithmetic can hold. Rows beyond it take the wide kernels.

// A centre within this range cannot make x - centre overflow for a finite float x that would not
// round to the largest float anyway.
inline constexpr double kLargestCentre = 0x1p100;

// A square is off by at most 2^-150, half the smallest float, by underflow: 2^-40 of this variance.
inline constexpr double kSmallestVariance = 0x1p-110;

inline constexpr double kFloatMax = std::numeric_limits<float>::max();
inline constexpr double kFloatMin = std::numeric_limits<float>::min();

#define INSTNORM_FORMULA inline
#include "row_formulas-inl.h"
#undef INSTNORM_FORMULA

using Pair = PairOf<double>;
using AffineCoefficients = AffineCoefficientsOf<double>;
using GradientSums = GradientSumsOf<double>;
using BackwardCoefficients = BackwardCoefficientsOf<double>;
using ParameterGradients = ParameterGradientsOf<double>;

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
  const MeanAndM2<double> of = mean_and_m2(block.count, block.centre, block.s, block.q);
  RowMoments row;
  row.count = block.count;
  row.mean = of.mean;
  row.m2 = of.m2;
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

// Sums of a double backward over one row: those of g and of u about `centre`, and of u * g.
struct DoubleSums {
  GradientSums g, u;
  double ug = 0.0;
};

// What flows back to the gradients of a row's weight and bias.
struct RowCotangents {
  double weight = 0.0, bias = 0.0;
};

struct DoubleCoefficients {
  BackwardCoefficients grad_output;  // p * u + q * (x - centre) + r
  BackwardCoefficients x;            // p * g + s * u + q * (x - centre) + r
  double s = 0.0;
  double weight = 0.0;  // the row's share of the gradient of the weight
};

inline bool fits_float(const DoubleCoefficients& k) {
  return fits_float(k.grad_output) & fits_float(k.x) & float_factor(k.s);
}

// With xhat = (x - mean) * rstd, M = count, G = sum g, GX = sum g * xhat, U and UX the same of u,
// and A = sum u * g - G * U / M - GX * UX / M, these are the derivatives of
//   weight * rstd * A + a * GX + b * G
// by g, x and weight. d rstd / dx = -rstd^2 * xhat / M and d xhat_j / dx_i = rstd * (delta_ij - 1 /
// M - xhat_i * xhat_j / M). Where the moments are constants, of weight * rstd * sum u * g + a * GX
// + b * G.
inline DoubleCoefficients double_backward_coefficients(const DoubleSums& sums, RowCotangents of,
                                                       double centre, double mean, double rstd,
                                                       double weight, double count,
                                                       bool constant_moments) {
  const ParameterGradients g = parameter_gradients(sums.g, centre, mean, rstd);
  const ParameterGradients u = parameter_gradients(sums.u, centre, mean, rstd);
  // In units of xhat, about the mean.
  const auto about_centre = [&](BackwardCoefficients& k, double xhat, double rest) {
    k.centre = centre;
    k.q = xhat * rstd;
    k.r = rest - k.q * (mean - centre);
  };
  DoubleCoefficients k;
  k.grad_output.centre = k.x.centre = centre;
  if (rstd == 0.0) {  // the row is its bias
    k.grad_output.r = of.bias;
    return k;
  }
  k.grad_output.p = weight * rstd;
  k.x.p = of.weight * rstd;
  if (constant_moments) {
    k.weight = rstd * sums.ug;
    about_centre(k.grad_output, of.weight, of.bias);
    return k;
  }
  const double share_g = g.weight / count,
               share_u = u.weight / count;  // means of g * xhat, u * xhat
  const double a = sums.ug - g.bias * u.bias / count - g.weight * share_u;
  const double rate = weight * rstd * rstd;
  k.weight = rstd * a;
  about_centre(k.grad_output, of.weight - k.grad_output.p * share_u,
               of.bias - k.grad_output.p * u.bias / count);
  k.x.p -= rate * share_u;
  k.s = -rate * share_g;
  about_centre(k.x, rate * (2.0 * share_g * share_u - a / count) - of.weight * rstd * share_g,
               (rate * (share_u * g.bias + share_g * u.bias) - of.weight * rstd * g.bias) / count);
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
