#include "selection.h"

#include <algorithm>
#include <cstddef>
#include <vector>

#include "border.h"
#include "problem.h"
#include "text.h"

namespace instnorm::cli {
namespace {

constexpr std::int64_t kLengthsAtOnce = 65536;

using Shape = std::vector<std::int64_t>;

std::string text_of(const Shape& shape) {
  if (shape.size() > static_cast<std::size_t>(kMaxRank)) {
    return std::to_string(shape.size()) + " dimensions";
  }
  return Dims(shape.data(), shape.size()).str();
}

}  // namespace

Selection::Selection(const std::string& lengths, const std::string& mask, const NpyInput& input,
                     DataFormat format) {
  if (!lengths.empty()) {
    lengths_.emplace(lengths, NpyElements::integers, 0);
    check_lengths(input);
  }
  if (!mask.empty()) {
    // Of an input that is one instance all is that instance's, whatever its shape.
    mask_.emplace(mask, NpyElements::booleans, input.batched() ? 0 : kMaxRank);
    check_mask(input, format);
  }
}

void Selection::check_lengths(const NpyInput& input) {
  const Shape& shape = lengths_->header().shape;
  if (shape != Shape{input.N()}) {
    lengths_->fail("lengths must have shape (N,) = " + text_of({input.N()}) + ", got " +
                   text_of(shape));
  }
  for (std::int64_t first = 0; first < input.N(); first += kLengthsAtOnce) {
    const View part = lengths_->read(first, std::min(kLengthsAtOnce, input.N() - first));
    const Lengths lengths{static_cast<const std::byte*>(part.data), part.dtype == DType::int64,
                          size_of(part.dtype)};
    for (std::int64_t i = 0; i < part.shape[0]; ++i) {
      const std::int64_t length = lengths.at(i);
      if (length >= 0 && length <= input.L()) continue;
      lengths_->fail("lengths must be from 0 to L = " + std::to_string(input.L()) + ", got " +
                     std::to_string(length) + " at n = " + std::to_string(first + i));
    }
  }
}

void Selection::check_mask(const NpyInput& input, DataFormat format) const {
  const Dims shape = input.block_shape(input.N());
  const Shape& got = mask_->header().shape;
  const int n_axis = input.batched() ? 0 : -1;
  const MaskShapes shapes =
      mask_shapes(shape, n_axis, format == DataFormat::NLC ? shape.rank() - 1 : n_axis + 1);
  if (got.size() <= static_cast<std::size_t>(kMaxRank)) {
    const Dims of(got.data(), got.size());
    if (of == shapes.none || of == shapes.one || of == shapes.all || of == shape) return;
  }
  mask_->fail("mask must have shape " + shapes.str() + ", got " + text_of(got));
}

std::int64_t Selection::bytes_per_instance() const {
  return (lengths_ ? lengths_->bytes_per_instance() : 0) +
         (mask_ ? mask_->bytes_per_instance() : 0);
}

void Selection::give(std::int64_t first, std::int64_t count, Options& options) {
  if (lengths_) options.lengths = lengths_->read(first, count);
  if (mask_) options.mask = mask_->batched() ? mask_->read(first, count) : mask_->read(0, 1);
}

std::string Selection::str() const {
  return lengths_ ? "lengths (" + one_line(lengths_->path()) + ")"
         : mask_  ? "mask (" + one_line(mask_->path()) + ")"
                  : "";
}

}  // namespace instnorm::cli
