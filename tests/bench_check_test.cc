// The check that comes before every measurement of `instnorm bench` can fail.
#include "bench_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <instnorm/functional.h>

#include <cmath>

#include "dtype.h"

namespace instnorm::cli {
namespace {

using testing::HasSubstr;

constexpr double kEps = 1e-5;

class BenchCheck : public testing::TestWithParam<DType> {
 protected:
  BenchCheck() {
    for (std::int64_t i = 0; i < x.numel(); ++i) {
      store_double(at(x, i), x.dtype(), static_cast<double>(i * i % 17) + 3);
      store_double(at(g, i), g.dtype(), static_cast<double>(i * i % 13) - 5);
    }
    instance_norm(x, y, {.eps = kEps, .save_moments = &m});
    instance_norm_backward(x, g, m, {.grad_input = gx}, {.eps = kEps});
  }
  static std::byte* at(Tensor& t, std::int64_t i) {
    return static_cast<std::byte*>(t.data()) + i * size_of(t.dtype());
  }
  // Moves element i by a unit in the sixth place, or by one of the 16-bit formats' own.
  static void spoil(Tensor& t, std::int64_t i) {
    const double value = load_double(at(t, i), t.dtype());
    store_double(at(t, i), t.dtype(),
                 value + (size_of(t.dtype()) == 2 ? 0.05 : 1e-5) * (1 + std::fabs(value)));
  }

  Tensor x{{2, 3, 50}, GetParam()}, g{{2, 3, 50}, GetParam()}, y{{2, 3, 50}, GetParam()},
      gx{{2, 3, 50}, GetParam()};
  Moments m;
};

TEST_P(BenchCheck, AcceptsWhatTheLibraryComputes) {
  EXPECT_EQ(check_forward(x, y, kEps), "");
  EXPECT_EQ(check_backward(x, g, gx, kEps), "");
}

TEST_P(BenchCheck, NamesAWrongValue) {
  spoil(y, 4 * 50 + 7);
  spoil(gx, 5 * 50 + 49);
  EXPECT_THAT(check_forward(x, y, kEps), HasSubstr("y of row 4 at 7"));
  EXPECT_THAT(check_backward(x, g, gx, kEps), HasSubstr("grad_input of row 5 at 49"));
}

INSTANTIATE_TEST_SUITE_P(DTypes, BenchCheck,
                         testing::Values(DType::float16, DType::bfloat16, DType::float32,
                                         DType::float64),
                         [](const auto& dtype) { return std::string(name(dtype.param)); });

}  // namespace
}  // namespace instnorm::cli
