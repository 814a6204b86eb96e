// Arrays through DLPack: its C exchange API (PyTorch), and its Python protocol (everybody else).
#include "array_kinds.h"

#include <instnorm/tensor.h>

#include <cstddef>
#include <memory>
#include <string>
#include <utility>

#include "dlpack.h"

namespace instnorm::python {
namespace {

std::string dtype_name(const dlpack::DataType& t) {
  const char* names[] = {"int", "uint", "float", "opaque", "bfloat", "complex", "bool"};
  const std::string name = t.code < 7 ? names[t.code] : "type " + std::to_string(t.code) + ":";
  return t.code == dlpack::kBool ? name : name + std::to_string(t.bits);
}

DType dtype_of(const Argument& argument, const dlpack::DataType& t) {
  if (t.lanes == 1) {
    const int bits = t.bits;
    if (t.code == dlpack::kFloat && bits == 32) return DType::float32;
    if (t.code == dlpack::kFloat && bits == 64) return DType::float64;
    if (t.code == dlpack::kFloat && bits == 16) return DType::float16;
    if (t.code == dlpack::kBfloat && bits == 16) return DType::bfloat16;
    if (t.code == dlpack::kBool && bits == 8) return DType::boolean;
    if (t.code == dlpack::kInt && bits == 32) return DType::int32;
    if (t.code == dlpack::kInt && bits == 64) return DType::int64;
  }
  fail_dtype(argument, dtype_name(t));
}

dlpack::DataType code_of(DType dtype) {
  const auto bits = static_cast<std::uint8_t>(size_of(dtype) * 8);
  return {dtype == DType::bfloat16 ? dlpack::kBfloat : dlpack::kFloat, bits, 1};
}

bool on_host(const dlpack::Device& device) {
  return device.type == dlpack::kCPU || device.type == dlpack::kCUDAHost ||
         device.type == dlpack::kROCMHost;
}

[[noreturn]] void fail_device(const Argument& argument, PyObject* object) {
  const nb::handle array(object);
  std::string where = "another device";
  if (nb::hasattr(array, "device")) where = text(array.attr("device"));
  argument.fail(PyExc_ValueError, "must be on the CPU, got an array on " + where);
}

// Raises what a framework said, on one line: PyTorch adds a C++ stack trace.
[[noreturn]] void fail_reading(const Argument& argument, PyObject* object) {
  nb::python_error error;
  if (!error.matches(PyExc_Exception) || error.matches(PyExc_MemoryError)) {
    error.restore();
    throw nb::python_error();
  }
  const nb::handle array(object);
  if (nb::hasattr(array, "device") && text(array.attr("device")).substr(0, 3) != "cpu") {
    fail_device(argument, object);
  }
  const std::string said = text(error.value());
  argument.fail(PyExc_ValueError, "must be an array whose memory can be read, but " +
                                      class_of(object) +
                                      " says: " + said.substr(0, said.find('\n')));
}

void take(const Argument& argument, PyObject* object, const dlpack::Tensor& t, Array& array) {
  if (!on_host(t.device)) fail_device(argument, object);
  View& view = array.view;
  view.dtype = dtype_of(argument, t.dtype);
  if (t.ndim > kMaxRank) {
    argument.fail(PyExc_ValueError, "must have at most " + std::to_string(kMaxRank) +
                                        " dimensions, got " + std::to_string(t.ndim));
  }
  view.shape = Dims(t.shape, static_cast<std::size_t>(t.ndim));
  view.strides = t.strides == nullptr ? contiguous_strides(view.shape)
                                      : Dims(t.strides, static_cast<std::size_t>(t.ndim));
  view.data = t.data == nullptr ? nullptr : static_cast<std::byte*>(t.data) + t.byte_offset;
  if (reinterpret_cast<std::uintptr_t>(view.data) %
          static_cast<std::uintptr_t>(size_of(view.dtype)) !=
      0) {
    argument.fail(PyExc_ValueError, "must be aligned to its elements; give a copy of it");
  }
}

// What a structure of DLPack points at, and a share of the memory.
template <class M>
struct Export {
  M managed{};
  Dims shape, strides;
  std::shared_ptr<Tensor> memory;
};

// A new structure over the memory, for a consumer that will call its deleter.
template <class M>
M* export_memory(const std::shared_ptr<Tensor>& memory) {
  auto out = std::make_unique<Export<M>>();
  out->memory = memory;
  out->shape = memory->shape();
  out->strides = contiguous_strides(out->shape);
  M& managed = out->managed;
  managed.tensor = {memory->data(),
                    {dlpack::kCPU, 0},
                    out->shape.rank(),
                    code_of(memory->dtype()),
                    &out->shape[0],
                    &out->strides[0],
                    0};
  managed.context = out.get();
  managed.deleter = [](M* self) {
    const std::unique_ptr<Export<M>> whole(static_cast<Export<M>*>(self->context));
  };
  return &out.release()->managed;
}

// What a framework is given to take the memory from, by the Python protocol.
struct Producer {
  std::shared_ptr<Tensor> memory;
};

void delete_unused(PyObject* capsule) {
  // A consumer renames the capsule, and deletes the structure itself.
  if (PyCapsule_IsValid(capsule, "dltensor") == 0) return;
  auto* managed = static_cast<dlpack::Managed*>(PyCapsule_GetPointer(capsule, "dltensor"));
  managed->deleter(managed);
}

nb::object export_capsule(const Producer& producer) {
  auto* managed = export_memory<dlpack::Managed>(producer.memory);
  PyObject* capsule = PyCapsule_New(managed, "dltensor", delete_unused);
  if (capsule == nullptr) {
    managed->deleter(managed);
    throw nb::python_error();
  }
  return nb::steal(capsule);
}

std::int32_t device_type(const Argument& argument, PyObject* object) {
  try {
    const nb::object device = nb::handle(object).attr("__dlpack_device__")();
    return static_cast<std::int32_t>(nb::cast<int>(nb::int_(device[0])));
  } catch (nb::python_error& error) {
    error.restore();
    fail_reading(argument, object);
  }
}

nb::object call_dlpack(const Argument& argument, PyObject* object) {
  const nb::object dunder = nb::handle(object).attr("__dlpack__");
  try {
    return dunder(nb::arg("max_version") = nb::make_tuple(1, 0));
  } catch (nb::python_error& error) {
    // A producer from before version 1 does not know the keyword.
    if (!error.matches(PyExc_TypeError)) {
      error.restore();
      fail_reading(argument, object);
    }
  }
  try {
    return dunder();
  } catch (nb::python_error& error) {
    error.restore();
    fail_reading(argument, object);
  }
}

// The function of the framework that makes its own array of ours.
nb::object importer(const Argument& argument, const Array& like) {
  const nb::handle array(like.object);
  nb::object home;
  if (like.type.torch) {
    home = nb::module_::import_("torch");
  } else if (nb::hasattr(array, "__array_namespace__")) {
    home = array.attr("__array_namespace__")();
  } else {
    const std::string module = text(array.type().attr("__module__"));
    home = nb::module_::import_(module.substr(0, module.find('.')).c_str());
  }
  if (!nb::hasattr(home, "from_dlpack")) {
    argument.fail(PyExc_TypeError, "is of a type whose framework has no from_dlpack, " +
                                       class_of(array) + ": give out=");
  }
  return home.attr("from_dlpack");
}

}  // namespace

void read_exchange(const Argument& argument, PyObject* object, Array& array) {
  dlpack::Tensor t{};
  if (array.type.exchange->tensor_from_object(object, &t) != 0) fail_reading(argument, object);
  take(argument, object, t, array);
  array.writable = true;
}

nb::object finish_exchange(const Array& like, const std::shared_ptr<Tensor>& memory) {
  auto* managed = export_memory<dlpack::ManagedVersioned>(memory);
  managed->version = {1, 0};
  void* object = nullptr;
  if (like.type.exchange->object_from_managed(managed, &object) != 0) throw nb::python_error();
  return nb::steal(static_cast<PyObject*>(object));
}

void init_dlpack(nb::module_& module) {
  nb::class_<Producer>(module, "_Producer")
      .def("__dlpack__",
           [](const Producer& self, const nb::kwargs&) { return export_capsule(self); })
      .def("__dlpack_device__",
           [](const Producer&) { return nb::make_tuple(static_cast<int>(dlpack::kCPU), 0); });
}

void read_dlpack(const Argument& argument, PyObject* object, Array& array) {
  const nb::handle handle(object);
  if (nb::hasattr(handle, "__dlpack_device__")) {
    if (!on_host({device_type(argument, object), 0})) fail_device(argument, object);
  }
  // The capsule is not consumed: it deletes its structure when it goes.
  array.keep = call_dlpack(argument, object);
  PyObject* capsule = array.keep.ptr();
  if (PyCapsule_IsValid(capsule, "dltensor_versioned") != 0) {
    auto* managed =
        static_cast<dlpack::ManagedVersioned*>(PyCapsule_GetPointer(capsule, "dltensor_versioned"));
    if (managed->version.major != 1) {
      argument.fail(PyExc_ValueError,
                    "must speak DLPack 1, got version " + std::to_string(managed->version.major));
    }
    array.writable = (managed->flags & dlpack::kReadOnly) == 0;
    take(argument, object, managed->tensor, array);
  } else if (PyCapsule_IsValid(capsule, "dltensor") != 0) {
    auto* managed = static_cast<dlpack::Managed*>(PyCapsule_GetPointer(capsule, "dltensor"));
    // Before version 1 an array could not say that it is immutable, as JAX's are.
    array.writable = array.type.torch;
    take(argument, object, managed->tensor, array);
  } else {
    argument.fail(PyExc_ValueError,
                  "must speak DLPack, but __dlpack__ of " + class_of(object) + " gave no capsule");
  }
}

nb::object finish_dlpack(const Argument& argument, const Array& like,
                         const std::shared_ptr<Tensor>& memory) {
  return importer(argument, like)(nb::cast(Producer{memory}));
}

}  // namespace instnorm::python
