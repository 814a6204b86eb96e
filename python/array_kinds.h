// How each framework's arrays are read and made; arrays.cc chooses.
#pragma once

#include <instnorm/tensor.h>

#include <memory>
#include <string>

#include "arrays.h"
#include "dlpack.h"
#include "errors.h"

namespace instnorm::python {

// NumPy.
void init_numpy();
bool is_numpy(PyObject* type);  // numpy.ndarray or a subclass
void read_numpy(const Argument& argument, PyObject* object, Array& array);
nb::object new_numpy(const Array& like, View& view);

// PyTorch's exchange API.
void read_exchange(const Argument& argument, PyObject* object, Array& array);
nb::object finish_exchange(const Array& like, const std::shared_ptr<Tensor>& memory);

// The Python protocol of DLPack.
void init_dlpack(nb::module_& module);
void read_dlpack(const Argument& argument, PyObject* object, Array& array);
nb::object finish_dlpack(const Argument& argument, const Array& like,
                         const std::shared_ptr<Tensor>& memory);

[[noreturn]] inline void fail_dtype(const Argument& argument, const std::string& got) {
  argument.fail(PyExc_ValueError, std::string("must be ") + argument.dtypes + ", got " + got);
}

}  // namespace instnorm::python
