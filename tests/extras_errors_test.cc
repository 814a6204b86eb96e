// What only lengths, mask, nan_policy, data_format, activation and moments can get wrong: the
// message, and nothing written.
#include <gtest/gtest.h>
#include <instnorm/functional.h>

#include <cstdint>
#include <functional>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "views.h"

namespace instnorm::test {
namespace {

struct World {
  static constexpr std::int64_t kN = 2, kC = 3, kL = 8;
  Array x{DType::float32, {kN, kC, kL}, std::vector<double>(kN * kC * kL, 1.5)};
  Array y{DType::float32, {kN, kC, kL}};
  std::vector<std::int64_t> lengths = {8, 3};
  std::vector<std::int32_t> narrow = {8, 3};
  std::vector<float> floats = {8.0f, 3.0f};
  std::vector<std::uint8_t> bytes = std::vector<std::uint8_t>(kN * kC * kL, 1);
  Moments given = Moments::empty(kN, kC);
  Array mean{DType::float32, {kC}, {0, 0, 0}}, var{DType::float32, {kC}, {1, 1, 1}};

  ConstView mask(const Dims& shape) const {
    return view(static_cast<const void*>(bytes.data()), DType::boolean, shape);
  }
  void forward(const Options& o) { instance_norm(x.view(), y.view(), o); }
};

struct Mistake {
  const char* name;
  std::function<void(World&)> make;
  std::string message;
};

using W = World&;

const std::vector<Mistake>& mistakes() {
  static const std::vector<Mistake> kMistakes = {
      {"lengths and mask",
       [](W w) { w.forward({.lengths = view(w.lengths, {2}), .mask = w.mask({2, 8})}); },
       "[instance_norm] lengths and mask are both given: give one of them"},
      {"lengths of floats", [](W w) { w.forward({.lengths = view(w.floats, {2})}); },
       "[instance_norm] lengths must be int32 or int64, got float32"},
      {"lengths of another size", [](W w) { w.forward({.lengths = view(w.lengths, {1})}); },
       "[instance_norm] lengths must have shape (N,) = (2,), got (1,)"},
      {"lengths of rank 2", [](W w) { w.forward({.lengths = view(w.lengths, {2, 1})}); },
       "[instance_norm] lengths must have shape (N,) = (2,), got (2, 1)"},
      {"a negative length",
       [](W w) {
         w.lengths[1] = -1;
         w.forward({.lengths = view(w.lengths, {2})});
       },
       "[instance_norm] lengths must be from 0 to L = 8, got -1 at n = 1"},
      {"a length above L",
       [](W w) {
         w.narrow[0] = 9;
         w.forward({.lengths = view(w.narrow, {2})});
       },
       "[instance_norm] lengths must be from 0 to L = 8, got 9 at n = 0"},
      {"a length above 32 bits",
       [](W w) {
         w.lengths[0] = (std::int64_t{1} << 32) + 1;
         w.forward({.lengths = view(w.lengths, {2})});
       },
       "[instance_norm] lengths must be from 0 to L = 8, got 4294967297 at n = 0"},
      {"lengths for rank 4",
       [](W w) {
         const View x = w.x.view(), y = w.y.view();
         instance_norm(view(x.data, x.dtype, {2, 3, 2, 4}), view(y.data, y.dtype, {2, 3, 2, 4}),
                       {.lengths = view(w.lengths, {2})});
       },
       "[instance_norm] lengths needs x of 2 or 3 dimensions, got shape (2, 3, 2, 4)"},
      {"a mask of floats",
       [](W w) {
         std::vector<float> m(16, 1.0f);
         w.forward({.mask = view(m, {2, 8})});
       },
       "[instance_norm] mask must be bool, got float32"},
      {"a mask for one channel", [](W w) { w.forward({.mask = w.mask({2, 2, 8})}); },
       "[instance_norm] mask must have shape (2, 8), (2, 1, 8) or (2, 3, 8), got (2, 2, 8)"},
      {"a mask without N", [](W w) { w.forward({.mask = w.mask({8})}); },
       "[instance_norm] mask must have shape (2, 8), (2, 1, 8) or (2, 3, 8), got (8,)"},
      {"a mask that would broadcast", [](W w) { w.forward({.mask = w.mask({1, 8})}); },
       "[instance_norm] mask must have shape (2, 8), (2, 1, 8) or (2, 3, 8), got (1, 8)"},
      {"a mask in the other layout",
       [](W w) { w.forward({.mask = w.mask({2, 8, 3}), .data_format = DataFormat::NLC}); },
       "[instance_norm] mask must have shape (2, 3), (2, 3, 1) or (2, 3, 8), got (2, 8, 3)"},
      {"a mask over y",
       [](W w) {
         const View y = w.y.view();
         w.forward({.mask = view(static_cast<const void*>(y.data), DType::boolean, {2, 8})});
       },
       "[instance_norm] y overlaps mask"},
      {"moments without input statistics",
       [](W w) {
         w.forward({.running_mean = w.mean.view(),
                    .running_var = w.var.view(),
                    .use_input_stats = false,
                    .moments = &w.given});
       },
       "[instance_norm] moments with use_input_stats false: give one of them"},
      {"moments of another shape",
       [](W w) {
         const Moments other = Moments::empty(3, 2);
         w.forward({.moments = &other});
       },
       "[instance_norm] moments must have shape (N, C) = (2, 3), got (3, 2)"},
      {"moments with a vector too short",
       [](W w) {
         w.given.m2.pop_back();
         w.forward({.moments = &w.given});
       },
       "[instance_norm] moments must have N * C = 6 values each of count, mean and m2, got 5"},
      {"lengths of a backward",
       [](W w) {
         instance_norm_backward(w.x.view(), w.x.view(), w.given, {.grad_input = w.y.view()},
                                {.lengths = view(w.floats, {2})});
       },
       "[instance_norm_backward] lengths must be int32 or int64, got float32"},
      {"a mask of moments", [](W w) { moments(w.x.view(), {.mask = w.mask({8})}); },
       "[moments] mask must have shape (2, 8), (2, 1, 8) or (2, 3, 8), got (8,)"},
      {"rank 1 in NLC",
       [](W w) {
         const View x = w.x.view();
         moments(view(x.data, x.dtype, {8}), {.data_format = DataFormat::NLC});
       },
       "[moments] x must have at least 2 dimensions, (L, C) or (N, L, C), got shape (8,)"},
      {"weight of L in NLC",
       [](W w) { w.forward({.weight = w.mean.view(), .data_format = DataFormat::NLC}); },
       "[instance_norm] weight must have shape (C,) = (8,) or (N, C) = (2, 8), got (3,)"},
      {"a weight of another N",
       [](W w) {
         Array weight(DType::float32, {3, 3});
         w.forward({.weight = weight.view()});
       },
       "[instance_norm] weight must have shape (C,) = (3,) or (N, C) = (2, 3), got (3, 3)"},
      {"a NaN to raise",
       [](W w) {
         std::vector<double> values(48, 1.5);
         values[24 + 16 + 3] = std::numeric_limits<double>::quiet_NaN();
         Array x(DType::float32, {2, 3, 8}, values);
         instance_norm(x.view(), w.y.view(), {.nan_policy = NanPolicy::raise});
       },
       "[instance_norm] x has a NaN at n = 1, c = 2, and nan_policy is \"raise\""},
      {"an unknown nan_policy", [](W) { nan_policy_of("ignore"); },
       "nan_policy must be \"propagate\", \"omit\" or \"raise\", got \"ignore\""},
      {"an unknown data_format", [](W) { data_format_of("ncl"); },
       "data_format must be \"NCL\" or \"NLC\", got \"ncl\""},
      {"an unknown activation", [](W) { activation_of("tanh"); },
       "activation must be \"relu\", \"leaky_relu\", \"gelu\", \"gelu_tanh\" or \"silu\", got "
       "\"tanh\""},
  };
  return kMistakes;
}

TEST(ExtrasErrors, OfEveryMistake) {
  for (const Mistake& mistake : mistakes()) {
    SCOPED_TRACE(mistake.name);
    World world;
    const std::vector<std::byte> x = world.x.memory(), y = world.y.memory();
    try {
      mistake.make(world);
      ADD_FAILURE() << "no error";
    } catch (const std::invalid_argument& e) {
      EXPECT_EQ(std::string(e.what()).substr(0, mistake.message.size()), mistake.message)
          << e.what();
    }
    EXPECT_TRUE(world.x.memory() == x);
    EXPECT_TRUE(world.y.memory() == y);
  }
}

TEST(ExtrasErrors, NotMadeOfLegalNames) {
  EXPECT_EQ(nan_policy_of("omit"), NanPolicy::omit);
  EXPECT_EQ(data_format_of("NLC"), DataFormat::NLC);
  EXPECT_EQ(activation_of("relu"), Activation::relu);
  EXPECT_EQ(activation_of("silu"), Activation::silu);
  EXPECT_EQ(activation_of("gelu_tanh"), Activation::gelu_tanh);
}

TEST(ExtrasErrors, NotMadeOfEveryShapeOfMask) {
  World w;
  for (const Dims& shape : {Dims{2, 8}, Dims{2, 1, 8}, Dims{2, 3, 8}}) {
    EXPECT_NO_THROW(w.forward({.mask = w.mask(shape)}));
  }
  for (const Dims& shape : {Dims{2, 3}, Dims{2, 3, 1}, Dims{2, 3, 8}}) {
    // (2, 3, 8) is N = 2, L = 3, C = 8 here.
    EXPECT_NO_THROW(w.forward({.mask = w.mask(shape), .data_format = DataFormat::NLC}));
  }
}

}  // namespace
}  // namespace instnorm::test
