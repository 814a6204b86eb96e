#include "moments.h"

#include <cstddef>
#include <string>
#include <vector>

#include "arrays.h"

namespace instnorm::python {
namespace {

constexpr const char* kFields[] = {"count", "mean", "m2"};

// Their names, as Python keeps them.
struct Fields {
  PyObject* names[3] = {PyUnicode_InternFromString(kFields[0]),
                        PyUnicode_InternFromString(kFields[1]),
                        PyUnicode_InternFromString(kFields[2])};
};
const Fields& fields() {
  static const Fields fields;
  return fields;
}

std::vector<double> values_of(const Argument& argument, const Array& array, const char* field,
                              const Dims& shape) {
  const ConstView& v = array.view;
  if (v.dtype != DType::float64 || v.shape.rank() != 2) {
    argument.fail(PyExc_ValueError, std::string("must have float64 arrays of shape (N, C), got ") +
                                        field + " of " + name(v.dtype) + " and shape " +
                                        v.shape.str());
  }
  if (v.shape != shape) {
    argument.fail(PyExc_ValueError, std::string("must have count, mean and m2 of one shape, got ") +
                                        shape.str() + " and " + v.shape.str());
  }
  std::vector<double> values(static_cast<std::size_t>(shape.product()));
  const auto* data = static_cast<const double*>(v.data);
  double* to = values.data();
  for (std::int64_t n = 0; n < shape[0]; ++n) {
    for (std::int64_t c = 0; c < shape[1]; ++c) *to++ = data[n * v.strides[0] + c * v.strides[1]];
  }
  return values;
}

nb::object moments_type() {
  static PyObject* const type =
      nb::object(nb::module_::import_("instnorm._moments").attr("Moments")).release().ptr();
  return nb::borrow(type);
}

constexpr Argument kSelf{"Moments", "self"};

nb::object spread(nb::handle self, std::int64_t ddof, bool root) {
  const Moments m = read_moments(kSelf, self.ptr());
  return numpy_array((root ? m.std(ddof) : m.var(ddof)).data(), {m.N, m.C});
}

}  // namespace

Moments read_moments(const Argument& argument, PyObject* object) {
  Moments m;
  std::vector<double>* const to[] = {&m.count, &m.mean, &m.m2};
  Dims shape;
  for (int i = 0; i < 3; ++i) {
    PyObject* field = PyObject_GetAttr(object, fields().names[i]);
    if (field == nullptr) {
      PyErr_Clear();
      argument.fail(PyExc_TypeError, "must be instnorm.Moments, got " + class_of(object));
    }
    const nb::object owner = nb::steal(field);
    const Array array = read_array(argument, field);
    if (i == 0) shape = array.view.shape;
    *to[i] = values_of(argument, array, kFields[i], shape);
  }
  m.N = shape[0];
  m.C = shape[1];
  return m;
}

nb::object new_moments(const Moments& m) {
  // What its constructor would check is so.
  static PyObject* const make = nb::object(moments_type().attr("__new__")).release().ptr();
  const Dims shape{m.N, m.C};
  nb::object result = nb::borrow(make)(moments_type());
  const std::vector<double>* const values[] = {&m.count, &m.mean, &m.m2};
  for (int i = 0; i < 3; ++i) {
    const nb::object array = numpy_array(values[i]->data(), shape);
    if (PyObject_SetAttr(result.ptr(), fields().names[i], array.ptr()) != 0) {
      throw nb::python_error();
    }
  }
  return result;
}

void init_moments(nb::module_& module) {
  module.def(
      "moments_empty",
      [](std::int64_t n, std::int64_t c) { return new_moments(Moments::empty(n, c)); },
      nb::arg("n"), nb::arg("c"));
  module.def(
      "moments_var", [](nb::handle self, std::int64_t ddof) { return spread(self, ddof, false); },
      nb::arg("self"), nb::arg("ddof"));
  module.def(
      "moments_std", [](nb::handle self, std::int64_t ddof) { return spread(self, ddof, true); },
      nb::arg("self"), nb::arg("ddof"));
  module.def(
      "moments_merge",
      [](nb::handle self, nb::handle other) {
        return new_moments(read_moments(kSelf, self.ptr())
                               .merge(read_moments({"Moments.merge", "other"}, other.ptr())));
      },
      nb::arg("self"), nb::arg("other"));
}

}  // namespace instnorm::python
