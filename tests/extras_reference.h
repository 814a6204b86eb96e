// The textbook definitions of the extras: which values are there, activations and their slopes, on
// top of reference.h's Setting. In long double; activations by its own erf, tanh and exp.
#pragma once

#include <instnorm/functional.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "reference.h"

namespace instnorm::test {

inline constexpr Activation kActivations[] = {Activation::none,       Activation::relu,
                                              Activation::leaky_relu, Activation::gelu,
                                              Activation::gelu_tanh,  Activation::silu};

inline long double sigmoid(long double z) {
  const long double e = std::exp(-std::fabs(z));
  return (z < 0 ? e : 1) / (1 + e);
}

// Limits at the infinities are those of the functions, where the formulas say 0 * inf.
inline long double activated(Activation activation, long double z) {
  constexpr long double kRootHalf = 0.707106781186547524400844362104849L;
  constexpr long double kRoot2OverPi = 0.797884560802865355879892119868764L;
  if (std::isinf(z) && z < 0 && activation != Activation::none &&
      activation != Activation::leaky_relu) {
    return 0;
  }
  switch (activation) {
    case Activation::none:
      return z;
    case Activation::relu:
      return z <= 0 ? 0 : z;
    case Activation::leaky_relu:
      return z > 0 ? z : 0.01L * z;
    case Activation::gelu:
      return z / 2 * std::erfc(-z * kRootHalf);
    case Activation::gelu_tanh:
      // 1 + tanh(u) = 2 sigmoid(2 u), which keeps its digits for z far below 0
      return z * sigmoid(2 * kRoot2OverPi * (z + 0.044715L * z * z * z));
    case Activation::silu:
      return z * sigmoid(z);
  }
  return 0;
}

inline long double slope(Activation activation, long double z) {
  constexpr long double kRootHalf = 0.707106781186547524400844362104849L;
  constexpr long double kRoot2OverPi = 0.797884560802865355879892119868764L;
  constexpr long double kDensityAt0 = 0.398942280401432677939946059934382L;
  if (std::isinf(z)) {
    return activation == Activation::none         ? 1
           : z > 0                                ? 1
           : activation == Activation::leaky_relu ? 0.01L
                                                  : 0;
  }
  switch (activation) {
    case Activation::none:
      return 1;
    case Activation::relu:
      return z <= 0 ? 0 : 1;  // at NaN too, as PyTorch's
    case Activation::leaky_relu:
      return z > 0 ? 1 : 0.01L;
    case Activation::gelu:
      return std::erfc(-z * kRootHalf) / 2 + z * kDensityAt0 * std::exp(-z * z / 2);
    case Activation::gelu_tanh: {
      const long double v = 2 * kRoot2OverPi * (z + 0.044715L * z * z * z);
      return sigmoid(v) +
             z * sigmoid(v) * sigmoid(-v) * 2 * kRoot2OverPi * (1 + 3 * 0.044715L * z * z);
    }
    case Activation::silu:
      return sigmoid(z) + z * sigmoid(z) * sigmoid(-z);
  }
  return 0;
}

enum class NormalisedBy { own, running, given };

// All arrays are (N, C, L), row-major, whatever the call's layout.
struct Extras {
  Setting setting;
  std::vector<char> valid;  // by lengths or mask
  bool omit = false;
  Activation activation = Activation::none;
  NormalisedBy by = NormalisedBy::own;
  // Values that nobody chose: what rare ones lose counts in the sizes of the gradients' errors too.
  bool any_values = false;

  bool there(const std::vector<double>& x, std::size_t i) const {
    return valid[i] && !(omit && std::isnan(x[i]));
  }

  std::vector<Stats<long double>> own_statistics(const std::vector<double>& x) const {
    std::vector<Stats<long double>> rows;
    each_row(setting, [&](std::int64_t, std::int64_t, std::size_t at) {
      const std::size_t end = at + static_cast<std::size_t>(setting.L);
      Stats<long double> row;
      for (std::size_t i = at; i < end; ++i) {
        if (!there(x, i)) continue;
        row.count += 1;
        row.mean += static_cast<long double>(x[i]);
      }
      if (row.count > 0) row.mean /= row.count;
      for (std::size_t i = at; i < end; ++i) {
        const long double d = static_cast<long double>(x[i]) - row.mean;
        if (there(x, i)) row.m2 += d * d;
      }
      rows.push_back(row);
    });
    return rows;
  }

