// Any bytes are an .npy header that can be made again, or a std::runtime_error.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <stdexcept>
#include <string_view>

#include "npy.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace instnorm::cli;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  for (const NpyElements elements :
       {NpyElements::floats, NpyElements::integers, NpyElements::booleans}) {
    try {
      const std::size_t header_size = npy_header_size(text.substr(0, kNpyPrelude));
      if (header_size > size) return 0;
      const NpyHeader header = parse_npy_header(text.substr(0, header_size), elements);
      if (header.elements() < 0) std::abort();
      if (elements != NpyElements::floats) continue;
      const NpyHeader again = parse_npy_header(make_npy_header(header.dtype, header.shape));
      if (again.dtype != header.dtype || again.shape != header.shape) std::abort();
    } catch (const std::runtime_error& e) {
      if (std::string_view(e.what()).empty()) std::abort();
    }
  }
  return 0;
}
