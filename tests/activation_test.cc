// Activations and their slopes, element by element, against erf, tanh and exp in long double.
#include <gtest/gtest.h>
#include <instnorm/functional.h>

#include <cmath>
#include <cstddef>
#include <limits>
#include <string>
#include <vector>

#include "extras_calls.h"

namespace instnorm::test {
namespace {

class Activations : public EveryDType {};
INSTANTIATE_TEST_SUITE_P(Extras, Activations, kEveryDType, kDTypeName);

// By running statistics of mean 0 and variance 1 with eps = 0 the argument is x itself.
struct Identity {
  Identity(DType dtype, const std::vector<double>& values)
      : L(static_cast<std::int64_t>(values.size())),
        x(dtype, {1, 1, L}, values),
        y(dtype, {1, 1, L}),
        mean(wide_parameters(dtype), {1}, {0.0}),
        var(wide_parameters(dtype), {1}, {1.0}) {}

  std::vector<double> forward(Activation activation) {
    instance_norm(x.view(), y.view(),
                  {.running_mean = mean.view(),
                   .running_var = var.view(),
                   .use_input_stats = false,
                   .eps = 0.0,
                   .activation = activation,
                   .save_moments = &saved});
    return y.values();
  }
  std::vector<double> slopes(Activation activation) {
    forward(activation);
    Array g(x.dtype(), {1, 1, L}, std::vector<double>(static_cast<std::size_t>(L), 1.0));
    Array dx(x.dtype(), {1, 1, L});
    instance_norm_backward(x.view(), g.view(), saved, {.grad_input = dx.view()},
                           {.eps = 0.0, .use_input_stats = false, .activation = activation});
    return dx.values();
  }

  std::int64_t L;
  Array x, y, mean, var;
  Moments saved;
};

std::vector<double> arguments() {
  std::vector<double> v = {0.0,  -0.0,  kInf, -kInf, kNaN, 100.0, -100.0, 1e-30, -1e-30,
                           13.0, -13.0, 38.0, -38.0, 1e4,  -1e4,  6e4,    -6e4};
  for (int i = -192; i <= 192; ++i) v.push_back(i * 0.0625 + 0.001);
  return v;
}

void expect_near(DType dtype, const std::vector<double>& x, const std::vector<double>& got,
                 long double (*of)(Activation, long double), Activation activation) {
  for (std::size_t i = 0; i < x.size(); ++i) {
    const long double wanted = of(activation, static_cast<long double>(x[i]));
    EXPECT_TRUE(is_within(dtype, got[i], wanted, forward_bound(dtype)) ||
                static_cast<long double>(got[i]) == wanted)
        << name(dtype) << " activation " << static_cast<int>(activation) << " at " << x[i] << ": "
        << got[i] << " for " << static_cast<double>(wanted);
  }
}

TEST_P(Activations, OfEveryArgument) {
  Identity call(GetParam(), arguments());
  for (const Activation activation : kActivations) {
    expect_near(GetParam(), call.x.values(), call.forward(activation), activated, activation);
  }
}

TEST_P(Activations, SlopesOfEveryArgument) {
  Identity call(GetParam(), arguments());
  for (const Activation activation : kActivations) {
    if (activation == Activation::none) continue;  // linear: NaN and Inf of x have no part in it
    expect_near(GetParam(), call.x.values(), call.slopes(activation), slope, activation);
  }
}

// Far below 0 the smooth ones decay, and never come out positive.
TEST_P(Activations, KeepTheirSign) {
  Identity call(GetParam(), arguments());
  const std::vector<double> x = call.x.values();
  for (const Activation activation : kActivations) {
    const std::vector<double> y = call.forward(activation);
    for (std::size_t i = 0; i < x.size(); ++i) {
      if (std::isnan(x[i]) || y[i] == 0.0) continue;
      EXPECT_GE(y[i] * x[i], 0.0) << x[i];
    }
  }
}

// Of the second row, the factors of the gradient fit float, but what the mean loses by its
// rounding, times the weight, takes the largest bias beyond it.
TEST(ActivationsOfFloat32, TakeAnArgumentBeyondFloat) {
  Moments moments = Moments::empty(1, 2);
  moments.count = {4.0, 4.0};
  moments.mean = {2.0, 2.0 + 0.9 * 0x1p-23};
  moments.m2 = {4.0, 4.0};
  Array x(DType::float32, {1, 2, 4}, {6.0, -2.0, 6.0, -2.0, 6.0, -2.0, 6.0, -2.0});
  Array g(DType::float32, {1, 2, 4}, std::vector<double>(8, 0.5));
  Array weight(DType::float32, {2}, {2.0, 0x1p127});
  Array bias(DType::float32, {2}, {0.0, -static_cast<double>(std::numeric_limits<float>::max())});
  Array dx(DType::float32, {1, 2, 4}), grad_bias(DType::float32, {2});
  for (const Activation activation :
       {Activation::relu, Activation::gelu, Activation::gelu_tanh, Activation::silu}) {
    instance_norm_backward(x.view(), g.view(), moments,
                           {.grad_input = dx.view(), .grad_bias = grad_bias.view()},
                           {.weight = weight.view(),
                            .bias = bias.view(),
                            .eps = 0.0,
                            .use_input_stats = false,
                            .activation = activation});
    const std::vector<double> of_x = dx.values();
    EXPECT_EQ(std::vector<double>(of_x.begin() + 4, of_x.end()),
              (std::vector<double>{0x1p126, 0.0, 0x1p126, 0.0}))
        << static_cast<int>(activation);
    EXPECT_EQ(grad_bias.values()[1], 1.0) << static_cast<int>(activation);
  }
}

TEST(ActivationsOfFloat64, KeepTheirDigitsBelowZero) {
  // 1 - tail would lose them: relative error, to -30.
  std::vector<double> x;
  for (int i = 0; i <= 81; ++i) x.push_back(-30.0 + 0.37 * i);
  Identity call(DType::float64, x);
  for (const Activation activation : {Activation::gelu, Activation::gelu_tanh, Activation::silu}) {
    const std::vector<double> y = call.forward(activation);
    for (std::size_t i = 0; i < x.size(); ++i) {
      const auto wanted = static_cast<double>(activated(activation, x[i]));
      // exp(v) carries |v| units of its argument's error, and |v| is below 2 |z|^3 here.
      const double room = 0x1p-52 * (16 + 2 * std::fabs(x[i] * x[i] * x[i]));
      if (std::fabs(wanted) < 1e-290) continue;
      EXPECT_NEAR(y[i], wanted, std::fabs(wanted) * room) << x[i];
    }
  }
}

}  // namespace
}  // namespace instnorm::test
