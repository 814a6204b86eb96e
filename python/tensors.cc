#include "tensors.h"

#include <instnorm/functional.h>

#include <memory>
#include <string>
#include <utility>

#include "argument_names.h"
#include "arrays.h"
#include "capsule.h"
#include "errors.h"
#include "memory.h"
#include "moments.h"
#include "release.h"

namespace instnorm::python {
namespace {

constexpr const char* kOp = "instance_norm";
constexpr const char* kBackwardOp = "instance_norm_backward";
constexpr const char* kDoubleOp = "instance_norm_double_backward";

// As Python calls what C++ calls x and y.
constexpr ArgumentNames kNames{.x = "input", .y = "out"};

// What a forward leaves for its backward is opaque: three arrays would take as long as the kernels.
constexpr const char* kSaved = "instnorm.saved_moments";

const Moments& saved_moments(PyObject* capsule) {
  void* saved = PyCapsule_GetPointer(capsule, kSaved);
  if (saved == nullptr) throw nb::python_error();
  return *static_cast<const Moments*>(saved);
}

// Those of a capsule, or Moments, which `read` keeps.
const Moments& either_moments(const char* op, PyObject* object, Moments& read) {
  if (PyCapsule_CheckExact(object)) return saved_moments(object);
  read = read_moments({op, "moments"}, object);
  return read;
}

// A new tensor of the same shape, contiguous. Its memory is PyTorch's own, which may be resized and
// counts in its profiler, as DLPack's does not; or, where it is large, what was kept of earlier
// results: PyTorch gets it anew from the system each time, which takes several times what the
// kernels take.
nb::object new_tensor(const Array& like) {
  const std::int64_t bytes = like.view.shape.product() * size_of(like.view.dtype);
  if (keeps_memory() && static_cast<std::size_t>(bytes) >= kKeptFrom) {
    return NewArray({kOp, "out"}, like).finish();
  }
  struct Torch {
    PyObject *function, *format, *names;
  };
  static const Torch torch = [] {
    const nb::module_ module = nb::module_::import_("torch");
    return Torch{nb::object(module.attr("empty_like")).release().ptr(),
                 nb::object(module.attr("contiguous_format")).release().ptr(),
                 nb::make_tuple("memory_format").release().ptr()};
  }();
  // By default it has the strides of the other one, and a keyword costs 0.3 us. DLPack's protocol
  // does not say what they are where the extent is 1.
  const bool same = like.type.kind == ArrayType::Kind::torch &&
                    like.view.strides == contiguous_strides(like.view.shape);
  PyObject* const args[] = {like.object, torch.format};
  PyObject* tensor = PyObject_Vectorcall(torch.function, args, 1, same ? nullptr : torch.names);
  if (tensor == nullptr) throw nb::python_error();
  return nb::steal(tensor);
}

template <class AnyView>
void give(const char* op, AnyView& option, Array& array, const char* name, PyObject* object) {
  if (object == Py_None) return;
  array = read_tensor({op, name}, object);
  option = array.view;
}

double number(const char* op, const char* name, PyObject* object) {
  if (!PyFloat_CheckExact(object)) Argument{op, name}.fail(PyExc_TypeError, "must be a float");
  return PyFloat_AsDouble(object);
}

bool flag(const char* op, const char* name, PyObject* object) {
  if (!PyBool_Check(object)) Argument{op, name}.fail(PyExc_TypeError, "must be a bool");
  return object == Py_True;
}

// PyTorch has rules of its own for other inputs.
Array read_input(const char* op, PyObject* object) {
  Array x = read_tensor({op, "input"}, object);
  if (x.view.shape.rank() < 3 || x.view.shape.product() == 0) {
    raise(PyExc_ValueError, std::string("[") + op + "] input must be (N, C, L, ...) and not empty");
  }
  return x;
}

// Of the eight arguments of instance_norm. `save` may be nullptr.
nb::object normalize(PyObject* const* args, Moments* save) {
  const Array x = read_input(kOp, args[0]);
  Array mean, var, weight, bias;
  Options o;
  give(kOp, o.running_mean, mean, "running_mean", args[1]);
  give(kOp, o.running_var, var, "running_var", args[2]);
  give(kOp, o.weight, weight, "weight", args[3]);
  give(kOp, o.bias, bias, "bias", args[4]);
  o.use_input_stats = flag(kOp, "use_input_stats", args[5]);
  o.momentum = number(kOp, "momentum", args[6]);
  o.eps = number(kOp, "eps", args[7]);
  o.save_moments = save;
  nb::object y = new_tensor(x);
  const Array out = read_tensor({kOp, "out"}, y.ptr());
  run(x, [&] { instance_norm(x.view, out.view, o, kNames); });
  return y;
}

PyObject* call_normalize(PyObject*, PyObject* const* args, Py_ssize_t count) {
  return guarded([&]() -> PyObject* {
    if (count != 8) raise(PyExc_TypeError, "normalize_tensor() takes 8 arguments");
    return normalize(args, nullptr).release().ptr();
  });
}

PyObject* call_normalize_saving(PyObject*, PyObject* const* args, Py_ssize_t count) {
  return guarded([&]() -> PyObject* {
    if (count != 8) raise(PyExc_TypeError, "normalize_tensor_saving() takes 8 arguments");
    auto moments = std::make_unique<Moments>();
    nb::object y = normalize(args, moments.get());
    return nb::make_tuple(y, capsule_of(std::move(moments), kSaved)).release().ptr();
  });
}

// A gradient that may be wanted: a new tensor like what it belongs to, else None.
struct Gradient {
  const char* op;
  nb::object tensor = nb::none();
  View view = {};

