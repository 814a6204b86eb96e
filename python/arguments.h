// Reads the arguments of a function: positional or by keyword, required or not, from a table.
//
// Tiny calls are ruled by this, so it is METH_FASTCALL | METH_KEYWORDS and one pointer comparison
// for each name; nanobind's own functions cost 40 ns more, and 150 ns for each array.
#pragma once

#include <nanobind/nanobind.h>

#include <array>
#include <cstddef>
#include <span>

#include "errors.h"

namespace instnorm::python {

struct Parameter {
  const char* name;
  // For an option that the library does not have yet: the value that means "without it".
  const char* only = nullptr;
  PyObject* interned = nullptr;
};

struct Signature {
  const char* op;
  std::size_t required;    // the first parameters, which must be given
  std::size_t positional;  // the first parameters, which may be given by position
  std::span<Parameter> parameters;
};

inline constexpr std::size_t kMaxParameters = 20;

class Arguments {
 public:
  // Throws TypeError for arguments that do not fit the signature, NotImplementedError for an option
  // that the library does not have yet.
  Arguments(Signature& signature, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames);

  // Borrowed; nullptr if the argument is absent.
  PyObject* operator[](std::size_t i) const { return values_[i]; }
  // The same, and nullptr for None too.
  PyObject* optional(std::size_t i) const { return values_[i] == Py_None ? nullptr : values_[i]; }
  Argument argument(std::size_t i) const { return {signature_.op, signature_.parameters[i].name}; }

  // Throw TypeError for another type.
  double number(std::size_t i, double otherwise) const;
  bool flag(std::size_t i, bool otherwise) const;

 private:
  std::size_t find(PyObject* name) const;

  const Signature& signature_;
  std::array<PyObject*, kMaxParameters> values_{};
};

}  // namespace instnorm::python
