#include "npy_input.h"

#include <algorithm>
#include <cstddef>
#include <string>
#include <vector>

namespace instnorm::cli {

NpyInput::NpyInput(const std::string& path, DataFormat format)
    : NpyFile(path, NpyElements::floats, 2) {
  const std::vector<std::int64_t>& shape = header().shape;
  const bool last = format == DataFormat::NLC;
  if (shape.size() < 2 || shape.size() > static_cast<std::size_t>(kMaxRank)) {
    fail("expected 2 to " + std::to_string(kMaxRank) + " dimensions, " +
         (last ? "(L, C) or (N, L, C)" : "(C, L) or (N, C, L)") + " or more, got " +
         std::to_string(shape.size()));
  }
  const std::size_t first = batched() ? 1 : 0;
  const std::size_t channels = last ? shape.size() - 1 : first;
  c_ = shape[channels];
  l_ = 1;
  for (std::size_t i = first; i < shape.size(); ++i) {
    if (i != channels) l_ *= shape[i];
  }
}

std::int64_t NpyInput::instances_per_block(std::int64_t block_bytes, std::int64_t besides) const {
  // Short rows are smaller than their moments: count, mean, m2.
  const std::int64_t moments = c_ * 3 * std::int64_t{sizeof(double)};
  const std::int64_t instance = empty() ? 1 : bytes_per_instance() + moments + besides;
  return std::clamp<std::int64_t>(block_bytes / instance, 1, std::max<std::int64_t>(N(), 1));
}

}  // namespace instnorm::cli
