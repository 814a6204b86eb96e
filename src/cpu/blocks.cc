#include "cpu/blocks.h"

#include <algorithm>
#include <cstring>

namespace instnorm::cpu {
namespace {

bool dense(const Rows& rows, std::int64_t size) {
  return rows.inner == 1 && rows.stride[0] == size;
}

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
    case 2:
      return f([](void* to, const void* from) { std::memcpy(to, from, 2); });
    case 4:
      return f([](void* to, const void* from) { std::memcpy(to, from, 4); });
    default:
      return f([](void* to, const void* from) { std::memcpy(to, from, 8); });
  }
}

}  // namespace

const std::byte* read_block(const Rows& rows, std::byte* row, std::int64_t first, std::int64_t n,
                            std::int64_t size, std::byte* buffer) {
  if (dense(rows, size)) return row + first * size;
  with_size(size, [&](auto copy) {
    std::byte* to = buffer;
    each_run(rows, row, first, n,
             [&](const std::byte* from, std::int64_t count, std::int64_t stride) {
               for (; count > 0; --count, from += stride, to += size) copy(to, from);
             });
  });
  return buffer;
}

std::byte* block_to_write(const Rows& rows, std::byte* row, std::int64_t first, std::int64_t size,
                          std::byte* buffer) {
  return dense(rows, size) ? row + first * size : buffer;
}

void write_block(const Rows& rows, std::byte* row, std::int64_t first, std::int64_t n,
                 std::int64_t size, const std::byte* block) {
  if (dense(rows, size)) return;
  with_size(size, [&](auto copy) {
    each_run(rows, row, first, n, [&](std::byte* to, std::int64_t count, std::int64_t stride) {
      for (; count > 0; --count, to += stride, block += size) copy(to, block);
    });
  });
}

}  // namespace instnorm::cpu
