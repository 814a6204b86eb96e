#include "selection.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <vector>

#include "text.h"

namespace instnorm::cli {
namespace {

constexpr std::int64_t kLengthsAtOnce = 65536;

using Shape = std::vector<std::int64_t>;

std::string text_of(const Shape& shape) { return Dims(shape.data(), shape.size()).str(); }

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
  if (shape.size() > static_cast<std::size_t>(kMaxRank) || shape != Shape{input.N()}) {
    lengths_->fail("lengths must have shape (N,) = " + text_of({input.N()}) + ", got " +
                   (shape.size() > static_cast<std::size_t>(kMaxRank)
                        ? std::to_string(shape.size()) + " dimensions"
                        : text_of(shape)));
  }
  for (std::int64_t first = 0; first < input.N(); first += kLengthsAtOnce) {
    const View part = lengths_->read(first, std::min(kLengthsAtOnce, input.N() - first));
    const auto* data = static_cast<const std::byte*>(part.data);
    for (std::int64_t i = 0; i < part.shape[0]; ++i, data += size_of(part.dtype)) {
      std::int32_t narrow;
      std::int64_t length;
      if (part.dtype == DType::int64) {
        std::memcpy(&length, data, sizeof length);
      } else {
        std::memcpy(&narrow, data, sizeof narrow);
        length = narrow;
      }
      if (length >= 0 && length <= input.L()) continue;
      lengths_->fail("lengths must be from 0 to L = " + std::to_string(input.L()) + ", got " +
                     std::to_string(length) + " at n = " + std::to_string(first + i));
    }
  }
}

void Selection::check_mask(const NpyInput& input, DataFormat format) const {
  const Shape &shape = input.header().shape, &got = mask_->header().shape;
  const bool last = format == DataFormat::NLC;
  const std::size_t first = input.batched() ? 1 : 0;
  Shape none{input.N()};
  for (std::size_t i = first; i < shape.size(); ++i) {
    if (i != (last ? shape.size() - 1 : first)) none.push_back(shape[i]);
  }
  const auto with_channels = [&](std::int64_t channels) {
    Shape s = none;
    s.insert(last ? s.end() : s.begin() + 1, channels);
    return s;
  };
  const Shape one = with_channels(1), all = with_channels(input.C());
  if (got == none || got == one || got == all || (!input.batched() && got == shape)) return;
  mask_->fail("mask must have shape " + text_of(none) + ", " + text_of(one) + " or " +
              text_of(all) + ", got " +
              (got.size() > static_cast<std::size_t>(kMaxRank)
                   ? std::to_string(got.size()) + " dimensions"
                   : text_of(got)));
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
