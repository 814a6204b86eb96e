// Memory for results that are larger than what the C library keeps: fresh pages cost several times
// what it takes to fill them (docs/performance.md), so freed blocks wait for the next result.
#pragma once

#include <cstddef>

namespace instnorm {

// From this size on a result's memory comes from here.
inline constexpr std::size_t kKeptFrom = std::size_t{1} << 20;

// 64-byte aligned, not initialised. Throws std::bad_alloc. `bytes` is at least kKeptFrom.
void* take_memory(std::size_t bytes);

// What take_memory gave, for the same bytes.
void give_memory(void* data, std::size_t bytes) noexcept;

// Is there any keeping, or is INSTNORM_KEEP_MEMORY 0?
bool keeps_memory();

}  // namespace instnorm
