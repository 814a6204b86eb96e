// The named inputs that broke somebody's normalisation, each by its name: right within the
// contract, forward and backward.
#include <gtest/gtest.h>
#include <instnorm/functional.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "calls.h"
#include "scale.h"

namespace instnorm::test {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

// Forward with and without parameters, moments, and gradients of a batch of such rows.
template <class Real>
void expect_case_right(DType dtype, const RowCase& c) {
  constexpr std::int64_t kC = 3;
  const std::int64_t N = c.L > 10000 ? 1 : 2;
  Call call(dtype, {N, kC, c.L}, rows_of(c, dtype, N * kC));
  call.setting.eps = c.eps;
  SCOPED_TRACE(std::string(c.name) + ", " + name(dtype));
  EXPECT_TRUE(call.forward_is_right());
  EXPECT_TRUE(call.moments_are_right(call.saved));
  call.give(Given::shared, Given::shared, dtype);
  EXPECT_TRUE(call.forward_is_right());

  Random random(11);
  Array g(dtype, {N, kC, c.L}, normal_values(random, N * kC * c.L, 0.5, 1.0));
  Array dx(dtype, {N, kC, c.L}), dw(wide_parameters(dtype), {kC}), db(wide_parameters(dtype), {kC});
  instance_norm_backward(
      call.x.view(), g.view(), call.saved,
      {.grad_input = dx.view(), .grad_weight = dw.view(), .grad_bias = db.view()},
      {.weight = call.weight.view(), .bias = call.bias.view(), .eps = c.eps});
  const auto reference =
      backward(call.setting, call.x.values(), g.values(), statistics<Real>(call.saved));
  const auto near = [&](const Array& got, const std::vector<Real>& wanted) {
    return all_within(got.dtype(), got.values(), wanted, gradient_bound(dtype, largest_of(wanted)));
  };
  EXPECT_TRUE(near(dx, reference.input));
  EXPECT_TRUE(near(dw, over_instances(call.setting, reference.weight)));
  EXPECT_TRUE(near(db, over_instances(call.setting, reference.bias)));
}

void expect_right(const std::string& case_name) {
  const RowCase& c = row_case(case_name);
  for (const DType dtype : kFloats) {
    // Quadruple precision is 50 times slower; the long rows are about float32.
    if (!holds(dtype, c) || (dtype == DType::float64 && c.L > 10000)) continue;
    with_real(dtype, [&](auto zero) { expect_case_right<decltype(zero)>(dtype, c); });
  }
}

void expect_right(std::initializer_list<const char*> names) {
  for (const char* name : names) expect_right(std::string(name));
}

TEST(Cases, ZeroMean) { expect_right("N(0, 1)"); }

TEST(Cases, MeanOfTenThousandStandardDeviations) {
  expect_right({"N(1e4, 1), L = 100", "N(1e4, 1), L = 4096", "N(1e4, 1), L = 100000"});
}

TEST(Cases, MeanOfAMillionStandardDeviations) {
  expect_right({"N(1e6, 1), L = 100", "N(1e6, 1), L = 4096", "N(1e6, 1), L = 100000"});
}

TEST(Cases, MeanOfTenMillionStandardDeviations) {
  expect_right({"N(1e7, 1), L = 100", "N(1e7, 1), L = 4096", "N(1e7, 1), L = 100000"});
}

TEST(Cases, Float64MeanOfUpToATrillionStandardDeviations) {
  for (const double mean : {1e3, 1e6, 1e9, 1e12}) {
    Random random(12);
    Call call(DType::float64, {1, 2, 5000}, normal_values(random, 10000, mean, 1.0));
    EXPECT_TRUE(call.forward_is_right()) << mean;
  }
}

TEST(Cases, HalfAtZeroHalfAtAMillion) { expect_right("half N(0, 1), half N(1e6, 1)"); }

TEST(Cases, ZerosBeforeALargeMean) { expect_right("10 % zeros, then N(1e4, 1)"); }

TEST(Cases, FirstValueFarFromTheRest) { expect_right("first 1e6, rest N(0, 1)"); }

TEST(Cases, Ramp) { expect_right("ramp 0 .. 1e6"); }

// Levels that change at every place where a block or a chain of additions may begin.
TEST(Cases, StepsAtEveryPowerOfTwo) {
  for (const DType dtype : kFloats) {
    for (std::int64_t at = 1; at < 10000; at *= 2) {
      Random random(13);
      std::vector<double> x = normal_values(random, 10000);
      for (std::int64_t i = at; i < 10000; ++i) x[static_cast<std::size_t>(i)] += 1e4;
      Call call(dtype, {1, 1, 10000}, x);
      EXPECT_TRUE(call.forward_is_right()) << name(dtype) << " at " << at;
    }
  }
}

TEST(Cases, ConstantRowsGiveExactlyBias) {
  for (const DType dtype : kFloats) {
    for (const double value : {1e4 / 3, 0.1, 1e6 + 0.1, -2.778e-19, 0.0, 3.3, 6e4, 3e38, 1e-40}) {
      if (std::fabs(value) > largest(dtype)) continue;
      for (const std::int64_t L : {2, 3, 17, 1000, 3136, 4097, 10001}) {
        for (const double eps : {1e-5, 0.0}) {
          Call call(dtype, {1, 2, L}, std::vector<double>(static_cast<std::size_t>(2 * L), value));
          call.give(Given::shared, Given::shared, dtype);
          call.setting.eps = eps;
          instance_norm(call.x.view(), call.y.view(), call.options());
          const std::vector<double> y = call.y.values(), bias = call.bias.values();
          for (std::size_t i = 0; i < y.size(); ++i) {
            ASSERT_EQ(y[i], bias[i / static_cast<std::size_t>(L)])
                << name(dtype) << " " << value << " L " << L << " eps " << eps << " at " << i;
          }
          const double stored = quantize(dtype, value);
          EXPECT_EQ(call.saved.mean, (std::vector<double>{stored, stored}));
          EXPECT_EQ(call.saved.m2, (std::vector<double>{0.0, 0.0}));
        }
      }
    }
  }
}

TEST(Cases, ConstantTinyRowOfLength3136) {
  std::vector<double> x(3136, -2.778e-19);
  Call call(DType::float32, {1, 1, 3136}, x);
  instance_norm(call.x.view(), call.y.view(), call.options());
  EXPECT_EQ(call.y.values(), std::vector<double>(3136, 0.0));
}

TEST(Cases, OneStepAboveAConstant) { expect_right("one step of the last place above 1e4/3"); }

TEST(Cases, SquaresBeyondFloat32) {
  expect_right(
      {"[1e20, -1e20, 2e20, 0]", "[3e38, 3e38, 3e38, -3e38]", "3e38 and its neighbours, L = 5000"});
}

TEST(Cases, SquaresBelowFloat32) {
  expect_right({"[1, -1, 2, 0] * 1e-23, eps = 0", "subnormal N(0, 1e-40), eps = 0"});
}

// The same rows scaled by every power of two that the format has room for.
TEST(Cases, EveryMagnitudeOfFloat32) {
  for (const DType dtype : {DType::float32, DType::bfloat16}) {
    for (int e = -140; e <= 126; ++e) {
      std::vector<double> x = {1, -1, 1.5, 0, 0.25, -0.75, 1, 1};
      for (double& v : x) v = std::ldexp(v, e);
      Call call(dtype, {1, 1, 8}, x);
      for (const double eps : {0.0, 1e-5}) {
        call.setting.eps = eps;
        EXPECT_TRUE(call.forward_is_right()) << name(dtype) << " 2^" << e << " eps " << eps;
        EXPECT_TRUE(call.moments_are_right(call.saved)) << name(dtype) << " 2^" << e;
      }
    }
  }
}

TEST(Cases, EveryMagnitudeOfFloat64) {
  for (int e = -1060; e <= 1022; e += 7) {
    std::vector<double> x = {1, -1, 1.5, 0, 0.25, -0.75, 1, 1};
    for (double& v : x) v = std::ldexp(v, e);
    Call call(DType::float64, {1, 1, 8}, x);
    for (const double eps : {0.0, 1e-5}) {
      call.setting.eps = eps;
      EXPECT_TRUE(call.forward_is_right()) << "2^" << e << " eps " << eps;
      // m2 is a float64: it has a value from the square of the smallest normal one to the largest.
      if (std::abs(e) < 500) {
        EXPECT_TRUE(call.moments_are_right(call.saved)) << "2^" << e;
      }
      const auto mean = statistics<Quad>(call.setting, call.x.values())[0].mean;
      EXPECT_TRUE(is_within(DType::float64, call.saved.mean[0], mean,
                            mean_bound(DType::float64, std::ldexp(1.0, e))))
          << "2^" << e;
    }
  }
}

// x - mean is beyond float32, the result is not: by given and by running statistics, and backward.
TEST(Cases, DifferencesBeyondFloat32) {
  for (const DType dtype : {DType::float32, DType::bfloat16}) {
    Call call(dtype, {1, 1, 4}, {-3e38, 3e38, 2.5e38, 0.0});
    Moments given = Moments::empty(1, 1);
    given.count = {4}, given.mean = {2e38}, given.m2 = {4e76};
    Options options = call.options();
    options.moments = &given;
    instance_norm(call.x.view(), call.y.view(), options);
    const auto rows = statistics<long double>(given);
    EXPECT_TRUE(call.y_is(forward(call.setting, call.x.values(), rows))) << name(dtype);

    Array g(dtype, {1, 1, 4}, {1e38, -2e38, 1e38, 3e38}), dx(dtype, {1, 1, 4});
    Array dw(dtype, {1});
    instance_norm_backward(call.x.view(), g.view(), given,
                           {.grad_input = dx.view(), .grad_weight = dw.view()});
    const auto reference = backward(call.setting, call.x.values(), g.values(), rows);
    EXPECT_TRUE(all_within(dtype, dx.values(), reference.input,
                           gradient_bound(dtype, largest_of(reference.input))));
    EXPECT_TRUE(all_within(dtype, dw.values(), reference.weight,
                           gradient_bound(dtype, largest_of(reference.weight))));
  }
}

// Two neighbours of float32, half of each: y = (+-1) * weight + bias, where the coefficients behind
// it are beyond float32.
TEST(Cases, CoefficientsBeyondFloat32) {
  const double low = 1024.0, high = 1024.0 + 0x1p-13;
  Call call(DType::float32, {1, 1, 4}, {low, high, low, high});
  call.weight = Array(DType::float32, {1}, {3e38});
  call.setting.eps = 0.0;
  for (const double sign : {1.0, -1.0}) {
    call.bias = Array(DType::float32, {1}, {sign * 3e38});
    instance_norm(call.x.view(), call.y.view(), call.options());
    const std::vector<double> y = call.y.values();
    EXPECT_EQ(y[sign > 0 ? 0 : 1], 0.0);
    EXPECT_EQ(y[sign > 0 ? 1 : 0], sign * kInf);
  }
}

TEST(Cases, RaggedLengthsAtAMeanOfAThousand) {
  expect_right("ragged, 1000 + small, L = 37");
  for (const DType dtype : kFloats) {
    for (std::int64_t L = 2; L < 200; ++L) {
      Random random(static_cast<std::uint64_t>(L));
      Call call(dtype, {2, 3, L}, normal_values(random, 6 * L, 1000.0, 0.5));
      EXPECT_TRUE(call.forward_is_right()) << call.description();
    }
  }
}

TEST(Cases, CheckerboardOf512) { expect_right("+-512 checkerboard"); }

TEST(Cases, VarianceBeyondFloat16) { expect_right("variance above 65504"); }

TEST(Cases, LogMelFloorWithOneFrameOff) { expect_right("log-mel floor -15.94, one frame off"); }

TEST(Cases, LargeEpsWithRunningStatistics) {
  for (const DType dtype : kFloats) {
    for (const double eps : {0.1, 1.0}) {
      Random random(14);
      Call call(dtype, {2, 3, 100}, normal_values(random, 600, 1.0, 0.3));
      call.give_running(wide_parameters(dtype));
      call.setting.eps = eps;
      const std::vector<double> mean = call.running_mean.values(), var = call.running_var.values();
      EXPECT_TRUE(call.forward_is_right());
      // eps is no part of what is stored.
      with_real(dtype, [&](auto zero) {
        using Real = decltype(zero);
        const auto reference = running_update(
            call.setting, statistics<Real>(call.setting, call.x.values()), mean, var);
        EXPECT_TRUE(all_within(wide_parameters(dtype), call.running_var.values(), reference.var,
                               running_var_bound(dtype, call.setting.momentum, 0.09)));
      });
      Options options = call.options();
      options.use_input_stats = false;
      instance_norm(call.x.view(), call.y.view(), options);
      with_real(dtype, [&](auto zero) {
        using Real = decltype(zero);
        const auto rows =
            statistics<Real>(call.setting, call.running_mean.values(), call.running_var.values());
        EXPECT_TRUE(call.y_is(forward(call.setting, call.x.values(), rows, false)));
      });
    }
  }
}

TEST(Cases, LengthOneIsFineWithRunningStatistics) {
  const std::vector<float> x = {3, 5}, mean_and_var = {1, 4};
  std::vector<float> y(2), mean = {1, 1}, var = {4, 4};
  instance_norm(view(x, {1, 2, 1}), view(y, {1, 2, 1}),
                {.running_mean = view(mean, {2}),
                 .running_var = view(var, {2}),
                 .use_input_stats = false,
                 .eps = 0.0});
  EXPECT_EQ(y, (std::vector<float>{1, 2}));
}

// Where each row may be poisoned, and where the value may stand in it.
void expect_poison_stays(DType dtype, double value) {
  constexpr std::int64_t kLength = 5000;
  for (const std::size_t at : std::vector<std::size_t>{0, 1, 2500, 4095, 4096, 4999}) {
    Random random(15);
    std::vector<double> x = normal_values(random, 6 * kLength);
    Call clean(dtype, {2, 3, kLength}, x);
    x[4 * kLength + at] = value;
    Call call(dtype, {2, 3, kLength}, x);
    for (Call* c : {&clean, &call}) {
      c->give(Given::shared, Given::shared, dtype);
      instance_norm(c->x.view(), c->y.view(), c->options());
    }
    const std::vector<double> y = call.y.values(), expected = clean.y.values();
    for (std::size_t i = 0; i < y.size(); ++i) {
      if (i / kLength == 4) {
        ASSERT_TRUE(std::isnan(y[i])) << name(dtype) << " " << value << " at " << at;
      } else {
        ASSERT_EQ(y[i], expected[i]) << name(dtype) << " " << value << " at " << at;
      }
    }
  }
}

TEST(Cases, OneNaNPoisonsItsRowAndNoOther) {
  for (const DType dtype : kFloats) expect_poison_stays(dtype, kNaN);
}

TEST(Cases, OneInfinityPoisonsItsRowAndNoOther) {
  for (const DType dtype : kFloats) {
    expect_poison_stays(dtype, kInf);
    expect_poison_stays(dtype, -kInf);
  }
}

TEST(Cases, RowsOfNaNOrInfinityAlone) {
  for (const DType dtype : kFloats) {
    for (const double eps : {1e-5, 0.0}) {
      for (const double value : {kNaN, kInf, -kInf}) {
        for (const std::int64_t L : {2, 40, 5000}) {
          Call call(dtype, {1, 1, L}, std::vector<double>(static_cast<std::size_t>(L), value));
          call.setting.eps = eps;
          instance_norm(call.x.view(), call.y.view(), call.options());
          for (const double y : call.y.values()) ASSERT_TRUE(std::isnan(y)) << name(dtype) << value;
        }
      }
    }
  }
}

TEST(Cases, MoreThan65535Rows) {
  constexpr std::int64_t kRows = 65539, kLength = 3;
  Random random(16);
  Call call(DType::float32, {kRows, 1, kLength}, normal_values(random, kRows * kLength));
  EXPECT_TRUE(call.forward_is_right());
}

// A row of more than 2^31 elements that are one in memory: its length is no 32-bit number anywhere.
TEST(Cases, MoreThanTwoToThe31ElementsInARow) {
  const float value = 1.25f;
  const std::int64_t L = scaled((std::int64_t{1} << 31) + 5);
  const Moments m = moments(view(&value, {1, 1, L}, {0, 0, 0}));
  EXPECT_EQ(m.count, std::vector<double>{static_cast<double>(L)});
  EXPECT_EQ(m.mean, std::vector<double>{1.25});
  EXPECT_EQ(m.m2, std::vector<double>{0.0});
}

}  // namespace
}  // namespace instnorm::test
