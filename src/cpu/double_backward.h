// The double backward of a call: the gradients of its backward.
#pragma once

#include "cpu/row.h"

namespace instnorm::cpu {

void double_backward(const Call& call);

}  // namespace instnorm::cpu
