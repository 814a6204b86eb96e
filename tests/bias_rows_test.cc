// Rows that give the bias, whatever their values are, Inf and NaN among them: those of fewer than
// two values, and those whose given moments say nothing of a spread. And rows that look like them
// and are ordinary: those normalised by running statistics.
#include <gtest/gtest.h>
#include <instnorm/functional.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "extras_calls.h"

namespace instnorm::test {
namespace {

class BiasRows : public EveryDType {};
INSTANTIATE_TEST_SUITE_P(Extras, BiasRows, kEveryDType, kDTypeName);

constexpr double kBias = 0.75;
const double kValues[] = {3.0, kInf, -kInf, kNaN};

// One row of L values with weight and bias, forward and backward.
struct Result {
  std::vector<double> y, dx;
  double dw = 0.0, db = 0.0;
  Moments saved;
};

Result run(DType dtype, const std::vector<double>& x, const std::vector<double>& g, Options o,
           bool constant_moments, double weight_value = 2.0) {
  const auto L = static_cast<std::int64_t>(x.size());
  const DType parameters = wide_parameters(dtype);
  Array in(dtype, {1, 1, L}, x), grad(dtype, {1, 1, L}, g), y(dtype, {1, 1, L}),
      dx(dtype, {1, 1, L});
  Array weight(parameters, {1}, {weight_value}), bias(parameters, {1}, {kBias});
  Array dw(parameters, {1}), db(parameters, {1});
  Result r;
  o.weight = weight.view();
  o.bias = bias.view();
  o.save_moments = &r.saved;
  instance_norm(in.view(), y.view(), o);
  instance_norm_backward(
      in.view(), grad.view(), o.moments != nullptr ? *o.moments : r.saved,
      {.grad_input = dx.view(), .grad_weight = dw.view(), .grad_bias = db.view()},
      {.weight = o.weight,
       .bias = o.bias,
       .eps = o.eps,
       .use_input_stats = !constant_moments,
       .lengths = o.lengths,
       .mask = o.mask,
       .nan_policy = o.nan_policy,
       .activation = o.activation});
  r.y = y.values();
  r.dx = dx.values();
  r.dw = dw.values()[0];
  r.db = db.values()[0];
  return r;
}

double activated_bias(DType dtype, Activation activation) {
  return quantize(dtype, static_cast<double>(activated(activation, kBias)));
}

void expect_bias_alone(DType dtype, const Result& r, Activation activation,
                       const std::vector<char>& there, double sum_g) {
  const auto h = static_cast<double>(slope(activation, kBias)) * sum_g;
  for (std::size_t i = 0; i < there.size(); ++i) {
    if (there[i]) {
      EXPECT_TRUE(is_within(dtype, r.y[i], activated_bias(dtype, activation), forward_bound(dtype)))
          << r.y[i] << " at " << i;
    } else {
      EXPECT_EQ(r.y[i], 0.0) << i;
    }
    EXPECT_EQ(r.dx[i], 0.0) << i;
  }
  EXPECT_EQ(r.dw, 0.0);
  EXPECT_TRUE(is_within(wide_parameters(dtype), r.db, h, gradient_bound(dtype, std::fabs(sum_g))))
      << r.db << " for " << h;
}

TEST_P(BiasRows, OfOneValueWhateverItIs) {
  const std::vector<std::int64_t> one = {1};
  for (const double value : kValues) {
    for (const double weight : {2.0, kInf}) {
      for (const Activation activation : kActivations) {
        for (const std::int64_t L : {std::int64_t{5}, std::int64_t{9000}}) {
          SCOPED_TRACE(std::to_string(value) + ", activation " +
                       std::to_string(static_cast<int>(activation)) + ", L " + std::to_string(L));
          const auto size = static_cast<std::size_t>(L);
          std::vector<double> x(size, kNaN), g(size, kInf);
          std::vector<char> there(size, 0);
          x[0] = value;
          g[0] = 3.0;
          there[0] = 1;
          const Result by_length =
              run(GetParam(), x, g, {.lengths = view(one, {1}), .activation = activation}, false,
                  weight);
          expect_bias_alone(GetParam(), by_length, activation, there, 3.0);
          EXPECT_EQ(by_length.saved.count[0], 1.0);

          std::vector<double> of_mask(size, 0.0);
          std::swap(x[0], x[3]);
          std::swap(g[0], g[3]);
          std::swap(there[0], there[3]);
          of_mask[3] = 1.0;
          const Mask mask({1, L}, of_mask);
          expect_bias_alone(
              GetParam(),
              run(GetParam(), x, g, {.mask = mask.view(), .activation = activation}, false, weight),
              activation, there, 3.0);
        }
      }
    }
  }
}

TEST_P(BiasRows, OfOneNumberKeepTheirNaN) {
  for (const double value : {3.0, kInf}) {
    for (const Activation activation : kActivations) {
      std::vector<double> x(9, kNaN);
      x[4] = value;
      const Result r = run(GetParam(), x, std::vector<double>(9, 3.0),
                           {.nan_policy = NanPolicy::omit, .activation = activation}, false);
      for (std::size_t i = 0; i < 9; ++i) {
        EXPECT_EQ(std::isnan(r.y[i]), i != 4) << i;
        EXPECT_EQ(r.dx[i], 0.0) << i;
      }
      EXPECT_TRUE(is_within(GetParam(), r.y[4], activated_bias(GetParam(), activation),
                            forward_bound(GetParam())))
          << r.y[4];
      EXPECT_EQ(r.dw, 0.0);
      EXPECT_EQ(r.saved.count[0], 1.0);
    }
  }
}

// Of fewer than two values, and of no variance with eps = 0.
TEST_P(BiasRows, ByGivenMomentsWhateverTheRowIs) {
  struct Say {
    double count, mean, m2, eps;
  };
  for (const Say say :
       {Say{0, 0, 0, 1e-5}, Say{1, kInf, kNaN, 1e-5}, Say{1, 2, 0, 0.0}, Say{7, 2, 0, 0.0}}) {
    Moments given = Moments::empty(1, 1);
    given.count[0] = say.count;
    given.mean[0] = say.mean;
    given.m2[0] = say.m2;
    for (const Activation activation : kActivations) {
      for (const std::size_t size : {std::size_t{4}, std::size_t{9000}}) {
        SCOPED_TRACE("count " + std::to_string(say.count) + ", activation " +
                     std::to_string(static_cast<int>(activation)));
        std::vector<double> x(size, 2.0);
        for (std::size_t i = 0; i < 4; ++i) x[i] = kValues[i];
        const std::vector<double> g(size, 0.125);
        const Result r = run(GetParam(), x, g,
                             {.eps = say.eps, .activation = activation, .moments = &given}, true);
        expect_bias_alone(GetParam(), r, activation, std::vector<char>(size, 1),
                          0.125 * static_cast<double>(size));
      }
    }
  }
}

// The same moments in a tile of rows with others beside them.
TEST_P(BiasRows, AmongOrdinaryOnes) {
  const DType dtype = GetParam();
  constexpr std::int64_t kC = 6, kL = 8;
  Moments given = Moments::empty(1, kC);
  for (std::size_t c = 0; c < kC; ++c) {
    given.count[c] = c % 2 == 0 ? 1.0 : 2.0;
    given.m2[c] = 2.0;
  }
  std::vector<double> x(kC * kL, 1.0), g(kC * kL, 0.5);
  for (std::size_t i = 0; i < x.size(); i += 2 * kL) x[i] = kInf;
  Array in(dtype, {1, kC, kL}, x), grad(dtype, {1, kC, kL}, g), y(dtype, {1, kC, kL}),
      dx(dtype, {1, kC, kL}), dw(dtype, {kC}), db(dtype, {kC});
  instance_norm(in.view(), y.view(), {.eps = 0.0, .moments = &given});
  instance_norm_backward(
      in.view(), grad.view(), given,
      {.grad_input = dx.view(), .grad_weight = dw.view(), .grad_bias = db.view()},
      {.eps = 0.0, .use_input_stats = false});
  for (std::size_t c = 0; c < kC; ++c) {
    const double ordinary = c % 2 == 0 ? 0.0 : 1.0;  // of mean 0 and variance 1
    for (std::size_t i = c * kL; i < (c + 1) * kL; ++i) {
      EXPECT_EQ(y.values()[i], ordinary) << i;
      EXPECT_EQ(dx.values()[i], 0.5 * ordinary) << i;
    }
    EXPECT_EQ(dw.values()[c], 0.5 * kL * ordinary) << c;
    EXPECT_EQ(db.values()[c], 0.5 * kL) << c;
  }
}

// Saved by a forward, running statistics are moments of a count by which each row is an ordinary
// one: of one value, of none by lengths, padded or not.
TEST_P(BiasRows, AreNotThoseOfRunningStatistics) {
  const DType dtype = GetParam();
  const std::vector<std::int64_t> one = {1};
  for (const std::size_t size : {std::size_t{1}, std::size_t{4}}) {
    for (const bool padded : {false, true}) {
      std::vector<double> x(size, padded ? kNaN : 5.0), g(size, padded ? kNaN : 0.5);
      x[0] = 5.0;
      g[0] = 0.5;
      Array mean(wide_parameters(dtype), {1}, {1.0}), var(wide_parameters(dtype), {1}, {4.0});
      Options o{.running_mean = mean.view(),
                .running_var = var.view(),
                .use_input_stats = false,
                .eps = 0.0};
      if (padded) o.lengths = view(one, {1});
      const Result r = run(dtype, x, g, o, true);
      for (std::size_t i = 0; i < size; ++i) {
        const bool there = i == 0 || !padded;
        EXPECT_EQ(r.y[i], there ? (5.0 - 1.0) / 2.0 * 2.0 + kBias : 0.0);
        EXPECT_EQ(r.dx[i], there ? 0.5 : 0.0);  // weight / std * g
      }
      const auto values = padded ? 1.0 : static_cast<double>(size);
      EXPECT_EQ(r.dw, 0.5 * 2.0 * values);
      EXPECT_EQ(r.db, 0.5 * values);
    }
  }
}

}  // namespace
}  // namespace instnorm::test
