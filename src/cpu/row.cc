#include "cpu/row.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "dtype.h"

namespace instnorm::cpu {
namespace {

bool single(const Problem& p) { return p.dtype != DType::float64; }

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

bool by_running_statistics(const Problem& p) { return !p.use_input_stats && p.moments == nullptr; }

double rstd_at(const Problem& p, const RowMoments& moments) {
  const double count = moments.count, eps = p.eps * moments.scale * moments.scale;
  if (by_running_statistics(p)) return 1.0 / std::sqrt(moments.variance() + eps);
  return single(p) ? rstd_of<float>(count, variance_of<float>(count, moments.m2), eps)
                   : rstd_of<double>(count, variance_of<double>(count, moments.m2), eps);
}

template <class Load>
void each_parameter(const Problem& p, const Param& param, Row row, std::int64_t count,
                    double offset, double* out, const Load& load) {
  while (count > 0) {
    const std::int64_t here = std::min(count, p.C - row.c);
    const std::byte* at = param.at(row.n, row.c);
    for (std::int64_t i = 0; i < here; ++i, at += param.stride_c) out[i] = load(at) + offset;
    out += here;
    count -= here;
    row = {row.n + 1, 0};
  }
}

void parameters_of(const Problem& p, const Param& param, Row row, std::int64_t count,
                   double otherwise, double offset, double* out) {
  if (!param.defined()) {
    std::fill_n(out, count, otherwise);
  } else if (param.dtype == DType::float32) {
    each_parameter(p, param, row, count, offset, out, [](const std::byte* at) {
      float value = 0.0f;
      std::memcpy(&value, at, sizeof value);
      return static_cast<double>(value);
    });
  } else {
    each_parameter(p, param, row, count, offset, out,
                   [&](const std::byte* at) { return load_double(at, param.dtype); });
  }
}

}  // namespace

void weights_of(const Problem& p, Row row, std::int64_t count, double* weights) {
  parameters_of(p, p.weight, row, count, 1.0, p.weight_offset, weights);
}

void biases_of(const Problem& p, Row row, std::int64_t count, double* biases) {
  parameters_of(p, p.bias, row, count, 0.0, 0.0, biases);
}

double weight_at(const Problem& p, Row row) {
  return p.weight.defined()
             ? load_double(p.weight.at(row.n, row.c), p.weight.dtype) + p.weight_offset
             : 1.0;
}

double bias_at(const Problem& p, Row row) {
  return p.bias.defined() ? load_double(p.bias.at(row.n, row.c), p.bias.dtype) : 0.0;
}

Call::Call(const Problem& p, const Plan& how, const KernelTable& table)
    : problem(p),
      plan(how),
      common(table[static_cast<std::size_t>(p.dtype)]->common),
      wide(table[static_cast<std::size_t>(p.dtype)]->wide),
      columns(table[static_cast<std::size_t>(p.dtype)]->columns) {}

bool trusted(const Problem& p, const RowMoments& moments, Arithmetic& how) {
  if (moments.constant) return true;
  const double var = moments.variance();
  if (single(p)) {
    if (common_variance<float>(var, p.eps)) return true;
    how = {true, 1.0};
    return false;
  }
  if (common_variance<double>(var, p.eps)) return true;
  // The squares of 2^484 sum up for any length; those of 2^-374 do not vanish.
  how = {true, std::isfinite(var) ? 0x1p700 : 0x1p-540};
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
    moments.count = static_cast<double>(std::max<std::int64_t>(p.L, 2));
    moments.mean.hi = load_double(p.running_mean.at(row.n, row.c), p.running_mean.dtype);
    moments.m2 = load_double(p.running_var.at(row.n, row.c), p.running_var.dtype) * moments.count;
  }
  return moments;
}

bool only_bias(const Problem& p, const RowMoments& moments) {
  if (p.pass == Pass::denormalize || by_running_statistics(p)) return false;
  const bool gradients = p.pass == Pass::backward || p.pass == Pass::double_backward;
  const bool given = gradients ? !p.use_input_stats : p.moments != nullptr;
  return is_bias_whatever_x(moments.count, moments.variance(), p.eps, given);
}

bool affine_of_row(const Problem& p, Row row, const RowMoments& moments, Arithmetic how,
                   AffineCoefficients& k) {
  if (p.pass == Pass::denormalize) return denormalize_row(p, row, moments, k);
  const double rstd = rstd_at(p, moments), bias = bias_at(p, row);
  if (only_bias(p, moments)) {
    k.b = bias;
    return single(p) && !fits_float(k);
  }
  const double weight = weight_at(p, row);
  if (single(p) && !how.wide) {
    k = affine<float>(moments.mean, rstd, weight, bias);
    if (fits_float(k)) return false;
  }
  k = affine<double>(moments.mean, rstd, weight, bias, moments.scale);
  return single(p) || moments.scale != 1.0;
}

double backward_centre(const Problem& p, double mean, bool wide) {
  return single(p) && !wide ? static_cast<double>(static_cast<float>(mean)) : mean;
}

AffineCoefficients backward_argument(const Problem& p, Row row, bool wide) {
  const RowMoments moments = given_moments(p, row);
  AffineCoefficients k;
  k.centre = backward_centre(p, moments.mean.hi, wide);
  if (only_bias(p, moments)) {
    k.centre = 0.0;
    k.b = bias_at(p, row);
    return k;
  }
  if (p.activation == Activation::none) return k;
  const double rstd = rstd_at(p, moments), weight = weight_at(p, row), bias = bias_at(p, row);
  return single(p) && !wide ? affine<float>(moments.mean, rstd, weight, bias)
                            : affine<double>(moments.mean, rstd, weight, bias);
}

bool backward_is_wide(const Problem& p, Row row) {
  if (!single(p)) return false;
  const RowMoments moments = given_moments(p, row);
  if (!float_gradient_row(moments.mean.hi, moments.variance())) return true;
  return p.activation != Activation::none && !fits_float(backward_argument(p, row, false));
}

bool backward_of_row(const Problem& p, Row row, const GradientSums& sums, bool wide,
                     ParameterGradients& gradients, BackwardCoefficients& k) {
  const RowMoments moments = given_moments(p, row);
  const double mean = moments.mean.hi, rstd = rstd_at(p, moments);
  const double centre = backward_centre(p, mean, wide);
  gradients = parameter_gradients(sums, centre, mean, rstd);
  k = backward_coefficients(gradients, centre, mean, rstd, weight_at(p, row), moments.count,
                            !p.use_input_stats);
  return wide || (single(p) && !fits_float(k));
}

bool double_backward_of_row(const Problem& p, Row row, const DoubleSums& sums, bool wide,
                            DoubleCoefficients& k) {
  const RowMoments moments = given_moments(p, row);
  const double mean = moments.mean.hi, rstd = rstd_at(p, moments);
  const auto cotangent = [&](const Param& of) {
    return of.defined() ? load_double(of.at(row.n, row.c), of.dtype) : 0.0;
  };
  k = double_backward_coefficients(sums, {cotangent(p.u_weight), cotangent(p.u_bias)},
                                   backward_centre(p, mean, wide), mean, rstd, weight_at(p, row),
                                   moments.count, !p.use_input_stats);
  return wide || (single(p) && !fits_float(k));
}

}  // namespace instnorm::cpu
