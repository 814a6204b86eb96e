// Outputs that are stored past the caches are those of ordinary stores, bit for bit. By one thread:
// others would only share the rows.
#include <gtest/gtest.h>
#include <instnorm/functional.h>
#include <instnorm/runtime.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "calls.h"
#include "dtype.h"
#include "inputs.h"

namespace instnorm::test {
namespace {

// What is too large for the caches is stored past them: one instance, in a batch of its copies.
class Streamed : public testing::TestWithParam<std::tuple<DType, Pattern>> {};

INSTANTIATE_TEST_SUITE_P(Stores, Streamed,
                         testing::Combine(testing::ValuesIn(kFloats),
                                          testing::Values(Pattern::dense, Pattern::shifted,
                                                          Pattern::channels_last)),
                         [](const auto& test) {
                           return std::string(name(std::get<0>(test.param))) +
                                  (std::get<1>(test.param) == Pattern::dense     ? "Dense"
                                   : std::get<1>(test.param) == Pattern::shifted ? "Shifted"
                                                                                 : "ChannelsLast");
                         });

TEST_P(Streamed, ChangesNothing) {
  constexpr std::int64_t kBytes = 12'000'000, kC = 11;  // as few as are streamed
  const auto [dtype, pattern] = GetParam();
  const Threads one_thread(1);
  for (const std::int64_t L : {17, 45, 100, 1030, 5000}) {
    const auto instance = static_cast<std::size_t>(kC * L * size_of(dtype));
    const auto N = static_cast<std::int64_t>(static_cast<std::size_t>(kBytes) / 2 / instance + 1);
    Inputs one = with_special_rows(dtype, {1, kC, L}, pattern);
    Array x(dtype, {N, kC, L}, pattern), g(dtype, {N, kC, L}, pattern);
    for (const auto& [all, of] : {std::pair{&x, &one.x}, std::pair{&g, &one.g}}) {
      auto* to = static_cast<std::byte*>(all->view().data);
      for (std::int64_t n = 0; n < N; ++n, to += instance) {
        std::memcpy(to, of->view().data, instance);
      }
    }
    Array weight(dtype, {kC}, std::vector<double>(kC, 0.7));
    const auto run = [&](Array& of_x, Array& of_g, Array& y, Array& dx) {
      Moments m;
      instance_norm(of_x.view(), y.view(), {.weight = weight.view(), .save_moments = &m});
      instance_norm_backward(of_x.view(), of_g.view(), m, {.grad_input = dx.view()},
                             {.weight = weight.view()});
    };
    Array y(dtype, x.shape(), pattern), dx(dtype, x.shape(), pattern);
    Array y_alone(dtype, one.x.shape(), pattern), dx_alone(dtype, one.x.shape(), pattern);
    // Rows that are columns are copied row by row where vectors have no fixed size.
    if (pattern != Pattern::channels_last || cpu_target() != std::string("SCALAR")) {
      EXPECT_NE(explain(x.view(), y.view()).find("streaming"), std::string::npos) << L;
    }
    run(x, g, y, dx);
    run(one.x, one.g, y_alone, dx_alone);
    const auto are_copies = [&](Array& all, Array& of) {
      const auto* at = static_cast<const std::byte*>(all.view().data);
      for (std::int64_t n = 0; n < N; ++n, at += instance) {
        if (std::memcmp(at, of.view().data, instance) != 0) return false;
      }
      return true;
    };
    EXPECT_TRUE(are_copies(y, y_alone)) << "y, L " << L;
    EXPECT_TRUE(are_copies(dx, dx_alone)) << "dx, L " << L;
    instance_norm(x.view(), y.view(), {.activation = Activation::gelu});
    instance_norm(one.x.view(), y_alone.view(), {.activation = Activation::gelu});
    EXPECT_TRUE(are_copies(y, y_alone)) << "activation, L " << L;
  }
}

}  // namespace
}  // namespace instnorm::test
