#include "cpu/tile.h"

#include <algorithm>
#include <cstring>

namespace instnorm::cpu {
namespace {

// Calls f(address, count, stride) for each run of the innermost dimension in [first, first + n).
template <class F>
void each_run(const Rows& rows, std::byte* row, std::int64_t first, std::int64_t n, const F& f) {
  const auto last = static_cast<std::size_t>(rows.inner - 1);
  const std::int64_t extent = rows.extent[last], stride = rows.stride[last];
  while (n > 0) {
    std::int64_t outer = first / extent;
    const std::int64_t within = first % extent;
    std::byte* address = row + within * stride;
    for (std::size_t i = last; i-- > 0;) {
      address += outer % rows.extent[i] * rows.stride[i];
      outer /= rows.extent[i];
    }
    const std::int64_t count = std::min(n, extent - within);
    f(address, count, stride);
    first += count;
    n -= count;
  }
}

// memcpy of a constant size is a move, of any alignment.
template <class F>
void with_size(std::int64_t size, const F& f) {
  switch (size) {
    case 1:
      return f([](void* to, const void* from) { std::memcpy(to, from, 1); });
    case 2:
      return f([](void* to, const void* from) { std::memcpy(to, from, 2); });
    case 4:
      return f([](void* to, const void* from) { std::memcpy(to, from, 4); });
    default:
      return f([](void* to, const void* from) { std::memcpy(to, from, 8); });
  }
}

// Can a tile of rows be copied in the order of memory?
bool across(const Rows& rows, const Tile& tile, std::int64_t size) {
  return !tile.along && columns(rows, tile.count, size);
}

// For such a tile: calls f(element, its position in the tile's buffer) in the order of memory.
template <class F>
void each_across(const Rows& rows, const Tile& tile, std::int64_t size, const F& f) {
  std::byte* element = rows.row(tile.row_n, tile.row_c) + tile.first * rows.stride[0];
  for (std::int64_t l = 0; l < tile.n; ++l, element += rows.stride[0]) {
    for (std::int64_t i = 0; i < tile.count; ++i) {
      f(element + i * size, (i * tile.n + l) * size);
    }
  }
}

// Calls f(row address, position in the tile's buffer) for each segment of a tile that is copied.
template <class F>
void each_segment(const Rows& rows, const Tile& tile, std::int64_t size, const F& f) {
  for (std::int64_t i = 0; i < tile.count; ++i) {
    f(rows.row(tile.row_n, tile.row_c + i), tile.first, i * tile.n * size);
  }
}

Out in_place(const Rows& rows, const Tile& tile, std::int64_t size) {
  return {rows.row(tile.row_n, tile.row_c) + tile.first * size,
          tile.along ? tile.n * size : rows.stride_c};
}

}  // namespace

std::int64_t row_step(const Rows& rows, std::int64_t N, std::int64_t C) {
  return N <= 1 || rows.stride_n == C * rows.stride_c ? rows.stride_c : 0;
}

bool dense(const Rows& rows, std::int64_t size) {
  return rows.inner == 1 && (rows.stride[0] == size || rows.extent[0] <= 1);
}

bool columns(const Rows& rows, std::int64_t C, std::int64_t size) {
  return C > 1 && rows.inner == 1 && rows.stride_c == size && rows.stride[0] > size;
}

In columns_to_read(const Rows& rows, const Tile& tile, std::int64_t first) {
  return {rows.row(tile.row_n, tile.row_c) + first * rows.stride[0], rows.stride[0]};
}

Out columns_to_write(const Rows& rows, const Tile& tile) {
  return {rows.row(tile.row_n, tile.row_c), rows.stride[0]};
}

void zero_column_tails(const Rows& rows, const Tile& tile, std::int64_t L, std::int64_t size) {
  std::byte* at = rows.row(tile.row_n, tile.row_c) + tile.n * rows.stride[0];
  for (std::int64_t l = tile.n; l < L; ++l, at += rows.stride[0]) {
    std::memset(at, 0, static_cast<std::size_t>(tile.count * size));
  }
}

In read_tile(const Rows& rows, const Tile& tile, std::int64_t size, TileBuffer& buffer) {
  if (dense(rows, size)) {
    const Out where = in_place(rows, tile, size);
    return {where.data, where.step};
  }
  with_size(size, [&](auto copy) {
    if (across(rows, tile, size)) {
      each_across(rows, tile, size,
                  [&](std::byte* element, std::int64_t at) { copy(buffer.bytes + at, element); });
      return;
    }
    each_segment(rows, tile, size, [&](std::byte* row, std::int64_t first, std::int64_t at) {
      std::byte* to = buffer.bytes + at;
      each_run(rows, row, first, tile.n,
               [&](const std::byte* from, std::int64_t count, std::int64_t stride) {
                 for (; count > 0; --count, from += stride, to += size) copy(to, from);
               });
    });
  });
  return {buffer.bytes, tile.n * size};
}

Out tile_to_write(const Rows& rows, const Tile& tile, std::int64_t size, TileBuffer& buffer) {
  if (dense(rows, size)) return in_place(rows, tile, size);
  return {buffer.bytes, tile.n * size};
}

void write_tile(const Rows& rows, const Tile& tile, std::int64_t size, const TileBuffer& buffer) {
  if (dense(rows, size)) return;
  with_size(size, [&](auto copy) {
    if (across(rows, tile, size)) {
      each_across(rows, tile, size,
                  [&](std::byte* element, std::int64_t at) { copy(element, buffer.bytes + at); });
      return;
    }
    each_segment(rows, tile, size, [&](std::byte* row, std::int64_t first, std::int64_t at) {
      const std::byte* from = buffer.bytes + at;
      each_run(rows, row, first, tile.n,
               [&](std::byte* to, std::int64_t count, std::int64_t stride) {
                 for (; count > 0; --count, to += stride, from += size) copy(to, from);
               });
    });
  });
}

In zeros() {
  alignas(64) static constexpr std::byte kZeros[kBlockBytes] = {};
  return {kZeros, 0};
}

void zero_tail(const Rows& rows, std::int64_t n, std::int64_t c, std::int64_t first, std::int64_t L,
               std::int64_t size) {
  if (first >= L) return;
  if (dense(rows, size)) {
    std::memset(rows.row(n, c) + first * size, 0, static_cast<std::size_t>((L - first) * size));
    return;
  }
  each_run(rows, rows.row(n, c), first, L - first,
           [size](std::byte* to, std::int64_t count, std::int64_t stride) {
             for (; count > 0; --count, to += stride) {
               std::memset(to, 0, static_cast<std::size_t>(size));
             }
           });
}

}  // namespace instnorm::cpu
