// The textbook definitions, two passes over each row, in a precision above that of the data: `Real`
// is long double for data up to float32 and quadruple precision for float64. Nothing here is shared
// with the library but the plain struct Moments.
#pragma once

#include <instnorm/functional.h>

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "views.h"

namespace instnorm::test {

// On x86 long double has 64 bits of significand, too few above float64; elsewhere it has 113, or
// there is nothing better.
#if LDBL_MANT_DIG < 113 && defined(__SIZEOF_FLOAT128__)
using Quad = __float128;
#else
using Quad = long double;
#endif

// One Newton step doubles the 64 right bits of the start.
template <class Real>
Real square_root(Real v) {
  const long double start = std::sqrt(static_cast<long double>(v));
  if (!(start > 0) || std::isinf(start)) return start;
  const Real s = start;
  return (s + v / s) / 2;
}

template <class Real>
struct Stats {
  Real count = 0, mean = 0, m2 = 0;
  Real variance() const { return m2 / count; }
};

// What a call is given besides x: (C,) or (N, C) parameters, empty where absent.
struct Setting {
  std::int64_t N = 0, C = 0, L = 0;
  std::vector<double> weight, bias;
  double eps = 1e-5, weight_offset = 0.0, momentum = 0.1;

  std::size_t row(std::int64_t n, std::int64_t c) const {
    return static_cast<std::size_t>(n * C + c);
  }
  double of(const std::vector<double>& parameter, std::int64_t n, std::int64_t c) const {
    const bool per_instance = parameter.size() != static_cast<std::size_t>(C);
    return parameter[per_instance ? row(n, c) : static_cast<std::size_t>(c)];
  }
  template <class Real>
  Real weight_at(std::int64_t n, std::int64_t c) const {
    return weight.empty() ? Real(1) : Real(of(weight, n, c)) + Real(weight_offset);
  }
  template <class Real>
  Real bias_at(std::int64_t n, std::int64_t c) const {
    return bias.empty() ? Real(0) : Real(of(bias, n, c));
  }
};

// Calls f(n, c, offset of the row's first element) for each row.
template <class F>
void each_row(const Setting& s, const F& f) {
  for (std::int64_t n = 0; n < s.N; ++n) {
    for (std::int64_t c = 0; c < s.C; ++c) f(n, c, static_cast<std::size_t>((n * s.C + c) * s.L));
  }
}

template <class Real>
std::vector<Stats<Real>> statistics(const Setting& s, const std::vector<double>& x) {
  std::vector<Stats<Real>> rows(static_cast<std::size_t>(s.N * s.C));
  each_row(s, [&](std::int64_t n, std::int64_t c, std::size_t at) {
    Stats<Real>& row = rows[s.row(n, c)];
    row.count = Real(s.L);
    const double* first = x.data() + at;
    for (std::int64_t l = 0; l < s.L; ++l) row.mean += Real(first[l]);
    if (s.L > 0) row.mean /= row.count;
    for (std::int64_t l = 0; l < s.L; ++l) {
      const Real d = Real(first[l]) - row.mean;
      row.m2 += d * d;
    }
  });
  return rows;
}

template <class Real>
std::vector<Stats<Real>> statistics(const Moments& m) {
  std::vector<Stats<Real>> rows;
  for (std::size_t i = 0; i < m.count.size(); ++i) {
    rows.push_back({Real(m.count[i]), Real(m.mean[i]), Real(m.m2[i])});
  }
  return rows;
}

// Running statistics stand for every instance, with a count by which each row is an ordinary one.
template <class Real>
std::vector<Stats<Real>> statistics(const Setting& s, const std::vector<double>& running_mean,
                                    const std::vector<double>& running_var) {
  std::vector<Stats<Real>> rows;
  for (std::int64_t n = 0; n < s.N; ++n) {
    for (std::size_t c = 0; c < running_mean.size(); ++c) {
      const Real count = std::max<std::int64_t>(s.L, 2);
      rows.push_back({count, Real(running_mean[c]), Real(running_var[c]) * count});
    }
  }
  return rows;
}

// 1 / sqrt(var + eps). Rows normalised by moments are their bias where these say nothing of a
// spread.
template <class Real>
Real rstd_of(const Setting& s, const Stats<Real>& row, bool by_moments) {
  if (by_moments && (row.count < 2 || (row.m2 == 0 && s.eps == 0.0))) return 0;
  return 1 / square_root<Real>(row.variance() + Real(s.eps));
}

// `by_moments`: by own or given moments; otherwise by running statistics.
template <class Real>
std::vector<Real> forward(const Setting& s, const std::vector<double>& x,
                          const std::vector<Stats<Real>>& rows, bool by_moments = true) {
  std::vector<Real> y(x.size());
  each_row(s, [&](std::int64_t n, std::int64_t c, std::size_t at) {
    const Stats<Real>& row = rows[s.row(n, c)];
    const Real a = rstd_of(s, row, by_moments) * s.template weight_at<Real>(n, c);
    const Real b = s.template bias_at<Real>(n, c);
    for (std::size_t i = at; i < at + static_cast<std::size_t>(s.L); ++i) {
      y[i] = (Real(x[i]) - row.mean) * a + b;
    }
  });
  return y;
}

template <class Real>
struct Running {
  std::vector<Real> mean, var;
};

// PyTorch's rule: over the instances, the mean of momentum * new + (1 - momentum) * old, with the
// unbiased variance of each instance. Instances with fewer than two values do not take part.
template <class Real>
Running<Real> running_update(const Setting& s, const std::vector<Stats<Real>>& rows,
                             const std::vector<double>& old_mean,
                             const std::vector<double>& old_var) {
  Running<Real> r;
  for (std::int64_t c = 0; c < s.C; ++c) {
    const auto i = static_cast<std::size_t>(c);
    const Real m = s.momentum;
    Real mean = 0, var = 0, instances = 0;
    for (std::int64_t n = 0; n < s.N; ++n) {
      const Stats<Real>& row = rows[s.row(n, c)];
      if (row.count < 2) continue;
      mean += m * row.mean + (1 - m) * Real(old_mean[i]);
      var += m * row.m2 / (row.count - 1) + (1 - m) * Real(old_var[i]);
      instances += 1;
    }
    r.mean.push_back(instances > 0 ? mean / instances : Real(old_mean[i]));
    r.var.push_back(instances > 0 ? var / instances : Real(old_var[i]));
  }
  return r;
}

template <class Real>
struct BackwardResult {
  std::vector<Real> input;         // (N, C, L)
  Real largest_term = 0;           // of weight * r * g: what the terms of `input` cancel from
  std::vector<Real> weight, bias;  // (N, C): of each row
};

// dx = weight * r * (g - mean(g) - xhat * mean(g * xhat)), or weight * r * g where the moments are
// constants; of a row's weight sum(g * xhat), of its bias sum(g).
template <class Real>
BackwardResult<Real> backward(const Setting& s, const std::vector<double>& x,
                              const std::vector<double>& g, const std::vector<Stats<Real>>& rows,
                              bool constant_moments = false) {
  BackwardResult<Real> r;
  r.input.resize(x.size());
  each_row(s, [&](std::int64_t n, std::int64_t c, std::size_t at) {
    const Stats<Real>& row = rows[s.row(n, c)];
    const Real rstd = rstd_of(s, row, !constant_moments);
    const Real a = rstd * s.template weight_at<Real>(n, c);
    const std::size_t end = at + static_cast<std::size_t>(s.L);
    Real sum = 0, product = 0;
    for (std::size_t i = at; i < end; ++i) {
      sum += Real(g[i]);
      product += Real(g[i]) * ((Real(x[i]) - row.mean) * rstd);
    }
    for (std::size_t i = at; i < end; ++i) {
      const Real xhat = (Real(x[i]) - row.mean) * rstd;
      const Real term = a * Real(g[i]);
      r.largest_term = std::max({r.largest_term, term, -term});
      r.input[i] = constant_moments
                       ? a * Real(g[i])
                       : a * (Real(g[i]) - sum / row.count - xhat * product / row.count);
    }
    r.weight.push_back(product);
    r.bias.push_back(sum);
  });
  return r;
}

// Gradients of a (C,) parameter: those of its rows, summed over the instances.
template <class Real>
std::vector<Real> over_instances(const Setting& s, const std::vector<Real>& of_rows) {
  std::vector<Real> sums(static_cast<std::size_t>(s.C), Real(0));
  each_row(s, [&](std::int64_t n, std::int64_t c, std::size_t) {
    sums[static_cast<std::size_t>(c)] += of_rows[s.row(n, c)];
  });
  return sums;
}

// x = (y - bias) / weight * sqrt(var + eps) + mean
template <class Real>
std::vector<Real> denormalize(const Setting& s, const std::vector<double>& y,
                              const std::vector<Stats<Real>>& rows) {
  std::vector<Real> x(y.size());
  each_row(s, [&](std::int64_t n, std::int64_t c, std::size_t at) {
    const Stats<Real>& row = rows[s.row(n, c)];
    const Real std = square_root<Real>(row.variance() + Real(s.eps));
    const Real w = s.template weight_at<Real>(n, c), b = s.template bias_at<Real>(n, c);
    for (std::size_t i = at; i < at + static_cast<std::size_t>(s.L); ++i) {
      x[i] = (Real(y[i]) - b) / w * std + row.mean;
    }
  });
  return x;
}

// Calls f with a value of the precision above the data's.
template <class F>
decltype(auto) with_real(DType dtype, const F& f) {
  return dtype == DType::float64 ? f(Quad(0)) : f(static_cast<long double>(0));
}

}  // namespace instnorm::test
