#include "functions.h"

#include <instnorm/functional.h>

#include <memory>
#include <optional>

#include "argument_names.h"
#include "arguments.h"
#include "arrays.h"
#include "docs.h"
#include "errors.h"
#include "moments.h"
#include "release.h"

namespace instnorm::python {
namespace {

Array optional_array(const Arguments& a, std::size_t i) {
  return read_optional(a.argument(i), a.optional(i));
}

// Options are filled only where there is something: a tiny call is as long as what it writes here.
template <class AnyView>
void give(AnyView& option, const Array& array) {
  if (array.defined()) option = array.view;
}

// As Python calls what C++ calls x and y.
constexpr ArgumentNames kNames{.x = "input", .y = "out"};
constexpr ArgumentNames kNamesBack{.x = "y", .y = "out", .moments = "m"};  // of denormalize

constexpr Parameter kLengths{"lengths", "int32 or int64"}, kMask{"mask", "bool"};

// Which values are there, and where the channels are: four arguments, the first of them `lengths`.
class Presence {
 public:
  template <class AnyOptions>
  Presence(const Arguments& a, std::size_t lengths, AnyOptions& o) {
    take(a, lengths, lengths_, o.lengths);
    take(a, lengths + 1, mask_, o.mask);
    o.nan_policy = a.named(lengths + 2, nan_policy_of, o.nan_policy);
    o.data_format = a.named(lengths + 3, data_format_of, o.data_format);
  }

 private:
  static void take(const Arguments& a, std::size_t i, std::optional<Array>& array, ConstView& to) {
    PyObject* given = a.optional(i);
    if (given != nullptr) to = array.emplace(read_array(a.argument(i), given)).view;
  }

  std::optional<Array> lengths_, mask_;
};

Activation activation_at(const Arguments& a, std::size_t i) {
  return a.optional(i) == nullptr ? Activation::none : a.named(i, activation_of, Activation::none);
}

// Where a function writes: `out`, or a new array of the input's kind.
class Output {
 public:
  Output(const Arguments& a, std::size_t out, std::size_t input, const Array& like) {
    if (a.optional(out) == nullptr) {
      made_.emplace(a.argument(input), like);
      view_ = made_->view();
    } else {
      given_ = read_array(a.argument(out), a.optional(out));
      view_ = writable(a.argument(out), given_);
    }
  }
  const View& view() const { return view_; }
  nb::object finish() { return made_ ? made_->finish() : nb::borrow(given_.object); }

 private:
  std::optional<NewArray> made_;
  Array given_;
  View view_;
};

// The gradient of a parameter: an array like the parameter itself, absent without it.
class Gradient {
 public:
  Gradient(const Argument& argument, const Array& parameter) {
    if (parameter.defined()) made_.emplace(argument, parameter);
  }
  View view() const { return made_ ? made_->view() : View{}; }
  nb::object finish() { return made_ ? made_->finish() : nb::none(); }

