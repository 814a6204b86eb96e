// The backward pass of a call.
#pragma once

#include "cpu/row.h"

namespace instnorm::cpu {

void backward(const Call& call);

}  // namespace instnorm::cpu
