#include "cpu/presence.h"

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "dtype.h"

namespace instnorm::cpu {
namespace {

// By the bits: the magnitude of a NaN is above that of infinity.
template <class Bits>
void mark_numbers(const std::byte* x, std::int64_t n, Bits infinity, std::uint8_t* there) {
  constexpr Bits kMagnitude = static_cast<Bits>(~Bits{0}) >> 1;
  for (std::int64_t i = 0; i < n; ++i) {
    Bits bits;
    std::memcpy(&bits, x + i * static_cast<std::int64_t>(sizeof bits), sizeof bits);
    there[i] &= (bits & kMagnitude) <= infinity;
  }
}

void mark_numbers(DType dtype, const std::byte* x, std::int64_t n, std::uint8_t* there) {
  visit_float(dtype, [&](auto element) {
    using T = decltype(element);
    if constexpr (std::is_same_v<T, double>) {
      mark_numbers<std::uint64_t>(x, n, 0x7ff0000000000000u, there);
    } else if constexpr (std::is_same_v<T, float>) {
      mark_numbers<std::uint32_t>(x, n, 0x7f800000u, there);
    } else {
      mark_numbers<std::uint16_t>(x, n, std::is_same_v<T, float16> ? 0x7c00u : 0x7f80u, there);
    }
  });
}

template <std::int64_t kSize>
std::int64_t take(const std::uint8_t* there, std::int64_t i, std::int64_t n, const std::byte* from,
                  std::byte* to, std::int64_t room, std::int64_t& filled) {
  std::int64_t at = filled;
  for (; i < n && at < room; ++i) {
    std::memcpy(to + at * kSize, from + i * kSize, kSize);
    at += there[i];
  }
  filled = at;
  return i;
}

// Without a branch: what is there is as unpredictable as a mask.
template <class Bits>
void zero_absent(const std::uint8_t* there, std::int64_t n, std::byte* y) {
  constexpr auto kSize = static_cast<std::int64_t>(sizeof(Bits));
  for (std::int64_t i = 0; i < n; ++i) {
    Bits bits;
    std::memcpy(&bits, y + i * kSize, sizeof bits);
    bits = static_cast<Bits>(bits & (Bits{0} - Bits{there[i]}));
    std::memcpy(y + i * kSize, &bits, sizeof bits);
  }
}

}  // namespace

void mark(const Problem& p, const Tile& tile, const std::byte* x, bool numbers_only,
          Presence& presence) {
  const auto n = static_cast<std::size_t>(tile.n);
  if (p.mask.defined()) {
    TileBuffer buffer;
    const In mask = read_tile(p.mask, tile, 1, buffer);
    for (std::size_t i = 0; i < n; ++i) presence.there[i] = mask.data[i] != std::byte{0};
  } else {
    std::memset(presence.there, 1, n);
  }
  if (numbers_only) mark_numbers(p.dtype, x, tile.n, presence.there);
}

void zero_absent(const Presence& presence, std::int64_t n, std::int64_t size, std::byte* y) {
  switch (size) {
    case 2:
      return zero_absent<std::uint16_t>(presence.there, n, y);
    case 4:
      return zero_absent<std::uint32_t>(presence.there, n, y);
    default:
      return zero_absent<std::uint64_t>(presence.there, n, y);
  }
}

std::int64_t take_present(const Presence& presence, std::int64_t first, std::int64_t n,
                          std::int64_t size, const std::byte* from, std::byte* to,
                          std::int64_t room, std::int64_t& filled) {
  switch (size) {
    case 2:
      return take<2>(presence.there, first, n, from, to, room, filled);
    case 4:
      return take<4>(presence.there, first, n, from, to, room, filled);
    default:
      return take<8>(presence.there, first, n, from, to, room, filled);
  }
}

In only_nan(const Problem& p, const Tile& tile, In x, TileBuffer& buffer) {
  const std::int64_t size = size_of(p.dtype);
  Presence numbers;
  std::memset(numbers.there, 1, static_cast<std::size_t>(tile.n));
  mark_numbers(p.dtype, x.data, tile.n, numbers.there);
  std::memmove(buffer.bytes, x.data, static_cast<std::size_t>(tile.n * size));
  for (std::int64_t i = 0; i < tile.n; ++i) numbers.there[i] ^= 1;
  zero_absent(numbers, tile.n, size, buffer.bytes);
  return {buffer.bytes, 0};
}

bool has_nan(const Problem& p, Row row) {
  const std::int64_t size = size_of(p.dtype), length = p.length(row.n);
  constexpr std::int64_t kBlock = kBlockBytes / 8;
  TileBuffer buffer;
  for (std::int64_t first = 0; first < length; first += kBlock) {
    const Tile tile{row.n, row.c, first, 1, std::min(kBlock, length - first), true};
    const In x = read_tile(p.x, tile, size, buffer);
    Presence there;
    mark(p, tile, x.data, false, there);
    Presence numbers = there;
    mark_numbers(p.dtype, x.data, tile.n, numbers.there);
    if (std::memcmp(there.there, numbers.there, static_cast<std::size_t>(tile.n)) != 0) return true;
  }
  return false;
}

}  // namespace instnorm::cpu
