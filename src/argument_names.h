// The functions of functional.h for faces that call arguments by other names: errors name them as
// the caller knows them.
#pragma once

#include <instnorm/functional.h>

namespace instnorm {

struct ArgumentNames {
  const char* x = "x";  // what is read (denormalize: y)
  const char* y = "y";  // what is written (denormalize: x)
  const char* moments = "moments";
};

void instance_norm(const ConstView& x, const View& y, const Options& options,
                   const ArgumentNames& names);
void instance_norm_backward(const ConstView& x, const ConstView& grad_output,
                            const Moments& moments, const Gradients& gradients,
                            const BackwardOptions& options, const ArgumentNames& names);
Moments moments(const ConstView& x, const MomentsOptions& options, const ArgumentNames& names);
void denormalize(const ConstView& y, const Moments& moments, const View& x,
                 const DenormalizeOptions& options, const ArgumentNames& names);

}  // namespace instnorm
