// Any bytes are a safetensors header whose tensors cover the data, or a std::runtime_error in one
// printable line. The first two bytes say how many bytes of data there are.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <string_view>

#include "safetensors_header.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  const std::uint64_t data_bytes = data[0] + 256u * data[1];
  try {
    const auto header = instnorm::parse_safetensors_header(
        std::string_view(reinterpret_cast<const char*>(data) + 2, size - 2), data_bytes);
    std::uint64_t covered = 0;
    for (const auto& [name, info] : header.tensors) {
      if (info.begin > info.end || info.end > data_bytes) std::abort();
      covered += info.end - info.begin;
    }
    if (covered != data_bytes) std::abort();
  } catch (const std::runtime_error& e) {
    for (const char c : std::string(e.what())) {
      if (c < ' ' || c > '~') std::abort();
    }
  }
  return 0;
}