  std::vector<long double> y(const std::vector<double>& x,
                             const std::vector<Stats<long double>>& rows) const {
    std::vector<double> seen = x;  // the x87 takes a hundred times as long for NaN and infinities
    for (std::size_t i = 0; i < seen.size(); ++i) {
      if (!valid[i]) seen[i] = 0;
    }
    std::vector<long double> z = forward(setting, seen, rows, by != NormalisedBy::running);
    for (std::size_t i = 0; i < z.size(); ++i) {
      z[i] = valid[i] ? activated(activation, z[i]) : 0;
    }
    return z;
  }

  struct Gradients {
    std::vector<long double> input;         // (N, C, L)
    std::vector<long double> weight, bias;  // (N, C): of each row
    // What their roundings, as good as independent, and the error of the mean add up to, in units
    // of error: of each row's weight and bias; and the largest of what the terms of `input` cancel
    // from.
    std::vector<long double> size, size_of_weight;
    double largest_term = 0;
  };

  // What the slope at z changes by where z does by 1 + |z|, in whose units z is rounded: in the
  // tails of an activation much more than the slope. And exp is 0 where that is below the smallest
  // normal number of float, 2^-102 in units of float's roundings.
  long double steepness(long double z, long double size_of_z) const {
    if (activation == Activation::none) return 0;
    constexpr long double kStep = 1e-6L, kLost = 0x1p-102L;
    const long double moved = slope(activation, z + kStep) - slope(activation, z - kStep);
    return (std::fabs(moved) / (2 * kStep) + kLost) * (1 + size_of_z);
  }

  Gradients gradients(const std::vector<double>& x, const std::vector<double>& g,
                      const std::vector<Stats<long double>>& rows) const {
    Gradients r;
    r.input.resize(x.size());
    each_row(setting, [&](std::int64_t n, std::int64_t c, std::size_t at) {
      const Stats<long double>& row = rows[setting.row(n, c)];
      const std::size_t end = at + static_cast<std::size_t>(setting.L);
      const auto rstd = rstd_of(setting, row, by != NormalisedBy::running);
      const auto weight = setting.weight_at<long double>(n, c);
      const auto bias = setting.bias_at<long double>(n, c);
      const auto xhat = [&](std::size_t i) {
        return (static_cast<long double>(x[i]) - row.mean) * rstd;
      };
      const auto z = [&](std::size_t i) { return xhat(i) * weight + bias; };
      const auto h = [&](std::size_t i) {
        return static_cast<long double>(g[i]) * slope(activation, z(i));
      };
      // The saved mean is a double, off by up to 2^-53 |mean|: xhat and z are off by rstd times
      // that.
      const bool saved_mean = any_values && by == NormalisedBy::own;
      const auto size_of_z = [&](std::size_t i) {
        return std::fabs(z(i)) + (saved_mean ? std::fabs(weight * rstd * row.mean) : 0);
      };
      const auto size_of_h = [&](std::size_t i) {
        const auto of_g = std::fabs(static_cast<long double>(g[i]));
        return std::fabs(h(i)) + (any_values ? of_g * steepness(z(i), size_of_z(i)) : 0);
      };
      long double sum = 0, product = 0, squares = 0;
      for (std::size_t i = at; i < end; ++i) {
        if (!there(x, i)) continue;
        sum += h(i);
        product += h(i) * xhat(i);
        const long double size_here = size_of_h(i);
        squares += size_here * size_here * (1 + xhat(i) * xhat(i));
        r.largest_term =
            std::max(r.largest_term, static_cast<double>(std::fabs(weight * rstd) * size_here));
      }
      for (std::size_t i = at; i < end; ++i) {
        if (!there(x, i) || rstd == 0) continue;
        const long double through_statistics =
            by == NormalisedBy::own ? (sum + xhat(i) * product) / row.count : 0;
        r.input[i] = weight * rstd * (h(i) - through_statistics);
        if (!saved_mean) continue;
        // product is off by rstd * sum times that. Of two values that are nearly equal it is most
        // of the error.
        const long double of_mean = weight * rstd * rstd * row.mean *
                                    (std::fabs(product) + std::fabs(xhat(i) * sum)) / row.count;
        r.largest_term = std::max(r.largest_term, static_cast<double>(std::fabs(of_mean)));
      }
      r.weight.push_back(product);
      r.bias.push_back(sum);
      r.size.push_back(std::sqrt(squares) + std::fabs(sum) + std::fabs(product));
      // And so is the product, of the weight's gradient.
      r.size_of_weight.push_back(r.size.back() +
                                 (saved_mean ? std::fabs(rstd * row.mean * sum) : 0));
    });
    return r;
  }
};

}  // namespace instnorm::test
