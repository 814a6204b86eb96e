// Any bytes as an .npy file: its values, read whole, by instances and in blocks of two, are the
// same, or it is a std::runtime_error in one line that begins with the path. So is a file that has
// become shorter since it was opened, which the first byte asks for.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

#include "memory_file.h"
#include "npy_input.h"

namespace instnorm::cli {
namespace {

// The values of a view in the order of its indices, byte by byte.
void append(const View& v, std::vector<std::byte>& to, int axis = 0, std::int64_t offset = 0) {
  const std::int64_t size = size_of(v.dtype);
  if (axis == v.shape.rank()) {
    const auto* at = static_cast<const std::byte*>(v.data) + offset * size;
    to.insert(to.end(), at, at + size);
    return;
  }
  for (std::int64_t i = 0; i < v.shape[axis]; ++i) {
    append(v, to, axis + 1, offset + i * v.strides[axis]);
  }
}

std::vector<std::byte> in_blocks_of(NpyFile& file, std::int64_t count) {
  std::vector<std::byte> all;
  for (std::int64_t n = 0; n < file.instances(); n += count) {
    append(file.read(n, std::min(count, file.instances() - n)), all);
  }
  return all;
}

void read(const std::string& path, const fuzz::MemoryFile& file, std::size_t shorter) {
  NpyInput input(path, DataFormat::NCL);
  if (input.empty() || input.bytes() > 4096) return;
  if (shorter > 0) file.shorten(shorter);
  const std::vector<std::byte> whole = in_blocks_of(input, input.instances());
  if (static_cast<std::int64_t>(whole.size()) != input.bytes()) std::abort();
  if (in_blocks_of(input, 1) != whole || in_blocks_of(input, 2) != whole) std::abort();
}

}  // namespace
}  // namespace instnorm::cli

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 1) return 0;
  const instnorm::fuzz::MemoryFile file(data + 1, size - 1);
  const std::size_t shorter = data[0] % 4 == 3 ? size * data[0] / 256 : 0;
  try {
    instnorm::cli::read(file.path(), file, shorter);
  } catch (const std::runtime_error& e) {
    const std::string text = e.what();
    if (!text.starts_with(file.path()) || text.find('\n') != std::string::npos) std::abort();
  }
  return 0;
}
