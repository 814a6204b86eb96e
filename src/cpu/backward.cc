#include "cpu/backward.h"

#include <cmath>

#include "cpu/rows.h"
#include "dtype.h"

namespace instnorm::cpu {
namespace {

bool finite(const GradientSums& sums) { return std::isfinite(sums.g) && std::isfinite(sums.gx); }

// What is known of a tile's rows, number by number.
struct Rows {
  PerRow<double> weight, centre, sum_g, sum_gx, p, q, r;
  PerRow<std::int64_t> fits;

  BackwardColumns coefficients(std::int64_t i) { return {&centre[i], &p[i], &q[i], &r[i], 1}; }
};

// Gradients of weight and bias, row by row: element r belongs to row r.
struct RowGradients {
  double *weight, *bias;
};

BackwardColumns columns(const BackwardCoefficients& k) { return {&k.centre, &k.p, &k.q, &k.r, 0}; }

// A row that the common arithmetic may not hold: by itself.
void single_row(const Call& call, Row row, In g, In x, Out dx, std::int64_t n, GradientSums sums,
                const RowGradients& gradients) {
  const Problem& p = call.problem;
  const std::int64_t at = row.index(p);
  const bool wide_sums = backward_is_wide(p, row) || !finite(sums);
  if (wide_sums) {
    const double centre = p.moments->mean[static_cast<std::size_t>(at)];
    call.wide.gradient_sums(g, x, 1, n, &centre, 0, {&sums.g, &sums.gx});
  }
  ParameterGradients of_row;
  BackwardCoefficients k;
  const bool wide = backward_of_row(p, row, sums, wide_sums, of_row, k);
  gradients.weight[at] = of_row.weight;
  gradients.bias[at] = of_row.bias;
  if (p.y.defined()) {
    call.kernels(wide).backward(g, x, dx, 1, n, columns(k), call.plan.stream);
  }
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
  Rows rows;
  each_row_of(p, tile, [&](Row row, std::int64_t i) {
    rows.centre[i] = backward_centre(p, moments.mean[static_cast<std::size_t>(first + i)], false);
    rows.weight[i] = weight_at(p, row);
  });
  call.common.gradient_sums(g, x, tile.count, tile.n, rows.centre.data(), 1,
                            {rows.sum_g.data(), rows.sum_gx.data()});
  const bool all_fit = call.common.rows_backward(
      {tile.count, p.eps, !p.use_input_stats, moments.count.data() + first,
       moments.mean.data() + first, moments.m2.data() + first, rows.weight.data(),
       rows.sum_g.data(), rows.sum_gx.data(), gradients.weight + first, gradients.bias + first,
       rows.centre.data(), rows.p.data(), rows.q.data(), rows.r.data(), rows.fits.data()});
  if (all_fit) {
    if (p.y.defined()) {
      call.common.backward(g, x, dx, tile.count, tile.n, rows.coefficients(0), call.plan.stream);
    }
  } else {
    each_row_of(p, tile, [&](Row row, std::int64_t i) {
      if (!rows.fits[i]) {
        single_row(call, row, segment(g, i), segment(x, i), segment(dx, i), tile.n,
                   {rows.sum_g[i], rows.sum_gx[i]}, gradients);
      } else if (p.y.defined()) {
        call.common.backward(segment(g, i), segment(x, i), segment(dx, i), 1, tile.n,
                             rows.coefficients(i), call.plan.stream);
      }
    });
  }
  if (p.y.defined()) write_tile(p.y, tile, size, dx_buffer);
}

GradientSums long_row_sums(const Call& call, Row row, bool wide) {
  const Problem& p = call.problem;
  const std::int64_t size = size_of(p.dtype), blocks = call.plan.blocks;
  const double centre =
      backward_centre(p, p.moments->mean[static_cast<std::size_t>(row.index(p))], wide);
  double* numbers = scratch<double>(static_cast<std::size_t>(2 * blocks));
  const GradientSumsOut parts{numbers, numbers + blocks};
  each_block(call, row, [&](const Tile& tile, std::int64_t b) {
    TileBuffer x_buffer, g_buffer;
    const In x = read_tile(p.x, tile, size, x_buffer);
    const In g = read_tile(p.g, tile, size, g_buffer);
    call.kernels(wide).gradient_sums(g, x, tile.count, tile.n, &centre, 0, parts.at(b));
  });
  GradientSums sums;
  for (std::int64_t b = 0; b < blocks; ++b) {
    sums.g += parts.g[b];
    sums.gx += parts.gx[b];
  }
  return sums;
}

void long_row(const Call& call, Row row, const RowGradients& gradients) {
  const Problem& p = call.problem;
  const std::int64_t size = size_of(p.dtype);
  bool wide = backward_is_wide(p, row);
  GradientSums sums = long_row_sums(call, row, wide);
  if (!wide && !finite(sums)) sums = long_row_sums(call, row, wide = true);
  ParameterGradients of_row;
  BackwardCoefficients k;
  wide = backward_of_row(p, row, sums, wide, of_row, k);
  gradients.weight[row.index(p)] = of_row.weight;
  gradients.bias[row.index(p)] = of_row.bias;
  if (!p.y.defined()) return;
  each_block(call, row, [&](const Tile& tile, std::int64_t) {
    TileBuffer x_buffer, g_buffer, dx_buffer;
    const In x = read_tile(p.x, tile, size, x_buffer);
    const In g = read_tile(p.g, tile, size, g_buffer);
    const Out dx = tile_to_write(p.y, tile, size, dx_buffer);
    call.kernels(wide).backward(g, x, dx, tile.count, tile.n, columns(k), call.plan.stream);
    write_tile(p.y, tile, size, dx_buffer);
  });
}

// Over the instances in order, unless each has its own.
void store_parameter_gradient(const Problem& p, const Param& out, const double* rows) {
  if (!out.defined()) return;
  for (std::int64_t c = 0; c < p.C; ++c) {
    double sum = 0.0;
    for (std::int64_t n = 0; n < p.N; ++n) {
      const double value = rows[n * p.C + c];
      if (out.per_instance) {
        store_double(out.at(n, c), out.dtype, value);
      } else {
        sum += value;
      }
    }
    if (!out.per_instance) store_double(out.at(0, c), out.dtype, sum);
  }
}

}  // namespace

void backward(const Call& call) {
  const Problem& p = call.problem;
  double* numbers = scratch<double, RowGradients>(static_cast<std::size_t>(2 * p.rows()));
  const RowGradients gradients{numbers, numbers + p.rows()};
  each_row(
      call, [&](const Tile& tile) { short_rows(call, tile, gradients); },
      [&](Row row) { long_row(call, row, gradients); });
  store_parameter_gradient(p, p.grad_weight, gradients.weight);
  store_parameter_gradient(p, p.grad_bias, gradients.bias);
}

}  // namespace instnorm::cpu
