// One call of the library with everything it is given, in memory of any stride pattern, and its
// check against the reference.
#pragma once

#include <gtest/gtest.h>
#include <instnorm/functional.h>

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "formats.h"
#include "generate.h"
#include "reference.h"
#include "tolerance.h"
#include "views.h"

namespace instnorm::test {

// Whether a parameter is there, and in which shape.
enum class Given { absent, shared, per_instance };
inline constexpr Given kGiven[] = {Given::absent, Given::shared, Given::per_instance};

struct Call {
  Call(DType of, const Dims& shape, const std::vector<double>& values, Pattern in = Pattern::dense,
       Pattern out = Pattern::dense)
      : dtype(of), x(of, shape, values, in), y(of, shape, out) {
    const RowShape rows(shape);
    setting.N = rows.N;
    setting.C = rows.C;
    setting.L = rows.L;
  }

  // Weights between 0.5 and 2, both signs; biases between -1 and 1.
  void give(Given weight_given, Given bias_given, DType parameter_dtype, std::uint64_t seed = 7) {
    Random random(seed);
    const auto make = [&](Given given, double low, double high, bool signs) {
      if (given == Given::absent) return Array();
      const bool each = given == Given::per_instance;
      const Dims shape = each ? Dims{setting.N, setting.C} : Dims{setting.C};
      std::vector<double> v = uniform_values(random, shape.product(), low, high);
      if (signs) {
        for (std::size_t i = 1; i < v.size(); i += 2) v[i] = -v[i];
      }
      // Of the vector that holds them, every second element.
      return Array(parameter_dtype, shape, v, Pattern::stepped);
    };
    weight = make(weight_given, 0.5, 2.0, true);
    bias = make(bias_given, -1.0, 1.0, false);
    setting.weight = weight.defined() ? weight.values() : std::vector<double>();
    setting.bias = bias.defined() ? bias.values() : std::vector<double>();
  }

  // By the channel: a mean of c and a variance of about 1 + c.
  void give_running(DType running_dtype, Pattern pattern = Pattern::dense) {
    std::vector<double> mean, var;
    for (std::int64_t c = 0; c < setting.C; ++c) {
      mean.push_back(static_cast<double>(c) - 0.3);
      var.push_back(1.1 + static_cast<double>(c));
    }
    running_mean = Array(running_dtype, {setting.C}, mean, pattern);
    running_var = Array(running_dtype, {setting.C}, var, pattern);
  }

  Options options() {
    Options o;
    o.weight = weight.view();
    o.bias = bias.view();
    o.running_mean = running_mean.view();
    o.running_var = running_var.view();
    o.eps = setting.eps;
    o.weight_offset = setting.weight_offset;
    o.momentum = setting.momentum;
    o.save_moments = &saved;
    return o;
  }

  // y against the reference, by x's own statistics.
  ::testing::AssertionResult forward_is_right() {
    instance_norm(x.view(), y.view(), options());
    return with_real(dtype, [&](auto zero) {
      using Real = decltype(zero);
      const std::vector<double> values = x.values();
      return y_is(forward(setting, values, statistics<Real>(setting, values)));
    });
  }

  template <class Real>
  ::testing::AssertionResult y_is(const std::vector<Real>& reference) {
    const ::testing::AssertionResult near =
        all_within(dtype, y.values(), reference, forward_bound(dtype));
    if (!near) return near;
    if (!y.surroundings_untouched()) {
      return ::testing::AssertionFailure() << "bytes around y were written";
    }
    return ::testing::AssertionSuccess();
  }

  ::testing::AssertionResult moments_are_right(const Moments& m) {
    return with_real(dtype, [&](auto zero) {
      using Real = decltype(zero);
      const std::vector<Stats<Real>> rows = statistics<Real>(setting, x.values());
      std::vector<Real> count, mean, m2;
      for (const Stats<Real>& row : rows) {
        count.push_back(row.count);
        mean.push_back(row.mean);
        m2.push_back(row.m2);
      }
      ::testing::AssertionResult right = all_within(DType::float64, m.count, count, Bound{})
                                         << " (count)";
      if (!right) return right;
      right =
          all_within(DType::float64, m.mean, mean,
                     [&](std::size_t i) {
                       return mean_bound(dtype, std::sqrt(static_cast<double>(rows[i].variance())));
                     })
          << " (mean)";
      if (!right) return right;
      return all_within(DType::float64, m.m2, m2, m2_bound(dtype)) << " (m2)";
    });
  }

  std::string description() const {
    std::string s = std::string(name(dtype)) + " " + x.shape().str();
    if (weight.defined()) s += " weight " + weight.shape().str() + " " + name(weight.dtype());
    if (bias.defined()) s += " bias " + bias.shape().str() + " " + name(bias.dtype());
    return s;
  }

  DType dtype;
  Setting setting;
  Array x, y, weight, bias, running_mean, running_var;
  Moments saved;
};

// Tests that hold for every dtype: INSTANTIATE_TEST_SUITE_P(Name, EveryDType, kEveryDType,
// kDTypeName).
class EveryDType : public ::testing::TestWithParam<DType> {};
inline const auto kEveryDType = ::testing::ValuesIn(kFloats);
inline constexpr auto kDTypeName = [](const ::testing::TestParamInfo<DType>& test) {
  return std::string(name(test.param));
};

// float32 beside 16-bit data, else the data's own.
inline DType wide_parameters(DType dtype) { return is_16_bit(dtype) ? DType::float32 : dtype; }

}  // namespace instnorm::test
