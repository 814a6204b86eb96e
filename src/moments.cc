// Moments: the public value type over the row algebra.
#include <instnorm/functional.h>

#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>

#include "row_algebra.h"

namespace instnorm {
namespace {

// The vectors are anybody's to change.
void check_sizes(const char* op, const Moments& m) {
  std::int64_t size = 0;
  const bool shape = m.N >= 0 && m.C >= 0 && !__builtin_mul_overflow(m.N, m.C, &size);
  for (const auto* v : {&m.count, &m.mean, &m.m2}) {
    if (shape && v->size() == static_cast<std::size_t>(size)) continue;
    throw std::invalid_argument(
        std::string("[") + op + "] moments of shape (N, C) = " + Dims{m.N, m.C}.str() +
        " must have N * C values each of count, mean and m2, got " + std::to_string(v->size()));
  }
}

}  // namespace

Moments Moments::empty(std::int64_t n, std::int64_t c) {
  std::int64_t size = 0;
  if (n < 0 || c < 0 || __builtin_mul_overflow(n, c, &size) ||
      static_cast<std::uint64_t>(size) > std::vector<double>().max_size()) {
    throw std::invalid_argument("[Moments] no such shape: " + Dims{n, c}.str());
  }
  Moments m;
  m.N = n;
  m.C = c;
  for (auto* v : {&m.count, &m.mean, &m.m2}) v->assign(static_cast<std::size_t>(size), 0.0);
  return m;
}

std::vector<double> Moments::var(std::int64_t ddof) const {
  check_sizes("Moments.var", *this);
  std::vector<double> result(m2.size());
  for (std::size_t i = 0; i < m2.size(); ++i) {
    const double freedom = count[i] - static_cast<double>(ddof);
    result[i] = freedom > 0.0 ? m2[i] / freedom : std::numeric_limits<double>::quiet_NaN();
  }
  return result;
}

std::vector<double> Moments::std(std::int64_t ddof) const {
  std::vector<double> result = var(ddof);
  for (double& v : result) v = std::sqrt(v);
  return result;
}

Moments Moments::merge(const Moments& other) const {
  if (N != other.N || C != other.C) {
    throw std::invalid_argument("[Moments.merge] shapes differ: " + Dims{N, C}.str() + " and " +
                                Dims{other.N, other.C}.str());
  }
  check_sizes("Moments.merge", *this);
  check_sizes("Moments.merge", other);
  Moments merged = *this;
  for (std::size_t i = 0; i < count.size(); ++i) {
    if (other.count[i] == 0.0) continue;
    RowMoments row;
    row.count = count[i];
    row.mean.hi = mean[i];
    row.m2 = m2[i];
    instnorm::merge(row, {other.count[i], other.mean[i], 0.0, other.m2[i], false});
    finish(row);
    merged.count[i] = row.count;
    merged.mean[i] = row.mean.hi;
    merged.m2[i] = row.m2;
  }
  return merged;
}

}  // namespace instnorm
