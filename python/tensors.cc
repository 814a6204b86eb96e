#include "tensors.h"

#include <instnorm/functional.h>

#include "arrays.h"
#include "errors.h"
#include "release.h"

namespace instnorm::python {
namespace {

constexpr const char* kOp = "instance_norm";

// torch.empty_like(input, memory_format=torch.contiguous_format): memory of PyTorch's own, which
// may be resized and counts in its profiler, as DLPack's does not.
nb::object new_tensor(PyObject* input) {
  struct Torch {
    PyObject *function, *format, *names;
  };
  static const Torch torch = [] {
    const nb::module_ module = nb::module_::import_("torch");
    return Torch{nb::object(module.attr("empty_like")).release().ptr(),
                 nb::object(module.attr("contiguous_format")).release().ptr(),
                 nb::make_tuple("memory_format").release().ptr()};
  }();
  PyObject* const args[] = {input, torch.format};
  PyObject* tensor = PyObject_Vectorcall(torch.function, args, 1, torch.names);
  if (tensor == nullptr) throw nb::python_error();
  return nb::steal(tensor);
}

template <class AnyView>
void give(AnyView& option, Array& array, const char* name, PyObject* object) {
  if (object == Py_None) return;
  array = read_tensor({kOp, name}, object);
  option = array.view;
}

double number(const char* name, PyObject* object) {
  if (!PyFloat_CheckExact(object)) Argument{kOp, name}.fail(PyExc_TypeError, "must be a float");
  return PyFloat_AsDouble(object);
}

// normalize_tensor(input, running_mean, running_var, weight, bias, use_input_stats, momentum, eps)
PyObject* normalize_tensor(PyObject*, PyObject* const* args, Py_ssize_t count) {
  return guarded([&]() -> PyObject* {
    if (count != 8) raise(PyExc_TypeError, "normalize_tensor() takes 8 arguments");
    const Array x = read_tensor({kOp, "input"}, args[0]);
    // PyTorch has rules of its own for these.
    if (x.view.shape.rank() < 3 || x.view.shape.product() == 0) {
      raise(PyExc_ValueError, "[instance_norm] input must be (N, C, L, ...) and not empty");
    }
    Array mean, var, weight, bias;
    Options o;
    give(o.running_mean, mean, "running_mean", args[1]);
    give(o.running_var, var, "running_var", args[2]);
    give(o.weight, weight, "weight", args[3]);
    give(o.bias, bias, "bias", args[4]);
    if (!PyBool_Check(args[5])) raise(PyExc_TypeError, "[instance_norm] use_input_stats must be a bool");
    o.use_input_stats = args[5] == Py_True;
    o.momentum = number("momentum", args[6]);
    o.eps = number("eps", args[7]);
    nb::object y = new_tensor(args[0]);
    const Array out = read_tensor({kOp, "out"}, y.ptr());
    run(x, [&] { instance_norm(x.view, out.view, o); });
    return y.release().ptr();
  });
}

}  // namespace

void init_tensors(nb::module_& module) {
  static PyMethodDef definition{
      "normalize_tensor",
      reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(normalize_tensor)), METH_FASTCALL,
      "normalize_tensor(input, running_mean, running_var, weight, bias, use_input_stats, momentum, eps, /)\n"
      "--\n\n"
      "instance_norm for instnorm.torch, which sees to gradients: tensors only, no options."};
  PyObject* function = PyCFunction_NewEx(&definition, nullptr, nullptr);
  if (function == nullptr) throw nb::python_error();
  module.attr(definition.ml_name) = nb::steal(function);
}

}  // namespace instnorm::python