  void want(const char* name, PyObject* wanted, const Array& like) {
    if (!flag(op, name, wanted)) return;
    tensor = new_tensor(like);
    view = read_tensor({op, name}, tensor.ptr()).view;
  }
};

PyObject* call_backward(PyObject*, PyObject* const* args, Py_ssize_t count) {
  enum {
    grad_output,
    input,
    moments,
    weight,
    bias,
    eps,
    use_input_stats,
    needs_input,
    needs_weight,
    needs_bias,
    lengths,
    mask,
    nan_policy,
    data_format,
    weight_offset,
    activation,
    all
  };
  constexpr Py_ssize_t without_extras = lengths;
  return guarded([&]() -> PyObject* {
    if (count != without_extras && count != all) {
      raise(PyExc_TypeError, "backward_of_tensor() takes 10 or 16 arguments");
    }
    const Array x = count == all ? read_tensor({kBackwardOp, "input"}, args[input])
                                 : read_input(kBackwardOp, args[input]);
    const Array g = read_tensor({kBackwardOp, "grad_output"}, args[grad_output]);
    Moments read;
    const Moments& m = either_moments(kBackwardOp, args[moments], read);
    Array w, b, there_lengths, there_mask;
    BackwardOptions o;
    give(kBackwardOp, o.weight, w, "weight", args[weight]);
    give(kBackwardOp, o.bias, b, "bias", args[bias]);
    o.eps = number(kBackwardOp, "eps", args[eps]);
    o.use_input_stats = flag(kBackwardOp, "use_input_stats", args[use_input_stats]);
    if (count == all) {
      give(kBackwardOp, o.lengths, there_lengths, "lengths", args[lengths]);
      give(kBackwardOp, o.mask, there_mask, "mask", args[mask]);
      o.nan_policy = nan_policy_of(text(args[nan_policy]));
      o.data_format = data_format_of(text(args[data_format]));
      o.weight_offset = number(kBackwardOp, "weight_offset", args[weight_offset]);
      if (args[activation] != Py_None) o.activation = activation_of(text(args[activation]));
    }
    Gradient gx{kBackwardOp}, gw{kBackwardOp}, gb{kBackwardOp};
    gx.want("grad_input", args[needs_input], x);
    gw.want("grad_weight", args[needs_weight], w);
    gb.want("grad_bias", args[needs_bias], b);
    run(x,
        [&] { instance_norm_backward(x.view, g.view, m, {gx.view, gw.view, gb.view}, o, kNames); });
    return nb::make_tuple(gx.tensor, gw.tensor, gb.tensor).release().ptr();
  });
}

PyObject* call_double_backward(PyObject*, PyObject* const* args, Py_ssize_t count) {
  enum {
    to_input,
    to_weight,
    to_bias,
    grad_output,
    input,
    moments,
    weight,
    eps,
    use_input_stats,
    needs_grad_output,
    needs_input,
    needs_weight,
    lengths,
    data_format,
    weight_offset,
    all
  };
  return guarded([&]() -> PyObject* {
    if (count != all) raise(PyExc_TypeError, "double_backward_of_tensor() takes 15 arguments");
    const Array x = read_tensor({kDoubleOp, "input"}, args[input]);
    const Array g = read_tensor({kDoubleOp, "grad_output"}, args[grad_output]);
    Moments read;
    const Moments& m = either_moments(kDoubleOp, args[moments], read);
    Array w, u, a, b, l;
    GradientsOfGradients given;
    give(kDoubleOp, given.grad_input, u, "that to grad_input", args[to_input]);
    give(kDoubleOp, given.grad_weight, a, "that to grad_weight", args[to_weight]);
    give(kDoubleOp, given.grad_bias, b, "that to grad_bias", args[to_bias]);
    DoubleBackwardOptions o;
    give(kDoubleOp, o.weight, w, "weight", args[weight]);
    o.eps = number(kDoubleOp, "eps", args[eps]);
    o.use_input_stats = flag(kDoubleOp, "use_input_stats", args[use_input_stats]);
    give(kDoubleOp, o.lengths, l, "lengths", args[lengths]);
    o.data_format = data_format_of(text(args[data_format]));
    o.weight_offset = number(kDoubleOp, "weight_offset", args[weight_offset]);
    Gradient gg{kDoubleOp}, gx{kDoubleOp}, gw{kDoubleOp};
    gg.want("gradient of grad_output", args[needs_grad_output], g);
    gx.want("gradient of input", args[needs_input], x);
    gw.want("gradient of weight", args[needs_weight], w);
    run(x, [&] {
      instance_norm_double_backward(x.view, g.view, m, given, {gx.view, gw.view, gg.view}, o);
    });
    return nb::make_tuple(gg.tensor, gx.tensor, gw.tensor).release().ptr();
  });
}

PyObject* call_saved_moments(PyObject*, PyObject* const* args, Py_ssize_t count) {
  return guarded([&]() -> PyObject* {
    if (count != 1) raise(PyExc_TypeError, "saved_moments() takes 1 argument");
    return new_moments(saved_moments(args[0])).release().ptr();
  });
}

PyObject* call_empty_like(PyObject*, PyObject* const* args, Py_ssize_t count) {
  return guarded([&]() -> PyObject* {
    if (count != 1) raise(PyExc_TypeError, "empty_like_tensor() takes 1 argument");
    return new_tensor(read_tensor({kOp, "input"}, args[0])).release().ptr();
  });
}

using Function = PyObject* (*)(PyObject*, PyObject* const*, Py_ssize_t);

PyMethodDef definition(const char* name, Function function, const char* doc) {
  return {name, reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(function)),
          METH_FASTCALL, doc};
}

}  // namespace

