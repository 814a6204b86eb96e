// Runs a planned problem on this machine.
#pragma once

#include "cpu/kernels.h"
#include "plan.h"
#include "problem.h"

namespace instnorm::cpu {

void run(const Problem& problem, const Plan& plan, const KernelTable& kernels);

}  // namespace instnorm::cpu
