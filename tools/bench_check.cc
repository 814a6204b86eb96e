#include "bench_check.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "dtype.h"
#include "text.h"

namespace instnorm::cli {
namespace {

// One precision above the values, so that the definition's own rounding does not count.
using Row = std::vector<long double>;

// Half a unit in the last place of 16-bit results; for the others some units of the arithmetic
// between the input and the result, as the documentation of the library's accuracy allows.
double tolerance(DType dtype) {
  switch (dtype) {
    case DType::float16:
      return 0x1p-11 + 1e-6;
    case DType::bfloat16:
      return 0x1p-8 + 1e-6;
    case DType::float64:
      return 8 * 0x1p-52;
    default:
      return 1e-6;
  }
}

Row row_of(const Tensor& t, std::int64_t row) {
  const std::int64_t length = t.shape()[2], size = size_of(t.dtype());
  const auto* data = static_cast<const std::byte*>(t.data()) + row * length * size;
  Row values(static_cast<std::size_t>(length));
  for (long double& v : values) {
    v = load_double(data, t.dtype());
    data += size;
  }
  return values;
}

long double mean_of(const Row& values) {
  long double sum = 0.0;
  for (long double v : values) sum += v;
  return sum / static_cast<long double>(values.size());
}

// x becomes (x - mean) / sqrt(var + eps); returns 1 / sqrt(var + eps).
long double normalise(Row& x, double eps) {
  const long double mean = mean_of(x);
  long double m2 = 0.0;
  for (long double v : x) m2 += (v - mean) * (v - mean);
  const long double rstd = 1.0L / std::sqrt(m2 / static_cast<long double>(x.size()) + eps);
  for (long double& v : x) v = (v - mean) * rstd;
  return rstd;
}

// |got - want| <= tolerance * (unit + |want|) for each value of the row.
std::string compare(const char* what, std::int64_t row, const Row& got, const Row& want,
                    long double unit, double tolerance) {
  for (std::size_t l = 0; l < got.size(); ++l) {
    if (std::fabs(got[l] - want[l]) <= tolerance * (unit + std::fabs(want[l]))) continue;
    return std::string("wrong values: ") + what + " of row " + std::to_string(row) + " at " +
           std::to_string(l) + " is " + number("%.9g", static_cast<double>(got[l])) +
           ", by the definition " + number("%.9g", static_cast<double>(want[l]));
  }
  return "";
}

}  // namespace

std::string check_forward(const Tensor& x, const Tensor& y, double eps) {
  for (std::int64_t row = 0; row < x.shape()[0] * x.shape()[1]; ++row) {
    Row want = row_of(x, row);
    normalise(want, eps);
    const std::string wrong = compare("y", row, row_of(y, row), want, 1.0, tolerance(x.dtype()));
    if (!wrong.empty()) return wrong;
  }
  return "";
}

std::string check_backward(const Tensor& x, const Tensor& g, const Tensor& gx, double eps) {
  for (std::int64_t row = 0; row < x.shape()[0] * x.shape()[1]; ++row) {
    Row xhat = row_of(x, row), want = row_of(g, row), g_xhat = want;
    const long double mean = mean_of(xhat), rstd = normalise(xhat, eps);
    for (std::size_t l = 0; l < xhat.size(); ++l) g_xhat[l] *= xhat[l];
    const long double mean_g = mean_of(want), mean_g_xhat = mean_of(g_xhat);
    long double largest = 0.0;
    for (std::size_t l = 0; l < xhat.size(); ++l) {
      // Of two values the terms all but cancel.
      largest = std::max(largest, rstd * (std::fabs(want[l]) + std::fabs(mean_g) +
                                          std::fabs(xhat[l] * mean_g_xhat)));
      want[l] = rstd * (want[l] - mean_g - xhat[l] * mean_g_xhat);
    }
    // The rounding of the mean, beside what the values differ by.
    const long double unit = largest * (1.0L + std::fabs(mean) * rstd);
    const std::string wrong =
        compare("grad_input", row, row_of(gx, row), want, unit, tolerance(x.dtype()));
    if (!wrong.empty()) return wrong;
  }
  return "";
}

}  // namespace instnorm::cli
