#include "problem.h"

#include <stdexcept>
#include <string>

#include "dtype.h"
#include "overlap.h"

namespace instnorm {
namespace {

// The checks of one call; `op` stands in brackets before every message.
class Border {
 public:
  Border(const char* op, Problem& problem) : op_(op), p_(problem) {}

  [[noreturn]] void fail(const std::string& what) const {
    throw std::invalid_argument(std::string("[") + op_ + "] " + what);
  }

  // Reads N, C, L and the dtype off the input, whose shape everything else is measured by.
  void input(const char* arg, const ConstView& x) {
    if (!x.defined()) fail(std::string(arg) + " is missing");
    if (x.shape.rank() < 2) {
      fail(std::string(arg) + " must have at least 2 dimensions, (C, L) or (N, C, L), got shape " +
           x.shape.str());
    }
    if (!is_float(x.dtype)) {
      fail(std::string(arg) + " must be float16, bfloat16, float32 or float64, got " +
           name(x.dtype));
    }
    arg_ = arg;
    shape_ = x.shape;
    batched_ = x.shape.rank() > 2;
    p_.dtype = x.dtype;
    p_.N = batched_ ? x.shape[0] : 1;
    p_.C = x.shape[batched_ ? 1 : 0];
    p_.L = 1;
    for (int i = batched_ ? 2 : 1; i < x.shape.rank(); ++i) p_.L *= x.shape[i];
    rows(arg, x, p_.x);
  }

  void operand(const char* arg, const ConstView& v, Rows& r) const {
    if (!v.defined()) fail(std::string(arg) + " is missing");
    if (v.shape != shape_) {
      fail(std::string(arg) + " must have the shape of " + arg_ + ", " + shape_.str() + ", got " +
           v.shape.str());
    }
    if (v.dtype != p_.dtype) {
      fail(std::string(arg) + " must have the dtype of " + arg_ + ", " + name(p_.dtype) + ", got " +
           name(v.dtype));
    }
    rows(arg, v, r);
  }

  // (C,) or, where `per_instance` allows it, (N, C). V is a View or a ConstView; an absent one is
  // not even converted, which is what most of them are.
  template <class V>
  void param(const char* arg, const V& v, bool per_instance, Param& param) const {
    if (v.defined()) defined_param(arg, v, per_instance, param);
  }

  // An output must not meet itself, nor an input unless it is that input (in place).
  template <class V>
  void writes(const char* arg, const V& out) const {
    if (out.defined() && overlaps_itself(out)) fail(std::string(arg) + " overlaps itself");
  }
  template <class V, class W>
  void apart(const char* arg, const V& out, const char* other, const W& v) const {
    if (!out.defined() || !v.defined()) return;
    if (overlap(out, v)) fail(std::string(arg) + " overlaps " + other);
  }
  bool in_place(const char* arg, const ConstView& out, const char* other,
                const ConstView& v) const {
    if (same_view(out, v)) return true;
    apart(arg, out, other, v);
    return false;
  }

  void given_moments(const Moments& m) const {
    const auto size = static_cast<std::size_t>(p_.rows());
    if (m.N != p_.N || m.C != p_.C) {
      fail("moments must have shape (N, C) = " + Dims{p_.N, p_.C}.str() + ", got " +
           Dims{m.N, m.C}.str());
    }
    for (const auto* v : {&m.count, &m.mean, &m.m2}) {
      if (v->size() != size) {
        fail("moments must have N * C = " + std::to_string(size) + " values each of count, mean " +
             "and m2, got " + std::to_string(v->size()));
      }
    }
  }

