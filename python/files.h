// The state of instnorm.InstanceNorm1d in files, by way of the module of C++.
#pragma once

#include <nanobind/nanobind.h>

namespace instnorm::python {

// Adds save_module and load_module.
void init_files(nanobind::module_& module);

}  // namespace instnorm::python
