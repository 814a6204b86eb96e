#include "cpu/backward.h"

#include <cmath>

#include "cpu/rows.h"
#include "dtype.h"

namespace instnorm::cpu {
namespace {

bool finite(const GradientSums& sums) { return std::isfinite(sums.g) && std::isfinite(sums.gx); }

void short_rows(const Call& call, const Tile& tile, ParameterGradients* gradients) {
  const Problem& p = call.problem;
  const std::int64_t size = size_of(p.dtype);
  TileBuffer x_buffer, g_buffer, dx_buffer;
  const In x = read_tile(p.x, tile, size, x_buffer);
  const In g = read_tile(p.g, tile, size, g_buffer);
  PerRow<double> centre;
  PerRow<GradientSums> sums;
  PerRow<BackwardCoefficients> k;
  PerRow<bool> wide;
  bool any_wide = false;
  each_row_of(p, tile,
              [&](Row row, std::int64_t i) { centre[i] = backward_centre(p, row, false); });
  call.common.gradient_sums(g, x, tile.count, tile.n, centre.data(), 1, sums.data());
  each_row_of(p, tile, [&](Row row, std::int64_t i) {
    const bool wide_sums = backward_is_wide(p, row) || !finite(sums[i]);
    if (wide_sums) {
      const double wide_centre = backward_centre(p, row, true);
      call.wide.gradient_sums(segment(g, i), segment(x, i), 1, tile.n, &wide_centre, 1, &sums[i]);
    }
    any_wide |= wide[i] =
        backward_of_row(p, row, sums[i], wide_sums, gradients[row.index(p)], k[i]);
  });
  if (!p.y.defined()) return;
  const Out dx = tile_to_write(p.y, tile, size, dx_buffer);
  if (!any_wide) {
    call.common.backward(g, x, dx, tile.count, tile.n, k.data(), 1, call.plan.stream);
  } else {
    for (std::int64_t i = 0; i < tile.count; ++i) {
      call.kernels(wide[i]).backward(segment(g, i), segment(x, i), segment(dx, i), 1, tile.n, &k[i],
                                     1, call.plan.stream);
    }
  }
  write_tile(p.y, tile, size, dx_buffer);
}

GradientSums long_row_sums(const Call& call, Row row, bool wide) {
  const Problem& p = call.problem;
  const std::int64_t size = size_of(p.dtype);
  const double centre = backward_centre(p, row, wide);
  GradientSums* parts = scratch<GradientSums>(static_cast<std::size_t>(call.plan.blocks));
  each_block(call, row, [&](const Tile& tile, std::int64_t b) {
    TileBuffer x_buffer, g_buffer;
    const In x = read_tile(p.x, tile, size, x_buffer);
    const In g = read_tile(p.g, tile, size, g_buffer);
    call.kernels(wide).gradient_sums(g, x, tile.count, tile.n, &centre, 0, parts + b);
  });
  GradientSums sums;
  for (std::int64_t b = 0; b < call.plan.blocks; ++b) {
    sums.g += parts[b].g;
    sums.gx += parts[b].gx;
  }
  return sums;
}

void long_row(const Call& call, Row row, ParameterGradients* gradients) {
  const Problem& p = call.problem;
  const std::int64_t size = size_of(p.dtype);
  bool wide = backward_is_wide(p, row);
  GradientSums sums = long_row_sums(call, row, wide);
  if (!wide && !finite(sums)) sums = long_row_sums(call, row, wide = true);
  BackwardCoefficients k;
  wide = backward_of_row(p, row, sums, wide, gradients[row.index(p)], k);
  if (!p.y.defined()) return;
  each_block(call, row, [&](const Tile& tile, std::int64_t) {
    TileBuffer x_buffer, g_buffer, dx_buffer;
    const In x = read_tile(p.x, tile, size, x_buffer);
    const In g = read_tile(p.g, tile, size, g_buffer);
    const Out dx = tile_to_write(p.y, tile, size, dx_buffer);
    call.kernels(wide).backward(g, x, dx, tile.count, tile.n, &k, 0, call.plan.stream);
    write_tile(p.y, tile, size, dx_buffer);
  });
}

// Over the instances in order, unless each has its own.
void store_parameter_gradient(const Problem& p, const Param& out, const ParameterGradients* rows,
                              double ParameterGradients::* which) {
  if (!out.defined()) return;
  for (std::int64_t c = 0; c < p.C; ++c) {
    double sum = 0.0;
    for (std::int64_t n = 0; n < p.N; ++n) {
      const double value = rows[n * p.C + c].*which;
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
  auto* gradients = scratch<ParameterGradients>(static_cast<std::size_t>(p.rows()));
  each_row(
      call, [&](const Tile& tile) { short_rows(call, tile, gradients); },
      [&](Row row) { long_row(call, row, gradients); });
  store_parameter_gradient(p, p.grad_weight, gradients, &ParameterGradients::weight);
  store_parameter_gradient(p, p.grad_bias, gradients, &ParameterGradients::bias);
}

}  // namespace instnorm::cpu
