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
  gradient.kernels().backward(h, x, dx, 1, n, columns(k), call.plan.stream && call.plan.dense);
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

// A tile of short rows on its way: read, summed, combined and written.
class ShortRows {
 public:
  explicit ShortRows(const Call& call) : call_(call), gradient_(call, false) {}

  void read(const Tile& tile) {
    tile_ = tile;
    const Problem& p = call_.problem;
    const std::int64_t size = size_of(p.dtype);
    x_ = read_tile(p.x, tile, size, x_buffer_);
    g_ = read_tile(p.g, tile, size, g_buffer_);
    dx_ = p.y.defined() ? tile_to_write(p.y, tile, size, dx_buffer_) : Out{};
    const auto first = static_cast<std::size_t>(first_row().index(p));
    arguments_fit_ = true;
    weights_of(p, first_row(), tile.count, rows_.weight.data());
    for (std::int64_t i = 0; i < tile.count; ++i) {
      rows_.centre[i] =
          backward_centre(p, p.moments->mean[first + static_cast<std::size_t>(i)], false);
    }
    if (!gradient_.active()) return;
    each_row_of(p, tile, [&](Row row, std::int64_t i) {
      const AffineCoefficients argument = backward_argument(p, row, false);
      rows_.a[i] = argument.a;
      rows_.b[i] = argument.b;
      arguments_fit_ &= !backward_is_wide(p, row);
    });
  }

  void sum() {
    h_ = gradient_.of(g_, x_, tile_.count, tile_.n, rows_.argument());
    sum(h_, 0);
  }

  // What is left; and beside it the sums of the next tile, if there is one.
  void finish(const RowGradients& gradients, ShortRows* next) {
    const Problem& p = call_.problem;
    const bool summed = combine(gradients, next);
    if (next != nullptr && !summed) next->sum();
    if (!p.y.defined()) return;
    write_tile(p.y, tile_, size_of(p.dtype), dx_buffer_);
    zero_tails(p, tile_);
  }

 private:
  Row first_row() const { return {tile_.row_n, tile_.row_c}; }

  void sum(In h, std::int64_t first) {
    gradient_.kernels().sums(segment(h, first), segment(x_, first), tile_.count - first, tile_.n,
                             &rows_.centre[first], 1, {&rows_.sum_g[first], &rows_.sum_gx[first]});
  }

  void backward(std::int64_t first, std::int64_t count) {
    if (!call_.problem.y.defined()) return;
    gradient_.kernels().backward(segment(h_, first), segment(x_, first), segment(dx_, first), count,
                                 tile_.n, rows_.coefficients(first), call_.plan.stream);
  }

  // Returns whether the next tile is summed.
  bool combine(const RowGradients& gradients, ShortRows* next) {
    const Problem& p = call_.problem;
    const bool sums_fit = algebra(call_, tile_, gradients, rows_);
    if (arguments_fit_ && sums_fit) {
      if (next == nullptr || next->tile_.n != tile_.n) {
        backward(0, tile_.count);
        return false;
      }
      const std::int64_t both = std::min(tile_.count, next->tile_.count);
      next->h_ = next->g_;
      gradient_.kernels().backward_sums(
          h_, x_, dx_, both, tile_.n, rows_.coefficients(0), call_.plan.stream, next->g_, next->x_,
          next->rows_.centre.data(), 1, {next->rows_.sum_g.data(), next->rows_.sum_gx.data()});
      if (both < tile_.count) backward(both, tile_.count - both);
      if (both < next->tile_.count) next->sum(next->h_, both);
      return true;
    }
    each_row_of(p, tile_, [&](Row row, std::int64_t i) {
      if (!rows_.fits[i] || backward_is_wide(p, row)) {
        single_row(call_, row, segment(g_, i), segment(x_, i), segment(dx_, i), tile_.n,
                   {rows_.sum_g[i], rows_.sum_gx[i]}, gradients);
      } else {
        backward(i, 1);
      }
    });
    return false;
  }

