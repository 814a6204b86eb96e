// instnorm: instance normalisation of 1-D signals.
//
//   y = (x - mean) / sqrt(var + eps) * weight + bias
//
// mean and biased var over L, separately for each instance n and channel c of x (N, C, L).
// Definition: Ulyanov, Vedaldi, Lempitsky 2016, as torch.nn.InstanceNorm1d documents it.
#pragma once

#include <instnorm/functional.h>  // IWYU pragma: export
#include <instnorm/module.h>      // IWYU pragma: export
#include <instnorm/runtime.h>     // IWYU pragma: export
#include <instnorm/tensor.h>      // IWYU pragma: export
#include <instnorm/version.h>     // IWYU pragma: export
