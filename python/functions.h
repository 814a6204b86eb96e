// The functions of the module on arrays: arguments -> views -> the C++ function -> arrays.
#pragma once

#include <nanobind/nanobind.h>

namespace instnorm::python {

// Adds instance_norm, instance_norm_backward, moments and denormalize to the module.
void init_functions(nanobind::module_& module);

}  // namespace instnorm::python