  const Call& call_;
  Tile tile_{};
  In x_{}, g_{}, h_{};
  Out dx_{};
  bool arguments_fit_ = false;
  Rows rows_;
  Gradient gradient_;
  TileBuffer x_buffer_, g_buffer_, dx_buffer_;
};

// Where the sums of a long row's blocks go. One row's at a time.
GradientSumsOut sums_of_blocks(std::int64_t blocks) {
  double* numbers = scratch<double>(static_cast<std::size_t>(2 * blocks));
  return {numbers, numbers + blocks};
}

GradientSums merged(const GradientSumsOut& parts, std::int64_t blocks) {
  GradientSums sums;
  for (std::int64_t b = 0; b < blocks; ++b) {
    sums.g += parts.g[b];
    sums.gx += parts.gx[b];
  }
  return sums;
}

GradientSums long_row_sums(const Call& call, Row row, bool wide) {
  const Problem& p = call.problem;
  const std::int64_t size = size_of(p.dtype), blocks = blocks_of(call, row);
  const AffineCoefficients argument = backward_argument(p, row, wide);
  const bool bias = only_bias(p, given_moments(p, row));
  const GradientSumsOut parts = sums_of_blocks(blocks);
  each_block(call, row, [&](const Tile& tile, std::int64_t b) {
    TileBuffer x_buffer, g_buffer;
    Gradient gradient(call, wide);
    const In x = bias ? zeros() : read_tile(p.x, tile, size, x_buffer);
    const In g = read_tile(p.g, tile, size, g_buffer);
    const In h = gradient.of(g, x, tile.count, tile.n, columns(argument));
    gradient.kernels().sums(h, x, tile.count, tile.n, &argument.centre, 0, parts.at(b));
  });
  return merged(parts, blocks);
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

GradientSums sums_of_row(const Call& call, Row row, bool wide) {
  return call.problem.selects() ? present_sums(call, row, wide) : long_row_sums(call, row, wide);
}

// What is left of a long row once its sums, taken `wide` or not, are known. `beside`, if not null,
// is a row of the same length whose sums are wanted, not wide: where this one needs nothing
// special, they are taken on the way. Returns whether they were.
bool finish_long_row(const Call& call, Row row, GradientSums sums, bool wide,
                     const RowGradients& gradients, const Row* beside, GradientSums* of_beside) {
  const Problem& p = call.problem;
  const std::int64_t size = size_of(p.dtype);
  if (!wide && !finite(sums)) sums = sums_of_row(call, row, wide = true);
  if (only_bias(p, given_moments(p, row))) {
    bias_row(p, row, sums, gradients);
    if (p.y.defined()) zero_tail(p.y, row.n, row.c, 0, p.L, size);
    return false;
  }
  ParameterGradients of_row;
  BackwardCoefficients k;
  wide = backward_of_row(p, row, sums, wide, of_row, k);
  gradients.weight[row.index(p)] = of_row.weight;
  gradients.bias[row.index(p)] = of_row.bias;
  if (!p.y.defined()) return false;
  const AffineCoefficients argument = backward_argument(p, row, wide);
  const bool both = beside != nullptr && !wide;
  if (both) {
    const GradientSumsOut parts = sums_of_blocks(blocks_of(call, row));
    const AffineCoefficients of_next = backward_argument(p, *beside, false);
    each_block(call, row, [&](const Tile& tile, std::int64_t b) {
      Tile next = tile;
      next.row_n = beside->n;
      next.row_c = beside->c;
      TileBuffer unused;
      call.common.of_g.backward_sums(
          read_tile(p.g, tile, size, unused), read_tile(p.x, tile, size, unused),
          tile_to_write(p.y, tile, size, unused), tile.count, tile.n, columns(k), call.plan.stream,
          read_tile(p.g, next, size, unused), read_tile(p.x, next, size, unused), &of_next.centre,
          0, parts.at(b));
    });
    *of_beside = merged(parts, blocks_of(call, row));
  } else {
    each_block(call, row, [&](const Tile& tile, std::int64_t) {
      TileBuffer x_buffer, g_buffer, dx_buffer;
      Gradient gradient(call, wide);
      const In x = read_tile(p.x, tile, size, x_buffer);
      const In g = read_tile(p.g, tile, size, g_buffer);
      const Out dx = tile_to_write(p.y, tile, size, dx_buffer);
      Presence presence;
      if (p.selects()) mark(p, tile, x.data, p.nan_policy == NanPolicy::omit, presence);
      const In h = gradient.of(g, x, tile.count, tile.n, columns(argument));
      gradient.kernels().backward(h, x, dx, tile.count, tile.n, columns(k),
                                  call.plan.stream && call.plan.dense);
      if (p.selects()) zero_absent(presence, tile.n, size, dx.data);
      write_tile(p.y, tile, size, dx_buffer);
    });
  }
  zero_tail(p.y, row.n, row.c, p.length(row.n), p.L, size);
  return both;
}

// Rows that are columns, of any length: block by block, all at once. of_row(row) takes those that
// need other arithmetic; in place, it takes all if one does. The plan keeps rows away whose
// gradient x, which may be NaN, has no part in.
template <class OfRow>
void columns(const Call& call, const Tile& tile, const RowGradients& gradients,
             const OfRow& of_row) {
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
  bool all_fit = algebra(call, tile, gradients, rows);
  for (std::int64_t i = 0; i < tile.count && !p.use_input_stats; ++i) {
    if (!is_bias(rows.count[i], rows.m2[i] / rows.count[i], p.eps)) continue;
    rows.fits[i] = all_fit = false;  // whatever x and g are
  }
  const bool together = all_fit || !p.in_place;
  if (p.y.defined() && together) {
    call.columns.backward(columns_to_read(p.g, tile, 0), columns_to_read(p.x, tile, 0),
                          columns_to_write(p.y, tile), tile.count, tile.n, rows.coefficients(0),
                          call.plan.stream);
    zero_column_tails(p.y, tile, p.L, size_of(p.dtype));
  }
  if (all_fit) return;
  each_row_of(p, tile, [&](Row row, std::int64_t i) {
    if (!together || !rows.fits[i]) of_row(row);
  });
}

// What a thread does with its rows, one after the other.
class Backward {
 public:
  Backward(const Call& call, const RowGradients& gradients) : call_(call), gradients_(gradients) {}

  void of_tile(const Tile& tile) {
    if (!call_.plan.columns) return tiles_.take(tile);
    columns(call_, tile, gradients_, [&](Row row) { of_row(row); });
  }

  void of_row(Row row) {
    const bool wide = backward_is_wide(call_.problem, row);
    GradientSums sums;
    if (!finish_row(wide ? nullptr : &row, &sums)) sums = sums_of_row(call_, row, wide);
    row_ = row;
    sums_ = sums;
    wide_ = wide;
    row_waits_ = true;
    if (!call_.plan.overlap) finish();
  }

  void finish() {
    finish_row(nullptr, nullptr);
    tiles_.finish();
  }

 private:
  // Finishes the row that waits, if one does. Returns whether `next`, if not null, has its sums.
  bool finish_row(const Row* next, GradientSums* of_next) {
    if (!row_waits_) return false;
    row_waits_ = false;
    const Problem& p = call_.problem;
    const bool together = next != nullptr && call_.plan.overlap &&
                          p.length(next->n) == p.length(row_.n) &&
                          !only_bias(p, given_moments(p, *next));
    return finish_long_row(call_, row_, sums_, wide_, gradients_, together ? next : nullptr,
                           of_next);
  }

  const Call& call_;
  const RowGradients& gradients_;
  TilesInTurn<ShortRows, RowGradients> tiles_{call_, gradients_};
  Row row_{};
  GradientSums sums_;
  bool wide_ = false;
  bool row_waits_ = false;
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
