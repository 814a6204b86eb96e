// The functions: normalise, its gradients, statistics, and the way back.
//
// Words: x input, y output, g grad_output; N instances, C channels, L length; a row is one (n, c).
// Rank 2 means (C, L), rank 3 (N, C, L), higher ranks (N, C, D1, D2, ...) with L = D1 * D2 * ...
// All throw std::invalid_argument for a caller's mistake, before anything is written. All are safe
// to call from several threads on different outputs. Results are the same bits for any number of
// threads, batch size, position in the batch and alignment.
#pragma once

#include <instnorm/export.h>
#include <instnorm/tensor.h>

#include <cstdint>
#include <string>
#include <vector>

namespace instnorm {

// Statistics of the rows of one input: the one type for streaming, sharded and reversible use.
// Each vector has N * C elements, row-major (N, C); rank 2 inputs have N = 1.
struct Moments {
  std::int64_t N = 0, C = 0;
  std::vector<double> count;  // number of values
  std::vector<double> mean;
  std::vector<double> m2;  // sum of squared deviations from the mean

  INSTNORM_API static Moments empty(std::int64_t n, std::int64_t c);  // count, mean, m2 all 0
  // m2 / (count - ddof); NaN where count - ddof <= 0. These throw std::invalid_argument if a vector
  // does not have N * C elements.
  INSTNORM_API std::vector<double> var(std::int64_t ddof = 0) const;
  INSTNORM_API std::vector<double> std(std::int64_t ddof = 0) const;
  // Statistics of the union: Chan, Golub, LeVeque 1979. Exact where a count is 0; associative up to
  // rounding. Throws std::invalid_argument if the shapes differ.
  INSTNORM_API Moments merge(const Moments& other) const;
};

// What becomes of a NaN in x: it makes its row's statistics NaN; it is left out of them, stays NaN
// in y and gets gradient 0; or it is a std::invalid_argument before anything is written (padding is
// not looked at).
enum class NanPolicy : std::uint8_t { propagate, omit, raise };

// Where the channels are: (N, C, L), or (N, L, C) without a transposed copy; rank 2 (C, L) or (L,
// C).
enum class DataFormat : std::uint8_t { NCL, NLC };

// Of y, in the same pass: relu; leaky_relu with slope 0.01; gelu with erf; gelu_tanh, its
// approximation by tanh; silu, z / (1 + exp(-z)).
enum class Activation : std::uint8_t { none, relu, leaky_relu, gelu, gelu_tanh, silu };

// By the names that all faces use: "propagate", "NCL", "relu", ...; that of no activation is its
// absence. Throw std::invalid_argument that lists the possible ones.
INSTNORM_API NanPolicy nan_policy_of(const std::string& name);
INSTNORM_API DataFormat data_format_of(const std::string& name);
INSTNORM_API Activation activation_of(const std::string& name);

// x is (N, C, L), float16, bfloat16, float32 or float64. weight, bias, running_mean, running_var:
// (C,), each on its own optional except that the running statistics come together; dtype that of x
// or float32 (float64 for float64). weight and bias may be (N, C): one for each instance.
//
// lengths and mask say which values are there; the others have no effect, be they NaN, and y is 0
// there. A row with fewer than 2 such values, whatever they are, is its bias there and is left out
// of the running statistics; normalised by running statistics it is an ordinary row.
struct Options {
  ConstView weight{};           // absent: 1
  ConstView bias{};             // absent: 0
  View running_mean{};          // updated in place with use_input_stats, else only read
  View running_var{};           // unbiased variance, averaged over the instances, as PyTorch does
  bool use_input_stats = true;  // false: normalise by running_mean and running_var
  double momentum = 0.1;        // weight of the new value in the running statistics
  double eps = 1e-5;
  ConstView lengths{};  // (N,) int32 or int64, 0 <= lengths[n] <= L: the first lengths[n] values
  ConstView mask{};     // boolean, true where a value is: (N, L), (N, 1, L) or (N, C, L); with NLC
                        // (N, L), (N, L, 1) or (N, L, C)
  NanPolicy nan_policy = NanPolicy::propagate;
  DataFormat data_format = DataFormat::NCL;
  double weight_offset =
      0.0;  // y = (weight + weight_offset) * xhat + bias, where there is a weight
  Activation activation = Activation::none;
  const Moments* moments = nullptr;  // normalise by these instead of the input's own; the running
                                     // statistics, if given, are updated from them
  Moments* save_moments = nullptr;   // out: the statistics that x was normalised by
};

// y = (x - mean) / sqrt(var + eps) * (weight + weight_offset) + bias. y has x's shape and dtype; it
// may be x itself (in place); any other overlap is an error, and so is L == 1 with the input's own
// statistics (but with lengths, mask or NanPolicy::omit). By given moments a row with count < 2, or
// with zero variance and eps = 0, is its bias, whatever its x are.
INSTNORM_API void instance_norm(const ConstView& x, const View& y, const Options& options = {});

// Which gradients are wanted, and where they go; at least one.
struct Gradients {
  View grad_input{};   // x's shape and dtype; may be x or grad_output itself
  View grad_weight{};  // weight's shape; x's dtype or float32 (float64 for float64)
  View grad_bias{};    // as grad_weight; without a bias (C,) or (N, C)
};

struct BackwardOptions {
  ConstView weight{};
  ConstView bias{};  // counts with an activation only
  double eps = 1e-5;
  bool use_input_stats = true;  // false: the moments are constants, not functions of x
  ConstView lengths{};          // these as in the forward
  ConstView mask{};
  NanPolicy nan_policy = NanPolicy::propagate;
  DataFormat data_format = DataFormat::NCL;
  double weight_offset = 0.0;
  Activation activation = Activation::none;
};

// Gradients of instance_norm at x, given grad_output g of x's shape and dtype and the moments that
// the forward saved (or that moments(x) gives). With r = 1/sqrt(var + eps), xhat = (x - mean) * r
// and h = g * activation'(weight * xhat + bias), all sums over the values that are there:
//   grad_input  = weight * r * (h - mean(h) - xhat * mean(h * xhat)), or
//                 weight * r * h  where the moments are constants: given ones, running statistics
//   grad_weight = sum over n, l of h * xhat
//   grad_bias   = sum over n, l of h
// A row whose moments have count < 2, or zero variance with eps = 0, is its bias: it gives to
// grad_bias alone, by constant moments too, whatever its x are. (Moments that a forward saves of
// running statistics have count L, or 2 if L is less: to them every row is an ordinary one.)
INSTNORM_API void instance_norm_backward(const ConstView& x, const ConstView& grad_output,
                                         const Moments& moments, const Gradients& gradients,
                                         const BackwardOptions& options = {});

// What flows back to the results of a backward; at least one.
struct GradientsOfGradients {
  ConstView grad_input{};   // x's shape and dtype
  ConstView grad_weight{};  // as Gradients has it
  ConstView grad_bias{};
};

// And what of it is wanted for its arguments, and where it goes; at least one.
struct SecondGradients {
  View x{};       // x's shape and dtype, as grad_output's: may not be one of the arguments
  View weight{};  // weight's shape; x's dtype or float32 (float64 for float64)
  View grad_output{};
};

struct DoubleBackwardOptions {
  ConstView weight{};  // these as in the backward
  double eps = 1e-5;
  bool use_input_stats = true;
  ConstView lengths{};
  DataFormat data_format = DataFormat::NCL;
  double weight_offset = 0.0;
};

// Gradients of instance_norm_backward without mask, nan_policy and activation: with u, a, b what
// flows back to grad_input, grad_weight and grad_bias, those of
//   sum(u * grad_input) + sum(a * grad_weight) + sum(b * grad_bias)
// at x, weight and grad_output, where the moments are x's own and move with it, or are constants.
// The formulas stand in docs/math.md.
INSTNORM_API void instance_norm_double_backward(const ConstView& x, const ConstView& grad_output,
                                                const Moments& moments,
                                                const GradientsOfGradients& given,
                                                const SecondGradients& wanted,
                                                const DoubleBackwardOptions& options = {});

struct MomentsOptions {
  ConstView lengths{};
  ConstView mask{};
  NanPolicy nan_policy = NanPolicy::propagate;
  DataFormat data_format = DataFormat::NCL;
};

// count, mean and m2 of each row of x, over the values that are there. L == 1 and L == 0 are fine.
INSTNORM_API Moments moments(const ConstView& x, const MomentsOptions& options = {});

struct DenormalizeOptions {
  ConstView weight{};
  ConstView bias{};
  double eps = 1e-5;
  double weight_offset = 0.0;
  DataFormat data_format = DataFormat::NCL;
};

// x = (y - bias) / (weight + weight_offset) * sqrt(var + eps) + mean, IEEE where the weight is 0.
// `x` has y's shape and dtype and may be y itself.
INSTNORM_API void denormalize(const ConstView& y, const Moments& moments, const View& x,
                              const DenormalizeOptions& options = {});

// One line for each decision that instance_norm would take for these arguments: kernel, split,
// threads, stores, and why. Computes nothing.
INSTNORM_API std::string explain(const ConstView& x, const View& y, const Options& options = {});

}  // namespace instnorm
