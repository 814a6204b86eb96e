// Which values of a row are there, where a mask or a NaN policy says so value by value.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cpu/row.h"
#include "cpu/rows.h"
#include "cpu/tile.h"

namespace instnorm::cpu {

// One byte for each element of a block: 1 where the value is there.
struct Presence {
  Presence() {}  // leaves the bytes as they are, also for {}
  std::uint8_t there[kBlockBytes / 4];
};

// For the one segment of `tile`, whose elements are dense at x: by the mask, and with
// `numbers_only` a NaN is not there either.
void mark(const Problem& problem, const Tile& tile, const std::byte* x, bool numbers_only,
          Presence& presence);

// Zeroes the elements of a dense block of n that are not there.
void zero_absent(const Presence& presence, std::int64_t n, std::int64_t size, std::byte* y);

// The one segment of `tile`, dense at x, with 0 in place of all that is not NaN: a copy in
// `buffer`, where x may be itself.
In only_nan(const Problem& problem, const Tile& tile, In x, TileBuffer& buffer);

// Is a value of this row, one that is there, NaN?
bool has_nan(const Problem& problem, Row row);

// Copies those of the elements [first, n) that are there to `to`, behind the `filled` that it has,
// until it has `room`. Returns where it stopped.
std::int64_t take_present(const Presence& presence, std::int64_t first, std::int64_t n,
                          std::int64_t size, const std::byte* from, std::byte* to,
                          std::int64_t room, std::int64_t& filled);

// Calls f(x, g, count) for the values of a row that are there, as dense blocks like those of
// a row that has no others: so a mask over a prefix gives the bits of `lengths`. g is null without
// with_g.
template <class F>
void each_present_block(const Call& call, Row row, bool with_g, const F& f) {
  const Problem& p = call.problem;
  const std::int64_t size = size_of(p.dtype), block = call.plan.block, length = p.length(row.n);
  TileBuffer x_buffer, g_buffer, x_there, g_there;
  Presence presence;
  std::int64_t filled = 0;
  const auto flush = [&] {
    if (filled == 0) return;
    f(In{x_there.bytes, 0}, In{with_g ? g_there.bytes : nullptr, 0}, filled);
    filled = 0;
  };
  for (std::int64_t first = 0; first < length; first += block) {
    const Tile tile{row.n, row.c, first, 1, std::min(block, length - first), true};
    const In x = read_tile(p.x, tile, size, x_buffer);
    const In g = with_g ? read_tile(p.g, tile, size, g_buffer) : In{};
    mark(p, tile, x.data, p.nan_policy == NanPolicy::omit, presence);
    for (std::int64_t i = 0; i < tile.n;) {
      std::int64_t filled_g = filled;
      const std::int64_t end =
          take_present(presence, i, tile.n, size, x.data, x_there.bytes, block, filled);
      if (with_g) {
        take_present(presence, i, tile.n, size, g.data, g_there.bytes, block, filled_g);
      }
      i = end;
      if (filled == block) flush();
    }
  }
  flush();
}

}  // namespace instnorm::cpu
