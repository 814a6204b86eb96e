// The limit that normalisation is measured by: the fastest loop that moves the same bytes. Copies
// for the forward, and triads (two arrays read, one written) for the backward.
#pragma once

#include <cstddef>
#include <cstdint>

namespace instnorm::cli {

// Ways to do it; the fastest counts. Each shares the bytes between the threads.
enum class Loop { library, plain, streaming, fetching, streaming_fetching };
inline constexpr Loop kLoops[] = {Loop::library, Loop::plain, Loop::streaming, Loop::fetching,
                                  Loop::streaming_fetching};

// Past the caches a store pays from here on; below, who reads what was written pays for it. Bytes
// read and written.
inline constexpr std::int64_t kStreamingFrom = 12 * 1000 * 1000;

// Is this one of the ways to move so many bytes, for a copy or a triad?
bool counts(Loop how, std::int64_t bytes, bool triad);

// to = from, or, with a second array, to = from / 2 + second as float32. `bytes` of each array.
void move(Loop how, const std::byte* from, const std::byte* second, std::byte* to,
          std::int64_t bytes, int threads);

}  // namespace instnorm::cli
