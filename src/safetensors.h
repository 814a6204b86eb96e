// The safetensors format: reading that survives hostile files, and writing.
// Definition: https://github.com/huggingface/safetensors (format section of its README).
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace instnorm {

// One tensor as the file has it. dtype is the format's own word ("F32", "BF16", "I64", ...); data
// is little-endian, row-major.
struct StoredTensor {
  std::string dtype;
  std::vector<std::int64_t> shape;
  std::vector<std::byte> data;
};
using StoredTensors = std::map<std::string, StoredTensor>;

// Throws std::runtime_error, with the path and what is wrong, if the file cannot be read or is
// malformed.
StoredTensors read_safetensors(const std::string& path);

// Writes the whole file under another name in the same folder and renames it, so that `path` is
// either the old file or the whole new one. Throws std::runtime_error if that fails.
void write_safetensors(const std::string& path, const StoredTensors& tensors);

}  // namespace instnorm
