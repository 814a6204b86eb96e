#include "cpu/forward.h"

#include <algorithm>

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
  const bool stream = call.plan.stream && call.plan.dense;
  if (call.problem.activation == Activation::none) {
    kernels.affine(x, y, count, n, k, stream);
  } else {
    kernels.activated(x, y, count, n, k, call.problem.activation, stream);
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

// A tile of short rows on its way: read, summed, combined and written.
class ShortRows {
 public:
  explicit ShortRows(const Call& call) : call_(call) {}

  void read(const Tile& tile) {
    tile_ = tile;
    const Problem& p = call_.problem;
    x_ = read_tile(p.x, tile, size_of(p.dtype), x_buffer_);
    y_ = p.y.defined() ? tile_to_write(p.y, tile, size_of(p.dtype), y_buffer_) : Out{};
  }

  void sum() {
    if (call_.problem.own_statistics()) sum(0);
  }

  // What is left; and beside it the sums of the next tile, if there is one.
  void finish(const MomentsOut& out, ShortRows* next) {
    const Problem& p = call_.problem;
    if (combine(out, next)) {
      next = nullptr;
    }
    if (next != nullptr) next->sum();
    if (!p.y.defined()) return;
    write_tile(p.y, tile_, size_of(p.dtype), y_buffer_);
    zero_tails(p, tile_);
  }

 private:
  void sum(std::int64_t first) {
    call_.common.moments(segment(x_, first), tile_.count - first, tile_.n, 1.0,
                         rows_.sums().at(first));
  }

  // Returns whether the next tile is summed.
  bool combine(const MomentsOut& out, ShortRows* next) {
    const Problem& p = call_.problem;
    if (!p.own_statistics()) {
      each_row_of(p, tile_, [&](Row row, std::int64_t i) {
        single_row(call_, row, segment(x_, i), segment(y_, i), tile_.n, nullptr, out);
      });
      return false;
    }
    const bool all_fit = algebra(call_, tile_, rows_);
    const auto plain_row = [&](Row row, std::int64_t i) {
      out.set(row, plain_moments(rows_, i, tile_.n));
    };
    if (all_fit) {
      if (out.wanted()) each_row_of(p, tile_, plain_row);
      if (next == nullptr || next->tile_.n != tile_.n) {
        if (p.y.defined()) affine(0);
        return false;
      }
      const std::int64_t both = std::min(tile_.count, next->tile_.count);
      call_.common.affine_moments(x_, y_, both, tile_.n, rows_.coefficients(0), call_.plan.stream,
                                  next->x_, next->rows_.sums());
      if (both < tile_.count) affine(both);
      if (both < next->tile_.count) next->sum(both);
      return true;
    }
    each_row_of(p, tile_, [&](Row row, std::int64_t i) {
      if (!rows_.fits[i]) {
        const MomentSums at = rows_.sums().at(i);
        single_row(call_, row, segment(x_, i), segment(y_, i), tile_.n, &at, out);
        return;
      }
      plain_row(row, i);
      if (p.y.defined()) {
        instnorm::cpu::combine(call_, false, segment(x_, i), segment(y_, i), 1, tile_.n,
                               rows_.coefficients(i));
      }
    });
    return false;
  }

  void affine(std::int64_t first) {
    instnorm::cpu::combine(call_, false, segment(x_, first), segment(y_, first),
                           tile_.count - first, tile_.n, rows_.coefficients(first));
  }

  const Call& call_;
  Tile tile_{};
  In x_{};
  Out y_{};
  Rows rows_;
  TileBuffer x_buffer_, y_buffer_;
};

// Where the sums of a long row's blocks go. One row's at a time.
MomentSums sums_of_blocks(std::int64_t blocks) {
  double* numbers = scratch<double>(static_cast<std::size_t>(3 * blocks));
  return {numbers, numbers + blocks, numbers + 2 * blocks,
          scratch<bool>(static_cast<std::size_t>(blocks))};
}

RowMoments merged(const Call& call, Row row, Arithmetic how, const MomentSums& sums) {
  RowMoments moments;
  moments.scale = how.scale;
  for (std::int64_t b = 0; b < blocks_of(call, row); ++b) {
    merge(moments, block_sums(sums, b, block_length(call, row, b)));
  }
  finish(moments);
  return moments;
}

RowMoments long_row_moments(const Call& call, Row row, Arithmetic how) {
  const Problem& p = call.problem;
  const MomentSums sums = sums_of_blocks(blocks_of(call, row));
  each_block(call, row, [&](const Tile& tile, std::int64_t b) {
    TileBuffer buffer;
    const In x = read_tile(p.x, tile, size_of(p.dtype), buffer);
    call.kernels(how.wide).moments(x, tile.count, tile.n, how.scale, sums.at(b));
  });
  return merged(call, row, how, sums);
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

RowMoments moments_of_row(const Call& call, Row row) {
  const Problem& p = call.problem;
  if (!p.own_statistics()) return given_moments(p, row);
  return p.selects() ? present_moments(call, row, {}) : long_row_moments(call, row, {});
}

// What is left of a long row once its moments, in the common arithmetic, are known. `beside`, if
// not null, is a dense row of the same length: where this one needs nothing special, its moments
// are taken on the way. Returns whether they were.
bool finish_long_row(const Call& call, Row row, RowMoments moments, const MomentsOut& out,
                     const Row* beside, RowMoments* of_beside) {
  const Problem& p = call.problem;
  const std::int64_t size = size_of(p.dtype);
  Arithmetic how;
  if (p.own_statistics() && !trusted(p, moments, how)) {
    moments = p.selects() ? present_moments(call, row, how) : long_row_moments(call, row, how);
  }
  out.set(row, moments);
  if (!p.y.defined()) return false;
  AffineCoefficients k;
  const bool wide = affine_of_row(p, row, moments, how, k);
  const bool bias = only_bias(p, moments), omit = p.nan_policy == NanPolicy::omit;
  if (beside != nullptr && !wide && !bias) {
    const MomentSums sums = sums_of_blocks(blocks_of(call, row));
    each_block(call, row, [&](const Tile& tile, std::int64_t b) {
      Tile of_next = tile;
      of_next.row_n = beside->n;
      of_next.row_c = beside->c;
      TileBuffer unused;
      call.common.affine_moments(
          read_tile(p.x, tile, size, unused), tile_to_write(p.y, tile, size, unused), tile.count,
          tile.n, columns(k), call.plan.stream, read_tile(p.x, of_next, size, unused), sums.at(b));
    });
    *of_beside = merged(call, *beside, {}, sums);
    return true;
  }
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
  return false;
}

// What is known of rows that are columns.
struct ColumnRows {
  Rows rows;
  PerRow<RowMoments> moments;
  PerRow<bool> special;  // needs other arithmetic
  bool any_special = false;
};

// The coefficients of rows that are columns, of any length: block by block, all at once.
void settle_columns(const Call& call, const Tile& tile, bool wanted, ColumnRows& of) {
  const Problem& p = call.problem;
  Rows& rows = of.rows;
  const bool one_block = tile.n <= call.plan.block;
  for (std::int64_t i = 0; !one_block && i < tile.count; ++i) of.moments[i] = RowMoments();
  for (std::int64_t first = 0; p.own_statistics() && first < tile.n; first += call.plan.block) {
    const std::int64_t n = std::min(call.plan.block, tile.n - first);
    call.columns.moments(columns_to_read(p.x, tile, first), tile.count, n, rows.sums());
    if (one_block) break;
    for (std::int64_t i = 0; i < tile.count; ++i) {
      merge(of.moments[i], block_sums(rows.sums(), i, n));
    }
  }
  if (p.own_statistics() && one_block) {
    of.any_special = !algebra(call, tile, rows);
    for (std::int64_t i = 0; i < tile.count; ++i) {
      of.special[i] = rows.fits[i] == 0;
      if (wanted) of.moments[i] = plain_moments(rows, i, tile.n);
    }
    return;
  }
  each_row_of(p, tile, [&](Row row, std::int64_t i) {
    RowMoments& moments = of.moments[i];
    Arithmetic how;
    bool special = false;
    if (p.own_statistics()) {
      finish(moments);
      special = !trusted(p, moments, how);
    } else {
      moments = given_moments(p, row);
    }
    AffineCoefficients k;
    special |= affine_of_row(p, row, moments, how, k) || only_bias(p, moments);
    rows.centre[i] = k.centre;
    rows.a[i] = k.a;
    rows.b[i] = k.b;
    of.special[i] = special;
    of.any_special |= special;
  });
}

// Rows that are columns; of_row(row) takes those that need other arithmetic.
template <class OfRow>
void columns(const Call& call, const Tile& tile, const MomentsOut& out, const OfRow& of_row) {
  const Problem& p = call.problem;
  ColumnRows of;
  settle_columns(call, tile, out.wanted(), of);
  // Among the others a special row is copied, so that one written in place can still be read.
  const bool copied = p.activation == Activation::none || !p.in_place;
  if (of.any_special) {
    for (std::int64_t i = 0; i < tile.count; ++i) {
      if (!of.special[i]) continue;
      of.rows.centre[i] = of.rows.b[i] = 0.0;
      of.rows.a[i] = 1.0;
    }
  }
  if (p.y.defined() && (copied || !of.any_special)) {
    call.columns.affine(columns_to_read(p.x, tile, 0), columns_to_write(p.y, tile), tile.count,
                        tile.n, of.rows.coefficients(0), p.activation, call.plan.stream);
    zero_column_tails(p.y, tile, p.L, size_of(p.dtype));
  }
  each_row_of(p, tile, [&](Row row, std::int64_t i) {
    if (of.special[i] || (of.any_special && !copied)) return of_row(row);
    out.set(row, of.moments[i]);
  });
}

// What a thread does with its rows, one after the other.
class Forward {
 public:
  Forward(const Call& call, const MomentsOut& out) : call_(call), out_(out) {}

  void of_tile(const Tile& tile) {
    if (!call_.plan.columns) return tiles_.take(tile);
    columns(call_, tile, out_, [&](Row row) { of_row(row); });
  }

  void of_row(Row row) {
    RowMoments moments;
    if (!finish_row(&row, &moments)) moments = moments_of_row(call_, row);
    row_ = row;
    moments_ = moments;
    row_waits_ = true;
    if (!call_.plan.overlap) finish_row(nullptr, nullptr);
  }

  void finish() {
    finish_row(nullptr, nullptr);
    tiles_.finish();
  }

 private:
  // Finishes the row that waits, if one does. Returns whether `next`, if not null, has its moments.
  bool finish_row(const Row* next, RowMoments* of_next) {
    if (!row_waits_) return false;
    row_waits_ = false;
    const Problem& p = call_.problem;
    const std::int64_t length = p.length(row_.n);
    if (next != nullptr && p.length(next->n) != length) next = nullptr;
    const bool taken = finish_long_row(call_, row_, moments_, out_, next, of_next);
    if (p.y.defined()) zero_tail(p.y, row_.n, row_.c, length, p.L, size_of(p.dtype));
    return taken;
  }

  const Call& call_;
  const MomentsOut& out_;
  TilesInTurn<ShortRows, MomentsOut> tiles_{call_, out_};
  Row row_{};
  RowMoments moments_;
  bool row_waits_ = false;
};

}  // namespace

void forward(const Call& call, const MomentsOut& out) {
  each_row(call, [&] { return Forward(call, out); });
}

}  // namespace instnorm::cpu
