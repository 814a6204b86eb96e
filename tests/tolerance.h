// How far a result may be from the reference: the one table, and the comparison that applies it.
//
// u = 2^-24 (float32 arithmetic, of float16 and bfloat16 data too) or 2^-53 (float64).
//
// Forward. In y = (x - centre) * a + b the difference is exact for x near the mean and loses u of
// itself elsewhere, a is rounded once, product and sum cost u each: 4 u (1 + |y|). The sums behind
// mean and variance are taken in blocks, where a lane takes 16 + 16 additions and its fold 5: at
// most 37 u of sum |x - centre|, and sqrt(37) u, about 6 u, where the roundings are as good as
// independent. That moves y by 6 u (mean) + 3 u |y| (half the relative error of the variance). In
// all 13 u (1 + |y|); the contract is 1e-6 = 16.8 u for float32 and 8 ulp = 16 u for float64,
// whatever |mean| / std is.
//
// Backward. A gradient takes two more sums, of g and of g * xhat, as good as the others: twice the
// forward's, relative to the largest element, since the terms of an element cancel.
//
// Statistics. What the forward allows: a mean within 16.8 u std, a variance within twice 16.8 u of
// itself, and the rounding of a mean to the float64 that holds it.
//
// Stored in 16 bits (or in any format narrower than the arithmetic), a result is the rounding,
// once, to nearest even, of a value that keeps the bound. Rounding is monotone, so that says:
// between the rounded ends of the interval. One unit in the last place more is allowed only where
// the reference lies that close to a tie.
#pragma once

#include <gtest/gtest.h>
#include <instnorm/tensor.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string>
#include <vector>

#include "formats.h"

namespace instnorm::test {

// |result - reference| <= absolute + relative * |reference|, before it is stored.
struct Bound {
  double absolute = 0.0, relative = 0.0;
};

// The contract's unit of error in arithmetic on data of that dtype.
inline double unit_error(DType dtype) { return dtype == DType::float64 ? 0x1p-49 : 1e-6; }

// For |weight| and |bias| up to about 2; `size` is the larger one where they are greater.
inline Bound forward_bound(DType dtype, double size = 1.0) {
  return {unit_error(dtype) * size + smallest_subnormal(dtype), unit_error(dtype)};
}

inline Bound gradient_bound(DType dtype, double largest) {
  return {2 * unit_error(dtype) * largest + smallest_subnormal(dtype), 0.0};
}

inline Bound mean_bound(DType dtype, double std) { return {unit_error(dtype) * std, 0x1p-53}; }

inline Bound m2_bound(DType dtype) { return {0.0, 2 * unit_error(dtype)}; }

// `share` of the new value (the momentum) carries the error of the statistics; the arithmetic
// between is float64's.
inline Bound running_mean_bound(DType dtype, double share, double std) {
  return {unit_error(dtype) * std * std::fabs(share), 0x1p-51};
}
inline Bound running_var_bound(DType dtype, double share, double var) {
  return {2 * unit_error(dtype) * var * std::fabs(share), 0x1p-51};
}

// x = (y - bias) * a + mean: the product is off by 4 u of itself, the mean and the sum are rounded
// once.
inline Bound denormalize_bound(DType dtype, double mean, double deviation) {
  const double u = dtype == DType::float64 ? 0x1p-53 : 0x1p-24;
  return {u * std::fabs(mean) + 4 * u * deviation + smallest_subnormal(dtype), 2 * u};
}

// Is `got`, read from an array of dtype `stored`, within the bound?
template <class Real>
bool is_within(DType stored, double got, Real reference, const Bound& bound) {
  if (reference != reference) return std::isnan(got);
  const Real size = reference < 0 ? -reference : reference;
  const Real slack = Real(bound.absolute) + Real(bound.relative) * size;
  const Real error = Real(got) < reference ? reference - Real(got) : Real(got) - reference;
  if (error <= slack) return true;
  const auto nearest = static_cast<double>(reference);
  if (stored == DType::float64) return nearest == got;
  // Between the ends, and faster to come by than they are.
  if (got == quantize(stored, nearest) && Real(nearest) - reference <= slack &&
      reference - Real(nearest) <= slack) {
    return true;
  }
  return static_cast<double>(round_to(stored, static_cast<long double>(reference - slack))) <=
             got &&
         got <= static_cast<double>(round_to(stored, static_cast<long double>(reference + slack)));
}

// All of `got`, element i with bound_of(i).
template <class Real, class BoundOf>
::testing::AssertionResult all_within(DType stored, const std::vector<double>& got,
                                      const std::vector<Real>& reference, const BoundOf& bound_of) {
  if (got.size() != reference.size()) {
    return ::testing::AssertionFailure()
           << got.size() << " elements where the reference has " << reference.size();
  }
  std::size_t wrong = 0, first = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    if (is_within(stored, got[i], reference[i], bound_of(i))) continue;
    if (wrong++ == 0) first = i;
  }
  if (wrong == 0) return ::testing::AssertionSuccess();
  const auto expected = static_cast<double>(reference[first]);
  const Bound bound = bound_of(first);
  return ::testing::AssertionFailure()
         << wrong << " of " << got.size() << " elements of " << name(stored)
         << " are out of bounds, the first [" << first << "] = " << got[first] << " for "
         << expected << ", off by " << std::fabs(got[first] - expected) << " where "
         << bound.absolute + bound.relative * std::fabs(expected) << " is allowed";
}

template <class Real>
::testing::AssertionResult all_within(DType stored, const std::vector<double>& got,
                                      const std::vector<Real>& reference, const Bound& bound) {
  return all_within(stored, got, reference, [&](std::size_t) { return bound; });
}

template <class Real>
double largest_of(const std::vector<Real>& values) {
  double largest = 0.0;
  for (const Real& v : values) largest = std::max(largest, std::fabs(static_cast<double>(v)));
  return largest;
}

}  // namespace instnorm::test
