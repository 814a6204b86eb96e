#include "cpu/backward.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "cpu/parameter_gradient.h"
#include "cpu/presence.h"
#include "cpu/rows.h"
#include "dtype.h"

namespace instnorm::cpu {
namespace {

bool finite(const GradientSums& sums) { return std::isfinite(sums.g) && std::isfinite(sums.gx); }

// What is known of a tile's rows, number by number.
struct Rows {
  PerRow<double> count, mean, m2, weight, centre, a, b, sum_g, sum_gx;
  PerRow<double> grad_weight, grad_bias, p, q, r;
  PerRow<std::int64_t> fits;

  AffineColumns argument() { return {centre.data(), a.data(), b.data(), 1.0, 1}; }
  BackwardColumns coefficients(std::int64_t i) { return {&centre[i], &p[i], &q[i], &r[i], 1}; }
};

// Gradients of weight and bias, row by row: element r belongs to row r.
struct RowGradients {
  double *weight, *bias;
};

AffineColumns columns(const AffineCoefficients& k) { return {&k.centre, &k.a, &k.b, 1.0, 0}; }
BackwardColumns columns(const BackwardCoefficients& k) { return {&k.centre, &k.p, &k.q, &k.r, 0}; }

// The gradient in front of the activation. Without one, that is g itself; with one it is taken in
// the compute type, once for each tile, arithmetic and use.
class Gradient {
 public:
  Gradient(const Call& call, bool wide) : call_(call), wide_(wide) {}

  const GradientKernels& kernels() const {
    const Kernels& kernels = call_.kernels(wide_);
    return active() ? kernels.of_h : kernels.of_g;
  }
  bool active() const { return call_.problem.activation != Activation::none; }

  In of(In g, In x, std::int64_t count, std::int64_t n, const AffineColumns& argument) {
    if (!active()) return g;
    const bool is_double = wide_ || call_.problem.dtype == DType::float64;
    call_.kernels(wide_).slope(g, x, bytes_, count, n, argument, call_.problem.activation);
    return {bytes_, n * (is_double ? 8 : 4)};
  }

