// One row on its way: sums of its blocks -> row algebra -> combine of its blocks. Knows no threads.
#pragma once

#include <cstdint>

#include "cpu/kernels.h"
#include "plan.h"
#include "problem.h"
#include "row_algebra.h"

namespace instnorm::cpu {

// Everything that is the same for all rows of a call.
struct Call {
  const Problem& problem;
  const Plan& plan;
  const Kernels& common;
  const Kernels& wide;

  Call(const Problem& problem, const Plan& plan, const KernelTable& table);
  std::int64_t block_size(std::int64_t block) const;
};

// Which kernels a row needs.
struct Arithmetic {
  bool wide = false;
  double scale = 1.0;
};

// ---- forward

BlockSums block_moments(const Call& call, std::int64_t n, std::int64_t c, std::int64_t block,
                        Arithmetic how);

// Can these statistics, taken in the common arithmetic, be trusted? If not, `how` becomes the
// arithmetic to take them again in.
bool trusted(const Call& call, const RowMoments& row, Arithmetic& how);

// How the row (n, c) is combined.
struct RowAffine {
  AffineCoefficients coefficients;
  bool wide = false;
};
RowAffine row_affine(const Call& call, std::int64_t n, std::int64_t c, const RowMoments& row,
                     Arithmetic how);
void combine_block(const Call& call, std::int64_t n, std::int64_t c, std::int64_t block,
                   const RowAffine& k);

// Statistics that do not come from x: given moments, or the running ones.
RowMoments given_moments(const Problem& problem, std::int64_t n, std::int64_t c);

// ---- backward

// Must the sums of this row be taken in the wide arithmetic from the start?
bool backward_is_wide(const Call& call, std::int64_t n, std::int64_t c);
GradientSums block_gradient_sums(const Call& call, std::int64_t n, std::int64_t c,
                                 std::int64_t block, bool wide);
bool finite(const GradientSums& sums);

// The mean of a row as the backward kernels take it.
double backward_centre(const Call& call, std::int64_t n, std::int64_t c, bool wide);

struct RowBackward {
  BackwardCoefficients coefficients;
  ParameterGradients gradients;
  bool wide = false;
};
RowBackward row_backward(const Call& call, std::int64_t n, std::int64_t c, const GradientSums& sums,
                         bool wide);
void backward_block(const Call& call, std::int64_t n, std::int64_t c, std::int64_t block,
                    const RowBackward& k);

}  // namespace instnorm::cpu
