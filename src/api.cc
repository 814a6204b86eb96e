// The functions of functional.h: problem -> plan -> run, and nothing else.
#include <instnorm/functional.h>
#include <instnorm/runtime.h>
#include <instnorm/version.h>

#include "argument_names.h"
#include "cpu/run.h"
#include "cpu/target.h"
#include "cpu/threads.h"
#include "plan.h"
#include "problem.h"

namespace instnorm {
namespace {

Machine this_machine() {
  return {cpu_target(), cpu::usable_threads(), cpu::kernels().front()->columns.moments != nullptr};
}

void plan_and_run(const Problem& problem) {
  const cpu::KernelTable& kernels = cpu::kernels();
  cpu::run(problem, make_plan(problem, this_machine()), kernels);
}

}  // namespace

void instance_norm(const ConstView& x, const View& y, const Options& options,
                   const ArgumentNames& names) {
  plan_and_run(normalize_problem(x, y, options, names));
}

void instance_norm(const ConstView& x, const View& y, const Options& options) {
  instance_norm(x, y, options, {});
}

void instance_norm_backward(const ConstView& x, const ConstView& grad_output,
                            const Moments& moments, const Gradients& gradients,
                            const BackwardOptions& options, const ArgumentNames& names) {
  plan_and_run(backward_problem(x, grad_output, moments, gradients, options, names));
}

void instance_norm_backward(const ConstView& x, const ConstView& grad_output,
                            const Moments& moments, const Gradients& gradients,
                            const BackwardOptions& options) {
  instance_norm_backward(x, grad_output, moments, gradients, options, {});
}

void instance_norm_double_backward(const ConstView& x, const ConstView& grad_output,
                                   const Moments& moments, const GradientsOfGradients& given,
                                   const SecondGradients& wanted,
                                   const DoubleBackwardOptions& options) {
  plan_and_run(double_backward_problem(x, grad_output, moments, given, wanted, options));
}

Moments moments(const ConstView& x, const MomentsOptions& options, const ArgumentNames& names) {
  Moments result;
  plan_and_run(moments_problem(x, options, &result, names));
  return result;
}

Moments moments(const ConstView& x, const MomentsOptions& options) {
  return moments(x, options, {});
}

void denormalize(const ConstView& y, const Moments& moments, const View& x,
                 const DenormalizeOptions& options, const ArgumentNames& names) {
  plan_and_run(denormalize_problem(y, moments, x, options, names));
}

void denormalize(const ConstView& y, const Moments& moments, const View& x,
                 const DenormalizeOptions& options) {
  denormalize(y, moments, x, options, {.x = "y", .y = "x"});
}

std::string explain(const ConstView& x, const View& y, const Options& options) {
  const Problem problem = normalize_problem(x, y, options, {});
  const Machine machine = this_machine();
  return to_string(make_plan(problem, machine), problem, machine);
}

const char* version() { return INSTNORM_VERSION; }

}  // namespace instnorm
