#include "cpu/run.h"

#include <atomic>
#include <cstdint>

#include "cpu/backward.h"
#include "cpu/double_backward.h"
#include "cpu/forward.h"
#include "cpu/moments_out.h"
#include "cpu/parallel.h"
#include "cpu/presence.h"
#include "cpu/row.h"
#include "nan_found.h"

namespace instnorm::cpu {

namespace {

// NanPolicy::raise: the first row with a NaN is named, whatever thread found it.
void refuse_nan(const Call& call) {
  const Problem& p = call.problem;
  std::atomic<std::int64_t> found{p.rows()};
  on_threads(call.plan.threads, p.rows(), [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t r = first; r < last && r < found.load(std::memory_order_relaxed); ++r) {
      if (!has_nan(p, {r / p.C, r % p.C})) continue;
      std::int64_t least = found.load(std::memory_order_relaxed);
      while (r < least && !found.compare_exchange_weak(least, r)) {
      }
    }
  });
  if (found == p.rows()) return;
  throw NanFound(op_name(p.pass), p.names.x, found / p.C, found % p.C);
}

}  // namespace

void run(const Problem& problem, const Plan& plan, const KernelTable& kernels) {
  const Call call(problem, plan, kernels);
  if (problem.nan_policy == NanPolicy::raise) refuse_nan(call);
  if (problem.pass == Pass::backward) return backward(call);
  if (problem.pass == Pass::double_backward) return double_backward(call);
  const MomentsOut out(problem);
  forward(call, out);
  out.update_running_statistics();
}

}  // namespace instnorm::cpu