 private:
  void defined_param(const char* arg, const ConstView& v, bool per_instance, Param& param) const {
    const bool shared = v.shape.rank() == 1 && v.shape[0] == p_.C;
    const bool each =
        per_instance && v.shape.rank() == 2 && v.shape[0] == p_.N && v.shape[1] == p_.C;
    if (!shared && !each) {
      std::string want = "(C,) = " + Dims{p_.C}.str();
      if (per_instance) want += " or (N, C) = " + Dims{p_.N, p_.C}.str();
      fail(std::string(arg) + " must have shape " + want + ", got " + v.shape.str());
    }
    if (v.dtype != p_.dtype && !(v.dtype == DType::float32 && size_of(p_.dtype) == 2)) {
      fail(std::string(arg) + " must be " + (size_of(p_.dtype) == 2 ? "float32 or " : "") +
           name(p_.dtype) + " for a " + name(p_.dtype) + " " + arg_ + ", got " + name(v.dtype));
    }
    const std::int64_t size = size_of(v.dtype);
    param.data = bytes(arg, v.data, v);
    param.dtype = v.dtype;
    param.stride_n = each ? v.strides[0] * size : 0;
    param.stride_c = v.strides[each ? 1 : 0] * size;
    param.per_instance = each;
  }

  std::byte* bytes(const char* arg, const void* data, const ConstView& v) const {
    if (data == nullptr && v.shape.product() > 0) {
      fail(std::string(arg) + " has shape " + v.shape.str() + " but no data");
    }
    // Only what the caller gave as mutable is ever written. An empty operand may have no address,
    // and is still defined.
    static std::byte nothing;
    return data ? const_cast<std::byte*>(static_cast<const std::byte*>(data)) : &nothing;
  }

  void rows(const char* arg, const ConstView& v, Rows& r) const {
    const std::int64_t size = size_of(v.dtype);
    const int first = batched_ ? 2 : 1;
    r.data = bytes(arg, v.data, v);
    r.stride_n = batched_ ? v.strides[0] * size : 0;
    r.stride_c = v.strides[first - 1] * size;
    r.inner = 0;
    for (int i = first; i < v.shape.rank(); ++i) {
      if (v.shape[i] == 1) continue;
      const std::int64_t stride = v.strides[i] * size;
      const auto last = static_cast<std::size_t>(r.inner - 1);
      if (r.inner > 0 && r.stride[last] == stride * v.shape[i]) {
        r.extent[last] *= v.shape[i];
        r.stride[last] = stride;
      } else {
        r.extent[last + 1] = v.shape[i];
        r.stride[last + 1] = stride;
        ++r.inner;
      }
    }
    if (r.inner == 0) {
      r.inner = 1;
      r.extent[0] = p_.L;
      r.stride[0] = size;
    }
  }

