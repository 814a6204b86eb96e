// Blocks of rows of any strides as dense memory: what the kernels read and write.
#pragma once

#include <cstddef>
#include <cstdint>

#include "problem.h"

namespace instnorm::cpu {

// The elements [first, first + n) of the row at `row`, dense: where they are, or else copied into
// `buffer`.
const std::byte* read_block(const Rows& rows, std::byte* row, std::int64_t first, std::int64_t n,
                            std::int64_t size, std::byte* buffer);

// Where the kernel writes such a block: the row itself if it is dense, else `buffer`; then call
// write_block.
std::byte* block_to_write(const Rows& rows, std::byte* row, std::int64_t first, std::int64_t size,
                          std::byte* buffer);
void write_block(const Rows& rows, std::byte* row, std::int64_t first, std::int64_t n,
                 std::int64_t size, const std::byte* block);

}  // namespace instnorm::cpu