void init_tensors(nb::module_& module) {
  static PyMethodDef definitions[] = {
      definition("normalize_tensor", call_normalize,
                 "normalize_tensor(input, running_mean, running_var, weight, bias, "
                 "use_input_stats, momentum, eps, /)\n--\n\n"
                 "instance_norm for instnorm.torch, which sees to gradients: tensors only, no "
                 "options."),
      definition("normalize_tensor_saving", call_normalize_saving,
                 "normalize_tensor_saving(input, running_mean, running_var, weight, bias, "
                 "use_input_stats, momentum, eps, /)\n--\n\n"
                 "The same, and the moments that backward_of_tensor needs, in a capsule."),
      definition("empty_like_tensor", call_empty_like,
                 "empty_like_tensor(input, /)\n--\n\n"
                 "A new tensor for a result: of its shape and dtype, contiguous, not initialised."),
      definition("saved_moments", call_saved_moments,
                 "saved_moments(moments, /)\n--\n\n"
                 "The Moments of such a capsule."),
      definition("backward_of_tensor", call_backward,
                 "backward_of_tensor(grad_output, input, moments, weight, bias, eps, "
                 "use_input_stats, needs_input, needs_weight, needs_bias[, lengths, mask, "
                 "nan_policy, data_format, weight_offset, activation], /)\n--\n\n"
                 "The gradients that are needed of input, weight and bias; None for others."),
      definition("double_backward_of_tensor", call_double_backward,
                 "double_backward_of_tensor(to_input, to_weight, to_bias, grad_output, input, "
                 "moments, weight, eps, use_input_stats, needs_grad_output, needs_input, "
                 "needs_weight, lengths, data_format, weight_offset, /)\n--\n\n"
                 "What flows back to the gradients of input, weight and bias, each or None, to the "
                 "gradients that are needed of grad_output, input and weight.")};
  for (PyMethodDef& d : definitions) {
    PyObject* function = PyCFunction_NewEx(&d, nullptr, nullptr);
    if (function == nullptr) throw nb::python_error();
    module.attr(d.ml_name) = nb::steal(function);
  }
}

}  // namespace instnorm::python
