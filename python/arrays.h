// Arrays of any framework as views, and new arrays of the same framework for results.
//
//   NumPy    the fields of its array object, 2 ns an array
//   PyTorch  the C exchange API of DLPack, 60 ns, where the type offers it (2.10 and later)
//   others   (JAX, older PyTorch, ...) the Python protocol of DLPack, __dlpack__, 2 us
//
// Whatever the framework, a view never means another array than the one that the caller gave: what
// cannot be read in place is an error, not a copy.
#pragma once

#include <instnorm/tensor.h>
#include <nanobind/nanobind.h>

#include <cstddef>
#include <cstdint>
#include <memory>

#include "dlpack.h"
#include "errors.h"

namespace instnorm::python {

// What an array's type says about reading it; arrays.cc keeps one for each type it meets.
struct ArrayType {
  enum class Kind : std::uint8_t { numpy, torch, dlpack };
  Kind kind = Kind::numpy;
  const dlpack::ExchangeApi* exchange = nullptr;
  bool torch = false;  // of PyTorch, with or without the exchange API
};

// An argument, for the time of one call. It borrows the object.
struct Array {
  Array() {}  // NOLINT: with "= default", {} would clear the extents first

  View view;  // undefined if the argument is absent
  bool writable = false;
  ArrayType type;
  PyObject* object = nullptr;
  nb::object keep;  // what keeps the memory valid besides the object

  bool defined() const { return object != nullptr; }
};

// Throws TypeError for what is no array, or one whose meaning lies elsewhere than in its memory (a
// masked array, a tensor that requires grad, a fake tensor, ...), and ValueError for an array
// that cannot be read in place: another device, byte order, element type.
Array read_array(const Argument& argument, PyObject* object);

// The same for a tensor of PyTorch only, whose gradient the caller sees to.
Array read_tensor(const Argument& argument, PyObject* object);

// Absent if the object is nullptr.
inline Array read_optional(const Argument& argument, PyObject* object) {
  return object == nullptr ? Array{} : read_array(argument, object);
}

// The view of an array that is going to be written. Throws ValueError if it is read-only.
View writable(const Argument& argument, const Array& array);

// A new array with the shape, the element type and the framework of another one, uninitialised.
class NewArray {
 public:
  // `argument` is the one whose framework it takes, for messages.
  NewArray(const Argument& argument, const Array& like);
  ~NewArray() = default;
  NewArray(const NewArray&) = delete;
  NewArray& operator=(const NewArray&) = delete;

  const View& view() const { return view_; }
  // The framework's own array, once, when its values are written: some frameworks copy them.
  nb::object finish();

 private:
  Argument argument_;
  const Array& like_;
  View view_;
  nb::object object_;               // of NumPy
  std::shared_ptr<Tensor> memory_;  // for the others, who take it over
};

// A new float64 array of NumPy, not initialised, and copying all its values to it.
nb::object new_doubles(const Dims& shape);
void fill(const nb::object& doubles, const double* values, std::size_t size);

// Registers what the module needs for it; call once, first.
void init_arrays(nb::module_& module);

}  // namespace instnorm::python
