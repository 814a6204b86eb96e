// denormalize against the reference, and as the way back of instance_norm.
#include <gtest/gtest.h>
#include <instnorm/functional.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "calls.h"

namespace instnorm::test {
namespace {

INSTANTIATE_TEST_SUITE_P(Denormalize, EveryDType, kEveryDType, kDTypeName);

// x of a Call is what is read (y of the formula), its y what is written.
DenormalizeOptions options_of(Call& call) {
  DenormalizeOptions o;
  o.weight = call.weight.view();
  o.bias = call.bias.view();
  o.eps = call.setting.eps;
  o.weight_offset = call.setting.weight_offset;
  return o;
}

::testing::AssertionResult is_right(Call& call, const Moments& m) {
  return with_real(call.dtype, [&](auto zero) {
    using Real = decltype(zero);
    const auto reference = denormalize(call.setting, call.x.values(), statistics<Real>(m));
    const auto row = static_cast<std::size_t>(call.setting.L);
    return all_within(call.dtype, call.y.values(), reference, [&](std::size_t i) {
      const double mean = m.mean[i / row];
      const double deviation = std::fabs(static_cast<double>(reference[i]) - mean);
      return denormalize_bound(call.dtype, mean, deviation);
    });
  });
}

Moments some_moments(const Setting& s) {
  Moments m = Moments::empty(s.N, s.C);
  for (std::size_t i = 0; i < m.count.size(); ++i) {
    m.count[i] = 100.0;
    m.mean[i] = 10.0 / 3.0 * static_cast<double>(i) - 5.0;
    m.m2[i] = 100.0 * (0.7 + static_cast<double>(i));
  }
  return m;
}

TEST_P(EveryDType, IsTheInverseFormula) {
  for (const Dims& shape : {Dims{3, 21}, Dims{2, 3, 21}, Dims{2, 3, 4, 5}, Dims{1, 2, 53, 100}}) {
    for (const Pattern in : kInputPatterns) {
      for (const Pattern out : kOutputPatterns) {
        Random random(8);
        Call call(GetParam(), shape, normal_values(random, shape.product()), in, out);
        call.give(Given::per_instance, Given::shared, wide_parameters(GetParam()));
        if (shape.rank() == 2) call.give(Given::shared, Given::shared, GetParam());
        const Moments m = some_moments(call.setting);
        denormalize(call.x.view(), m, call.y.view(), options_of(call));
        EXPECT_TRUE(is_right(call, m)) << call.description() << name_of(in) << name_of(out);
        EXPECT_TRUE(call.y.surroundings_untouched());
      }
    }
  }
}

TEST_P(EveryDType, EveryPresenceOfParametersAndOffset) {
  for (const Given weight : kGiven) {
    for (const Given bias : kGiven) {
      for (const double offset : {0.0, 3.0}) {
        Random random(8);
        Call call(GetParam(), {2, 3, 40}, normal_values(random, 240));
        call.give(weight, bias, GetParam());
        call.setting.weight_offset = offset;
        call.setting.eps = 0.25;
        const Moments m = some_moments(call.setting);
        denormalize(call.x.view(), m, call.y.view(), options_of(call));
        EXPECT_TRUE(is_right(call, m)) << call.description() << " offset " << offset;
      }
    }
  }
}

// There and back. On the way y is rounded, u of itself, and both ways are off by a unit error.
TEST_P(EveryDType, UndoesInstanceNorm) {
  for (const double mean : {0.0, 5.0, GetParam() == DType::float32 ? 1e6 : 100.0}) {
    constexpr double kStd = 2.0;
    Random random(9);
    Call call(GetParam(), {2, 3, 200}, normal_values(random, 1200, mean, kStd));
    call.give(Given::shared, Given::shared, GetParam());
    instance_norm(call.x.view(), call.y.view(), call.options());
    Array back(GetParam(), {2, 3, 200});
    denormalize(call.y.view(), call.saved, back.view(), options_of(call));
    const std::vector<double> x = call.x.values(), got = back.values(), y = call.y.values();
    for (std::size_t i = 0; i < x.size(); ++i) {
      // |weight| is at least 0.5.
      const double of_y = (unit_roundoff(GetParam()) * std::fabs(y[i]) +
                           unit_error(GetParam()) * (1 + std::fabs(y[i]))) *
                          kStd * 1.2 / 0.5;
      const Bound bound = denormalize_bound(GetParam(), mean, 10.0);
      EXPECT_NEAR(
          got[i], x[i],
          of_y + bound.absolute + (bound.relative + unit_roundoff(GetParam())) * std::fabs(x[i]))
          << i;
    }
  }
}

TEST_P(EveryDType, DenormalizesInPlace) {
  for (const Pattern pattern : kOutputPatterns) {
    Random random(8);
    const Dims shape = {2, 3, 4, 30};
    Call call(GetParam(), shape, normal_values(random, shape.product()), pattern, pattern);
    const Moments m = some_moments(call.setting);
    denormalize(call.x.view(), m, call.y.view());
    denormalize(call.x.view(), m, call.x.view());
    EXPECT_EQ(call.x.bits(), call.y.bits()) << name_of(pattern);
    EXPECT_TRUE(call.x.surroundings_untouched());
  }
}

TEST_P(EveryDType, IsIEEEWhereTheWeightIsZero) {
  Call call(GetParam(), {1, 1, 3}, {2.0, 1.0, 0.0});
  call.weight = Array(GetParam(), {1}, {0.0});
  call.bias = Array(GetParam(), {1}, {1.0});
  Moments m = Moments::empty(1, 1);
  m.count = {4}, m.mean = {5}, m.m2 = {4};
  denormalize(call.x.view(), m, call.y.view(), options_of(call));
  const std::vector<double> x = call.y.values();
  const double inf = std::numeric_limits<double>::infinity();
  EXPECT_EQ(x[0], inf);
  EXPECT_TRUE(std::isnan(x[1]));
  EXPECT_EQ(x[2], -inf);
}

TEST_P(EveryDType, OfAnEmptyInputWritesNothing) {
  for (const Dims& shape : {Dims{0, 3, 8}, Dims{2, 0, 8}, Dims{2, 3, 0}}) {
    Call call(GetParam(), shape, {});
    denormalize(call.x.view(), some_moments(call.setting), call.y.view());
    EXPECT_TRUE(call.y.surroundings_untouched());
  }
}

TEST_P(EveryDType, OfConstantRowsIsTheirValue) {
  Call call(GetParam(), {1, 2, 100}, std::vector<double>(200, 0.1));
  instance_norm(call.x.view(), call.y.view(), call.options());
  denormalize(call.y.view(), call.saved, call.y.view());
  EXPECT_EQ(call.y.values(), call.x.values());
}

}  // namespace
}  // namespace instnorm::test
