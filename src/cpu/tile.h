// Tiles: a few rows, or a few blocks of one row, of any strides, as dense segments: what the
// kernels read and write.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cpu/kernels.h"
#include "problem.h"

namespace instnorm::cpu {

// `count` segments of n elements: element `first` and on of `count` rows in order from row (n, c);
// or, with `along`, `count` pieces of that one row, one behind the other.
struct Tile {
  std::int64_t row_n, row_c;
  std::int64_t first, count, n;
  bool along;
};

struct TileBuffer {
  TileBuffer() {}  // leaves the bytes as they are, also for {}
  alignas(64) std::byte bytes[kBlockBytes];
};

// Bytes from a row to the next one, across instances too; 0 if that varies.
std::int64_t row_step(const Rows& rows, std::int64_t N, std::int64_t C);

// Dense along each row?
bool dense(const Rows& rows, std::int64_t size);

// Are the values of neighbouring rows neighbours in memory, as they are channels last?
bool columns(const Rows& rows, std::int64_t C, std::int64_t size);

// The values of a tile of such rows from `first` on, as ColumnKernels take them.
In columns_to_read(const Rows& rows, const Tile& tile, std::int64_t first);
Out columns_to_write(const Rows& rows, const Tile& tile);

// The tile's segments where they are, if `rows` is dense; else copied into `buffer`, which must
// hold them, and then the tile has one row only or lies in rows of one instance.
In read_tile(const Rows& rows, const Tile& tile, std::int64_t size, TileBuffer& buffer);

// Where the kernel writes a tile: the rows themselves if dense, else `buffer`; then call
// write_tile.
Out tile_to_write(const Rows& rows, const Tile& tile, std::int64_t size, TileBuffer& buffer);
void write_tile(const Rows& rows, const Tile& tile, std::int64_t size, const TileBuffer& buffer);

// Segments of zeros, as many as are wanted, of any dtype.
In zeros();

// Zeroes the elements [first, L) of a row.
void zero_tail(const Rows& rows, std::int64_t n, std::int64_t c, std::int64_t first, std::int64_t L,
               std::int64_t size);

// The same of all rows of a tile, which are columns, behind its values.
void zero_column_tails(const Rows& rows, const Tile& tile, std::int64_t L, std::int64_t size);

}  // namespace instnorm::cpu
