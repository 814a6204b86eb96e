#include "moments.h"

#include <cstddef>
#include <string>
#include <utility>
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
  const std::vector<double> values = root ? m.std(ddof) : m.var(ddof);
  nb::object array = new_doubles({m.N, m.C});
  fill(array, values.data(), values.size());
  return array;
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

NewMoments::NewMoments(std::int64_t n, std::int64_t c) {
  // What its constructor would check is so.
  static PyObject* const make = nb::object(moments_type().attr("__new__")).release().ptr();
  object_ = nb::borrow(make)(moments_type());
  for (int i = 0; i < 3; ++i) {
    arrays_[i] = new_doubles({n, c});
    if (PyObject_SetAttr(object_.ptr(), fields().names[i], arrays_[i].ptr()) != 0) {
      throw nb::python_error();
    }
  }
}

nb::object NewMoments::finish(const Moments& m) {
  const std::vector<double>* const values[] = {&m.count, &m.mean, &m.m2};
  for (int i = 0; i < 3; ++i) fill(arrays_[i], values[i]->data(), values[i]->size());
  return std::move(object_);
}

nb::object new_moments(const Moments& m) { return NewMoments(m.N, m.C).finish(m); }

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
