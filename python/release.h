// Lets other threads of Python run while the kernels compute.
#pragma once

#include <nanobind/nanobind.h>

#include <cstdint>

#include "arrays.h"

namespace instnorm::python {

// Elements from which a call lets other threads of Python run meanwhile. Such a call takes about 15
// us; below, two threads that compute and pass the lock to and fro take longer than one after the
// other (10 us of waking for a call of 3 us at 16384 elements), and nobody notices so short a wait.
inline constexpr std::int64_t kReleaseFrom = 65536;

template <class Compute>
void run(const Array& input, const Compute& compute) {
  if (input.view.shape.product() < kReleaseFrom) return compute();
  const nb::gil_scoped_release release;
  compute();
}

}  // namespace instnorm::python
