// Between Python's exceptions and C++'s: raised as Python's with a message, and caught at the
// border.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include <exception>
#include <new>
#include <stdexcept>
#include <string>

namespace instnorm::python {

namespace nb = nanobind;

// Throws the Python exception `type` with that message.
[[noreturn]] inline void raise(PyObject* type, const std::string& message) {
  PyErr_SetString(type, message.c_str());
  throw nb::python_error();
}

// Where an argument stands: messages begin with "[op] name".
struct Argument {
  const char* op = nullptr;
  const char* name = nullptr;
  const char* dtypes = "float16, bfloat16, float32 or float64";  // that it may have

  [[noreturn]] void fail(PyObject* type, const std::string& what) const {
    raise(type, std::string("[") + op + "] " + name + " " + what);
  }
};

// str(object), and the name of its type, for messages.
// A half of a surrogate pair, which UTF-8 has not, is spelled out.
inline std::string text(nb::handle object) {
  const nb::str string(object);
  const auto bytes =
      nb::steal<nb::bytes>(PyUnicode_AsEncodedString(string.ptr(), "utf-8", "backslashreplace"));
  if (!bytes.is_valid()) nb::raise_python_error();
  return {bytes.c_str(), bytes.size()};
}
inline std::string class_of(nb::handle object) { return text(object.type().attr("__name__")); }

// Runs the body of a function of Python's C API, where no C++ exception may pass.
template <class Body>
PyObject* guarded(const Body& body) {
  try {
    return body();
  } catch (nb::python_error& error) {
    error.restore();
  } catch (const std::invalid_argument& error) {
    PyErr_SetString(PyExc_ValueError, error.what());
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
  }
  return nullptr;
}

}  // namespace instnorm::python
