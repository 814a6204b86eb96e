// instance_norm and its gradients for instnorm.torch: tensors only, no options, and as little as
// possible around the kernels.
#pragma once

#include <nanobind/nanobind.h>

namespace instnorm::python {

void init_tensors(nanobind::module_& module);

}  // namespace instnorm::python
