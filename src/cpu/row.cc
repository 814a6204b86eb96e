#include "cpu/row.h"

#include <cmath>
#include <limits>

#include "dtype.h"

namespace instnorm::cpu {
namespace {

bool single(const Problem& p) { return p.dtype != DType::float64; }

double weight_at(const Problem& p, Row row) {
  return p.weight.defined()
             ? load_double(p.weight.at(row.n, row.c), p.weight.dtype) + p.weight_offset
             : 1.0;
}

double bias_at(const Problem& p, Row row) {
  return p.bias.defined() ? load_double(p.bias.at(row.n, row.c), p.bias.dtype) : 0.0;
}

// A centre within this range cannot make x - centre overflow for a finite float x that would not
// round to the largest float anyway.
constexpr double kLargestCentre = 0x1p100;

// A square is off by at most 2^-150, half the smallest float, by underflow: 2^-40 of this variance.
constexpr double kSmallestVariance = 0x1p-110;

constexpr double kFloatMax = std::numeric_limits<float>::max();
constexpr double kFloatMin = std::numeric_limits<float>::min();

// A coefficient that float holds with all its digits, or NaN, which poisons the row either way.
bool fits_float(double a) {
  const double magnitude = std::fabs(a);
  return !(magnitude > kFloatMax) && !(magnitude < kFloatMin && magnitude != 0.0);
}

bool fits_float(const AffineCoefficients& k) {
  return !(std::fabs(k.centre) > kLargestCentre) && fits_float(k.a) && k.scale == 1.0 &&
         !(std::fabs(k.b) > kFloatMax);
}

bool fits_float(const BackwardCoefficients& k) {
  return !(std::fabs(k.centre) > kLargestCentre) && fits_float(k.p) && fits_float(k.q) &&
         !(std::fabs(k.r) > kFloatMax);
}

bool denormalize_row(const Problem& p, Row row, const RowMoments& moments, AffineCoefficients& k) {
  const double std = std::sqrt(moments.variance() + p.eps), mean = moments.mean.hi;
  const double weight = weight_at(p, row), bias = bias_at(p, row);
  if (single(p)) {
    k = inverse_affine<float>(mean, std, weight, bias);
    if (fits_float(k)) return false;
  }
  k = inverse_affine<double>(mean, std, weight, bias);
  return single(p);
}

double rstd_of(const Problem& p, const RowMoments& moments) {
  const double var = moments.variance(), eps = p.eps * moments.scale * moments.scale;
  return p.use_input_stats ? rstd_of_moments(moments.count, var, eps) : 1.0 / std::sqrt(var + eps);
}

}  // namespace

Call::Call(const Problem& p, const Plan& how, const KernelTable& table)
    : problem(p),
      plan(how),
      common(table.common[static_cast<std::size_t>(p.dtype)]),
      wide(table.wide[static_cast<std::size_t>(p.dtype)]) {}

bool trusted(const Problem& p, const RowMoments& moments, Arithmetic& how) {
  if (moments.constant) return true;
  const double var = moments.variance();
  if (single(p)) {
    if (var > kSmallestVariance && std::isfinite(var)) return true;
    how = {true, 1.0};
    return false;
  }
  if (!std::isfinite(var)) {
    how = {true, 0x1p-540};  // the squares of 2^484 sum up for any length
    return false;
  }
  // Below, squares underflow; an eps above 2^-800 makes that irrelevant.
  if (var > 0x1p-900 || p.eps > 0x1p-800) return true;
  how = {true, 0x1p700};
  return false;
}

RowMoments given_moments(const Problem& p, Row row) {
  RowMoments moments;
  if (p.moments != nullptr) {
    const auto i = static_cast<std::size_t>(row.index(p));
    moments.count = p.moments->count[i];
    moments.mean.hi = p.moments->mean[i];
    moments.m2 = p.moments->m2[i];
  } else {
    moments.count = static_cast<double>(p.L);
    moments.mean.hi = load_double(p.running_mean.at(row.n, row.c), p.running_mean.dtype);
    moments.m2 = load_double(p.running_var.at(row.n, row.c), p.running_var.dtype) * moments.count;
  }
  return moments;
}

bool affine_of_row(const Problem& p, Row row, const RowMoments& moments, Arithmetic how,
                   AffineCoefficients& k) {
  if (p.pass == Pass::denormalize) return denormalize_row(p, row, moments, k);
  const double rstd = rstd_of(p, moments), weight = weight_at(p, row), bias = bias_at(p, row);
  if (single(p) && !how.wide) {
    k = affine<float>(moments.mean, rstd, weight, bias);
    if (fits_float(k)) return false;
  }
  k = affine<double>(moments.mean, rstd, weight, bias, moments.scale);
  return single(p) || moments.scale != 1.0;
}

bool backward_is_wide(const Problem& p, Row row) {
  if (!single(p)) return false;
  const RowMoments moments = given_moments(p, row);
  const double var = moments.variance();
  return (var != 0.0 && var < kSmallestVariance) || std::fabs(moments.mean.hi) > kLargestCentre;
}

double backward_centre(const Problem& p, Row row, bool wide) {
  const double mean = p.moments->mean[static_cast<std::size_t>(row.index(p))];
  return single(p) && !wide ? static_cast<double>(static_cast<float>(mean)) : mean;
}

bool backward_of_row(const Problem& p, Row row, const GradientSums& sums, bool wide,
                     ParameterGradients& gradients, BackwardCoefficients& k) {
  const RowMoments moments = given_moments(p, row);
  const double mean = moments.mean.hi, rstd = rstd_of(p, moments);
  const double centre = backward_centre(p, row, wide);
  gradients = parameter_gradients(sums, centre, mean, rstd);
  k = backward_coefficients(gradients, centre, mean, rstd, weight_at(p, row), moments.count,
                            !p.use_input_stats);
  return wide || (single(p) && !fits_float(k));
}

}  // namespace instnorm::cpu
