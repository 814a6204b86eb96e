// Any bytes as a safetensors file: the tensors read in pieces are those read whole, or it is a
// std::runtime_error in one line that names the path.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

#include "memory_file.h"
#include "safetensors.h"

namespace instnorm {
namespace {

void read(const std::string& path) {
  const SafetensorsReader reader(path);
  const StoredTensors all = read_safetensors(path);
  if (all.size() != reader.tensors().size()) std::abort();
  for (const auto& [name, tensor] : all) {
    if (reader.read(name) != tensor.data) std::abort();
    const std::int64_t bits = safetensors_bits(tensor.dtype);
    if (bits % 8 != 0) continue;
    const std::size_t size = static_cast<std::size_t>(bits / 8), n = tensor.data.size() / size;
    std::vector<std::byte> pieces(n * size);
    for (std::size_t first = 0; first < n; first += 3) {
      const std::size_t count = n - first < 3 ? n - first : 3;
      reader.read(name, static_cast<std::int64_t>(first), static_cast<std::int64_t>(count),
                  pieces.data() + first * size);
    }
    if (pieces != tensor.data) std::abort();
  }
}

}  // namespace
}  // namespace instnorm

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const instnorm::fuzz::MemoryFile file(data, size);
  try {
    instnorm::read(file.path());
  } catch (const std::runtime_error& e) {
    const std::string text = e.what();
    if (text.find(file.path()) == std::string::npos || text.find('\n') != std::string::npos)
      std::abort();
  }
  return 0;
}
