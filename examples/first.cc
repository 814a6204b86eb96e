#include <instnorm/instnorm.h>

#include <cstdio>
#include <vector>

int main() {
  // One instance of two channels, four values each: a drifting sensor and a quiet one.
  const std::vector<float> x = {1001, 1003, 1001, 1003, -0.5f, 0.5f, 0.5f, -0.5f};
  std::vector<float> y(x.size());
  instnorm::instance_norm(instnorm::view(x, {1, 2, 4}), instnorm::view(y, {1, 2, 4}));
  for (const float value : y) std::printf("%.3f ", static_cast<double>(value));
}
