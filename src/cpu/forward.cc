#include "cpu/forward.h"

#include "cpu/rows.h"
#include "dtype.h"

namespace instnorm::cpu {
namespace {

RowMoments moments_of_blocks(const BlockSums* sums, std::int64_t blocks, double scale) {
  RowMoments moments;
  moments.scale = scale;
  for (std::int64_t b = 0; b < blocks; ++b) merge(moments, sums[b]);
  finish(moments);
  return moments;
}

void short_rows(const Call& call, const Tile& tile, const MomentsOut& out) {
  const Problem& p = call.problem;
  const std::int64_t size = size_of(p.dtype);
  TileBuffer x_buffer, y_buffer;
  const In x = read_tile(p.x, tile, size, x_buffer);
  PerRow<BlockSums> sums;
  PerRow<AffineCoefficients> k;
  PerRow<bool> wide;
  bool any_wide = false;
  if (p.own_statistics()) call.common.moments(x, tile.count, tile.n, 1.0, sums.data());
  each_row_of(p, tile, [&](Row row, std::int64_t i) {
    RowMoments moments;
    Arithmetic how;
    if (p.own_statistics()) {
      moments = moments_of_blocks(&sums[i], 1, 1.0);
      if (!trusted(p, moments, how)) {
        call.wide.moments(segment(x, i), 1, tile.n, how.scale, &sums[i]);
        moments = moments_of_blocks(&sums[i], 1, how.scale);
      }
    } else {
      moments = given_moments(p, row);
    }
    out.set(row, moments);
    if (p.y.defined()) any_wide |= wide[i] = affine_of_row(p, row, moments, how, k[i]);
  });
  if (!p.y.defined()) return;
  const Out y = tile_to_write(p.y, tile, size, y_buffer);
  if (!any_wide) {
    call.common.affine(x, y, tile.count, tile.n, k.data(), 1, call.plan.stream);
  } else {
    for (std::int64_t i = 0; i < tile.count; ++i) {
      call.kernels(wide[i]).affine(segment(x, i), segment(y, i), 1, tile.n, &k[i], 1,
                                   call.plan.stream);
    }
  }
  write_tile(p.y, tile, size, y_buffer);
}

RowMoments long_row_moments(const Call& call, Row row, Arithmetic how) {
  const Problem& p = call.problem;
  BlockSums* sums = scratch<BlockSums>(static_cast<std::size_t>(call.plan.blocks));
  each_block(call, row, [&](const Tile& tile, std::int64_t b) {
    TileBuffer buffer;
    const In x = read_tile(p.x, tile, size_of(p.dtype), buffer);
    call.kernels(how.wide).moments(x, tile.count, tile.n, how.scale, sums + b);
  });
  return moments_of_blocks(sums, call.plan.blocks, how.scale);
}

void long_row(const Call& call, Row row, const MomentsOut& out) {
  const Problem& p = call.problem;
  const std::int64_t size = size_of(p.dtype);
  RowMoments moments;
  Arithmetic how;
  if (p.own_statistics()) {
    moments = long_row_moments(call, row, how);
    if (!trusted(p, moments, how)) moments = long_row_moments(call, row, how);
  } else {
    moments = given_moments(p, row);
  }
  out.set(row, moments);
  if (!p.y.defined()) return;
  AffineCoefficients k;
  const bool wide = affine_of_row(p, row, moments, how, k);
  each_block(call, row, [&](const Tile& tile, std::int64_t) {
    TileBuffer x_buffer, y_buffer;
    const In x = read_tile(p.x, tile, size, x_buffer);
    const Out y = tile_to_write(p.y, tile, size, y_buffer);
    call.kernels(wide).affine(x, y, tile.count, tile.n, &k, 0, call.plan.stream);
    write_tile(p.y, tile, size, y_buffer);
  });
}

}  // namespace

void forward(const Call& call, const MomentsOut& out) {
  each_row(
      call, [&](const Tile& tile) { short_rows(call, tile, out); },
      [&](Row row) { long_row(call, row, out); });
}

}  // namespace instnorm::cpu
