// Do two strided views share a byte? Does one view meet itself?
#pragma once

#include <instnorm/functional.h>
#include <instnorm/tensor.h>

namespace instnorm {

// True if some element of a and some element of b share a byte. Exact for the views that people
// make (slices, steps, transposes); for contrived ones that would take long to decide, true.
bool overlap(const ConstView& a, const ConstView& b);

// The same of moments, which are no view, but may be in the memory of one.
bool overlap(const ConstView& v, const Moments& m);

// True if two different elements of v share a byte. Exact in the same sense.
bool overlaps_itself(const ConstView& v);

// True if a and b are the same elements in the same order.
bool same_view(const ConstView& a, const ConstView& b);

}  // namespace instnorm
