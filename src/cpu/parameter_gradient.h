// From what each row gives to the gradient of a parameter to the gradient itself.
#pragma once

#include "problem.h"

namespace instnorm::cpu {

// The sum over the instances in order, unless each has its own. rows[n * C + c] is that of row (n,
// c); nothing happens where `out` is undefined.
void store_parameter_gradient(const Problem& problem, const Param& out, const double* rows);

}  // namespace instnorm::cpu
