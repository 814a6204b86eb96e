// The limit that normalisation is measured by: the fastest copy of the same bytes.
#pragma once

#include <cstddef>
#include <cstdint>

namespace instnorm::cli {

// Ways to copy; the fastest counts. Each shares the bytes between the threads.
enum class Copy { library, plain, streaming };
inline constexpr Copy kCopies[] = {Copy::library, Copy::plain, Copy::streaming};

void copy(Copy how, const std::byte* from, std::byte* to, std::int64_t bytes, int threads);

}  // namespace instnorm::cli
