// From a file of rows to a file of rows, block by block, in bounded memory.
#pragma once

#include <instnorm/tensor.h>

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <string>

#include "npy_input.h"

namespace instnorm::cli {

// Bytes of input and moments that are in memory at once, at most, unless one instance has more. The
// environment variable INSTNORM_BLOCK_BYTES sets another number; throws UsageError for one that is
// no positive integer.
inline constexpr std::int64_t kBlockBytes = std::int64_t{64} << 20;
std::int64_t block_bytes();

// Calls body(first, x) for the blocks of instances in order, with a progress bar; `besides` are
// bytes of each instance that the body reads. Never for an input without elements, whatever its
// shape promises.
void each_block(NpyInput& input, std::int64_t besides,
                const std::function<void(std::int64_t, const View&)>& body);

// Memory for what comes out of a block: the block itself where it is dense, else a dense buffer.
class Destination {
 public:
  View of(const View& x);

 private:
  Buffer buffer_;
};

// Throws UsageError if two of the files to be written, those that are given, are the same one.
struct Output {
  const char* option;
  const std::string& path;
};
void check_different(std::initializer_list<Output> outputs);

}  // namespace instnorm::cli
