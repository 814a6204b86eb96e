#include "bench_limit.h"

#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "bench_limit.cc"
#include <hwy/cache_control.h>
#include <hwy/foreach_target.h>  // IWYU pragma: keep
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace instnorm::cli::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <bool kTriad, bool kStream, bool kFetch>
void Sweep(const float* from, const float* second, float* to, size_t n) {
  constexpr size_t kAhead = 1024;  // elements
  const hn::ScalableTag<float> d;
  const size_t lanes = hn::Lanes(d);
  size_t i = 0;
  const auto one = [&](size_t at) { to[at] = kTriad ? 0.5f * from[at] + second[at] : from[at]; };
  if (kStream) {
    for (; i < n && reinterpret_cast<uintptr_t>(to + i) % (lanes * sizeof(float)) != 0; ++i) one(i);
  }
  for (; i + 4 * lanes <= n; i += 4 * lanes) {
    for (size_t k = 0; k < 4 * lanes; k += lanes) {
      if (kFetch) {
        hwy::Prefetch(from + i + k + kAhead);
        if (kTriad) hwy::Prefetch(second + i + k + kAhead);
      }
      auto v = hn::LoadU(d, from + i + k);
      if (kTriad) v = hn::MulAdd(v, hn::Set(d, 0.5f), hn::LoadU(d, second + i + k));
      if (kStream) {
        hn::Stream(v, d, to + i + k);
      } else {
        hn::StoreU(v, d, to + i + k);
      }
    }
    // Keeps the compiler from putting memcpy in the place of this loop.
    asm volatile("" ::: "memory");
  }
  for (; i < n; ++i) one(i);
  if (kStream) hwy::FlushStream();
}

using SweepFunction = void (*)(const float*, const float*, float*, size_t);

SweepFunction SweepOf(Loop how, bool triad) {
  switch (how) {
    case Loop::streaming:
      return triad ? &Sweep<true, true, false> : &Sweep<false, true, false>;
    case Loop::fetching:
      return triad ? &Sweep<true, false, true> : &Sweep<false, false, true>;
    case Loop::streaming_fetching:
      return triad ? &Sweep<true, true, true> : &Sweep<false, true, true>;
    default:
      return triad ? &Sweep<true, false, false> : &Sweep<false, false, false>;
  }
}

}  // namespace instnorm::cli::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace instnorm::cli {
namespace {

HWY_EXPORT(SweepOf);

void move_share(Loop how, const std::byte* from, const std::byte* second, std::byte* to,
                std::int64_t bytes) {
  const auto size = static_cast<std::size_t>(bytes);
  if (how == Loop::library) {
    std::memcpy(to, from, size);
    return;
  }
  const std::size_t n = size / sizeof(float), whole = n * sizeof(float);
  HWY_DYNAMIC_DISPATCH(SweepOf)(how, second != nullptr)(reinterpret_cast<const float*>(from),
                                                        reinterpret_cast<const float*>(second),
                                                        reinterpret_cast<float*>(to), n);
  std::memcpy(to + whole, from + whole, size - whole);
}

}  // namespace

bool counts(Loop how, std::int64_t bytes, bool triad) {
  const bool streams = how == Loop::streaming || how == Loop::streaming_fetching;
  return !(streams && bytes < kStreamingFrom) && !(triad && how == Loop::library);
}

void move(Loop how, const std::byte* from, const std::byte* second, std::byte* to,
          std::int64_t bytes, int threads) {
  // Not a team of one: OpenMP would dismiss the others and start them again for the next
  // contestant.
  if (threads == 1) return move_share(how, from, second, to, bytes);
  constexpr std::int64_t kLine = 64;  // shares begin on a cache line, as streaming wants it
  const std::int64_t lines = (bytes + kLine - 1) / kLine;
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int t = 0; t < threads; ++t) {
    const std::int64_t first = lines * t / threads * kLine;
    const std::int64_t last = t + 1 == threads ? bytes : lines * (t + 1) / threads * kLine;
    move_share(how, from + first, second == nullptr ? nullptr : second + first, to + first,
               last - first);
  }
}

}  // namespace instnorm::cli
#endif
