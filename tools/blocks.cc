#include "blocks.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "errors.h"
#include "progress.h"

namespace instnorm::cli {
namespace {

// Where a file of that name is, or would be.
std::filesystem::path place(const std::string& path) {
  std::error_code error;
  const std::filesystem::path resolved =
      std::filesystem::weakly_canonical(std::filesystem::absolute(path), error);
  return error ? std::filesystem::path(path) : resolved;
}

}  // namespace

std::int64_t block_bytes() {
  const char* text = std::getenv("INSTNORM_BLOCK_BYTES");
  if (text == nullptr || *text == '\0') return kBlockBytes;
  std::int64_t value = 0;
  const char* end = text + std::strlen(text);
  const auto [rest, error] = std::from_chars(text, end, value);
  if (error != std::errc() || rest != end || value < 1) {
    throw UsageError(std::string("INSTNORM_BLOCK_BYTES=") + text + " is not a positive integer");
  }
  return value;
}

void each_block(NpyInput& input, std::int64_t besides,
                const std::function<void(std::int64_t, const View&)>& body) {
  if (input.empty()) return;
  const std::int64_t at_once = input.instances_per_block(block_bytes(), besides);
  Progress progress(input.N());
  for (std::int64_t first = 0; first < input.N(); first += at_once) {
    const std::int64_t count = std::min(at_once, input.N() - first);
    body(first, input.read(first, count));
    progress.at(first + count);
  }
}

View Destination::of(const View& x) {
  if (x.strides == contiguous_strides(x.shape)) return x;
  return view(static_cast<void*>(buffer_.need(x.shape.product() * size_of(x.dtype))), x.dtype,
              x.shape);
}

void check_different(std::initializer_list<Output> outputs) {
  for (const Output* a = outputs.begin(); a != outputs.end(); ++a) {
    for (const Output* b = a + 1; b != outputs.end(); ++b) {
      if (a->path.empty() || b->path.empty() || place(a->path) != place(b->path)) continue;
      throw UsageError(std::string(a->option) + " and " + b->option + " are the same file");
    }
  }
}

}  // namespace instnorm::cli
