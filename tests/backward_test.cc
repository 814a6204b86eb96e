// instance_norm_backward against the reference, against finite differences of the forward, and for
// every subset of what may be asked for.
#include <gtest/gtest.h>
#include <instnorm/functional.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "calls.h"
#include "scale.h"

namespace instnorm::test {
namespace {

INSTANTIATE_TEST_SUITE_P(Backward, EveryDType, kEveryDType, kDTypeName);

struct BackwardCall : Call {
  BackwardCall(DType of, const Dims& shape, std::uint64_t seed = 1, Pattern in = Pattern::dense,
               Pattern grad = Pattern::dense, Pattern out = Pattern::dense, double mean = 3.0)
      : Call(of, shape, data(shape, seed, mean, 2.0), in),
        g(of, shape, data(shape, seed + 1000, 0.5, 1.0), grad),
        grad_input(of, shape, out) {}

  static std::vector<double> data(const Dims& shape, std::uint64_t seed, double mean, double std) {
    Random random(seed);
    return normal_values(random, shape.product(), mean, std);
  }

  // After the parameters are given: gradients of their shapes.
  void make_parameter_gradients(DType gradients) {
    const Dims shared = {setting.C};
    grad_weight = Array(gradients, weight.defined() ? weight.shape() : shared, Pattern::stepped);
    grad_bias = Array(gradients, bias.defined() ? bias.shape() : shared, Pattern::stepped);
  }

  BackwardOptions backward_options() {
    BackwardOptions o;
    o.weight = weight.view();
    o.bias = bias.view();
    o.eps = setting.eps;
    o.weight_offset = setting.weight_offset;
    o.use_input_stats = !constant_moments;
    return o;
  }

  void run(const Moments& m) {
    instance_norm_backward(x.view(), g.view(), m,
                           {.grad_input = grad_input.view(),
                            .grad_weight = grad_weight.view(),
                            .grad_bias = grad_bias.view()},
                           backward_options());
  }

  ::testing::AssertionResult is_right(const Moments& m) {
    return with_real(dtype, [&](auto zero) -> ::testing::AssertionResult {
      using Real = decltype(zero);
      const BackwardResult<Real> reference =
          backward(setting, x.values(), g.values(), statistics<Real>(m), constant_moments);
      const auto near = [&](Array& got, const std::vector<Real>& wanted, Real terms = 0) {
        const double largest = std::max(largest_of(wanted), static_cast<double>(terms));
        ::testing::AssertionResult result =
            all_within(got.dtype(), got.values(), wanted, gradient_bound(dtype, largest));
        if (result && !got.surroundings_untouched()) {
          result = ::testing::AssertionFailure() << "bytes around a gradient were written";
        }
        return result;
      };
      if (grad_input.defined()) {
        auto right = near(grad_input, reference.input, cancels ? reference.largest_term : Real(0));
        if (!right) return right << " (grad_input)";
      }
      const auto parameter = [&](Array& got, const std::vector<Real>& of_rows) {
        if (!got.defined()) return ::testing::AssertionSuccess();
        const bool per_instance = got.shape().rank() == 2;
        return near(got, per_instance ? of_rows : over_instances(setting, of_rows));
      };
      auto right = parameter(grad_weight, reference.weight);
      if (!right) return right << " (grad_weight)";
      return parameter(grad_bias, reference.bias) << " (grad_bias)";
    });
  }

  ::testing::AssertionResult backward_is_right() {
    const Moments m = moments(x.view());
    run(m);
    return is_right(m);
  }

