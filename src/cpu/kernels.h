// The kernels of one instruction set as a table of functions. They work on one block of one row:
// dense memory, at most kBlockBytes / size of the compute type elements.
#pragma once

#include <cstdint>

#include "row_algebra.h"

namespace instnorm::cpu {

// Dense block of n elements. `scale` is 1 but for rows beyond the range of double.
using MomentsKernel = void (*)(const void* x, std::int64_t n, double scale, BlockSums& out);
// y may be x. `stream`: stores that bypass the caches.
using AffineKernel = void (*)(const void* x, void* y, std::int64_t n, const AffineCoefficients& k,
                              bool stream);
// Adds to `out`.
using GradientSumsKernel = void (*)(const void* g, const void* x, std::int64_t n, double centre,
                                    GradientSums& out);
// dx may be g or x.
using BackwardKernel = void (*)(const void* g, const void* x, void* dx, std::int64_t n,
                                const BackwardCoefficients& k, bool stream);

struct Kernels {
  MomentsKernel moments;
  AffineKernel affine;
  GradientSumsKernel gradient_sums;
  BackwardKernel backward;
};

// For each float DType: `common` computes in float (float64: in double); `wide` computes in double,
// and is for the rare rows whose values or sums leave the range of float (float64: scaled, for
// those that leave the range of double).
struct KernelTable {
  Kernels common[4];
  Kernels wide[4];
};

// Elements of a block. A row's sums are taken block by block and merged in order, and nothing else
// depends on blocks: so the result is a function of the row alone. 16 KiB of compute type stay in
// L1.
inline constexpr std::int64_t kBlockBytes = 16384;

}  // namespace instnorm::cpu
