// How a pass walks through its rows: in tiles of short rows, or long row by long row in blocks.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "cpu/parallel.h"
#include "cpu/row.h"
#include "cpu/tile.h"

namespace instnorm::cpu {

// For each thread's rows calls of_tile(tile) for tiles of short rows, or of rows of any length that
// are columns, or of_row(row) for each long (or empty) one; and finish() after the last. All three
// are functions of what make() makes for the thread.
template <class Make>
void each_row(const Call& call, const Make& make) {
  const Problem& p = call.problem;
  const Plan& plan = call.plan;
  const bool by_rows = plan.split == Plan::Split::rows;
  // Padded to one value, a row is its bias, which no tile knows of.
  const std::int64_t least = p.lengths.defined() ? 2 : 1;
  const std::int64_t most = p.selects() ? 0 : plan.columns ? p.L : plan.block;
  on_threads(by_rows ? plan.threads : 1, p.rows(), [&](std::int64_t first, std::int64_t last) {
    auto thread = make();
    for (std::int64_t r = first; r < last;) {
      const Row row{r / p.C, r % p.C};
      const std::int64_t length = p.length(row.n);
      if (length < least || length > most) {
        thread.of_row(row);
        ++r;
        continue;
      }
      std::int64_t rows = std::min(plan.tile_rows, last - r);
      if (!plan.across_instances) rows = std::min(rows, p.C - row.c);
      thread.of_tile(Tile{row.n, row.c, 0, rows, length, false});
      r += rows;
    }
    thread.finish();
  });
}

// The same of functions that keep nothing from one tile or row to the next.
template <class OfTile, class OfRow>
void each_row(const Call& call, const OfTile& of_tile, const OfRow& of_row) {
  struct Thread {
    const OfTile& of_tile;
    const OfRow& of_row;
    void finish() const {}
  };
  each_row(call, [&] { return Thread{of_tile, of_row}; });
}

// Tiles of short rows, one after the other. A tile is read before the one before it is finished, so
// that its sums can be taken beside that; where rows are not overlapped it is finished at once.
// ShortRows has read(tile), sum() and finish(results, next or nullptr), which sums `next` too.
template <class ShortRows, class Results>
class TilesInTurn {
 public:
  TilesInTurn(const Call& call, const Results& results)
      : results_(results), overlap_(call.plan.overlap), tiles_{ShortRows(call), ShortRows(call)} {}

  void take(const Tile& tile) {
    ShortRows& next = tiles_[1 - last_];
    next.read(tile);
    if (waits_) {
      tiles_[last_].finish(results_, &next);
    } else {
      next.sum();
    }
    last_ = 1 - last_;
    waits_ = true;
    if (!overlap_) finish();
  }

  void finish() {
    if (waits_) tiles_[last_].finish(results_, nullptr);
    waits_ = false;
  }

 private:
  const Results& results_;
  bool overlap_;
  ShortRows tiles_[2];
  int last_ = 0;
  bool waits_ = false;
};

inline std::int64_t blocks_of(const Call& call, Row row) {
  return (call.problem.length(row.n) + call.plan.block - 1) / call.plan.block;
}

inline std::int64_t block_length(const Call& call, Row row, std::int64_t block) {
  return std::min(call.plan.block, call.problem.length(row.n) - block * call.plan.block);
}

// Calls body(tile, block) for the blocks of a row, `block` being the tile's first one: on this
// thread, or on all of them where they share rows. In both steps of a row a thread has the same
// blocks, so that it finds in its cache what it summed.
template <class Body>
void each_block(const Call& call, Row row, const Body& body) {
  const Plan& plan = call.plan;
  const std::int64_t whole = call.problem.length(row.n) / plan.block;
  const bool shared = plan.split == Plan::Split::blocks;
  const bool by_one = call.problem.selects() ||
                      (call.problem.g.defined() && call.problem.activation != Activation::none);
  const std::int64_t together = plan.dense && !by_one ? plan.blocks : 1;
  on_threads(
      shared ? plan.threads : 1, blocks_of(call, row), [&](std::int64_t first, std::int64_t last) {
        for (std::int64_t b = first; b < last;) {
          const std::int64_t count = b < whole ? std::min(together, std::min(last, whole) - b) : 1;
          body(Tile{row.n, row.c, b * plan.block, count, block_length(call, row, b), true}, b);
          b += count;
        }
      });
}

// Calls body(row, i) for each row of a tile of rows.
template <class Body>
void each_row_of(const Problem& p, const Tile& tile, const Body& body) {
  Row row{tile.row_n, tile.row_c};
  for (std::int64_t i = 0; i < tile.count; ++i) {
    body(row, i);
    if (++row.c == p.C) row = {row.n + 1, 0};
  }
}

// Zeroes what lies behind the values of a tile of rows in y.
inline void zero_tails(const Problem& p, const Tile& tile) {
  if (tile.n == p.L) return;
  each_row_of(p, tile, [&](Row row, std::int64_t) {
    zero_tail(p.y, row.n, row.c, tile.n, p.L, size_of(p.dtype));
  });
}

// One T for each row of a tile, not initialised: most tiles have fewer rows than fit.
template <class T>
class PerRow {
 public:
  PerRow() {}
  T* data() { return reinterpret_cast<T*>(bytes_); }
  T& operator[](std::int64_t i) { return data()[i]; }

 private:
  static_assert(std::is_trivially_copyable_v<T> && std::is_trivially_destructible_v<T>);
  alignas(64) std::byte bytes_[(kTileRows + kSpareRows) * sizeof(T)];
};

template <class Memory>
Memory segment(Memory m, std::int64_t i) {
  return {m.data + i * m.step, m.step};
}

}  // namespace instnorm::cpu
