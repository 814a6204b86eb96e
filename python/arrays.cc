#include "arrays.h"

#include <array>
#include <cstddef>
#include <string>
#include <utility>

#include "array_kinds.h"
#include "dlpack.h"

namespace instnorm::python {
namespace {

using Kind = ArrayType::Kind;

nb::object loaded_module(const char* name) {
  const nb::dict modules = nb::module_::import_("sys").attr("modules");
  return modules.contains(name) ? nb::object(modules[name]) : nb::object();
}

bool is_subclass(nb::handle type, nb::handle base) {
  return PyType_IsSubtype(reinterpret_cast<PyTypeObject*>(type.ptr()),
                          reinterpret_cast<PyTypeObject*>(base.ptr())) != 0;
}

const dlpack::ExchangeApi* exchange_api(nb::handle type) {
  if (!nb::hasattr(type, "__dlpack_c_exchange_api__")) return nullptr;
  const nb::object capsule = type.attr("__dlpack_c_exchange_api__");
  auto* api = static_cast<const dlpack::ExchangeApi*>(
      PyCapsule_GetPointer(capsule.ptr(), "dlpack_exchange_api"));
  if (api == nullptr) throw nb::python_error();
  return api->version.major == 1 ? api : nullptr;
}

ArrayType classify(const Argument& argument, PyObject* object) {
  const nb::handle type = nb::handle(object).type();
  if (is_numpy(type.ptr())) {
    const nb::object masked = loaded_module("numpy.ma");
    if (masked.is_valid() && is_subclass(type, masked.attr("MaskedArray"))) {
      argument.fail(PyExc_TypeError, "must not be a masked array: its mask would be ignored");
    }
    return {Kind::numpy, nullptr, false};
  }
  const nb::object torch = loaded_module("torch");
  if (torch.is_valid() && nb::hasattr(torch, "Tensor") && is_subclass(type, torch.attr("Tensor"))) {
    // Fake, functional, distributed, ... tensors: what they mean is not in their memory.
    if (!type.attr("__torch_dispatch__").is(torch.attr("Tensor").attr("__torch_dispatch__"))) {
      argument.fail(PyExc_TypeError,
                    "must be a plain tensor, got a " + class_of(object) +
                        ", which has no memory of its own: instnorm.torch takes it");
    }
    const dlpack::ExchangeApi* api = exchange_api(type);
    return {api != nullptr ? Kind::torch : Kind::dlpack, api, true};
  }
  if (nb::hasattr(type, "__dlpack__")) return {Kind::dlpack, nullptr, false};
  argument.fail(PyExc_TypeError,
                "must be an array of NumPy or one that speaks DLPack, got " + class_of(object));
}

// The types met so far. They are kept alive, so that an address stays one type; a program has a
// handful of them, and one that makes more goes without the cache for the rest.
ArrayType type_of(const Argument& argument, PyObject* object) {
  struct Known {
    PyTypeObject* type = nullptr;
    ArrayType facts;
  };
  static std::array<Known, 32> known;
  static std::size_t count = 0;
  PyTypeObject* type = Py_TYPE(object);
  for (std::size_t i = 0; i < count; ++i) {
    if (known[i].type == type) return known[i].facts;
  }
  const ArrayType facts = classify(argument, object);
  if (count < known.size()) {
    Py_INCREF(reinterpret_cast<PyObject*>(type));
    known[count++] = {type, facts};
  }
  return facts;
}

// What DLPack does not tell of a tensor.
void check_sign(const Argument& argument, PyObject* object) {
  static PyObject* is_neg = PyUnicode_InternFromString("is_neg");
  if (nb::handle(object).attr(nb::handle(is_neg))().ptr() == Py_True) {
    argument.fail(PyExc_TypeError,
                  "is a lazily negated view, whose memory has the other sign: give .resolve_neg()");
  }
}

void check_torch(const Argument& argument, PyObject* object) {
  const nb::handle tensor(object);
  static PyObject* requires_grad = PyUnicode_InternFromString("requires_grad");
  if (tensor.attr(nb::handle(requires_grad)).ptr() == Py_True) {
    argument.fail(PyExc_TypeError,
                  "requires grad, and functions on arrays have no gradients: use "
                  "instnorm.torch, or give " +
                      std::string(argument.name) + ".detach()");
  }
  check_sign(argument, object);
}

}  // namespace

Array read_array(const Argument& argument, PyObject* object) {
  Array array;
  array.type = type_of(argument, object);
  array.object = object;
  if (array.type.torch) check_torch(argument, object);
  switch (array.type.kind) {
    case Kind::numpy:
      read_numpy(argument, object, array);
      break;
    case Kind::torch:
      read_exchange(argument, object, array);
      break;
    case Kind::dlpack:
      read_dlpack(argument, object, array);
      break;
  }
  return array;
}

Array read_tensor(const Argument& argument, PyObject* object) {
  Array array;
  array.type = type_of(argument, object);
  array.object = object;
  if (!array.type.torch) {
    argument.fail(PyExc_TypeError, "must be a tensor, got " + class_of(object));
  }
  check_sign(argument, object);
  if (array.type.kind == Kind::torch) {
    read_exchange(argument, object, array);
  } else {
    // By its protocol PyTorch gives no tensor that requires grad.
    const nb::handle tensor(object);
    const bool graph = nb::cast<bool>(tensor.attr("requires_grad"));
    read_dlpack(argument, graph ? nb::object(tensor.attr("detach")()).ptr() : object, array);
  }
  return array;
}

View writable(const Argument& argument, const Array& array) {
  if (array.defined() && !array.writable) {
    argument.fail(PyExc_ValueError, "must be writable, got a read-only " + class_of(array.object));
  }
  return array.view;
}

NewArray::NewArray(const Argument& argument, const Array& like) : argument_(argument), like_(like) {
  if (like.type.kind == Kind::numpy) {
    object_ = new_numpy(like, view_);
  } else {
    memory_ = std::make_shared<Tensor>(like.view.shape, like.view.dtype);
    view_ = memory_->view();
  }
}

nb::object NewArray::finish() {
  switch (like_.type.kind) {
    case Kind::numpy:
      return std::move(object_);
    case Kind::torch:
      return finish_exchange(like_, memory_);
    default:
      return finish_dlpack(argument_, like_, memory_);
  }
}

void init_arrays(nb::module_& module) {
  init_numpy();
  init_dlpack(module);
}

}  // namespace instnorm::python
