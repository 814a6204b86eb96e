// Reads the arguments of a function: positional or by keyword, required or not, from a table.
//
// Tiny calls are ruled by this, so it is METH_FASTCALL | METH_KEYWORDS and one pointer comparison
// for each name; nanobind's own functions cost 40 ns more, and 150 ns for each array.
#pragma once

#include <nanobind/nanobind.h>

#include <array>
#include <cstddef>
#include <span>
#include <stdexcept>
#include <string>

#include "errors.h"

namespace instnorm::python {

struct Parameter {
  const char* name = nullptr;
  const char* dtypes = Argument{}.dtypes;  // if it is an array
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
  // Throws TypeError for arguments that do not fit the signature.
  Arguments(Signature& signature, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames);

  // Borrowed; nullptr if the argument is absent.
  PyObject* operator[](std::size_t i) const { return values_[i]; }
  // The same, and nullptr for None too.
  PyObject* optional(std::size_t i) const { return values_[i] == Py_None ? nullptr : values_[i]; }
  Argument argument(std::size_t i) const {
    const Parameter& p = signature_.parameters[i];
    return {signature_.op, p.name, p.dtypes};
  }

  // Throw TypeError for another type.
  double number(std::size_t i, double otherwise) const;
  bool flag(std::size_t i, bool otherwise) const;

  // One of the values that have names, by `of`. Throws TypeError for what is no str, ValueError for
  // another name.
  template <class E>
  E named(std::size_t i, E (*of)(const std::string&), E otherwise) const {
    PyObject* value = values_[i];
    if (value == nullptr) return otherwise;
    if (!PyUnicode_Check(value)) {
      argument(i).fail(PyExc_TypeError, "must be a str, got " + class_of(value));
    }
    try {
      return of(text(value));
    } catch (const std::invalid_argument& error) {
      raise(PyExc_ValueError, std::string("[") + signature_.op + "] " + error.what());
    }
  }

 private:
  std::size_t find(PyObject* name) const;

  const Signature& signature_;
  std::array<PyObject*, kMaxParameters> values_{};
};

}  // namespace instnorm::python