 private:
  const Call& call_;
  bool wide_;
  alignas(64) std::byte bytes_[2 * kBlockBytes];  // a block of float data in double
};

GradientSums segment_sums(const Call& call, Row row, In g, In x, std::int64_t n, bool wide) {
  Gradient gradient(call, wide);
  const AffineCoefficients argument = backward_argument(call.problem, row, wide);
  const In h = gradient.of(g, x, 1, n, columns(argument));
  GradientSums sums;
  gradient.kernels().sums(h, x, 1, n, &argument.centre, 0, {&sums.g, &sums.gx});
  return sums;
}

// A row that is its bias, whose x are read as zeros, gives to the bias alone.
void bias_row(const Problem& p, Row row, const GradientSums& sums, const RowGradients& gradients) {
  gradients.weight[row.index(p)] = 0.0;
  gradients.bias[row.index(p)] = sums.g;
}

// A row that the common arithmetic may not hold, or that is its bias: by itself.
void single_row(const Call& call, Row row, In g, In x, Out dx, std::int64_t n, GradientSums sums,
                const RowGradients& gradients) {
  const Problem& p = call.problem;
  const std::int64_t at = row.index(p);
  bool wide_sums = backward_is_wide(p, row);
  const bool bias = only_bias(p, given_moments(p, row));
  if (bias) {
    x = zeros();
    sums = segment_sums(call, row, g, x, n, wide_sums);
  }
  wide_sums |= !finite(sums);
  if (wide_sums) sums = segment_sums(call, row, g, x, n, true);
  if (bias) {
    bias_row(p, row, sums, gradients);
    if (p.y.defined()) std::memset(dx.data, 0, static_cast<std::size_t>(n * size_of(p.dtype)));
    return;
  }
  ParameterGradients of_row;
  BackwardCoefficients k;
  const bool wide = backward_of_row(p, row, sums, wide_sums, of_row, k);
  gradients.weight[at] = of_row.weight;
  gradients.bias[at] = of_row.bias;
  if (!p.y.defined()) return;
  Gradient gradient(call, wide);
  const AffineCoefficients argument = backward_argument(p, row, wide);
  const In h = gradient.of(g, x, 1, n, columns(argument));
  gradient.kernels().backward(h, x, dx, 1, n, columns(k), call.plan.stream);
}

// The algebra of a tile's rows from their sums. Returns whether the common arithmetic holds them
// all.
bool algebra(const Call& call, const Tile& tile, const RowGradients& gradients, Rows& rows) {
  const Problem& p = call.problem;
  const std::int64_t first = Row{tile.row_n, tile.row_c}.index(p);
  const auto copy = [&](const double* from, double* to) { std::copy_n(from, tile.count, to); };
  copy(p.moments->count.data() + first, rows.count.data());
  copy(p.moments->mean.data() + first, rows.mean.data());
  copy(p.moments->m2.data() + first, rows.m2.data());
  const bool all = call.common.rows_backward(
      {tile.count, p.eps, !p.use_input_stats, rows.count.data(), rows.mean.data(), rows.m2.data(),
       rows.weight.data(), rows.sum_g.data(), rows.sum_gx.data(), rows.grad_weight.data(),
       rows.grad_bias.data(), rows.centre.data(), rows.p.data(), rows.q.data(), rows.r.data(),
       rows.fits.data()});
  copy(rows.grad_weight.data(), gradients.weight + first);
  copy(rows.grad_bias.data(), gradients.bias + first);
  return all;
}

void short_rows(const Call& call, const Tile& tile, const RowGradients& gradients) {
  const Problem& p = call.problem;
  const std::int64_t size = size_of(p.dtype);
  const std::int64_t first = Row{tile.row_n, tile.row_c}.index(p);
  TileBuffer x_buffer, g_buffer, dx_buffer;
  const In x = read_tile(p.x, tile, size, x_buffer);
  const In g = read_tile(p.g, tile, size, g_buffer);
  const Out dx = p.y.defined() ? tile_to_write(p.y, tile, size, dx_buffer) : Out{};
  const Moments& moments = *p.moments;
  Gradient gradient(call, false);
  Rows rows;
  const bool active = gradient.active();
  bool arguments_fit = true;
  weights_of(p, {tile.row_n, tile.row_c}, tile.count, rows.weight.data());
  each_row_of(p, tile, [&](Row row, std::int64_t i) {
    rows.centre[i] = backward_centre(p, moments.mean[static_cast<std::size_t>(first + i)], false);
    if (!active) return;
    const AffineCoefficients argument = backward_argument(p, row, false);
    rows.a[i] = argument.a;
    rows.b[i] = argument.b;
    arguments_fit &= !backward_is_wide(p, row);
  });
  const In h = gradient.of(g, x, tile.count, tile.n, rows.argument());
  gradient.kernels().sums(h, x, tile.count, tile.n, rows.centre.data(), 1,
                          {rows.sum_g.data(), rows.sum_gx.data()});
  const bool sums_fit = algebra(call, tile, gradients, rows);
  if (arguments_fit && sums_fit) {
    if (p.y.defined()) {
      gradient.kernels().backward(h, x, dx, tile.count, tile.n, rows.coefficients(0),
                                  call.plan.stream);
    }
  } else {
    each_row_of(p, tile, [&](Row row, std::int64_t i) {
      if (!rows.fits[i] || backward_is_wide(p, row)) {
        single_row(call, row, segment(g, i), segment(x, i), segment(dx, i), tile.n,
                   {rows.sum_g[i], rows.sum_gx[i]}, gradients);
      } else if (p.y.defined()) {
        gradient.kernels().backward(segment(h, i), segment(x, i), segment(dx, i), 1, tile.n,
                                    rows.coefficients(i), call.plan.stream);
      }
    });
  }
  if (!p.y.defined()) return;
  write_tile(p.y, tile, size, dx_buffer);
  zero_tails(p, tile);
}

GradientSums long_row_sums(const Call& call, Row row, bool wide) {
  const Problem& p = call.problem;
  const std::int64_t size = size_of(p.dtype), blocks = blocks_of(call, row);
  const AffineCoefficients argument = backward_argument(p, row, wide);
  const bool bias = only_bias(p, given_moments(p, row));
  double* numbers = scratch<double>(static_cast<std::size_t>(2 * blocks));
  const GradientSumsOut parts{numbers, numbers + blocks};
  each_block(call, row, [&](const Tile& tile, std::int64_t b) {
    TileBuffer x_buffer, g_buffer;
    Gradient gradient(call, wide);
    const In x = bias ? zeros() : read_tile(p.x, tile, size, x_buffer);
    const In g = read_tile(p.g, tile, size, g_buffer);
    const In h = gradient.of(g, x, tile.count, tile.n, columns(argument));
    gradient.kernels().sums(h, x, tile.count, tile.n, &argument.centre, 0, parts.at(b));
  });
  GradientSums sums;
  for (std::int64_t b = 0; b < blocks; ++b) {
    sums.g += parts.g[b];
    sums.gx += parts.gx[b];
  }
  return sums;
}

// The same over the values that are there.
GradientSums present_sums(const Call& call, Row row, bool wide) {
  const Problem& p = call.problem;
  const AffineCoefficients argument = backward_argument(p, row, wide);
  const bool bias = only_bias(p, given_moments(p, row));
  Gradient gradient(call, wide);
  GradientSums sums;
  each_present_block(call, row, true, [&](In x, In g, std::int64_t n) {
    if (bias) x = zeros();
    GradientSums block;
    const In h = gradient.of(g, x, 1, n, columns(argument));
    gradient.kernels().sums(h, x, 1, n, &argument.centre, 0, {&block.g, &block.gx});
    sums.g += block.g;
    sums.gx += block.gx;
  });
  return sums;
}

void long_row(const Call& call, Row row, const RowGradients& gradients) {
  const Problem& p = call.problem;
  const std::int64_t size = size_of(p.dtype);
  const auto take = p.selects() ? &present_sums : &long_row_sums;
  bool wide = backward_is_wide(p, row);
  GradientSums sums = take(call, row, wide);
  if (!wide && !finite(sums)) sums = take(call, row, wide = true);
  if (only_bias(p, given_moments(p, row))) {
    bias_row(p, row, sums, gradients);
    if (p.y.defined()) zero_tail(p.y, row.n, row.c, 0, p.L, size);
    return;
  }
  ParameterGradients of_row;
  BackwardCoefficients k;
  wide = backward_of_row(p, row, sums, wide, of_row, k);
  gradients.weight[row.index(p)] = of_row.weight;
  gradients.bias[row.index(p)] = of_row.bias;
  if (!p.y.defined()) return;
  const AffineCoefficients argument = backward_argument(p, row, wide);
  each_block(call, row, [&](const Tile& tile, std::int64_t) {
    TileBuffer x_buffer, g_buffer, dx_buffer;
    Gradient gradient(call, wide);
    const In x = read_tile(p.x, tile, size, x_buffer);
    const In g = read_tile(p.g, tile, size, g_buffer);
    const Out dx = tile_to_write(p.y, tile, size, dx_buffer);
    Presence presence;
    if (p.selects()) mark(p, tile, x.data, p.nan_policy == NanPolicy::omit, presence);
    const In h = gradient.of(g, x, tile.count, tile.n, columns(argument));
    gradient.kernels().backward(h, x, dx, tile.count, tile.n, columns(k), call.plan.stream);
    if (p.selects()) zero_absent(presence, tile.n, size, dx.data);
    write_tile(p.y, tile, size, dx_buffer);
  });
  zero_tail(p.y, row.n, row.c, p.length(row.n), p.L, size);
}

// Rows that are columns, of any length: block by block, all at once. Returns false, with nothing
// written but what long_row overwrites, if one of them needs other arithmetic. The plan keeps rows
// away whose gradient x, which may be NaN, has no part in.
bool columns(const Call& call, const Tile& tile, const RowGradients& gradients) {
  const Problem& p = call.problem;
  const Row first_row{tile.row_n, tile.row_c};
  const std::int64_t first = first_row.index(p);
  const Moments& moments = *p.moments;
  Rows rows;
  weights_of(p, first_row, tile.count, rows.weight.data());
  PerRow<double> part_g, part_gx;
  for (std::int64_t i = 0; i < tile.count; ++i) {
    rows.centre[i] = backward_centre(p, moments.mean[static_cast<std::size_t>(first + i)], false);
    rows.sum_g[i] = rows.sum_gx[i] = 0.0;
  }
  for (std::int64_t l = 0; l < tile.n; l += call.plan.block) {
    const std::int64_t n = std::min(call.plan.block, tile.n - l);
    call.columns.sums(columns_to_read(p.g, tile, l), columns_to_read(p.x, tile, l), tile.count, n,
                      rows.centre.data(), {part_g.data(), part_gx.data()});
    for (std::int64_t i = 0; i < tile.count; ++i) {
      rows.sum_g[i] += part_g[i];
      rows.sum_gx[i] += part_gx[i];
    }
  }
  if (!algebra(call, tile, gradients, rows)) return false;
  if (!p.y.defined()) return true;
  call.columns.backward(columns_to_read(p.g, tile, 0), columns_to_read(p.x, tile, 0),
                        columns_to_write(p.y, tile), tile.count, tile.n, rows.coefficients(0));
  zero_column_tails(p.y, tile, p.L, size_of(p.dtype));
  return true;
}

// What a thread does with its rows, one after the other.
class Backward {
 public:
  Backward(const Call& call, const RowGradients& gradients) : call_(call), gradients_(gradients) {}

  void of_tile(const Tile& tile) {
    if (!call_.plan.columns) return short_rows(call_, tile, gradients_);
    if (columns(call_, tile, gradients_)) return;
    each_row_of(call_.problem, tile, [&](Row row, std::int64_t) { of_row(row); });
  }
  void of_row(Row row) { long_row(call_, row, gradients_); }
  void finish() {}

 private:
  const Call& call_;
  const RowGradients& gradients_;
};

}  // namespace

void backward(const Call& call) {
  const Problem& p = call.problem;
  double* numbers = scratch<double, RowGradients>(static_cast<std::size_t>(2 * p.rows()));
  const RowGradients gradients{numbers, numbers + p.rows()};
  each_row(call, [&] { return Backward(call, gradients); });
  store_parameter_gradient(p, p.grad_weight, gradients.weight);
  store_parameter_gradient(p, p.grad_bias, gradients.bias);
}

}  // namespace instnorm::cpu
