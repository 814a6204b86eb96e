// instance_norm against the reference: every dtype, rank, stride pattern, presence of parameters,
// and the lengths around every size that anything is divided into.
#include <gtest/gtest.h>
#include <instnorm/functional.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "calls.h"
#include "scale.h"

namespace instnorm::test {
namespace {

std::vector<double> data_for(const Dims& shape, std::uint64_t seed = 1) {
  Random random(seed);
  return normal_values(random, shape.product(), 3.0, 2.0);
}

INSTANTIATE_TEST_SUITE_P(Forward, EveryDType, kEveryDType, kDTypeName);

std::vector<std::int64_t> lengths() {
  std::vector<std::int64_t> all;
  for (std::int64_t l = 2; l <= 130; ++l) all.push_back(l);
  for (const std::int64_t middle : {256, 1024, 2048, 4096, 8192}) {
    for (std::int64_t l = middle - 1; l <= middle + 1; ++l) all.push_back(l);
  }
  all.push_back(65537);
  return all;
}

TEST_P(EveryDType, EveryLength) {
  for (const std::int64_t L : lengths()) {
    const Dims shape = {2, 2, L};
    Call call(GetParam(), shape, data_for(shape, static_cast<std::uint64_t>(L)));
    const auto i = static_cast<std::size_t>(L);
    call.give(kGiven[i % 3], kGiven[i / 3 % 3], i % 2 ? GetParam() : wide_parameters(GetParam()));
    EXPECT_TRUE(call.forward_is_right()) << call.description();
    EXPECT_TRUE(call.moments_are_right(call.saved)) << call.description();
  }
}

TEST_P(EveryDType, EveryRankAndStridePattern) {
  const Dims shapes[] = {{3, 21}, {2, 3, 21}, {2, 3, 4, 5}, {2, 3, 2, 5, 3}, {1, 2, 53, 100}};
  for (const Dims& shape : shapes) {
    for (const Pattern in : kInputPatterns) {
      for (const Pattern out : kOutputPatterns) {
        Call call(GetParam(), shape, data_for(shape), in, out);
        call.give(Given::shared, Given::shared, GetParam());
        EXPECT_TRUE(call.forward_is_right())
            << call.description() << " " << name_of(in) << " -> " << name_of(out);
      }
    }
  }
}

TEST_P(EveryDType, EveryPresenceOfParameters) {
  const Dims shape = {3, 4, 19};
  for (const Given weight : kGiven) {
    for (const Given bias : kGiven) {
      for (const DType parameters : {GetParam(), wide_parameters(GetParam())}) {
        for (const double offset : {0.0, 1.0}) {
          Call call(GetParam(), shape, data_for(shape));
          call.give(weight, bias, parameters);
          call.setting.weight_offset = offset;
          EXPECT_TRUE(call.forward_is_right()) << call.description() << " offset " << offset;
        }
      }
    }
  }
}

TEST_P(EveryDType, InPlaceInEveryStridePattern) {
  const Dims shape = {2, 3, 4, 35};
  for (const Pattern pattern : kOutputPatterns) {
    Call call(GetParam(), shape, data_for(shape), pattern);
    const std::vector<double> before = call.x.values();
    instance_norm(call.x.view(), call.x.view(), call.options());
    call.y = std::move(call.x);
    with_real(GetParam(), [&](auto zero) {
      using Real = decltype(zero);
      EXPECT_TRUE(call.y_is(forward(call.setting, before, statistics<Real>(call.setting, before))))
          << name_of(pattern);
    });
  }
}

TEST_P(EveryDType, RankTwoIsOneInstanceAndHigherRanksAreLongerRows) {
  const Dims shape = {4, 60};
  Call flat(GetParam(), shape, data_for(shape));
  Call batch(GetParam(), {1, 4, 60}, data_for(shape));
  Call deep(GetParam(), {1, 4, 3, 4, 5}, data_for(shape));
  for (Call* call : {&flat, &batch, &deep}) {
    instance_norm(call->x.view(), call->y.view(), call->options());
    EXPECT_EQ(call->y.bits(), flat.y.bits());
    EXPECT_EQ(call->saved.N, 1);
    EXPECT_EQ(call->saved.C, 4);
  }
}

TEST_P(EveryDType, ByRunningStatistics) {
  for (const Dims& shape : {Dims{2, 3, 50}, Dims{2, 3, 1}, Dims{3, 7}, Dims{2, 3, 5000}}) {
    Call call(GetParam(), shape, data_for(shape));
    call.give(Given::shared, Given::shared, wide_parameters(GetParam()));
    call.give_running(wide_parameters(GetParam()), Pattern::stepped);
    Options options = call.options();
    options.use_input_stats = false;
    instance_norm(call.x.view(), call.y.view(), options);
    with_real(GetParam(), [&](auto zero) {
      using Real = decltype(zero);
      const auto rows =
          statistics<Real>(call.setting, call.running_mean.values(), call.running_var.values());
      EXPECT_TRUE(call.y_is(forward(call.setting, call.x.values(), rows, false))) << shape.str();
    });
    // What x was normalised by, as moments of L values, or of 2 to be those of an ordinary row.
    for (std::int64_t n = 0; n < call.setting.N; ++n) {
      for (std::int64_t c = 0; c < call.setting.C; ++c) {
        const std::size_t i = call.setting.row(n, c);
        EXPECT_EQ(call.saved.count[i], std::max(2.0, static_cast<double>(call.setting.L)));
        EXPECT_EQ(call.saved.mean[i], call.running_mean.values()[static_cast<std::size_t>(c)]);
        EXPECT_NEAR(call.saved.var()[i], call.running_var.values()[static_cast<std::size_t>(c)],
                    1e-14);
      }
    }
  }
}

TEST_P(EveryDType, ByGivenMoments) {
  const Dims shape = {2, 3, 50};
  Call call(GetParam(), shape, data_for(shape));
  call.give(Given::per_instance, Given::shared, GetParam());
  Moments given = Moments::empty(2, 3);
  for (std::size_t i = 0; i < given.count.size(); ++i) {
    given.count[i] = 1000.0 + static_cast<double>(i);
    given.mean[i] = 2.5 - static_cast<double>(i);
    given.m2[i] = 3000.0;
  }
  given.count[2] = 1.0;  // too few: the bias
  given.count[3] = 0.0;
  Options options = call.options();
  options.moments = &given;
  instance_norm(call.x.view(), call.y.view(), options);
  with_real(GetParam(), [&](auto zero) {
    using Real = decltype(zero);
    EXPECT_TRUE(call.y_is(forward(call.setting, call.x.values(), statistics<Real>(given))));
  });
  EXPECT_EQ(call.saved.count, given.count);
  EXPECT_EQ(call.saved.mean, given.mean);
  EXPECT_EQ(call.saved.m2, given.m2);
  const std::vector<double> y = call.y.values(), bias = call.bias.values();
  EXPECT_EQ(y[2 * 50], quantize(GetParam(), bias[2]));
  EXPECT_EQ(y[3 * 50], quantize(GetParam(), bias[0]));
}

// One vector for given and saved moments is the same statistics.
TEST_P(EveryDType, MomentsGivenAndSavedInOne) {
  const Dims shape = {1, 2, 64};
  Call call(GetParam(), shape, data_for(shape));
  Moments both = moments(call.x.view());
  const Moments before = both;
  Options options = call.options();
  options.moments = &both;
  options.save_moments = &both;
  instance_norm(call.x.view(), call.y.view(), options);
  EXPECT_EQ(both.count, before.count);
  EXPECT_EQ(both.mean, before.mean);
  EXPECT_EQ(both.m2, before.m2);
}

// A saved Moments that has been used for another shape is resized.
TEST_P(EveryDType, SavedMomentsTakeTheShapeOfEachCall) {
  Moments saved;
  for (const Dims& shape : {Dims{2, 3, 8}, Dims{1, 2, 8}, Dims{4, 5, 8}}) {
    Call call(GetParam(), shape, data_for(shape));
    Options options = call.options();
    options.save_moments = &saved;
    instance_norm(call.x.view(), call.y.view(), options);
    EXPECT_EQ(saved.N, shape[0]);
    EXPECT_EQ(saved.C, shape[1]);
    EXPECT_TRUE(call.moments_are_right(saved));
  }
}

TEST_P(EveryDType, EmptyInputsAreFine) {
  for (const Dims& shape : {Dims{0, 3, 8}, Dims{2, 0, 8}, Dims{2, 3, 0}, Dims{0, 0, 0}, Dims{0, 8},
                            Dims{3, 0}, Dims{2, 3, 0, 4}}) {
    Call call(GetParam(), shape, {});
    call.give(Given::shared, Given::shared, GetParam());
    call.give_running(GetParam());
    const auto mean = call.running_mean.memory(), var = call.running_var.memory();
    instance_norm(call.x.view(), call.y.view(), call.options());
    EXPECT_TRUE(call.y.surroundings_untouched());
    // No instance has two values: the running statistics stay.
    EXPECT_EQ(call.running_mean.memory(), mean) << shape.str();
    EXPECT_EQ(call.running_var.memory(), var) << shape.str();
    const auto rows = static_cast<std::size_t>(call.setting.N * call.setting.C);
    EXPECT_EQ(call.saved.count, std::vector<double>(rows, 0.0)) << shape.str();
  }
}

TEST(Forward, EmptyInputsNeedNoAddress) {
  float* const nothing = nullptr;
  EXPECT_NO_THROW(instance_norm(view(nothing, {0, 3, 8}), view(nothing, {0, 3, 8})));
  EXPECT_NO_THROW(instance_norm(view(nothing, {2, 0, 8}), view(nothing, {2, 0, 8}),
                                {.weight = view(nothing, {0})}));
}

// Every element of a float32 row of ten million.
TEST(Forward, TenMillionElements) {
  const Dims shape = {1, 1, scaled(10'000'000)};
  Random random(3);
  Call call(DType::float32, shape, normal_values(random, shape.product(), 1e6, 1.0));
  EXPECT_TRUE(call.forward_is_right());
  EXPECT_TRUE(call.moments_are_right(call.saved));
}

TEST(Forward, ManyShortRows) {
  for (const DType dtype : kFloats) {
    const Dims shape = {scaled(9000), 11, 5};
    Call call(dtype, shape, data_for(shape));
    call.give(Given::per_instance, Given::shared, dtype);
    EXPECT_TRUE(call.forward_is_right()) << name(dtype);
  }
}

// In place nothing is streamed. Rows begin at every part of a cache line, y in the middle of one.
template <class T>
void streamed_rows_are_those_stored_in_place(DType dtype) {
  for (const std::int64_t L : {5003, 17, 257, 3}) {
    if (kSanitized && L < 1000) break;  // each is as many values: what does not fit in the cache
    const std::int64_t rows = 32 * 1024 * 1024 / (2 * L * static_cast<std::int64_t>(sizeof(T)));
    const auto size = static_cast<std::size_t>(rows * L);
    std::vector<T> x(size), y(size + 8, T(7));
    for (std::size_t i = 0; i < size; ++i) x[i] = static_cast<T>((i * 2654435761u) % 1009);
    const Dims shape = {1, rows, L};
    ASSERT_NE(explain(view(x.data(), shape), view(y.data() + 3, shape)).find("streaming"),
              std::string::npos)
        << name(dtype);
    instance_norm(view(x.data(), shape), view(y.data() + 3, shape));
    instance_norm(view(x.data(), shape), view(x.data(), shape));
    EXPECT_TRUE(std::equal(x.begin(), x.end(), y.begin() + 3)) << name(dtype) << " L " << L;
    for (const std::size_t i : {std::size_t{0}, std::size_t{1}, std::size_t{2}})
      EXPECT_EQ(y[i], T(7));
    for (std::size_t i = size + 3; i < y.size(); ++i) EXPECT_EQ(y[i], T(7));
  }
}

TEST(Forward, StreamedRowsAreThoseStoredInPlace) {
  streamed_rows_are_those_stored_in_place<float>(DType::float32);
  streamed_rows_are_those_stored_in_place<double>(DType::float64);
}

TEST(Forward, LargeWeightsAndBiasesLoseNoMoreThanTheirShare) {
  const Dims shape = {2, 3, 1000};
  Call call(DType::float32, shape, data_for(shape));
  call.weight = Array(DType::float32, {3}, {1e10, -1e10, 0.0});
  call.bias = Array(DType::float32, {3}, {1e10, 3.0, -1e30});
  call.setting.weight = call.weight.values();
  call.setting.bias = call.bias.values();
  instance_norm(call.x.view(), call.y.view(), call.options());
  const std::vector<double> x = call.x.values();
  const auto reference = forward(call.setting, x, statistics<long double>(call.setting, x));
  EXPECT_TRUE(
      all_within(DType::float32, call.y.values(), reference, forward_bound(DType::float32, 1e10)));
}

TEST(Forward, OverflowGivesInfinity) {
  for (const DType dtype : kFloats) {
    Call call(dtype, {1, 2, 4}, {-1, 1, -1, 1, -1, 1, -1, 1});
    call.weight = Array(dtype, {2}, {largest(dtype), 1.0});
    call.bias = Array(dtype, {2}, {largest(dtype), 0.0});
    call.setting.eps = 0.0;
    instance_norm(call.x.view(), call.y.view(), call.options());
    const double inf = std::numeric_limits<double>::infinity();
    EXPECT_EQ(call.y.values(), (std::vector<double>{0, inf, 0, inf, -1, 1, -1, 1})) << name(dtype);
  }
}

// Rows of subnormal values with eps = 0 need coefficients beyond float32's range.
TEST(Forward, OverflowOfTinyRowsGivesInfinity) {
  for (const DType dtype : {DType::bfloat16, DType::float32}) {
    const double tiny = smallest_subnormal(dtype);
    Call call(dtype, {1, 1, 4}, {-tiny, tiny, -tiny, tiny});
    call.weight = Array(dtype, {1}, {largest(dtype)});
    call.bias = Array(dtype, {1}, {largest(dtype)});
    call.setting.eps = 0.0;
    instance_norm(call.x.view(), call.y.view(), call.options());
    const double inf = std::numeric_limits<double>::infinity();
    EXPECT_EQ(call.y.values(), (std::vector<double>{0, inf, 0, inf})) << name(dtype);
  }
}

TEST(Forward, EveryEps) {
  const Dims shape = {1, 2, 100};
  for (const DType dtype : kFloats) {
    for (const double eps : {0.0, 1e-12, 1e-3, 0.1, 1.0, 1e6, -0.5}) {
      Call call(dtype, shape, data_for(shape));
      call.setting.eps = eps;
      EXPECT_TRUE(call.forward_is_right()) << name(dtype) << " eps " << eps;
    }
  }
}

// As PyTorch: var + eps < 0 and eps = NaN give NaN, eps = infinity the bias.
TEST(Forward, ImpossibleEps) {
  const Dims shape = {1, 1, 100};
  for (const DType dtype : kFloats) {
    Call call(dtype, shape, data_for(shape));
    for (const double eps : {-1e3, std::numeric_limits<double>::quiet_NaN()}) {
      call.setting.eps = eps;
      instance_norm(call.x.view(), call.y.view(), call.options());
      for (const double y : call.y.values()) EXPECT_TRUE(std::isnan(y)) << name(dtype);
    }
    call.setting.eps = std::numeric_limits<double>::infinity();
    instance_norm(call.x.view(), call.y.view(), call.options());
    for (const double y : call.y.values()) EXPECT_EQ(y, 0.0) << name(dtype);
  }
}

}  // namespace
}  // namespace instnorm::test
