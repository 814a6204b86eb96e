#include "cpu/run.h"

#include "cpu/backward.h"
#include "cpu/forward.h"
#include "cpu/moments_out.h"
#include "cpu/row.h"

namespace instnorm::cpu {

void run(const Problem& problem, const Plan& plan, const KernelTable& kernels) {
  const Call call(problem, plan, kernels);
  if (problem.pass == Pass::backward) return backward(call);
  const MomentsOut out(problem);
  forward(call, out);
  out.update_running_statistics();
}

}  // namespace instnorm::cpu
