// The forward pass of a call: normalize, denormalize, moments.
#pragma once

#include "cpu/moments_out.h"
#include "cpu/row.h"

namespace instnorm::cpu {

void forward(const Call& call, const MomentsOut& out);

}  // namespace instnorm::cpu
