// Inputs whose results are exactly representable, compared bit for bit; and the ONNX project's
// vectors.
#include <gtest/gtest.h>
#include <instnorm/functional.h>

#include <cmath>
#include <cstdint>
#include <vector>

#include "calls.h"
#include "onnx_vectors.h"

namespace instnorm::test {
namespace {

INSTANTIATE_TEST_SUITE_P(Exact, EveryDType, kEveryDType, kDTypeName);

// mean + deviation, mean - deviation, in an order of no period: as many of each.
std::vector<double> two_levels(std::int64_t L, double mean, double deviation) {
  Random random(static_cast<std::uint64_t>(L));
  std::vector<double> x(static_cast<std::size_t>(L));
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = mean + (i % 2 ? deviation : -deviation);
  for (std::size_t i = x.size() - 1; i > 0; --i) {
    std::swap(x[i], x[static_cast<std::size_t>(random.integer(0, static_cast<std::int64_t>(i)))]);
  }
  return x;
}

TEST_P(EveryDType, TwoLevelsGivePlusAndMinusTheWeightAboutTheBias) {
  for (const std::int64_t L : {2, 4, 6, 14, 32, 62, 100, 258, 1026, 4098, 20000}) {
    for (const double mean : {0.0, 0.25, -1.0, 4.0, 16.0, 64.0}) {
      for (const double deviation : {0.5, 1.0, 2.0}) {
        const std::vector<double> x = two_levels(L, mean, deviation);
        Call call(GetParam(), {1, 1, L}, x);
        ASSERT_EQ(call.x.values(), x);
        call.weight = Array(GetParam(), {1}, {2.0});
        call.bias = Array(GetParam(), {1}, {-0.25});
        call.setting.eps = 0.0;
        instance_norm(call.x.view(), call.y.view(), call.options());
        std::vector<double> expected(x.size());
        for (std::size_t i = 0; i < x.size(); ++i) expected[i] = x[i] > mean ? 1.75 : -2.25;
        EXPECT_EQ(call.y.values(), expected) << "L " << L << " mean " << mean << " " << deviation;
        // Parts of a long row are merged: their means are rounded, to float64.
        EXPECT_NEAR(call.saved.mean[0], mean, 0x1p-53 * (std::fabs(mean) + deviation));
        EXPECT_EQ(call.saved.m2,
                  std::vector<double>{deviation * deviation * static_cast<double>(L)});
        denormalize(call.y.view(), call.saved, call.y.view(),
                    {.weight = call.weight.view(), .bias = call.bias.view(), .eps = 0.0});
        EXPECT_EQ(call.y.values(), x) << "back, L " << L << " mean " << mean;
      }
    }
  }
}

// A variance of 1 with eps = 3: rstd is 1/2.
TEST_P(EveryDType, EpsIsAddedToTheVariance) {
  Call call(GetParam(), {1, 1, 100}, two_levels(100, 4.0, 1.0));
  call.setting.eps = 3.0;
  instance_norm(call.x.view(), call.y.view(), call.options());
  const std::vector<double> x = call.x.values(), y = call.y.values();
  for (std::size_t i = 0; i < x.size(); ++i) EXPECT_EQ(y[i], x[i] > 4.0 ? 0.5 : -0.5);
}

// Deviations of one unit in the last place of a mean of 2^20 and more.
TEST(Exact, MeanOfManyUlps) {
  for (const double mean : {0x1p20, 0x1p23}) {
    const std::vector<double> x = two_levels(5000, mean, 1.0);
    Call call(DType::float32, {1, 1, 5000}, x);
    call.setting.eps = 0.0;
    instance_norm(call.x.view(), call.y.view(), call.options());
    const std::vector<double> y = call.y.values();
    for (std::size_t i = 0; i < x.size(); ++i) ASSERT_EQ(y[i], x[i] > mean ? 1.0 : -1.0);
  }
}

TEST_P(EveryDType, MomentsOfSmallIntegers) {
  Call call(GetParam(), {2, 2, 4}, {1, 2, 3, 6, 0, 0, 0, 8, -1, -1, 1, 1, 5, 5, 5, 5});
  const Moments m = moments(call.x.view());
  EXPECT_EQ(m.count, (std::vector<double>{4, 4, 4, 4}));
  EXPECT_EQ(m.mean, (std::vector<double>{3, 2, 0, 5}));
  EXPECT_EQ(m.m2, (std::vector<double>{14, 48, 4, 0}));
}

// xhat = -1, 1, -1, 1 and g = 1, 2, 3, 10: mean(g) = 4, mean(g * xhat) = 2.
TEST_P(EveryDType, BackwardOfFourValues) {
  Call call(GetParam(), {1, 1, 4}, {3, 5, 3, 5});
  Array g(GetParam(), {1, 1, 4}, {1, 2, 3, 10}), dx(GetParam(), {1, 1, 4});
  Array weight(GetParam(), {1}, {0.5}), dw(GetParam(), {1}), db(GetParam(), {1});
  const Moments m = moments(call.x.view());
  instance_norm_backward(
      call.x.view(), g.view(), m,
      {.grad_input = dx.view(), .grad_weight = dw.view(), .grad_bias = db.view()},
      {.weight = weight.view(), .eps = 0.0});
  EXPECT_EQ(dx.values(), (std::vector<double>{-0.5, -2, 0.5, 2}));
  EXPECT_EQ(dw.values(), std::vector<double>{8});
  EXPECT_EQ(db.values(), std::vector<double>{16});
  instance_norm_backward(
      call.x.view(), g.view(), m, {.grad_input = dx.view()},
      {.weight = weight.view(), .eps = 0.0, .use_input_stats = false, .weight_offset = 1.5});
  EXPECT_EQ(dx.values(), (std::vector<double>{2, 4, 6, 20}));
}

// Ties of the 16-bit formats go to even, and a double rounding by way of float32 would show: y is
// exactly half way between two neighbours, or the smallest step of float32 beside it.
TEST(Exact, SixteenBitResultsAreRoundedOnceToNearestEven) {
  for (const DType dtype : {DType::float16, DType::bfloat16}) {
    const double ulp = 2.0 * unit_roundoff(dtype);  // of 1
    const double biases[] = {ulp / 2,           3 * ulp / 2,           ulp / 2 + 0x1p-20,
                             ulp / 2 - 0x1p-20, 3 * ulp / 2 + 0x1p-20, 3 * ulp / 2 - 0x1p-20};
    for (const double bias : biases) {
      // y = 1 + bias and -1 + bias, exact in float32.
      Call call(dtype, {1, 1, 4}, {-1, 1, -1, 1});
      call.bias = Array(DType::float32, {1}, {bias});
      call.setting.eps = 0.0;
      instance_norm(call.x.view(), call.y.view(), call.options());
      const double up = quantize(dtype, 1 + bias), down = quantize(dtype, -1 + bias);
      EXPECT_EQ(call.y.values(), (std::vector<double>{down, up, down, up}))
          << name(dtype) << " " << bias;
    }
  }
}

// The same in the arithmetic that rows of tiny values need: closer to the tie than float32 can
// tell.
TEST(Exact, SixteenBitResultsOfTinyRowsAreRoundedOnceToNearestEven) {
  constexpr double kTie = 0x1p-8;  // half a unit in the last place of 1 in bfloat16
  for (const double bias : {kTie, kTie + 0x1p-30, kTie - 0x1p-30, 3 * kTie, 3 * kTie + 0x1p-30}) {
    constexpr double kTiny = 0x1p-120;
    Call call(DType::bfloat16, {1, 1, 4}, {-kTiny, kTiny, -kTiny, kTiny});
    call.bias = Array(DType::float32, {1}, {bias});
    call.setting.eps = 0.0;
    instance_norm(call.x.view(), call.y.view(), call.options());
    const double up = quantize(DType::bfloat16, 1 + bias);
    const double down = quantize(DType::bfloat16, -1 + bias);
    EXPECT_EQ(call.y.values(), (std::vector<double>{down, up, down, up})) << bias;
  }
}

TEST(Exact, OnnxVectors) {
  for (const OnnxVector& v : onnx_vectors()) {
    const Dims shape = {v.N, v.C, v.L};
    std::vector<float> y(v.x.size());
    instance_norm(view(v.x, shape), view(y, shape),
                  {.weight = view(v.scale, {v.C}), .bias = view(v.bias, {v.C}), .eps = v.epsilon});
    for (std::size_t i = 0; i < y.size(); ++i) {
      // The vectors were themselves computed in float32.
      EXPECT_NEAR(y[i], v.y[i], 1e-6 * (1 + std::fabs(v.y[i]))) << v.name << " " << i;
    }
  }
}

}  // namespace
}  // namespace instnorm::test