  Array g, grad_input, grad_weight, grad_bias;
  bool constant_moments = false;
  // Is all of grad_input what is left of terms that cancel? Then it is near in units of these.
  bool cancels = false;
};

TEST_P(EveryDType, GradientsAtEveryLength) {
  std::vector<std::int64_t> lengths;
  for (std::int64_t l = 2; l <= 130; ++l) lengths.push_back(l);
  for (const std::int64_t l : {255, 257, 1023, 1025, 2047, 2049, 4095, 4096, 4097, 8193, 30011}) {
    lengths.push_back(l);
  }
  for (const std::int64_t L : lengths) {
    BackwardCall call(GetParam(), {2, 4, L}, static_cast<std::uint64_t>(L));
    const auto i = static_cast<std::size_t>(L);
    call.give(kGiven[i % 3], kGiven[i / 3 % 3], GetParam());
    call.make_parameter_gradients(i % 2 ? GetParam() : wide_parameters(GetParam()));
    call.cancels = L == 2;  // x and g have one deviation each, so all of g's is along x's
    EXPECT_TRUE(call.backward_is_right()) << call.description();
  }
}

TEST_P(EveryDType, GradientsInEveryStridePattern) {
  const Dims shapes[] = {{3, 21}, {2, 3, 21}, {2, 3, 4, 5}, {2, 3, 2, 5, 3}, {1, 2, 53, 100}};
  for (const Dims& shape : shapes) {
    for (std::size_t i = 0; i < std::size(kInputPatterns); ++i) {
      for (const Pattern out : kOutputPatterns) {
        const Pattern in = kInputPatterns[i];
        const Pattern grad = kInputPatterns[(i + 4) % std::size(kInputPatterns)];
        BackwardCall call(GetParam(), shape, 1, in, grad, out);
        call.give(Given::shared, Given::shared, GetParam());
        call.make_parameter_gradients(wide_parameters(GetParam()));
        const auto constant = [](Pattern p) {
          return p == Pattern::repeat_last || p == Pattern::repeat_all;
        };
        call.cancels = constant(in) || constant(grad);
        if (constant(grad)) call.grad_weight = Array();  // a sum that is 0 but for rounding
        EXPECT_TRUE(call.backward_is_right()) << call.description() << " " << name_of(in) << ", "
                                              << name_of(grad) << " -> " << name_of(out);
      }
    }
  }
}

// What is not asked for is not needed for what is: the same bits in every subset.
TEST_P(EveryDType, AnySubsetOfGradients) {
  const auto call_for = [&](int subset) {
    BackwardCall call(GetParam(), {2, 3, 70});
    call.give(Given::shared, Given::per_instance, GetParam());
    call.make_parameter_gradients(GetParam());
    if (!(subset & 1)) call.grad_input = Array();
    if (!(subset & 2)) call.grad_weight = Array();
    if (!(subset & 4)) call.grad_bias = Array();
    EXPECT_TRUE(call.backward_is_right()) << subset;
    return call;
  };
  BackwardCall all = call_for(7);
  for (int subset = 1; subset < 7; ++subset) {
    BackwardCall some = call_for(subset);
    if (subset & 1) {
      EXPECT_EQ(some.grad_input.bits(), all.grad_input.bits()) << subset;
    }
    if (subset & 2) {
      EXPECT_EQ(some.grad_weight.bits(), all.grad_weight.bits()) << subset;
    }
    if (subset & 4) {
      EXPECT_EQ(some.grad_bias.bits(), all.grad_bias.bits()) << subset;
    }
  }
}

TEST_P(EveryDType, EveryPresenceOfParametersWithGradients) {
  for (const Given weight : kGiven) {
    for (const Given bias : kGiven) {
      for (const DType parameters : {GetParam(), wide_parameters(GetParam())}) {
        for (const double offset : {0.0, 1.0}) {
          BackwardCall call(GetParam(), {3, 4, 40});
          call.give(weight, bias, parameters);
          call.make_parameter_gradients(parameters);
          call.setting.weight_offset = offset;
          EXPECT_TRUE(call.backward_is_right()) << call.description() << " offset " << offset;
        }
      }
    }
  }
}

TEST_P(EveryDType, ConstantMoments) {
  for (const Dims& shape : {Dims{2, 3, 50}, Dims{2, 3, 1}, Dims{2, 3, 5000}}) {
    BackwardCall call(GetParam(), shape);
    call.give(Given::shared, Given::shared, GetParam());
    call.make_parameter_gradients(GetParam());
    call.give_running(wide_parameters(GetParam()));
    call.constant_moments = true;
    Options options = call.options();
    options.use_input_stats = false;
    instance_norm(call.x.view(), call.y.view(), options);
    call.run(call.saved);
    EXPECT_TRUE(call.is_right(call.saved)) << shape.str();
  }
}

TEST_P(EveryDType, MomentsOfTheForwardServe) {
  BackwardCall call(GetParam(), {2, 3, 300});
  instance_norm(call.x.view(), call.y.view(), call.options());
  const Moments own = moments(call.x.view());
  EXPECT_EQ(own.count, call.saved.count);
  EXPECT_EQ(own.mean, call.saved.mean);
  EXPECT_EQ(own.m2, call.saved.m2);
}

TEST_P(EveryDType, GradientsInPlace) {
  for (const Pattern pattern : kOutputPatterns) {
    for (const bool over_x : {true, false}) {
      const Dims shape = {2, 3, 4, 35};
      BackwardCall apart(GetParam(), shape, 1, pattern, pattern, pattern);
      BackwardCall call(GetParam(), shape, 1, pattern, pattern, pattern);
      EXPECT_TRUE(apart.backward_is_right());
      Array& target = over_x ? call.x : call.g;
      instance_norm_backward(call.x.view(), call.g.view(), moments(apart.x.view()),
                             {.grad_input = target.view()});
      EXPECT_EQ(target.bits(), apart.grad_input.bits()) << name_of(pattern) << over_x;
      EXPECT_TRUE(target.surroundings_untouched());
    }
  }
}

TEST_P(EveryDType, GradientsAtALargeMean) {
  // As far as the format has values there: std is 2.
  const double mean = GetParam() == DType::float64   ? 1e12
                      : GetParam() == DType::float32 ? 1e6
                                                     : 100.0;
  BackwardCall call(GetParam(), {2, 4, 5000}, 1, Pattern::dense, Pattern::dense, Pattern::dense,
                    mean);
  call.give(Given::shared, Given::shared, GetParam());
  call.make_parameter_gradients(GetParam());
  EXPECT_TRUE(call.backward_is_right());
}

TEST(Backward, AMillionElements) {
  BackwardCall call(DType::float32, {1, 2, scaled(1'000'000)}, 1, Pattern::dense, Pattern::dense,
                    Pattern::dense, 1e6);
  call.make_parameter_gradients(DType::float32);
  EXPECT_TRUE(call.backward_is_right());
}

// The gradient of sum(y * g) by central differences of the forward in double. Error: h^2 from the
// third derivative, 2^-53 |sum| / h from rounding: about 1e-9 for h = 1e-5 and sums about 10.
// Rows that need other arithmetic, or none, give to the parameters what they give beside
// grad_input.
TEST_P(EveryDType, ParameterGradientsAloneOfSpecialRows) {
  for (const std::int64_t L : {17, 300, 5000}) {
    const Dims shape = {2, 5, L};
    BackwardCall call(GetParam(), shape);
    std::vector<double> x = call.x.values();
    const std::size_t row = static_cast<std::size_t>(L);
    for (std::size_t i = 0; i < row; ++i) {
      x[row + i] = 0.5;         // (0, 1): constant
      x[2 * row + i] *= 6e3;    // (0, 2): large for float16
      x[6 * row + i] *= 1e-30;  // (1, 1): small, 0 in float16
    }
    if (GetParam() != DType::float16) {
      for (std::size_t i = 0; i < row; ++i) x[2 * row + i] *= 1e30;
    }
    call.x.set(x);
    call.give(Given::per_instance, Given::per_instance, GetParam());
    call.make_parameter_gradients(GetParam());
    call.setting.eps = 0.0;
    const Moments m = moments(call.x.view());
    call.run(m);
    const std::vector<double> weight = call.grad_weight.values(), bias = call.grad_bias.values();
    call.grad_input = Array();
    call.make_parameter_gradients(GetParam());
    call.run(m);
    EXPECT_EQ(call.grad_weight.values(), weight) << L;
    EXPECT_EQ(call.grad_bias.values(), bias) << L;
  }
}

// One of the two sums overflows float, the other does not.
TEST(Backward, OneSumBeyondFloat) {
  for (const std::int64_t L : {40, 300, 5000}) {
    for (const bool of_g : {true, false}) {
      BackwardCall call(DType::float32, {1, 2, L});
      std::vector<double> x = call.x.values(), g = call.g.values();
      for (std::size_t i = 0; i < x.size(); ++i) {
        const double sign = i % 2 == 0 ? 1.0 : -1.0;
        x[i] = (of_g ? 1e-10 : 10.0) * sign;
        g[i] = 3e38 * (of_g ? 0.9 + 0.1 * sign : sign);
      }
      call.x.set(x);
      call.g.set(g);
      call.setting.eps = 1000.0;
      call.cancels = true;
      EXPECT_TRUE(call.backward_is_right()) << L << " " << of_g;
    }
  }
}

// Values whose products with g have no digits in float, though all results do.
TEST(Backward, ProductsBelowFloat) {
  constexpr double kX = 0x1p-56, kG = 0x1p-85, kMore = kG * (1.0 + 0x1p-10);
  for (const double mean : {0.0, -0x1p-60}) {
    Array x(DType::float32, {1, 2, 4}, {kX, -kX, kX, -kX, kX, -kX, kX, -kX});
    Array g(DType::float32, {1, 2, 4}, {kG, kMore, kG, kMore, kG, kG, kG, kG});
    Array grad_weight(DType::float32, {2});
    Moments moments = Moments::empty(1, 2);
    moments.count = {4.0, 4.0};
    moments.mean = {mean, mean};
    moments.m2 = {4.0 * kX * kX, 4.0 * kX * kX};
    instance_norm_backward(x.view(), g.view(), moments, {.grad_weight = grad_weight.view()},
                           {.eps = 0.0});
    const double sum_g = 2.0 * (kG + kMore), rstd = 0x1p56;
    const std::vector<double> wanted = {-0x1p-94 - mean * rstd * sum_g, -mean * rstd * 4.0 * kG};
    for (std::size_t c = 0; c < 2; ++c) {
      EXPECT_NEAR(grad_weight.values()[c], wanted[c], 0x1p-23 * std::fabs(wanted[c])) << mean;
    }
  }
}

TEST(Backward, IsTheDerivativeOfTheForward) {
  constexpr double kStep = 1e-5, kError = 2e-8;
  for (const bool per_instance : {false, true}) {
    BackwardCall call(DType::float64, {2, 2, 9});
    const Given given = per_instance ? Given::per_instance : Given::shared;
    call.give(given, given, DType::float64);
    call.make_parameter_gradients(DType::float64);
    call.setting.weight_offset = 0.5;
    call.setting.eps = 0.1;
    EXPECT_TRUE(call.backward_is_right());
    const std::vector<double> g = call.g.values();
    const auto objective = [&] {
      instance_norm(call.x.view(), call.y.view(), call.options());
      const std::vector<double> y = call.y.values();
      double sum = 0.0;
      for (std::size_t i = 0; i < y.size(); ++i) sum += y[i] * g[i];
      return sum;
    };
    const auto check = [&](Array& variable, const Array& gradient) {
      const std::vector<double> centre = variable.values(), got = gradient.values();
      for (std::size_t i = 0; i < centre.size(); ++i) {
        std::vector<double> moved = centre;
        moved[i] = centre[i] + kStep;
        variable.set(moved);
        const double above = objective();
        moved[i] = centre[i] - kStep;
        variable.set(moved);
        EXPECT_NEAR(got[i], (above - objective()) / (2 * kStep), kError) << i;
      }
      variable.set(centre);
    };
    check(call.x, call.grad_input);
    check(call.weight, call.grad_weight);
    check(call.bias, call.grad_bias);
  }
}

// Orthogonality, exact in real arithmetic: a row of grad_input sums to 0, and so does its product
// with x when eps = 0.
TEST(Backward, IsOrthogonalToWhatTheForwardRemoves) {
  BackwardCall call(DType::float64, {1, 1, 1000});
  call.setting.eps = 0.0;
  EXPECT_TRUE(call.backward_is_right());
  double sum = 0.0, product = 0.0;
  const std::vector<double> dx = call.grad_input.values(), x = call.x.values();
  for (std::size_t i = 0; i < dx.size(); ++i) {
    sum += dx[i];
    product += dx[i] * x[i];
  }
  EXPECT_NEAR(sum, 0.0, 1e-12);
  EXPECT_NEAR(product, 0.0, 1e-11);
}

TEST_P(EveryDType, RowsThatAreTheirBiasHaveGradientsForTheBiasOnly) {
  BackwardCall call(GetParam(), {1, 3, 8});
  call.give(Given::shared, Given::shared, GetParam());
  call.make_parameter_gradients(wide_parameters(GetParam()));
  std::vector<double> x = call.x.values();
  std::fill_n(x.begin(), 8, 0.1);  // channel 0: no variance
  call.x.set(x);
  call.setting.eps = 0.0;
  Moments m = moments(call.x.view());
  m.count[1] = 1.0;  // channel 1: too few values
  call.run(m);
  EXPECT_TRUE(call.is_right(m));
  const std::vector<double> dx = call.grad_input.values(), dw = call.grad_weight.values();
  for (std::size_t i = 0; i < 16; ++i) EXPECT_EQ(dx[i], 0.0) << i;
  EXPECT_EQ(dw[0], 0.0);
  EXPECT_EQ(dw[1], 0.0);
  EXPECT_NE(dx[16], 0.0);
  for (const double db : call.grad_bias.values()) EXPECT_NE(db, 0.0);
}

// No value at all is too few as well.
TEST_P(EveryDType, RowsWithoutAnyValueHaveGradientsForTheBiasOnly) {
  for (const std::int64_t L : {8, 5000}) {
    BackwardCall call(GetParam(), {1, 1, L});
    call.make_parameter_gradients(wide_parameters(GetParam()));
    call.run(Moments::empty(1, 1));
    for (const double dx : call.grad_input.values()) ASSERT_EQ(dx, 0.0) << L;
    EXPECT_EQ(call.grad_weight.values(), std::vector<double>{0.0});
    EXPECT_NE(call.grad_bias.values()[0], 0.0);
  }
}

// Where the moments are constants, grad_input does not depend on x.
TEST_P(EveryDType, ConstantMomentsKeepNaNOfXOutOfItsGradient) {
  for (const std::int64_t L : {8, 5000}) {
    for (const double value : {std::nan(""), std::numeric_limits<double>::infinity()}) {
      BackwardCall call(GetParam(), {1, 1, L});
      const Moments m = moments(call.x.view());
      std::vector<double> x = call.x.values();
      x[3] = value;
      call.x.set(x);
      call.constant_moments = true;
      call.run(m);
      EXPECT_TRUE(call.is_right(m)) << L << " " << value;
    }
  }
}

// Without a bias its gradient may have either shape.
TEST_P(EveryDType, GradientOfAnAbsentBias) {
  for (const Dims& shape : {Dims{3}, Dims{2, 3}}) {
    BackwardCall call(GetParam(), {2, 3, 40});
    call.grad_bias = Array(GetParam(), shape);
    EXPECT_TRUE(call.backward_is_right()) << shape.str();
  }
}

TEST_P(EveryDType, EmptyInputsHaveGradientsZero) {
  for (const Dims& shape : {Dims{0, 3, 8}, Dims{2, 3, 0}, Dims{2, 0, 8}}) {
    BackwardCall call(GetParam(), shape);
    call.give(Given::shared, Given::shared, GetParam());
    call.make_parameter_gradients(GetParam());
    call.run(moments(call.x.view()));
    const std::vector<double> zeros(static_cast<std::size_t>(shape[1]), 0.0);
    EXPECT_EQ(call.grad_weight.values(), zeros) << shape.str();
    EXPECT_EQ(call.grad_bias.values(), zeros) << shape.str();
  }
}

TEST_P(EveryDType, NaNOfAGradientStaysInItsRow) {
  BackwardCall call(GetParam(), {2, 2, 40});
  call.make_parameter_gradients(GetParam());
  std::vector<double> g = call.g.values();
  g[40 + 3] = std::nan("");  // n = 0, c = 1
  call.g.set(g);
  call.run(moments(call.x.view()));
  const std::vector<double> dx = call.grad_input.values();
  for (std::size_t i = 0; i < dx.size(); ++i) EXPECT_EQ(std::isnan(dx[i]), i / 40 == 1) << i;
  EXPECT_FALSE(std::isnan(call.grad_weight.values()[0]));
  EXPECT_TRUE(std::isnan(call.grad_weight.values()[1]));
  EXPECT_FALSE(std::isnan(call.grad_bias.values()[0]));
  EXPECT_TRUE(std::isnan(call.grad_bias.values()[1]));
}

}  // namespace
}  // namespace instnorm::test
