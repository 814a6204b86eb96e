// A legal call as plain data. Making one is the only place that throws for a caller's mistake;
// everything below assumes a valid problem.
#pragma once

#include <instnorm/functional.h>
#include <instnorm/tensor.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "argument_names.h"

namespace instnorm {

enum class Pass { normalize, denormalize, backward, moments, double_backward };

// The public name of the function, as messages have it in brackets.
const char* op_name(Pass pass);

// One operand as N x C rows. Strides are in bytes. Along a row the dimensions are collapsed where
// the strides allow, so `inner` is 1 for every layout but exotic views of (N, C, D1, D2, ...).
struct Rows {
  std::byte* data = nullptr;
  std::int64_t stride_n = 0, stride_c = 0;
  int inner = 1;
  std::int64_t extent[kMaxRank], stride[kMaxRank];  // the first `inner`, outermost first

  bool defined() const { return data != nullptr; }
  std::byte* row(std::int64_t n, std::int64_t c) const {
    return data + n * stride_n + c * stride_c;
  }
};

// weight, bias, running statistics or their gradients: (C,) has stride_n 0. Strides are in bytes.
struct Param {
  std::byte* data = nullptr;
  DType dtype = DType::float32;
  std::int64_t stride_n = 0, stride_c = 0;
  bool per_instance = false;  // (N, C)

  bool defined() const { return data != nullptr; }
  std::byte* at(std::int64_t n, std::int64_t c) const { return data + n * stride_n + c * stride_c; }
};

// (N,), int32 or int64. The stride is in bytes.
struct Lengths {
  const std::byte* data = nullptr;
  bool wide = false;  // int64
  std::int64_t stride = 0;

  bool defined() const { return data != nullptr; }
  std::int64_t at(std::int64_t n) const {
    const std::byte* p = data + n * stride;
    if (wide) {
      std::int64_t wide_value = 0;
      std::memcpy(&wide_value, p, sizeof wide_value);
      return wide_value;
    }
    std::int32_t narrow_value = 0;
    std::memcpy(&narrow_value, p, sizeof narrow_value);
    return narrow_value;
  }
};

struct Problem {
  Pass pass = Pass::normalize;
  ArgumentNames names;
  std::int64_t N = 0, C = 0, L = 0;
  DType dtype = DType::float32;

  Rows x;                 // what is read: the input (denormalize: the normalised one)
  Rows g;                 // grad_output, of a backward
  Rows u;                 // what flows back to grad_input, of a double backward; may be undefined
  Rows y;                 // what is written: y, grad_input, or x again; undefined if nothing is
  Rows grad_g;            // gradient of grad_output, of a double backward, whose y is that of x
  bool in_place = false;  // y is x or g

  Param weight, bias;
  Param running_mean, running_var;
  Param grad_weight, grad_bias;
  Param u_weight, u_bias;  // what flows back to them, of a double backward

  Lengths lengths;
  Rows mask;  // one byte for each value of x
  NanPolicy nan_policy = NanPolicy::propagate;
  Activation activation = Activation::none;

  bool use_input_stats = true;
  double momentum = 0.1, eps = 1e-5, weight_offset = 0.0;
  const Moments* moments = nullptr;  // given statistics
  Moments* save_moments = nullptr;   // where to leave the statistics that were used

  std::int64_t rows() const { return N * C; }
  // Values of a row that may be there: what lies behind is padding.
  std::int64_t length(std::int64_t n) const { return lengths.defined() ? lengths.at(n) : L; }
  // Must each value be asked whether it is there?
  bool selects() const { return mask.defined() || nan_policy == NanPolicy::omit; }
  bool own_statistics() const { return use_input_stats && moments == nullptr; }
};

Problem normalize_problem(const ConstView& x, const View& y, const Options& options,
                          const ArgumentNames& names = {});
Problem backward_problem(const ConstView& x, const ConstView& grad_output, const Moments& moments,
                         const Gradients& gradients, const BackwardOptions& options,
                         const ArgumentNames& names);
Problem double_backward_problem(const ConstView& x, const ConstView& grad_output,
                                const Moments& moments, const GradientsOfGradients& given,
                                const SecondGradients& wanted,
                                const DoubleBackwardOptions& options);
Problem moments_problem(const ConstView& x, const MomentsOptions& options, Moments* moments,
                        const ArgumentNames& names);
Problem denormalize_problem(const ConstView& y, const Moments& moments, const View& x,
                            const DenormalizeOptions& options, const ArgumentNames& names);

}  // namespace instnorm
