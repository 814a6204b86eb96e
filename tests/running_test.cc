// Running statistics: PyTorch's rule, in the buffer's own dtype, through any view, and only where a
// call has statistics of its own.
#include <gtest/gtest.h>
#include <instnorm/functional.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "calls.h"

namespace instnorm::test {
namespace {

INSTANTIATE_TEST_SUITE_P(Running, EveryDType, kEveryDType, kDTypeName);

constexpr double kMean = 3.0, kStd = 2.0;

Call tracked_call(DType dtype, DType running_dtype, Pattern pattern = Pattern::dense,
                  const Dims& shape = {3, 4, 50}) {
  Random random(5);
  Call call(dtype, shape, normal_values(random, shape.product(), kMean, kStd));
  call.give_running(running_dtype, pattern);
  return call;
}

// The buffers after a call, against the rule from `mean` and `var` before it.
template <class Real>
void expect_updated(Call& call, const std::vector<Stats<Real>>& rows,
                    const std::vector<double>& mean, const std::vector<double>& var) {
  const Running<Real> reference = running_update(call.setting, rows, mean, var);
  const DType stored = call.running_mean.dtype();
  const double momentum = call.setting.momentum;
  EXPECT_TRUE(all_within(stored, call.running_mean.values(), reference.mean,
                         running_mean_bound(call.dtype, momentum, kStd)));
  EXPECT_TRUE(all_within(stored, call.running_var.values(), reference.var,
                         running_var_bound(call.dtype, momentum, kStd * kStd)));
  EXPECT_TRUE(call.running_mean.surroundings_untouched());
  EXPECT_TRUE(call.running_var.surroundings_untouched());
}

TEST_P(EveryDType, FollowPyTorchsRule) {
  for (const DType running : {GetParam(), wide_parameters(GetParam())}) {
    for (const Pattern pattern : {Pattern::dense, Pattern::stepped, Pattern::reversed}) {
      for (const double momentum : {0.1, 0.0, 1.0, 0.5, -1.2, 3.0}) {
        Call call = tracked_call(GetParam(), running, pattern);
        call.setting.momentum = momentum;
        with_real(GetParam(), [&](auto zero) {
          using Real = decltype(zero);
          // Twice: the second update starts from what the first one left.
          for (int step = 0; step < 2; ++step) {
            const auto mean = call.running_mean.values(), var = call.running_var.values();
            EXPECT_TRUE(call.forward_is_right());
            expect_updated(call, statistics<Real>(call.setting, call.x.values()), mean, var);
          }
        });
      }
    }
  }
}

// The values of PyTorch's own C++ test: arange(40) as (2, 5, 4), everything else arange(5).
TEST(Running, PyTorchsExample) {
  std::vector<double> x(40);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<double>(i);
  Call call(DType::float32, {2, 5, 4}, x);
  const std::vector<double> arange = {0, 1, 2, 3, 4};
  for (Array* a : {&call.weight, &call.bias, &call.running_mean, &call.running_var}) {
    *a = Array(DType::float32, {5}, arange);
  }
  instance_norm(call.x.view(), call.y.view(), call.options());
  const std::vector<double> mean = call.running_mean.values(), var = call.running_var.values();
  const double expected_mean[] = {1.15, 2.45, 3.75, 5.05, 6.35};
  const double expected_var[] = {0.1666667, 1.0666667, 1.9666666, 2.8666666, 3.7666667};
  for (std::size_t c = 0; c < 5; ++c) {
    EXPECT_NEAR(mean[c], expected_mean[c], 1e-6);
    EXPECT_NEAR(var[c], expected_var[c], 1e-6);
  }
}

// The mean over instances of the unbiased variance of each, not the variance over all values.
TEST(Running, VarianceIsThatOfTheInstances) {
  Call call(DType::float64, {2, 1, 2}, {0, 2, 100, 104});
  call.running_mean = Array(DType::float64, {1}, {0.0});
  call.running_var = Array(DType::float64, {1}, {0.0});
  call.setting.momentum = 1.0;
  instance_norm(call.x.view(), call.y.view(), call.options());
  EXPECT_EQ(call.running_mean.values(), std::vector<double>{51.5});
  EXPECT_EQ(call.running_var.values(), std::vector<double>{5.0});  // (2 + 8) / 2
}

TEST_P(EveryDType, AreUpdatedFromGivenMoments) {
  Call call = tracked_call(GetParam(), wide_parameters(GetParam()));
  Moments given = Moments::empty(3, 4);
  for (std::size_t i = 0; i < given.count.size(); ++i) {
    given.count[i] = 10.0 + static_cast<double>(i);
    given.mean[i] = 1.0 + static_cast<double>(i);
    given.m2[i] = 4.0 * given.count[i];
  }
  given.count[1] = 1.0;                                     // left out of channel 1
  given.count[2] = given.count[6] = given.count[10] = 1.0;  // channel 2 has none
  Options options = call.options();
  options.moments = &given;
  const auto mean = call.running_mean.values(), var = call.running_var.values();
  instance_norm(call.x.view(), call.y.view(), options);
  with_real(GetParam(),
            [&](auto zero) { expect_updated(call, statistics<decltype(zero)>(given), mean, var); });
  EXPECT_EQ(call.running_mean.values()[2], mean[2]);
  EXPECT_EQ(call.running_var.values()[2], var[2]);
}

TEST_P(EveryDType, AreOnlyReadInEvaluation) {
  Call call = tracked_call(GetParam(), wide_parameters(GetParam()), Pattern::stepped);
  const auto mean = call.running_mean.memory(), var = call.running_var.memory();
  Options options = call.options();
  options.use_input_stats = false;
  instance_norm(call.x.view(), call.y.view(), options);
  EXPECT_EQ(call.running_mean.memory(), mean);
  EXPECT_EQ(call.running_var.memory(), var);
}

// In evaluation they may be the same view, or expanded ones.
TEST(Running, MayShareMemoryWhereTheyAreOnlyRead) {
  const std::vector<float> one = {1.0f};
  std::vector<float> x = {2, 3, 4, 5}, y(4);
  float shared = 1.0f;
  const View expanded = view(&shared, {2}, {0});
  instance_norm(
      view(x, {1, 2, 2}), view(y, {1, 2, 2}),
      {.running_mean = expanded, .running_var = expanded, .use_input_stats = false, .eps = 0.0});
  EXPECT_EQ(y, (std::vector<float>{1, 2, 3, 4}));
  EXPECT_EQ(shared, one[0]);
}

TEST_P(EveryDType, AConstantChannelHasVarianceZeroAndNeverLess) {
  for (const double eps : {1e-5, 0.1, 1.0}) {
    Call call(GetParam(), {2, 2, 1000}, std::vector<double>(4000, 0.1));
    call.running_mean = Array(GetParam(), {2}, {0.0, 0.0});
    call.running_var = Array(GetParam(), {2}, {0.0, 1.0});
    call.setting.momentum = 1.0;
    call.setting.eps = eps;
    instance_norm(call.x.view(), call.y.view(), call.options());
    EXPECT_EQ(call.running_var.values(), (std::vector<double>{0.0, 0.0}));
    const double value = quantize(GetParam(), 0.1);
    EXPECT_EQ(call.running_mean.values(), (std::vector<double>{value, value}));
  }
}

TEST_P(EveryDType, NaNStaysInItsChannel) {
  Call call = tracked_call(GetParam(), wide_parameters(GetParam()));
  std::vector<double> x = call.x.values();
  x[(1 * 4 + 2) * 50 + 7] = std::numeric_limits<double>::quiet_NaN();  // n = 1, c = 2
  call.x.set(x);
  instance_norm(call.x.view(), call.y.view(), call.options());
  for (std::size_t c = 0; c < 4; ++c) {
    EXPECT_EQ(std::isnan(call.running_mean.values()[c]), c == 2);
    EXPECT_EQ(std::isnan(call.running_var.values()[c]), c == 2);
  }
}

// float32 buffers beside 16-bit data keep what 16 bits could not.
TEST(Running, Float32BuffersAreUpdatedInFloat32) {
  for (const DType dtype : {DType::float16, DType::bfloat16}) {
    Call call(dtype, {1, 1, 2}, {1.0, 1.5});
    call.running_mean = Array(DType::float32, {1}, {0.0});
    call.running_var = Array(DType::float32, {1}, {0.0});
    call.setting.momentum = 0x1p-12;
    instance_norm(call.x.view(), call.y.view(), call.options());
    EXPECT_EQ(call.running_mean.values(), std::vector<double>{1.25 * 0x1p-12});
    instance_norm(call.x.view(), call.y.view(), call.options());
    EXPECT_EQ(call.running_mean.values(), std::vector<double>{1.25 * (0x1p-11 - 0x1p-24)});
  }
}

}  // namespace
}  // namespace instnorm::test
