#include "cpu/double_backward.h"

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "cpu/parameter_gradient.h"
#include "cpu/rows.h"
#include "dtype.h"

namespace instnorm::cpu {
namespace {

// What is read of a tile or of one segment of it, and what is written: undefined is nullptr.
struct Read {
  In x, g, u;
};
struct Written {
  Out x, grad_output;
};

// Where a tile lies while it is worked on.
struct Buffers {
  TileBuffer x, g, u, grad_x, grad_output;
};

Read read(const Problem& p, const Tile& tile, Buffers& buffers) {
  const std::int64_t size = size_of(p.dtype);
  return {read_tile(p.x, tile, size, buffers.x), read_tile(p.g, tile, size, buffers.g),
          p.u.defined() ? read_tile(p.u, tile, size, buffers.u) : zeros()};
}

Written to_write(const Problem& p, const Tile& tile, Buffers& buffers) {
  const std::int64_t size = size_of(p.dtype);
  Written to{};
  if (p.y.defined()) to.x = tile_to_write(p.y, tile, size, buffers.grad_x);
  if (p.grad_g.defined()) to.grad_output = tile_to_write(p.grad_g, tile, size, buffers.grad_output);
  return to;
}

void write(const Problem& p, const Tile& tile, const Buffers& buffers) {
  const std::int64_t size = size_of(p.dtype);
  if (p.y.defined()) write_tile(p.y, tile, size, buffers.grad_x);
  if (p.grad_g.defined()) write_tile(p.grad_g, tile, size, buffers.grad_output);
}

// Zeroes what lies behind the first `length` values of a row in both gradients.
void zero_tails_of_both(const Problem& p, Row row, std::int64_t length) {
  for (const Rows* rows : {&p.y, &p.grad_g}) {
    if (rows->defined()) zero_tail(*rows, row.n, row.c, length, p.L, size_of(p.dtype));
  }
}

Read segment(const Read& from, std::int64_t i) {
  return {segment(from.x, i), segment(from.g, i), segment(from.u, i)};
}
Written segment(const Written& to, std::int64_t i) {
  return {segment(to.x, i), segment(to.grad_output, i)};
}

bool finite(const GradientSums& sums) { return std::isfinite(sums.g) && std::isfinite(sums.gx); }
bool finite(const DoubleSums& sums) {
  return finite(sums.g) && finite(sums.u) && std::isfinite(sums.ug);
}

void add(DoubleSums& sums, const DoubleSums& block) {
  sums.g.g += block.g.g;
  sums.g.gx += block.g.gx;
  sums.u.g += block.u.g;
  sums.u.gx += block.u.gx;
  sums.ug += block.ug;
}

// Of one segment: three times the sums of a backward, those of u * g about 0.
DoubleSums segment_sums(const Kernels& kernels, const Read& from, std::int64_t n, double centre) {
  const GradientSumsKernel take = kernels.of_g.sums;
  constexpr double kZero = 0.0;
  DoubleSums sums;
  GradientSums product;
  take(from.g, from.x, 1, n, &centre, 0, {&sums.g.g, &sums.g.gx});
  take(from.u, from.x, 1, n, &centre, 0, {&sums.u.g, &sums.u.gx});
  take(from.g, from.u, 1, n, &kZero, 0, {&product.g, &product.gx});
  sums.ug = product.gx;
  return sums;
}

void combine(const Call& call, const Kernels& kernels, const Read& from, const Written& to,
             std::int64_t n, const DoubleCoefficients& k) {
  const bool stream = call.plan.stream;
  if (to.grad_output.data != nullptr) {
    const BackwardCoefficients& of = k.grad_output;
    kernels.of_g.backward(from.u, from.x, to.grad_output, 1, n,
                          {&of.centre, &of.p, &of.q, &of.r, 0}, stream);
  }
  if (to.x.data != nullptr) {
    kernels.double_backward(from.g, from.u, from.x, to.x, 1, n,
                            {&k.x.centre, &k.x.p, &k.s, &k.x.q, &k.x.r, 0}, stream);
  }
}

// How a row is combined.
struct Decision {
  DoubleCoefficients k;
  bool wide = false;
  bool zeros = false;  // it is its bias, whatever its values are: zeros are read in their place
};

// `take(wide, centre)` gives the row's sums.
template <class Take>
Decision decide(const Problem& p, Row row, const Take& take) {
  const RowMoments moments = given_moments(p, row);
  const auto sums_of = [&](bool wide) {
    return take(wide, backward_centre(p, moments.mean.hi, wide));
  };
  Decision d;
  d.zeros = only_bias(p, moments);
  DoubleSums sums;
  if (!d.zeros) {
    d.wide = backward_is_wide(p, row);
    sums = sums_of(d.wide);
    if (!d.wide && !finite(sums)) sums = sums_of(d.wide = true);
  }
  d.wide = double_backward_of_row(p, row, sums, d.wide, d.k);
  return d;
}

void short_rows(const Call& call, const Tile& tile, double* weights) {
  const Problem& p = call.problem;
  Buffers buffers;
  const Read from = read(p, tile, buffers);
  const Written to = to_write(p, tile, buffers);
  each_row_of(p, tile, [&](Row row, std::int64_t i) {
    const Read of_row = segment(from, i);
    const Decision d = decide(p, row, [&](bool wide, double centre) {
      return segment_sums(call.kernels(wide), of_row, tile.n, centre);
    });
    weights[row.index(p)] = d.k.weight;
    const Read nothing{zeros(), zeros(), zeros()};
    combine(call, call.kernels(d.wide), d.zeros ? nothing : of_row, segment(to, i), tile.n, d.k);
  });
  write(p, tile, buffers);
  if (tile.n == p.L) return;
  each_row_of(p, tile, [&](Row row, std::int64_t) { zero_tails_of_both(p, row, tile.n); });
}

void long_row(const Call& call, Row row, double* weights) {
  const Problem& p = call.problem;
  const std::int64_t blocks = blocks_of(call, row);
  const Decision d = decide(p, row, [&](bool wide, double centre) {
    DoubleSums* parts = scratch<DoubleSums>(static_cast<std::size_t>(blocks));
    each_block(call, row, [&](const Tile& tile, std::int64_t b) {
      Buffers buffers;
      const Read from = read(p, tile, buffers);
      for (std::int64_t i = 0; i < tile.count; ++i) {
        parts[b + i] = segment_sums(call.kernels(wide), segment(from, i), tile.n, centre);
      }
    });
    DoubleSums sums;
    for (std::int64_t b = 0; b < blocks; ++b) add(sums, parts[b]);
    return sums;
  });
  weights[row.index(p)] = d.k.weight;
  each_block(call, row, [&](const Tile& tile, std::int64_t) {
    Buffers buffers;
    const Read nothing{zeros(), zeros(), zeros()};
    const Read from = d.zeros ? nothing : read(p, tile, buffers);
    const Written to = to_write(p, tile, buffers);
    for (std::int64_t i = 0; i < tile.count; ++i) {
      combine(call, call.kernels(d.wide), segment(from, i), segment(to, i), tile.n, d.k);
    }
    write(p, tile, buffers);
  });
  zero_tails_of_both(p, row, p.length(row.n));
}

}  // namespace

void double_backward(const Call& call) {
  const Problem& p = call.problem;
  struct Weights {};
  double* weights = scratch<double, Weights>(static_cast<std::size_t>(p.rows()));
  each_row(
      call, [&](const Tile& tile) { short_rows(call, tile, weights); },
      [&](Row row) { long_row(call, row, weights); });
  store_parameter_gradient(p, p.grad_weight, weights);
}

}  // namespace instnorm::cpu
