// instnorm.Moments, the value type of the Python side, to and from the one of C++.
#pragma once

#include <instnorm/functional.h>
#include <nanobind/nanobind.h>

#include <cstdint>

#include "errors.h"

namespace instnorm::python {

// Reads count, mean and m2 of any object that has them as float64 arrays (N, C). Throws TypeError
// or ValueError.
Moments read_moments(const Argument& argument, PyObject* object);

// A new instnorm.Moments whose memory is there before its values are: a call that leaves others
// than these changed must not fail behind that.
class NewMoments {
 public:
  NewMoments(std::int64_t n, std::int64_t c);
  // Once, with moments of this N and C.
  nb::object finish(const Moments& moments);

 private:
  nb::object arrays_[3], object_;
};

// A new instnorm.Moments.
nb::object new_moments(const Moments& moments);

// The operations of Moments, as functions for instnorm/_moments.py.
void init_moments(nb::module_& module);

}  // namespace instnorm::python
