// Several threads of the caller at once. Also for ThreadSanitizer.
#include <gtest/gtest.h>
#include <instnorm/functional.h>
#include <instnorm/module.h>
#include <instnorm/runtime.h>

#include <atomic>
#include <cstddef>
#include <thread>
#include <vector>

#include "calls.h"
#include "scale.h"

namespace instnorm::test {
namespace {

constexpr int kCallers = 8;

// A caller's own outputs of inputs that all share.
struct Results {
  Array y, dx, dw;
  Moments m;
};

struct Shared {
  Array x, g, weight;

  explicit Shared(const Dims& shape) {
    Random random(51);
    x = Array(DType::float32, shape, normal_values(random, shape.product(), 2.0, 1.0));
    g = Array(DType::float32, shape, normal_values(random, shape.product()));
    weight = Array(DType::float32, {shape[1]},
                   std::vector<double>(static_cast<std::size_t>(shape[1]), 1.5));
  }

  Results results() const {
    return {Array(DType::float32, x.shape()),
            Array(DType::float32, x.shape()),
            Array(DType::float32, weight.shape()),
            {}};
  }

  // Only reads what is shared.
  void compute(const ConstView& x_view, const ConstView& g_view, const ConstView& w,
               Results& r) const {
    instance_norm(x_view, r.y.view(), {.weight = w, .save_moments = &r.m});
    instance_norm_backward(x_view, g_view, r.m,
                           {.grad_input = r.dx.view(), .grad_weight = r.dw.view()}, {.weight = w});
    denormalize(r.y.view(), r.m, r.y.view(), {.weight = w});
  }
};

void expect_same(const Results& got, const Results& expected) {
  EXPECT_TRUE(got.y.bits() == expected.y.bits());
  EXPECT_TRUE(got.dx.bits() == expected.dx.bits());
  EXPECT_TRUE(got.dw.bits() == expected.dw.bits());
  EXPECT_TRUE(got.m.mean == expected.m.mean);
}

// Each caller many times; `meanwhile` runs beside them until they are done.
template <class Meanwhile>
void expect_callers_agree(const Dims& shape, int repeats, const Meanwhile& meanwhile) {
  Shared shared(shape);
  const ConstView x = shared.x.view(), g = shared.g.view(), w = shared.weight.view();
  Results alone = shared.results();
  shared.compute(x, g, w, alone);
  std::vector<Results> results;
  for (int t = 0; t < kCallers; ++t) results.push_back(shared.results());
  std::atomic<int> running{kCallers};
  std::vector<std::thread> callers;
  for (int t = 0; t < kCallers; ++t) {
    callers.emplace_back([&, t] {
      for (int i = 0; i < repeats; ++i) {
        shared.compute(x, g, w, results[static_cast<std::size_t>(t)]);
      }
      --running;
    });
  }
  while (running > 0) meanwhile();
  for (std::thread& caller : callers) caller.join();
  for (const Results& r : results) expect_same(r, alone);
}

TEST(Concurrency, CallersWithOutputsOfTheirOwn) {
  expect_callers_agree({4, 5, 100}, 200, [] { std::this_thread::yield(); });
}

// Calls that use threads themselves.
TEST(Concurrency, CallersOfLargeCalls) {
  set_num_threads(3);
  expect_callers_agree({2, 3, scaled(160'000)}, 3, [] { std::this_thread::yield(); });
}

TEST(Concurrency, SetNumThreadsWhileOthersCompute) {
  int k = 0;
  expect_callers_agree({2, 2, scaled(160'000)}, 3, [&k] {
    set_num_threads(1 + k++ % 4);
    EXPECT_GE(get_num_threads(), 1);
    std::this_thread::yield();
  });
}

TEST(Concurrency, CallersShareAModuleInEval) {
  InstanceNorm1d module({.num_features = 5, .affine = true, .track_running_stats = true});
  Shared shared({4, 5, 300});
  const ConstView x = shared.x.view();
  module.forward(x);  // so that the running statistics are not those of a new module
  module.eval();
  Array alone(DType::float32, shared.x.shape());
  module.forward(x, alone.view());
  std::vector<Array> results;
  for (int t = 0; t < kCallers; ++t) results.emplace_back(DType::float32, shared.x.shape());
  std::vector<std::thread> callers;
  for (Array& y : results) {
    callers.emplace_back([&module, &y, x] {
      for (int i = 0; i < 100; ++i) module.forward(x, y.view());
    });
  }
  for (std::thread& caller : callers) caller.join();
  for (Array& y : results) EXPECT_TRUE(y.bits() == alone.bits());
}

TEST(Concurrency, MomentsAreMergedByEachCaller) {
  Shared shared({2, 2, 1000});
  const ConstView x = shared.x.view();
  const Moments expected = moments(x).merge(moments(x));
  std::vector<Moments> merged(kCallers);
  std::vector<std::thread> callers;
  for (Moments& m : merged) {
    callers.emplace_back([&m, x] { m = moments(x).merge(moments(x)); });
  }
  for (std::thread& caller : callers) caller.join();
  for (const Moments& m : merged) EXPECT_EQ(m.mean, expected.mean);
}

}  // namespace
}  // namespace instnorm::test
