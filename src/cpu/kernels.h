// The kernels of one instruction set as a table of functions. They work on segments: `count` pieces
// of memory of n elements each, dense within, all of the same n, at most kBlockBytes / size of the
// compute type. A segment is a short row or one block of a long one; which, the kernels do not
// know.
#pragma once

#include <instnorm/functional.h>

#include <array>
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

// What is known of many segments stands number by number, not segment by segment, so that the row
// algebra can take several at a time. Element i belongs to segment i.
struct MomentSums {
  double *centre, *s, *q;  // as in BlockSums
  bool* constant;
  MomentSums at(std::int64_t i) const { return {centre + i, s + i, q + i, constant + i}; }
};
struct GradientSumsOut {
  double *g, *gx;  // as in GradientSums
  GradientSumsOut at(std::int64_t i) const { return {g + i, gx + i}; }
};
// Coefficients: segment i takes element i * step.
struct AffineColumns {
  const double *centre, *a, *b;
  double scale;
  std::int64_t step;
};
struct BackwardColumns {
  const double *centre, *p, *q, *r;
  std::int64_t step;
};

struct DoubleColumns {
  const double *centre, *p, *s, *q, *r;
  std::int64_t step;
};

// `scale` is 1 but for rows beyond the range of double.
using MomentsKernel = void (*)(In x, std::int64_t count, std::int64_t n, double scale,
                               const MomentSums& out);
// y may be x. `stream`: stores that bypass the caches.
using AffineKernel = void (*)(In x, Out y, std::int64_t count, std::int64_t n,
                              const AffineColumns& k, bool stream);
// That of rows x, and the moments of as many other rows beside it (`scale` is 1 for both).
using AffineMomentsKernel = void (*)(In x, Out y, std::int64_t count, std::int64_t n,
                                     const AffineColumns& k, bool stream, In next,
                                     const MomentSums& of_next);
// The activation of that, which is not none.
using ActivatedKernel = void (*)(In x, Out y, std::int64_t count, std::int64_t n,
                                 const AffineColumns& k, Activation activation, bool stream);
// h = g * slope of the activation at (x - centre) * a + b, in the compute type: segment i is at h +
// i * n elements.
using SlopeKernel = void (*)(In g, In x, void* h, std::int64_t count, std::int64_t n,
                             const AffineColumns& argument, Activation activation);
// About centre[i * centre_step].
using GradientSumsKernel = void (*)(In g, In x, std::int64_t count, std::int64_t n,
                                    const double* centre, std::int64_t centre_step,
                                    const GradientSumsOut& out);
// dx may be g or x.
using BackwardKernel = void (*)(In g, In x, Out dx, std::int64_t count, std::int64_t n,
                                const BackwardColumns& k, bool stream);
// That of rows g and x, and beside it the sums of as many other rows, about next_centre[i].
using BackwardSumsKernel = void (*)(In g, In x, Out dx, std::int64_t count, std::int64_t n,
                                    const BackwardColumns& k, bool stream, In next_g, In next_x,
                                    const double* next_centre, std::int64_t centre_step,
                                    const GradientSumsOut& of_next);

// p * g + s * u + q * (x - centre) + r
using DoubleKernel = void (*)(In g, In u, In x, Out dx, std::int64_t count, std::int64_t n,
                              const DoubleColumns& k, bool stream);

// Both steps of a backward, for one type of g.
struct GradientKernels {
  GradientSumsKernel sums;
  BackwardKernel backward;
  BackwardSumsKernel backward_sums;  // null where nothing is gained
};

// The row algebra of `count` rows of one block of n values each, normalised by their own
// statistics.
struct RowsForward {
  std::int64_t count;
  double n, eps;
  MomentSums sums;
  const double *weight, *bias;
  double *mean_hi, *mean_lo, *m2;  // out: RowMoments
  double *centre, *a, *b;          // out: AffineCoefficients
  std::int64_t* fits;              // out: 0 where the row needs other arithmetic
};
// Returns whether all fit.
using RowsForwardKernel = bool (*)(const RowsForward& rows);

// The same for a backward.
struct RowsBackward {
  std::int64_t count;
  double eps;
  bool constant_moments;
  const double *moments_count, *mean, *m2, *weight, *sum_g, *sum_gx;
  double *grad_weight, *grad_bias;  // out: ParameterGradients
  double *centre, *p, *q, *r;       // in (centre) and out: BackwardCoefficients
  std::int64_t* fits;
};
using RowsBackwardKernel = bool (*)(const RowsBackward& rows);

struct Kernels {
  MomentsKernel moments;
  AffineKernel affine;
  AffineMomentsKernel affine_moments;  // null where nothing is gained
  ActivatedKernel activated;
  SlopeKernel slope;
  GradientKernels of_g;  // g as it is stored
  GradientKernels of_h;  // g in the compute type, as `slope` leaves it
  DoubleKernel double_backward;
  RowsForwardKernel rows_forward;
  RowsBackwardKernel rows_backward;
};

// The same for rows that are columns of memory (channels last), in the common arithmetic: `count`
// rows, at most kTileRows, beside each other, and `step` bytes from one value of them all to the
// next. Null where the instruction set has none.
struct ColumnKernels {
  void (*moments)(In x, std::int64_t count, std::int64_t n, const MomentSums& out) = nullptr;
  void (*affine)(In x, Out y, std::int64_t count, std::int64_t n, const AffineColumns& k,
                 Activation activation, bool stream) = nullptr;
  void (*sums)(In g, In x, std::int64_t count, std::int64_t n, const double* centre,
               const GradientSumsOut& out) = nullptr;
  // Where x, which may be NaN, has no part in some rows (k.q and k.r are 0), it has none in all.
  void (*backward)(In g, In x, Out dx, std::int64_t count, std::int64_t n, const BackwardColumns& k,
                   bool stream) = nullptr;
};

// `common` computes in float (float64: in double); `wide` computes in double, and is for the rare
// rows whose values or sums leave the range of float (float64: scaled, for those that leave the
// range of double).
struct DtypeKernels {
  Kernels common{}, wide{};
  ColumnKernels columns;
};

// By the number of the float DType.
using KernelTable = std::array<const DtypeKernels*, 4>;

// Elements of a block. A row's sums are taken block by block and merged in order, and nothing else
// depends on blocks: so the result is a function of the row alone. 16 KiB of compute type stay in
// L1.
inline constexpr std::int64_t kBlockBytes = 16384;

}  // namespace instnorm::cpu
