#include "bench_limit.h"

#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include <cstring>

namespace instnorm::cli {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

void copy_vectors(const std::byte* from, std::byte* to, std::int64_t bytes, bool stream) {
  const hn::ScalableTag<std::uint8_t> d;
  const auto step = static_cast<std::int64_t>(hn::Lanes(d));
  const auto* in = reinterpret_cast<const std::uint8_t*>(from);
  auto* out = reinterpret_cast<std::uint8_t*>(to);
  std::int64_t i = 0;
  for (; i + step <= bytes; i += step) {
    const auto v = hn::LoadU(d, in + i);
    if (stream) {
      hn::Stream(v, d, out + i);
    } else {
      hn::StoreU(v, d, out + i);
    }
    // Keeps the compiler from putting memcpy in the place of this loop.
    asm volatile("" ::: "memory");
  }
  std::memcpy(out + i, in + i, static_cast<std::size_t>(bytes - i));
  if (stream) hwy::FlushStream();
}

void copy_share(Copy how, const std::byte* from, std::byte* to, std::int64_t bytes) {
  if (how == Copy::library) {
    std::memcpy(to, from, static_cast<std::size_t>(bytes));
  } else {
    copy_vectors(from, to, bytes, how == Copy::streaming);
  }
}

}  // namespace

void copy(Copy how, const std::byte* from, std::byte* to, std::int64_t bytes, int threads) {
  // Not a team of one: OpenMP would dismiss the others and start them again for the next
  // contestant.
  if (threads == 1) return copy_share(how, from, to, bytes);
  constexpr std::int64_t kLine = 64;  // shares begin on a cache line, as streaming wants it
  const std::int64_t lines = (bytes + kLine - 1) / kLine;
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int t = 0; t < threads; ++t) {
    const std::int64_t first = lines * t / threads * kLine;
    const std::int64_t last = t + 1 == threads ? bytes : lines * (t + 1) / threads * kLine;
    copy_share(how, from + first, to + first, last - first);
  }
}

}  // namespace instnorm::cli
