#include "cpu/forward.h"

#include <algorithm>
#include <array>

#include "cpu/presence.h"
#include "cpu/rows.h"
#include "dtype.h"

namespace instnorm::cpu {
namespace {

// What is known of a tile's rows, number by number.
struct Rows {
  PerRow<double> sum_centre, s, q;
  PerRow<bool> constant;
  PerRow<double> weight, bias;
  PerRow<double> mean_hi, mean_lo, m2;
  PerRow<double> centre, a, b;
  PerRow<std::int64_t> fits;

  MomentSums sums() { return {sum_centre.data(), s.data(), q.data(), constant.data()}; }
  AffineColumns coefficients(std::int64_t i) { return {&centre[i], &a[i], &b[i], 1.0, 1}; }
};

BlockSums block_sums(const MomentSums& sums, std::int64_t i, std::int64_t n) {
  return {static_cast<double>(n), sums.centre[i], sums.s[i], sums.q[i], sums.constant[i]};
}

AffineColumns columns(const AffineCoefficients& k) { return {&k.centre, &k.a, &k.b, k.scale, 0}; }

void combine(const Call& call, bool wide, In x, Out y, std::int64_t count, std::int64_t n,
             const AffineColumns& k) {
  const Kernels& kernels = call.kernels(wide);
  if (call.problem.activation == Activation::none) {
    kernels.affine(x, y, count, n, k, call.plan.stream);
  } else {
    kernels.activated(x, y, count, n, k, call.problem.activation);
  }
}

// A row that the common arithmetic may not hold, or whose statistics are given: by itself.
void single_row(const Call& call, Row row, In x, Out y, std::int64_t n, const MomentSums* sums,
                const MomentsOut& out) {
  const Problem& p = call.problem;
  RowMoments moments;
  Arithmetic how;
  if (sums != nullptr) {
    moments = moments_of(block_sums(*sums, 0, n));
    if (!trusted(p, moments, how)) {
      call.wide.moments(x, 1, n, how.scale, *sums);
      moments = moments_of(block_sums(*sums, 0, n));
      moments.scale = how.scale;
    }
  } else {
    moments = given_moments(p, row);
  }
  out.set(row, moments);
  if (!p.y.defined()) return;
  AffineCoefficients k;
  const bool wide = affine_of_row(p, row, moments, how, k);
  if (only_bias(p, moments)) x = zeros();
  combine(call, wide, x, y, 1, n, columns(k));
}

// The algebra of a tile's rows from their sums. Returns whether the common arithmetic holds them
// all.
bool algebra(const Call& call, const Tile& tile, Rows& rows) {
  const Problem& p = call.problem;
  const Row first{tile.row_n, tile.row_c};
  weights_of(p, first, tile.count, rows.weight.data());
  biases_of(p, first, tile.count, rows.bias.data());
  return call.common.rows_forward({tile.count, static_cast<double>(tile.n), p.eps, rows.sums(),
                                   rows.weight.data(), rows.bias.data(), rows.mean_hi.data(),
                                   rows.mean_lo.data(), rows.m2.data(), rows.centre.data(),
                                   rows.a.data(), rows.b.data(), rows.fits.data()});
}

// What it says of row i.
RowMoments plain_moments(Rows& rows, std::int64_t i, std::int64_t n) {
  RowMoments moments;
  moments.count = static_cast<double>(n);
  moments.mean = {rows.mean_hi[i], rows.mean_lo[i]};
  moments.m2 = rows.m2[i];
  return moments;
}

void short_rows(const Call& call, const Tile& tile, const MomentsOut& out) {
  const Problem& p = call.problem;
  const std::int64_t size = size_of(p.dtype);
  TileBuffer x_buffer, y_buffer;
  const In x = read_tile(p.x, tile, size, x_buffer);
  const Out y = p.y.defined() ? tile_to_write(p.y, tile, size, y_buffer) : Out{};
  if (!p.own_statistics()) {
    each_row_of(p, tile, [&](Row row, std::int64_t i) {
      single_row(call, row, segment(x, i), segment(y, i), tile.n, nullptr, out);
    });
  } else {
    Rows rows;
    const MomentSums sums = rows.sums();
    call.common.moments(x, tile.count, tile.n, 1.0, sums);
    const bool all_fit = algebra(call, tile, rows);
    const auto plain_row = [&](Row row, std::int64_t i) {
      out.set(row, plain_moments(rows, i, tile.n));
    };
    if (all_fit) {
      if (out.wanted()) each_row_of(p, tile, plain_row);
      if (p.y.defined()) {
        combine(call, false, x, y, tile.count, tile.n, rows.coefficients(0));
      }
    } else {
      each_row_of(p, tile, [&](Row row, std::int64_t i) {
        if (!rows.fits[i]) {
          const MomentSums at = sums.at(i);
          single_row(call, row, segment(x, i), segment(y, i), tile.n, &at, out);
          return;
        }
        plain_row(row, i);
        if (p.y.defined()) {
          combine(call, false, segment(x, i), segment(y, i), 1, tile.n, rows.coefficients(i));
        }
      });
    }
  }
  if (!p.y.defined()) return;
  write_tile(p.y, tile, size, y_buffer);
  zero_tails(p, tile);
}

RowMoments long_row_moments(const Call& call, Row row, Arithmetic how) {
  const Problem& p = call.problem;
  const std::int64_t blocks = blocks_of(call, row);
  double* numbers = scratch<double>(static_cast<std::size_t>(3 * blocks));
  const MomentSums sums{numbers, numbers + blocks, numbers + 2 * blocks,
                        scratch<bool>(static_cast<std::size_t>(blocks))};
  each_block(call, row, [&](const Tile& tile, std::int64_t b) {
    TileBuffer buffer;
    const In x = read_tile(p.x, tile, size_of(p.dtype), buffer);
    call.kernels(how.wide).moments(x, tile.count, tile.n, how.scale, sums.at(b));
  });
  RowMoments moments;
  moments.scale = how.scale;
  for (std::int64_t b = 0; b < blocks; ++b) {
    merge(moments, block_sums(sums, b, block_length(call, row, b)));
  }
  finish(moments);
  return moments;
}

// The same over the values that are there: their blocks need not be blocks of x.
RowMoments present_moments(const Call& call, Row row, Arithmetic how) {
  RowMoments moments;
  moments.scale = how.scale;
  each_present_block(call, row, false, [&](In x, In, std::int64_t n) {
    BlockSums block{static_cast<double>(n)};
    call.kernels(how.wide).moments(x, 1, n, how.scale,
                                   {&block.centre, &block.s, &block.q, &block.constant});
    merge(moments, block);
  });
  finish(moments);
  return moments;
}

void long_row(const Call& call, Row row, const MomentsOut& out) {
  const Problem& p = call.problem;
  const std::int64_t size = size_of(p.dtype);
  RowMoments moments;
  Arithmetic how;
  if (p.own_statistics()) {
    const auto take = p.selects() ? &present_moments : &long_row_moments;
    moments = take(call, row, how);
    if (!trusted(p, moments, how)) moments = take(call, row, how);
  } else {
    moments = given_moments(p, row);
  }
  out.set(row, moments);
  if (!p.y.defined()) return;
  AffineCoefficients k;
  const bool wide = affine_of_row(p, row, moments, how, k);
  const bool bias = only_bias(p, moments), omit = p.nan_policy == NanPolicy::omit;
  each_block(call, row, [&](const Tile& tile, std::int64_t) {
    TileBuffer x_buffer, y_buffer;
    In x = bias && !omit ? zeros() : read_tile(p.x, tile, size, x_buffer);
    if (bias && omit) x = only_nan(p, tile, x, x_buffer);
    const Out y = tile_to_write(p.y, tile, size, y_buffer);
    combine(call, wide, x, y, tile.count, tile.n, columns(k));
    if (p.mask.defined()) {
      Presence presence;
      mark(p, tile, nullptr, false, presence);
      zero_absent(presence, tile.n, size, y.data);
    }
    write_tile(p.y, tile, size, y_buffer);
  });
  zero_tail(p.y, row.n, row.c, p.length(row.n), p.L, size);
}

// Rows that are columns, of any length: block by block, all at once. Returns false, with nothing
// written, if one of them needs other arithmetic.
bool columns(const Call& call, const Tile& tile, const MomentsOut& out) {
  const Problem& p = call.problem;
  Rows rows;
  std::array<RowMoments, kTileRows> moments;
  bool all_fit = true;
  const bool one_block = tile.n <= call.plan.block;
  if (p.own_statistics()) {
    for (std::int64_t first = 0; first < tile.n; first += call.plan.block) {
      const std::int64_t n = std::min(call.plan.block, tile.n - first);
      call.columns.moments(columns_to_read(p.x, tile, first), tile.count, n, rows.sums());
      if (one_block) break;
      for (std::int64_t i = 0; i < tile.count; ++i) {
        merge(moments[static_cast<std::size_t>(i)], block_sums(rows.sums(), i, n));
      }
    }
  }
  if (p.own_statistics() && one_block) {
    all_fit = algebra(call, tile, rows);
    for (std::int64_t i = 0; i < tile.count && out.wanted(); ++i) {
      moments[static_cast<std::size_t>(i)] = plain_moments(rows, i, tile.n);
    }
  } else {
    each_row_of(p, tile, [&](Row row, std::int64_t i) {
      RowMoments& of_row = moments[static_cast<std::size_t>(i)];
      Arithmetic how;
      if (p.own_statistics()) {
        finish(of_row);
        all_fit &= trusted(p, of_row, how);
      } else {
        of_row = given_moments(p, row);
      }
      AffineCoefficients k;
      all_fit &= !affine_of_row(p, row, of_row, how, k) && !only_bias(p, of_row);
      rows.centre[i] = k.centre;
      rows.a[i] = k.a;
      rows.b[i] = k.b;
    });
  }
  if (!all_fit) return false;
  each_row_of(p, tile,
              [&](Row row, std::int64_t i) { out.set(row, moments[static_cast<std::size_t>(i)]); });
  if (!p.y.defined()) return true;
  call.columns.affine(columns_to_read(p.x, tile, 0), columns_to_write(p.y, tile), tile.count,
                      tile.n, rows.coefficients(0), p.activation);
  zero_column_tails(p.y, tile, p.L, size_of(p.dtype));
  return true;
}

}  // namespace

void forward(const Call& call, const MomentsOut& out) {
  each_row(
      call,
      [&](const Tile& tile) {
        if (!call.plan.columns) return short_rows(call, tile, out);
        if (columns(call, tile, out)) return;
        each_row_of(call.problem, tile, [&](Row row, std::int64_t) { long_row(call, row, out); });
      },
      [&](Row row) { long_row(call, row, out); });
}

}  // namespace instnorm::cpu
