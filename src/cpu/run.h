// Runs a planned problem on the threads of this machine: the only file that knows OpenMP's regions.
#pragma once

#include "cpu/kernels.h"
#include "plan.h"
#include "problem.h"

namespace instnorm::cpu {

void run(const Problem& problem, const Plan& plan, const KernelTable& kernels);

}  // namespace instnorm::cpu
