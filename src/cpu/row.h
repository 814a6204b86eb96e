// One row of a call: which arithmetic it needs, and its coefficients, from the problem's parameters
// and the row algebra. Touches no signal.
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
  const ColumnKernels& columns;

  Call(const Problem& problem, const Plan& plan, const KernelTable& table);
  const Kernels& kernels(bool is_wide) const { return is_wide ? wide : common; }
};

struct Row {
  std::int64_t n, c;
  std::int64_t index(const Problem& p) const { return n * p.C + c; }
};

// Which kernels a row needs.
struct Arithmetic {
  bool wide = false;
  double scale = 1.0;
};

// Can these statistics, taken in the common arithmetic, be trusted? If not, `how` becomes the
// arithmetic to take them again in.
bool trusted(const Problem& problem, const RowMoments& moments, Arithmetic& how);

// Statistics that do not come from x: given moments, or the running ones.
RowMoments given_moments(const Problem& problem, Row row);

// Is the row its bias whatever its values are? Then zeros are read in their place, since 0 * Inf
// would be NaN.
bool only_bias(const Problem& problem, const RowMoments& moments);

// The row's own weight + weight_offset and bias.
double weight_at(const Problem& problem, Row row);
double bias_at(const Problem& problem, Row row);

// Those of `count` rows in order from `row` on.
void weights_of(const Problem& problem, Row row, std::int64_t count, double* weights);
void biases_of(const Problem& problem, Row row, std::int64_t count, double* biases);

// Returns whether the combine must be wide.
bool affine_of_row(const Problem& problem, Row row, const RowMoments& moments, Arithmetic how,
                   AffineCoefficients& k);

// The mean of a row as the backward kernels take it.
double backward_centre(const Problem& problem, double mean, bool wide);

// What a row's backward needs before its sums: the centre and, with an activation, its argument
// (x - centre) * a + b.
AffineCoefficients backward_argument(const Problem& problem, Row row, bool wide);

// Must the sums of this row's backward be taken in the wide arithmetic from the start?
bool backward_is_wide(const Problem& problem, Row row);

// Returns whether the combine must be wide.
bool backward_of_row(const Problem& problem, Row row, const GradientSums& sums, bool wide,
                     ParameterGradients& gradients, BackwardCoefficients& k);

// The same for a double backward.
bool double_backward_of_row(const Problem& problem, Row row, const DoubleSums& sums, bool wide,
                            DoubleCoefficients& k);

}  // namespace instnorm::cpu