  const char* op_;
  Problem& p_;
  const char* arg_ = "";
  Dims shape_;
  bool batched_ = false;
};

void running_statistics(const Border& border, Problem& p, const Options& o) {
  if (o.running_mean.defined() != o.running_var.defined()) {
    border.fail("running_mean and running_var must either both be given or neither");
  }
  if (!o.use_input_stats && !o.running_mean.defined()) {
    border.fail("running_mean and running_var are needed when use_input_stats is false");
  }
  border.param("running_mean", o.running_mean, false, p.running_mean);
  border.param("running_var", o.running_var, false, p.running_var);
  if (!o.running_mean.defined() || !o.use_input_stats) return;
  border.writes("running_mean", o.running_mean);
  border.writes("running_var", o.running_var);
  border.apart("running_mean", o.running_mean, "running_var", o.running_var);
}

}  // namespace

Problem normalize_problem(const ConstView& x, const View& y, const Options& o) {
  Problem p;
  Border border("instance_norm", p);
  border.input("x", x);
  const ConstView out = y;
  border.operand("y", out, p.y);
  border.writes("y", out);
  p.in_place = border.in_place("y", out, "x", x);

  border.param("weight", o.weight, true, p.weight);
  border.param("bias", o.bias, true, p.bias);
  running_statistics(border, p, o);
  border.apart("y", out, "weight", o.weight);
  border.apart("y", out, "bias", o.bias);
  border.apart("y", out, "running_mean", o.running_mean);
  border.apart("y", out, "running_var", o.running_var);
  if (o.use_input_stats) {
    for (const View* running : {&o.running_mean, &o.running_var}) {
      const char* arg = running == &o.running_mean ? "running_mean" : "running_var";
      border.apart(arg, *running, "x", x);
      border.apart(arg, *running, "weight", o.weight);
      border.apart(arg, *running, "bias", o.bias);
    }
  }

  p.use_input_stats = o.use_input_stats;
  p.momentum = o.momentum;
  p.eps = o.eps;
  p.weight_offset = o.weight_offset;
  p.moments = o.moments;
  p.save_moments = o.save_moments;
  if (p.moments != nullptr) {
    if (!p.use_input_stats) border.fail("moments with use_input_stats false: give one of them");
    border.given_moments(*p.moments);
  } else if (p.use_input_stats && p.L == 1) {
    border.fail(
        "expected more than 1 value in each row to normalise by its own statistics, got x of "
        "shape " +
        x.shape.str());
  }
  return p;
}

Problem backward_problem(const ConstView& x, const ConstView& grad_output, const Moments& moments,
                         const Gradients& gradients, const BackwardOptions& o) {
  Problem p;
  p.pass = Pass::backward;
  Border border("instance_norm_backward", p);
  border.input("x", x);
  border.operand("grad_output", grad_output, p.g);
  border.given_moments(moments);
  border.param("weight", o.weight, true, p.weight);
  border.param("bias", o.bias, true, p.bias);

  const View &gx = gradients.grad_input, &gw = gradients.grad_weight, &gb = gradients.grad_bias;
  if (!gx.defined() && !gw.defined() && !gb.defined()) {
    border.fail("no gradient is asked for: grad_input, grad_weight and grad_bias are all missing");
  }
  if (gx.defined()) {
    border.operand("grad_input", gx, p.y);
    border.writes("grad_input", gx);
    const bool is_x = border.in_place("grad_input", gx, "x", x);
    const bool is_g = border.in_place("grad_input", gx, "grad_output", grad_output);
    p.in_place = is_x || is_g;
    border.apart("grad_input", gx, "weight", o.weight);
    border.apart("grad_input", gx, "bias", o.bias);
  }
  // A gradient has its parameter's shape.
  border.param("grad_weight", gw, true, p.grad_weight);
  border.param("grad_bias", gb, true, p.grad_bias);
  if (gw.defined() && gw.shape.rank() != (o.weight.defined() ? o.weight.shape.rank() : 1)) {
    border.fail("grad_weight must have the shape of weight, got " + gw.shape.str());
  }
  if (gb.defined() &&
      gb.shape.rank() != (o.bias.defined() ? o.bias.shape.rank() : gb.shape.rank())) {
    border.fail("grad_bias must have the shape of bias, got " + gb.shape.str());
  }
  border.apart("grad_weight", gw, "grad_bias", gb);
  for (const View* out : {&gw, &gb}) {
    const char* arg = out == &gw ? "grad_weight" : "grad_bias";
    border.writes(arg, *out);
    border.apart(arg, *out, "x", x);
    border.apart(arg, *out, "grad_output", grad_output);
    border.apart(arg, *out, "grad_input", gx);
    border.apart(arg, *out, "weight", o.weight);
    border.apart(arg, *out, "bias", o.bias);
  }
  p.use_input_stats = o.use_input_stats;
  p.eps = o.eps;
  p.weight_offset = o.weight_offset;
  p.moments = &moments;
  return p;
}

Problem moments_problem(const ConstView& x, Moments* moments) {
  Problem p;
  p.pass = Pass::moments;
  Border("moments", p).input("x", x);
  p.save_moments = moments;
  return p;
}

Problem denormalize_problem(const ConstView& y, const Moments& moments, const View& x,
                            const DenormalizeOptions& o) {
  Problem p;
  p.pass = Pass::denormalize;
  Border border("denormalize", p);
  border.input("y", y);
  border.operand("x", x, p.y);
  border.writes("x", x);
  p.in_place = border.in_place("x", x, "y", y);
  border.param("weight", o.weight, true, p.weight);
  border.param("bias", o.bias, true, p.bias);
  border.apart("x", x, "weight", o.weight);
  border.apart("x", x, "bias", o.bias);
  border.given_moments(moments);
  p.eps = o.eps;
  p.weight_offset = o.weight_offset;
  p.moments = &moments;
  return p;
}

}  // namespace instnorm
