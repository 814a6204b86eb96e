// The kernels of one instruction set as a table of functions. They work on segments: `count` pieces
// of memory of n elements each, dense within, all of the same n, at most kBlockBytes / size of the
// compute type. A segment is a short row or one block of a long one; which, the kernels do not
// know.
#pragma once

#include <cstddef>
#include <cstdint>

#include "row_algebra.h"

namespace instnorm::cpu {

// Segment i is at data + i * step bytes.
struct In {
  const std::byte* data;
  std::int64_t step;
};
struct Out {
  std::byte* data;
  std::int64_t step;
};

// out[i] of segment i. `scale` is 1 but for rows beyond the range of double.
using MomentsKernel = void (*)(In x, std::int64_t count, std::int64_t n, double scale,
                               BlockSums* out);
// Segment i takes k[i * k_step]. y may be x. `stream`: stores that bypass the caches.
using AffineKernel = void (*)(In x, Out y, std::int64_t count, std::int64_t n,
                              const AffineCoefficients* k, std::int64_t k_step, bool stream);
// out[i] of segment i, about centre[i * centre_step].
using GradientSumsKernel = void (*)(In g, In x, std::int64_t count, std::int64_t n,
                                    const double* centre, std::int64_t centre_step,
                                    GradientSums* out);
// dx may be g or x.
using BackwardKernel = void (*)(In g, In x, Out dx, std::int64_t count, std::int64_t n,
                                const BackwardCoefficients* k, std::int64_t k_step, bool stream);

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
