#include "cpu/row.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "cpu/blocks.h"
#include "dtype.h"

namespace instnorm::cpu {
namespace {

struct Buffer {
  alignas(64) std::byte bytes[kBlockBytes];
};

bool single(const Call& call) { return call.problem.dtype != DType::float64; }

double weight_at(const Problem& p, std::int64_t n, std::int64_t c) {
  return p.weight.defined() ? load_double(p.weight.at(n, c), p.weight.dtype) + p.weight_offset
                            : 1.0;
}

double bias_at(const Problem& p, std::int64_t n, std::int64_t c) {
  return p.bias.defined() ? load_double(p.bias.at(n, c), p.bias.dtype) : 0.0;
}

// A centre within this range cannot make x - centre overflow for a finite float x that would not
// round to the largest float anyway.
constexpr double kLargestCentre = 0x1p100;

// A square is off by at most 2^-150, half the smallest float, by underflow: 2^-40 of this variance.
constexpr double kSmallestVariance = 0x1p-110;

// A coefficient that float holds with all its digits, or NaN, which poisons the row either way.
bool fits_float(double a) {
  const double magnitude = std::fabs(a);
  return !(magnitude > static_cast<double>(std::numeric_limits<float>::max())) &&
         !(magnitude < static_cast<double>(std::numeric_limits<float>::min()) && magnitude != 0.0);
}

bool fits_float(const AffineCoefficients& k) {
  return !(std::fabs(k.centre) > kLargestCentre) && fits_float(k.a) && k.scale == 1.0 &&
         !(std::fabs(k.b) > static_cast<double>(std::numeric_limits<float>::max()));
}

bool fits_float(const BackwardCoefficients& k) {
  return !(std::fabs(k.centre) > kLargestCentre) && fits_float(k.p) && fits_float(k.q) &&
         !(std::fabs(k.r) > static_cast<double>(std::numeric_limits<float>::max()));
}

const Kernels& kernels_for(const Call& call, bool wide) { return wide ? call.wide : call.common; }

}  // namespace

Call::Call(const Problem& p, const Plan& how, const KernelTable& table)
    : problem(p),
      plan(how),
      common(table.common[static_cast<std::size_t>(p.dtype)]),
      wide(table.wide[static_cast<std::size_t>(p.dtype)]) {}

std::int64_t Call::block_size(std::int64_t block) const {
  return std::min(plan.block, problem.L - block * plan.block);
}

BlockSums block_moments(const Call& call, std::int64_t n, std::int64_t c, std::int64_t block,
                        Arithmetic how) {
  const Problem& p = call.problem;
  const std::int64_t count = call.block_size(block);
  Buffer buffer;
  const std::byte* x = read_block(p.x, p.x.row(n, c), block * call.plan.block, count,
                                  size_of(p.dtype), buffer.bytes);
  BlockSums sums;
  kernels_for(call, how.wide).moments(x, count, how.scale, sums);
  return sums;
}

bool trusted(const Call& call, const RowMoments& row, Arithmetic& how) {
  const double var = row.variance();
  if (row.constant || row.count == 0.0) return true;
  if (single(call)) {
    if (var > kSmallestVariance && std::isfinite(var)) return true;
    how = {true, 1.0};
    return false;
  }
  if (!std::isfinite(var)) {
    how = {true, 0x1p-540};  // the squares of 2^484 sum up for any length
    return false;
  }
  // Below, squares underflow; an eps above 2^-800 makes that irrelevant.
  if (var > 0x1p-900 || call.problem.eps > 0x1p-800) return true;
  how = {true, 0x1p700};
  return false;
}

RowAffine row_affine(const Call& call, std::int64_t n, std::int64_t c, const RowMoments& row,
                     Arithmetic how) {
  const Problem& p = call.problem;
  const double weight = weight_at(p, n, c), bias = bias_at(p, n, c);
  const double var = row.variance();
  const double eps = p.eps * row.scale * row.scale;
  if (p.pass == Pass::denormalize) {
    const double std = std::sqrt(var + eps), mean = row.mean.hi;
    const AffineCoefficients k = single(call) ? inverse_affine<float>(mean, std, weight, bias)
                                              : inverse_affine<double>(mean, std, weight, bias);
    if (!single(call) || fits_float(k)) return {k, false};
    return {inverse_affine<double>(mean, std, weight, bias), true};
  }
  const double rstd =
      p.use_input_stats ? rstd_of_moments(row.count, var, eps) : 1.0 / std::sqrt(var + eps);
  if (single(call) && !how.wide) {
    const AffineCoefficients k = affine<float>(row.mean, rstd, weight, bias);
    if (fits_float(k)) return {k, false};
  }
  const AffineCoefficients k = affine<double>(row.mean, rstd, weight, bias, row.scale);
  return {k, single(call) || row.scale != 1.0};
}

void combine_block(const Call& call, std::int64_t n, std::int64_t c, std::int64_t block,
                   const RowAffine& k) {
  const Problem& p = call.problem;
  const std::int64_t first = block * call.plan.block, count = call.block_size(block),
                     size = size_of(p.dtype);
  Buffer in, out;
  const std::byte* x = read_block(p.x, p.x.row(n, c), first, count, size, in.bytes);
  std::byte* y = block_to_write(p.y, p.y.row(n, c), first, size, out.bytes);
  kernels_for(call, k.wide).affine(x, y, count, k.coefficients, call.plan.stream);
  write_block(p.y, p.y.row(n, c), first, count, size, y);
}

RowMoments given_moments(const Problem& p, std::int64_t n, std::int64_t c) {
  RowMoments row;
  if (p.moments != nullptr) {
    const auto i = static_cast<std::size_t>(n * p.C + c);
    row.count = p.moments->count[i];
    row.mean.hi = p.moments->mean[i];
    row.m2 = p.moments->m2[i];
  } else {
    row.count = static_cast<double>(p.L);
    row.mean.hi = load_double(p.running_mean.at(n, c), p.running_mean.dtype);
    row.m2 = load_double(p.running_var.at(n, c), p.running_var.dtype) * row.count;
  }
  return row;
}

bool backward_is_wide(const Call& call, std::int64_t n, std::int64_t c) {
  if (!single(call)) return false;
  const RowMoments row = given_moments(call.problem, n, c);
  const double var = row.variance();
  return (var != 0.0 && var < kSmallestVariance) || std::fabs(row.mean.hi) > kLargestCentre;
}

GradientSums block_gradient_sums(const Call& call, std::int64_t n, std::int64_t c,
                                 std::int64_t block, bool wide) {
  const Problem& p = call.problem;
  const std::int64_t first = block * call.plan.block, count = call.block_size(block),
                     size = size_of(p.dtype);
  Buffer x_buffer, g_buffer;
  const std::byte* x = read_block(p.x, p.x.row(n, c), first, count, size, x_buffer.bytes);
  const std::byte* g = read_block(p.g, p.g.row(n, c), first, count, size, g_buffer.bytes);
  GradientSums sums;
  kernels_for(call, wide).gradient_sums(g, x, count, backward_centre(call, n, c, wide), sums);
  return sums;
}

bool finite(const GradientSums& sums) { return std::isfinite(sums.g) && std::isfinite(sums.gx); }

double backward_centre(const Call& call, std::int64_t n, std::int64_t c, bool wide) {
  const double mean = call.problem.moments->mean[static_cast<std::size_t>(n * call.problem.C + c)];
  return single(call) && !wide ? static_cast<double>(static_cast<float>(mean)) : mean;
}

RowBackward row_backward(const Call& call, std::int64_t n, std::int64_t c, const GradientSums& sums,
                         bool wide) {
  const Problem& p = call.problem;
  const RowMoments row = given_moments(p, n, c);
  const double var = row.variance(), mean = row.mean.hi;
  const double rstd =
      p.use_input_stats ? rstd_of_moments(row.count, var, p.eps) : 1.0 / std::sqrt(var + p.eps);
  const double centre = backward_centre(call, n, c, wide);
  RowBackward k;
  k.gradients = parameter_gradients(sums, centre, mean, rstd);
  k.coefficients = backward_coefficients(k.gradients, centre, mean, rstd, weight_at(p, n, c),
                                         row.count, !p.use_input_stats);
  k.wide = wide || (single(call) && !fits_float(k.coefficients));
  return k;
}

void backward_block(const Call& call, std::int64_t n, std::int64_t c, std::int64_t block,
                    const RowBackward& k) {
  const Problem& p = call.problem;
  const std::int64_t first = block * call.plan.block, count = call.block_size(block),
                     size = size_of(p.dtype);
  Buffer x_buffer, g_buffer, out;
  const std::byte* x = read_block(p.x, p.x.row(n, c), first, count, size, x_buffer.bytes);
  const std::byte* g = read_block(p.g, p.g.row(n, c), first, count, size, g_buffer.bytes);
  std::byte* dx = block_to_write(p.y, p.y.row(n, c), first, size, out.bytes);
  kernels_for(call, k.wide).backward(g, x, dx, count, k.coefficients, call.plan.stream);
  write_block(p.y, p.y.row(n, c), first, count, size, dx);
}

}  // namespace instnorm::cpu
