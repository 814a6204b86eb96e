// NumPy's arrays, through its C API: the fields of the array object, and its allocator.
#include <instnorm/tensor.h>

// The oldest NumPy that the extension runs with; the headers may be of any later one.
#define NPY_NO_DEPRECATED_API NPY_1_23_API_VERSION
#define NPY_TARGET_VERSION NPY_1_23_API_VERSION
#include "array_kinds.h"

#include <numpy/arrayobject.h>

#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include "capsule.h"
#include "memory.h"

namespace instnorm::python {
namespace {

// The number of the type that ml_dtypes has registered as bfloat16, once an array of it was seen.
int g_bfloat16 = -1;

std::string dtype_name(PyArray_Descr* descr) { return text(reinterpret_cast<PyObject*>(descr)); }

DType dtype_of_array(const Argument& argument, PyArray_Descr* descr) {
  const int type = descr->type_num;
  if (PyArray_ISNBO(descr->byteorder)) {
    switch (type) {
      case NPY_FLOAT:
        return DType::float32;
      case NPY_DOUBLE:
        return DType::float64;
      case NPY_HALF:
        return DType::float16;
      case NPY_BOOL:
        return DType::boolean;
      default:
        break;
    }
    if (type == NPY_INT || type == NPY_LONG || type == NPY_LONGLONG) {
      return PyDataType_ELSIZE(descr) == 4 ? DType::int32 : DType::int64;
    }
    if (type == g_bfloat16) return DType::bfloat16;
    if (type >= NPY_USERDEF && dtype_name(descr) == "bfloat16") {
      g_bfloat16 = type;
      return DType::bfloat16;
    }
  } else if (type == NPY_FLOAT || type == NPY_DOUBLE || type == NPY_HALF) {
    argument.fail(PyExc_ValueError, "must be in native byte order, got " + dtype_name(descr) +
                                        "; convert it with .astype(...)");
  }
  fail_dtype(argument, dtype_name(descr));
}

void** import_numpy() {
  import_array1(nullptr);
  return PyArray_API;
}

}  // namespace

void init_numpy() {
  if (import_numpy() == nullptr) throw nb::python_error();
}

bool is_numpy(PyObject* type) {
  return PyType_IsSubtype(reinterpret_cast<PyTypeObject*>(type), &PyArray_Type) != 0;
}

void read_numpy(const Argument& argument, PyObject* object, Array& array) {
  auto* a = reinterpret_cast<PyArrayObject*>(object);
  array.view.dtype = dtype_of_array(argument, PyArray_DESCR(a));
  const int rank = PyArray_NDIM(a);
  if (rank > kMaxRank) {
    argument.fail(PyExc_ValueError, "must have at most " + std::to_string(kMaxRank) +
                                        " dimensions, got " + std::to_string(rank));
  }
  const int flags = PyArray_FLAGS(a);
  const npy_intp size = size_of(array.view.dtype);
  const npy_intp* strides = PyArray_STRIDES(a);
  bool whole = (flags & NPY_ARRAY_ALIGNED) != 0;
  array.view.data = PyArray_DATA(a);
  array.view.shape = Dims(PyArray_DIMS(a), static_cast<std::size_t>(rank));
  array.view.strides = array.view.shape;
  for (int i = 0; i < rank; ++i) {
    // A power of two, so that no division is needed.
    whole = whole && (strides[i] & (size - 1)) == 0;
    array.view.strides[i] = strides[i] / size;
  }
  if (!whole) {
    argument.fail(PyExc_ValueError,
                  "must be aligned, with strides that are whole elements, got strides of " +
                      text(nb::handle(object).attr("strides")) + " bytes for " +
                      dtype_name(PyArray_DESCR(a)) + "; give a copy of it");
  }
  array.writable = (flags & NPY_ARRAY_WRITEABLE) != 0;
}

nb::object new_numpy(const Array& like, View& view) {
  PyArray_Descr* descr = PyArray_DESCR(reinterpret_cast<PyArrayObject*>(like.object));
  Py_INCREF(reinterpret_cast<PyObject*>(descr));  // the next call takes it over
  view.shape = like.view.shape;
  view.dtype = like.view.dtype;
  // NumPy's own memory, where it is not worth keeping.
  std::unique_ptr<Tensor> memory;
  const std::int64_t bytes = view.shape.product() * size_of(view.dtype);
  if (keeps_memory() && static_cast<std::size_t>(bytes) >= kKeptFrom) {
    memory = std::make_unique<Tensor>(view.shape, view.dtype);
  }
  // Without data, a flag would mean Fortran's order.
  PyObject* made = PyArray_NewFromDescr(&PyArray_Type, descr, view.shape.rank(), view.shape.begin(),
                                        nullptr, memory ? memory->data() : nullptr,
                                        memory ? NPY_ARRAY_CARRAY : 0, nullptr);
  if (made == nullptr) throw nb::python_error();
  if (memory) {
    nb::object owner = nb::steal(made);
    nb::capsule base = capsule_of(std::move(memory));
    if (PyArray_SetBaseObject(reinterpret_cast<PyArrayObject*>(made), base.release().ptr()) != 0) {
      throw nb::python_error();
    }
    owner.release();
  }
  view.data = PyArray_DATA(reinterpret_cast<PyArrayObject*>(made));
  view.strides = contiguous_strides(view.shape);
  return nb::steal(made);
}

nb::object new_doubles(const Dims& shape) {
  PyObject* made = PyArray_SimpleNew(shape.rank(), shape.begin(), NPY_DOUBLE);
  if (made == nullptr) throw nb::python_error();
  return nb::steal(made);
}

void fill(const nb::object& doubles, const double* values, std::size_t size) {
  void* data = PyArray_DATA(reinterpret_cast<PyArrayObject*>(doubles.ptr()));
  if (size > 0) std::memcpy(data, values, size * sizeof(double));
}

}  // namespace instnorm::python
