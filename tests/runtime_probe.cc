// runtime_probe [FILE]: what the library says of itself in a process of its own, for targets_test:
// one line `target NAME`, one `threads K`, or the error. With FILE, the results of a fixed set of
// calls are written there, raw, for comparison between instruction sets.
#include <instnorm/functional.h>
#include <instnorm/runtime.h>

#include <cstdio>
#include <exception>
#include <fstream>
#include <vector>

#include "calls.h"

namespace instnorm::test {
namespace {

void append(std::vector<double>& to, const std::vector<double>& from) {
  to.insert(to.end(), from.begin(), from.end());
}

// float32 for what the calls store, float64 for moments: all as double, which holds them.
std::vector<double> results() {
  std::vector<double> all;
  for (const DType dtype : kFloats) {
    for (const RowCase& c : row_cases()) {
      if (!holds(dtype, c)) continue;
      Call call(dtype, {1, 2, c.L}, rows_of(c, dtype, 2));
      call.give(Given::shared, Given::shared, dtype);
      call.setting.eps = c.eps;
      instance_norm(call.x.view(), call.y.view(), call.options());
      append(all, call.y.values());
      append(all, call.saved.mean);
      append(all, call.saved.m2);
      Random random(61);
      Array g(dtype, {1, 2, c.L}, normal_values(random, 2 * c.L, 0.5, 1.0));
      Array dx(dtype, {1, 2, c.L}), dw(dtype, {2});
      instance_norm_backward(call.x.view(), g.view(), call.saved,
                             {.grad_input = dx.view(), .grad_weight = dw.view()},
                             {.weight = call.weight.view(), .eps = c.eps});
      append(all, dx.values());
      append(all, dw.values());
    }
  }
  return all;
}

}  // namespace
}  // namespace instnorm::test

int main(int argc, char** argv) {
  try {
    std::printf("target %s\n", instnorm::cpu_target());
    std::printf("threads %d\n", instnorm::get_num_threads());
    if (argc > 1) {
      const std::vector<double> all = instnorm::test::results();
      std::ofstream file(argv[1], std::ios::binary);
      file.write(reinterpret_cast<const char*>(all.data()),
                 static_cast<std::streamsize>(all.size() * sizeof(double)));
    }
  } catch (const std::exception& e) {
    std::printf("%s\n", e.what());
    return 1;
  }
}
