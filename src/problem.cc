#include "problem.h"

#include "border.h"

namespace instnorm {
namespace {

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

// They are resized, so that no view of the call may be of their memory.
void saved_moments(const Border& border, const ConstView& x, const ConstView& y, const Options& o,
                   const ArgumentNames& names) {
  if (o.save_moments == nullptr || o.save_moments == o.moments) return;
  const auto apart = [&](const char* arg, const ConstView& v) {
    border.apart(arg, v, "save_moments", *o.save_moments);
  };
  apart(names.x, x);
  apart(names.y, y);
  apart("weight", o.weight);
  apart("bias", o.bias);
  apart("running_mean", o.running_mean);
  apart("running_var", o.running_var);
  apart("lengths", o.lengths);
  apart("mask", o.mask);
}

}  // namespace

const char* op_name(Pass pass) {
  static constexpr const char* kNames[] = {"instance_norm", "denormalize", "instance_norm_backward",
                                           "moments", "instance_norm_double_backward"};
  return kNames[static_cast<std::size_t>(pass)];
}

Problem normalize_problem(const ConstView& x, const View& y, const Options& o,
                          const ArgumentNames& names) {
  Problem p;
  p.pass = Pass::normalize;
  p.names = names;
  Border border(op_name(p.pass), p);
  border.input(names.x, x, o.data_format);
  const ConstView out = y;
  border.operand(names.y, out, p.y);
  border.writes(names.y, out);
  p.in_place = border.in_place(names.y, out, names.x, x);

  border.param("weight", o.weight, true, p.weight);
  border.param("bias", o.bias, true, p.bias);
  running_statistics(border, p, o);
  border.presence(o);
  border.apart(names.y, out, "weight", o.weight);
  border.apart(names.y, out, "bias", o.bias);
  border.apart_from_presence(names.y, out, o);
  border.apart(names.y, out, "running_mean", o.running_mean);
  border.apart(names.y, out, "running_var", o.running_var);
  if (o.use_input_stats && o.running_mean.defined()) {
    for (const View* running : {&o.running_mean, &o.running_var}) {
      const char* arg = running == &o.running_mean ? "running_mean" : "running_var";
      border.apart(arg, *running, names.x, x);
      border.apart(arg, *running, "weight", o.weight);
      border.apart(arg, *running, "bias", o.bias);
      border.apart_from_presence(arg, *running, o);
    }
  }

  border.activation(o.activation);
  p.use_input_stats = o.use_input_stats;
  p.momentum = o.momentum;
  p.eps = o.eps;
  p.weight_offset = o.weight_offset;
  p.activation = o.activation;
  p.moments = o.moments;
  p.save_moments = o.save_moments;
  saved_moments(border, x, out, o, names);
  if (p.moments != nullptr) {
    if (!p.use_input_stats) border.fail("moments with use_input_stats false: give one of them");
    border.given_moments(*p.moments);
    border.apart(names.y, out, names.moments, *p.moments);
    border.apart("running_mean", o.running_mean, names.moments, *p.moments);
    border.apart("running_var", o.running_var, names.moments, *p.moments);
  } else if (p.use_input_stats && p.L == 1 && !p.lengths.defined() && !p.selects()) {
    border.fail(
        std::string("expected more than 1 value in each row to normalise by its own statistics, "
                    "got ") +
        names.x + " of shape " + x.shape.str());
  }
  return p;
}

Problem backward_problem(const ConstView& x, const ConstView& grad_output, const Moments& moments,
                         const Gradients& gradients, const BackwardOptions& o,
                         const ArgumentNames& names) {
  Problem p;
  p.names = names;
  p.pass = Pass::backward;
  Border border(op_name(p.pass), p);
  border.input(names.x, x, o.data_format);
  border.operand("grad_output", grad_output, p.g);
  border.given_moments(moments);
  border.param("weight", o.weight, true, p.weight);
  border.param("bias", o.bias, true, p.bias);
  border.presence(o);
  border.activation(o.activation);

  const View &gx = gradients.grad_input, &gw = gradients.grad_weight, &gb = gradients.grad_bias;
  if (!gx.defined() && !gw.defined() && !gb.defined()) {
    border.fail("no gradient is asked for: grad_input, grad_weight and grad_bias are all missing");
  }
  if (gx.defined()) {
    border.operand("grad_input", gx, p.y);
    const bool is_x = border.in_place("grad_input", gx, names.x, x);
    const bool is_g = border.in_place("grad_input", gx, "grad_output", grad_output);
    p.in_place = is_x || is_g;
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
  border.apart("grad_weight", gw, "grad_input", gx);
  border.apart("grad_bias", gb, "grad_input", gx);
  for (const View* out : {&gx, &gw, &gb}) {
    if (!out->defined()) continue;
    const char* arg = out == &gx ? "grad_input" : out == &gw ? "grad_weight" : "grad_bias";
    border.writes(arg, *out);
    border.apart(arg, *out, "weight", o.weight);
    border.apart(arg, *out, "bias", o.bias);
    border.apart_from_presence(arg, *out, o);
    border.apart(arg, *out, names.moments, moments);
    if (out == &gx) continue;  // in place is fine for it
    border.apart(arg, *out, names.x, x);
    border.apart(arg, *out, "grad_output", grad_output);
  }
  p.use_input_stats = o.use_input_stats;
  p.eps = o.eps;
  p.weight_offset = o.weight_offset;
  p.activation = o.activation;
  p.moments = &moments;
  return p;
}

Problem double_backward_problem(const ConstView& x, const ConstView& grad_output,
                                const Moments& moments, const GradientsOfGradients& given,
                                const SecondGradients& wanted, const DoubleBackwardOptions& o) {
  Problem p;
  p.pass = Pass::double_backward;
  Border border(op_name(p.pass), p);
  border.input("x", x, o.data_format);
  border.operand("grad_output", grad_output, p.g);
  border.given_moments(moments);
  border.param("weight", o.weight, true, p.weight);
  if (o.lengths.defined()) border.lengths(o.lengths);

  const ConstView &u = given.grad_input, &a = given.grad_weight, &b = given.grad_bias;
  if (!u.defined() && !a.defined() && !b.defined()) {
    border.fail(
        "nothing flows back: that to grad_input, grad_weight and grad_bias are all missing");
  }
  if (u.defined()) border.operand("that to grad_input", u, p.u);
  border.param("that to grad_weight", a, true, p.u_weight);
  const int weight_rank = o.weight.defined() ? o.weight.shape.rank() : 1;
  if (a.defined() && a.shape.rank() != weight_rank) {
    border.fail("that to grad_weight must have the shape of weight, got " + a.shape.str());
  }
  border.param("that to grad_bias", b, true, p.u_bias);

  const View &gx = wanted.x, &gw = wanted.weight, &gg = wanted.grad_output;
  if (!gx.defined() && !gw.defined() && !gg.defined()) {
    border.fail("no gradient is asked for: those of x, weight and grad_output are all missing");
  }
  if (gx.defined()) border.operand("gradient of x", gx, p.y);
  if (gg.defined()) border.operand("gradient of grad_output", gg, p.grad_g);
  border.param("gradient of weight", gw, true, p.grad_weight);
  if (gw.defined() && gw.shape.rank() != weight_rank) {
    border.fail("gradient of weight must have the shape of weight, got " + gw.shape.str());
  }
  border.apart("gradient of x", gx, "gradient of grad_output", gg);
  border.apart("gradient of weight", gw, "gradient of x", gx);
  border.apart("gradient of weight", gw, "gradient of grad_output", gg);
  for (const View* out : {&gx, &gw, &gg}) {
    const char* arg = out == &gx   ? "gradient of x"
                      : out == &gw ? "gradient of weight"
                                   : "gradient of grad_output";
    border.writes(arg, *out);
    border.apart(arg, *out, "x", x);
    border.apart(arg, *out, "grad_output", grad_output);
    border.apart(arg, *out, "weight", o.weight);
    border.apart(arg, *out, "lengths", o.lengths);
    border.apart(arg, *out, "that to grad_input", u);
    border.apart(arg, *out, "that to grad_weight", a);
    border.apart(arg, *out, "that to grad_bias", b);
    border.apart(arg, *out, "moments", moments);
  }
  p.use_input_stats = o.use_input_stats;
  p.eps = o.eps;
  p.weight_offset = o.weight_offset;
  p.moments = &moments;
  return p;
}

Problem moments_problem(const ConstView& x, const MomentsOptions& o, Moments* moments,
                        const ArgumentNames& names) {
  Problem p;
  p.names = names;
  p.pass = Pass::moments;
  Border border(op_name(p.pass), p);
  border.input(names.x, x, o.data_format);
  border.presence(o);
  p.save_moments = moments;
  return p;
}

Problem denormalize_problem(const ConstView& y, const Moments& moments, const View& x,
                            const DenormalizeOptions& o, const ArgumentNames& names) {
  Problem p;
  p.names = names;
  p.pass = Pass::denormalize;
  Border border(op_name(p.pass), p);
  border.input(names.x, y, o.data_format);
  border.operand(names.y, x, p.y);
  border.writes(names.y, x);
  p.in_place = border.in_place(names.y, x, names.x, y);
  border.param("weight", o.weight, true, p.weight);
  border.param("bias", o.bias, true, p.bias);
  border.apart(names.y, x, "weight", o.weight);
  border.apart(names.y, x, "bias", o.bias);
  border.given_moments(moments);
  border.apart(names.y, x, names.moments, moments);
  p.eps = o.eps;
  p.weight_offset = o.weight_offset;
  p.moments = &moments;
  return p;
}

}  // namespace instnorm
