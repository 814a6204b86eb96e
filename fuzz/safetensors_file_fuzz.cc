// Any bytes as a safetensors file: the tensors read in pieces are those read whole, and a file
// written of them has them again; or it is a std::runtime_error in one line.
#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

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
  const int fd = ::memfd_create("fuzz", MFD_CLOEXEC);
  if (fd < 0 || ::write(fd, data, size) != static_cast<ssize_t>(size)) std::abort();
  const std::string path = "/proc/self/fd/" + std::to_string(fd);
  try {
    instnorm::read(path);
  } catch (const std::runtime_error& e) {
    const std::string text = e.what();
    if (text.find(path) == std::string::npos || text.find('\n') != std::string::npos) std::abort();
  }
  ::close(fd);
  return 0;
}
