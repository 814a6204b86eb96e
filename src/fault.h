// What no memory can be, whatever is at its address.
#pragma once

#include <instnorm/tensor.h>

#include <cstdint>
#include <string>

namespace instnorm {

// Above any address space, and far enough below 2^63 that offsets can be added up.
inline constexpr std::int64_t kLargestReach = std::int64_t{1} << 60;  // bytes

enum class Fault : std::uint8_t { none, dtype, extent, elements, rank, reach };

// Of a shape by itself. `size` times the extents that are not 0 may be up to `largest`: a zero
// hides no overflow.
Fault fault_of(const Dims& shape, std::int64_t size, std::int64_t largest);
Fault fault_of(const ConstView& v);

// "negative extent in shape (2, -3)"
std::string text_of(Fault fault, const ConstView& v);

}  // namespace instnorm