 private:
  std::optional<NewArray> made_;
};

PyObject* call_instance_norm(PyObject*, PyObject* const* args, Py_ssize_t nargs,
                             PyObject* kwnames) {
  enum {
    input,
    running_mean,
    running_var,
    weight,
    bias,
    use_input_stats,
    momentum,
    eps,
    out,
    moments,
    return_moments,
    weight_offset,
    activation,
    lengths
  };
  static Parameter parameters[] = {
      {"input"},           {"running_mean"},  {"running_var"}, {"weight"}, {"bias"},
      {"use_input_stats"}, {"momentum"},      {"eps"},         {"out"},    {"moments"},
      {"return_moments"},  {"weight_offset"}, {"activation"},  kLengths,   kMask,
      {"nan_policy"},      {"data_format"},
  };
  static Signature signature{"instance_norm", 1, 8, parameters};
  return guarded([&]() -> PyObject* {
    const Arguments a(signature, args, nargs, kwnames);
    const Array x = read_array(a.argument(input), a[input]);
    const Array mean = optional_array(a, running_mean), var = optional_array(a, running_var);
    const Array w = optional_array(a, weight), b = optional_array(a, bias);
    Options o;
    give(o.weight, w);
    give(o.bias, b);
    give(o.running_mean, mean);
    give(o.running_var, var);
    o.use_input_stats = a.flag(use_input_stats, o.use_input_stats);
    o.momentum = a.number(momentum, o.momentum);
    o.eps = a.number(eps, o.eps);
    o.weight_offset = a.number(weight_offset, o.weight_offset);
    o.activation = activation_at(a, activation);
    const Presence presence(a, lengths, o);
    if (o.use_input_stats) {
      writable(a.argument(running_mean), mean);
      writable(a.argument(running_var), var);
    }
    std::unique_ptr<Moments> given, saved;
    if (PyObject* m = a.optional(moments)) {
      given = std::make_unique<Moments>(read_moments(a.argument(moments), m));
      o.moments = given.get();
    }
    if (a.flag(return_moments, false)) {
      saved = std::make_unique<Moments>();
      o.save_moments = saved.get();
    }

    Output y(a, out, input, x);
    std::optional<NewMoments> used;
    if (const Dims& shape = x.view.shape; saved && shape.rank() >= 2) {  // else the call refuses it
      const int last = shape.rank() - 1;
      used.emplace(last > 1 ? shape[0] : 1,
                   o.data_format == DataFormat::NLC ? shape[last] : shape[last > 1 ? 1 : 0]);
    }
    run(x, [&] { instnorm::instance_norm(x.view, y.view(), o, kNames); });
    nb::object result = y.finish();
    if (used) result = nb::make_tuple(result, used->finish(*saved));
    return result.release().ptr();
  });
}

PyObject* call_instance_norm_backward(PyObject*, PyObject* const* args, Py_ssize_t nargs,
                                      PyObject* kwnames) {
  enum {
    grad_output,
    input,
    moments,
    weight,
    bias,
    eps,
    use_input_stats,
    weight_offset,
    activation,
    lengths
  };
  static Parameter parameters[] = {
      {"grad_output"}, {"input"},           {"moments"},       {"weight"},     {"bias"},
      {"eps"},         {"use_input_stats"}, {"weight_offset"}, {"activation"}, kLengths,
      kMask,           {"nan_policy"},      {"data_format"},
  };
  static Signature signature{"instance_norm_backward", 3, 6, parameters};
  return guarded([&]() -> PyObject* {
    const Arguments a(signature, args, nargs, kwnames);
    const Array g = read_array(a.argument(grad_output), a[grad_output]);
    const Array x = read_array(a.argument(input), a[input]);
    const Moments m = read_moments(a.argument(moments), a[moments]);
    const Array w = optional_array(a, weight), b = optional_array(a, bias);
    BackwardOptions o;
    give(o.weight, w);
    give(o.bias, b);
    o.eps = a.number(eps, o.eps);
    o.use_input_stats = a.flag(use_input_stats, o.use_input_stats);
    o.weight_offset = a.number(weight_offset, o.weight_offset);
    o.activation = activation_at(a, activation);
    const Presence presence(a, lengths, o);

    NewArray gx(a.argument(input), x);
    Gradient gw(a.argument(weight), w), gb(a.argument(bias), b);
    const Gradients gradients{gx.view(), gw.view(), gb.view()};
    run(x, [&] { instnorm::instance_norm_backward(x.view, g.view, m, gradients, o, kNames); });
    return nb::make_tuple(gx.finish(), gw.finish(), gb.finish()).release().ptr();
  });
}

PyObject* call_moments(PyObject*, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  enum { input, lengths };
  static Parameter parameters[] = {
      {"input"}, kLengths, kMask, {"nan_policy"}, {"data_format"},
  };
  static Signature signature{"moments", 1, 1, parameters};
  return guarded([&]() -> PyObject* {
    const Arguments a(signature, args, nargs, kwnames);
    const Array x = read_array(a.argument(input), a[input]);
    MomentsOptions o;
    const Presence presence(a, lengths, o);
    Moments result;
    run(x, [&] { result = instnorm::moments(x.view, o, kNames); });
    return new_moments(result).release().ptr();
  });
}

PyObject* call_denormalize(PyObject*, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  enum { y, moments, weight, bias, eps, weight_offset, out, data_format };
  static Parameter parameters[] = {
      {"y"}, {"m"}, {"weight"}, {"bias"}, {"eps"}, {"weight_offset"}, {"out"}, {"data_format"}};
  static Signature signature{"denormalize", 2, 5, parameters};
  return guarded([&]() -> PyObject* {
    const Arguments a(signature, args, nargs, kwnames);
    const Array normalized = read_array(a.argument(y), a[y]);
    const Moments m = read_moments(a.argument(moments), a[moments]);
    const Array w = optional_array(a, weight), b = optional_array(a, bias);
    DenormalizeOptions o;
    give(o.weight, w);
    give(o.bias, b);
    o.eps = a.number(eps, o.eps);
    o.weight_offset = a.number(weight_offset, o.weight_offset);
    o.data_format = a.named(data_format, data_format_of, o.data_format);

    Output x(a, out, y, normalized);
    run(normalized, [&] { instnorm::denormalize(normalized.view, m, x.view(), o, kNamesBack); });
    return x.finish().release().ptr();
  });
}

using Function = PyObject* (*)(PyObject*, PyObject* const*, Py_ssize_t, PyObject*);

PyMethodDef definition(const char* name, Function function, const char* doc) {
  return {name, reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(function)),
          METH_FASTCALL | METH_KEYWORDS, doc};
}

}  // namespace

void init_functions(nb::module_& module) {
  static PyMethodDef definitions[] = {
      definition("instance_norm", call_instance_norm, docs::kInstanceNorm),
      definition("instance_norm_backward", call_instance_norm_backward,
                 docs::kInstanceNormBackward),
      definition("moments", call_moments, docs::kMoments),
      definition("denormalize", call_denormalize, docs::kDenormalize)};
  // Where people find them, and pickle looks for them.
  const nb::str home("instnorm");
  for (PyMethodDef& d : definitions) {
    PyObject* function = PyCFunction_NewEx(&d, nullptr, home.ptr());
    if (function == nullptr) throw nb::python_error();
    module.attr(d.ml_name) = nb::steal(function);
  }
}

}  // namespace instnorm::python
