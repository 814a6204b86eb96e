#include "cpu/parameter_gradient.h"

#include <cstdint>

#include "dtype.h"

namespace instnorm::cpu {

void store_parameter_gradient(const Problem& p, const Param& out, const double* rows) {
  if (!out.defined()) return;
  for (std::int64_t c = 0; c < p.C; ++c) {
    double sum = 0.0;
    for (std::int64_t n = 0; n < p.N; ++n) {
      const double value = rows[n * p.C + c];
      if (out.per_instance) {
        store_double(out.at(n, c), out.dtype, value);
      } else {
        sum += value;
      }
    }
    if (!out.per_instance) store_double(out.at(0, c), out.dtype, sum);
  }
}

}  // namespace instnorm::cpu
