#include "arguments.h"

#include <string>

namespace instnorm::python {
namespace {

std::string plural(std::size_t n, const char* what) {
  return std::to_string(n) + " " + what + (n == 1 ? "" : "s");
}

// Keywords in a call are interned by the compiler, so that names can be told by their address.
void intern(Signature& signature) {
  for (Parameter& p : signature.parameters) {
    p.interned = PyUnicode_InternFromString(p.name);
    if (p.interned == nullptr) throw nb::python_error();
  }
}

}  // namespace

Arguments::Arguments(Signature& signature, PyObject* const* args, Py_ssize_t nargs,
                     PyObject* kwnames)
    : signature_(signature) {
  if (signature.parameters[0].interned == nullptr) intern(signature);
  const auto given = static_cast<std::size_t>(nargs);
  if (given > signature.positional) {
    raise(PyExc_TypeError, std::string(signature.op) + "() takes at most " +
                               plural(signature.positional, "positional argument") + " (" +
                               std::to_string(given) + " given)");
  }
  for (std::size_t i = 0; i < given; ++i) values_[i] = args[i];
  const Py_ssize_t keywords = kwnames == nullptr ? 0 : PyTuple_Size(kwnames);
  for (Py_ssize_t k = 0; k < keywords; ++k) {
    PyObject* name = PyTuple_GetItem(kwnames, k);
    const std::size_t i = find(name);
    if (values_[i] != nullptr) {
      raise(PyExc_TypeError, std::string(signature.op) + "() got multiple values for argument '" +
                                 signature.parameters[i].name + "'");
    }
    values_[i] = args[nargs + k];
  }
  for (std::size_t i = 0; i < signature.required; ++i) {
    if (values_[i] != nullptr) continue;
    raise(PyExc_TypeError, std::string(signature.op) + "() missing required argument '" +
                               signature.parameters[i].name + "'");
  }
}

std::size_t Arguments::find(PyObject* name) const {
  const std::span<Parameter> parameters = signature_.parameters;
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    if (parameters[i].interned == name) return i;
  }
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    if (PyUnicode_Compare(parameters[i].interned, name) == 0) return i;
  }
  raise(PyExc_TypeError,
        std::string(signature_.op) + "() got an unexpected keyword argument '" + text(name) + "'");
}

double Arguments::number(std::size_t i, double otherwise) const {
  PyObject* value = values_[i];
  if (value == nullptr) return otherwise;
  const double number = PyFloat_AsDouble(value);
  if (number == -1.0 && PyErr_Occurred()) {
    if (!PyErr_ExceptionMatches(PyExc_TypeError)) throw nb::python_error();
    PyErr_Clear();
    argument(i).fail(PyExc_TypeError, "must be a number, got " + class_of(value));
  }
  return number;
}

bool Arguments::flag(std::size_t i, bool otherwise) const {
  PyObject* value = values_[i];
  if (value == nullptr) return otherwise;
  if (value == Py_True) return true;
  if (value == Py_False) return false;
  // numpy.bool_, as a comparison of NumPy's gives it.
  const std::string type = class_of(value);
  if (type != "bool" && type != "bool_") {
    argument(i).fail(PyExc_TypeError, "must be a bool, got " + type);
  }
  return PyObject_IsTrue(value) == 1;
}

}  // namespace instnorm::python
