// The functions of functional.h at their simplest: one hop from the formula.
#include <gtest/gtest.h>
#include <instnorm/functional.h>

#include <cmath>
#include <vector>

namespace instnorm {
namespace {

TEST(InstanceNorm, IsTheFormulaOnARowThatIsExact) {
  // mean 2, deviations -1, 1, -1, 1: variance 1.
  const std::vector<float> x = {1, 3, 1, 3};
  std::vector<float> y(4);
  instance_norm(view(x, {1, 1, 4}), view(y, {1, 1, 4}), {.eps = 0.0});
  EXPECT_EQ(y, (std::vector<float>{-1, 1, -1, 1}));
}

}  // namespace
}  // namespace instnorm
