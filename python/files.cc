#include "files.h"

#include <instnorm/module.h>

#include <cstddef>
#include <cstring>
#include <string>

#include "arrays.h"
#include "errors.h"

namespace instnorm::python {
namespace {

// The module of C++ that the one of Python describes by its attributes.
InstanceNorm1d module_like(nb::handle layer) {
  InstanceNorm1dOptions options{.num_features = nb::cast<std::int64_t>(layer.attr("num_features"))};
  options.affine = nb::cast<bool>(layer.attr("affine"));
  options.track_running_stats = nb::cast<bool>(layer.attr("track_running_stats"));
  options.bias = !layer.attr("bias").is_none();
  const std::string dtype = text(layer.attr("dtype"));
  for (const DType d : {DType::float16, DType::bfloat16, DType::float64}) {
    if (dtype == name(d)) options.dtype = d;
  }
  return InstanceNorm1d(options);
}

// Calls copy(ours, theirs, bytes) for each element of the state of both, an array of `layer` and
// the view of the module by the same name.
template <class Copy>
void each_element(InstanceNorm1d& module, nb::handle layer, const char* op, const Copy& copy) {
  for (const auto& [key, view] : module.state()) {
    const Argument argument{op, key.c_str()};
    const nb::object object = layer.attr(key.c_str());
    const Array array = read_array(argument, object.ptr());
    const View& ours = array.view;
    if (ours.dtype != view.dtype || ours.shape != view.shape) {
      argument.fail(PyExc_ValueError, "must be " + std::string(name(view.dtype)) + " of shape " +
                                          view.shape.str() + ", got " + name(ours.dtype) + " " +
                                          ours.shape.str());
    }
    const std::int64_t size = size_of(view.dtype);
    const std::int64_t stride = ours.shape.rank() == 0 ? 0 : ours.strides[0] * size;
    auto* a = static_cast<std::byte*>(ours.data);
    auto* b = static_cast<std::byte*>(view.data);
    for (std::int64_t i = 0; i < view.shape.product(); ++i) {
      copy(a + i * stride, b + i * size, static_cast<std::size_t>(size));
    }
  }
}

// A path is bytes, whatever encoding they are in.
std::string file_of(const nb::bytes& path) { return {path.c_str(), path.size()}; }

void save_module(nb::handle layer, const nb::bytes& path) {
  InstanceNorm1d module = module_like(layer);
  each_element(module, layer, "InstanceNorm1d.save",
               [](const std::byte* ours, std::byte* theirs, std::size_t size) {
                 std::memcpy(theirs, ours, size);
               });
  module.save(file_of(path));
}

void load_module(nb::handle layer, const nb::bytes& path) {
  InstanceNorm1d module = module_like(layer);
  // A value that the file does not have stays as it is, and nothing is written if one is wrong.
  each_element(module, layer, "InstanceNorm1d.load",
               [](const std::byte* ours, std::byte* theirs, std::size_t size) {
                 std::memcpy(theirs, ours, size);
               });
  module.load(file_of(path));
  each_element(module, layer, "InstanceNorm1d.load",
               [](std::byte* ours, const std::byte* theirs, std::size_t size) {
                 std::memcpy(ours, theirs, size);
               });
}

}  // namespace

void init_files(nb::module_& module) {
  module.def("save_module", &save_module, nb::arg("layer"), nb::arg("path"));
  module.def("load_module", &load_module, nb::arg("layer"), nb::arg("path"));
}

}  // namespace instnorm::python
