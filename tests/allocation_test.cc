// Once the sizes of a call have been seen, the call allocates nothing: operator new is counted.
#include <gtest/gtest.h>
#include <instnorm/functional.h>
#include <instnorm/runtime.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <vector>

#include "calls.h"
#include "scale.h"

namespace {

std::atomic<long> g_allocations{0};

void* counted(std::size_t size, std::size_t alignment) {
  ++g_allocations;
  size = (size + alignment - 1) / alignment * alignment;
  void* p = std::aligned_alloc(alignment, size);  // NOLINT(*-owning-memory): operator new is this
  if (p == nullptr) throw std::bad_alloc();
  return p;
}

void release(void* p) noexcept {
  std::free(p);  // NOLINT(*-owning-memory,*-no-malloc): operator delete is this
}

}  // namespace

void* operator new(std::size_t size) { return counted(size, alignof(std::max_align_t)); }
void* operator new(std::size_t size, std::align_val_t alignment) {
  return counted(size, static_cast<std::size_t>(alignment));
}
void operator delete(void* p) noexcept { release(p); }
void operator delete(void* p, std::size_t) noexcept { release(p); }
void operator delete(void* p, std::align_val_t) noexcept { release(p); }
void operator delete(void* p, std::size_t, std::align_val_t) noexcept { release(p); }

namespace instnorm::test {
namespace {

struct Workload {
  Call call;
  Array g, dx, dw, db;
  Moments given;
  std::vector<std::int64_t> lengths;
  std::vector<std::uint8_t> valid;

  Workload(DType dtype, const Dims& shape, Pattern in, Pattern out)
      : call(dtype, shape, std::vector<double>(static_cast<std::size_t>(shape.product()), 0.5), in,
             out),
        g(dtype, shape, call.x.values(), in),
        dx(dtype, shape, out),
        dw(dtype, {call.setting.C}),
        db(dtype, {call.setting.C}) {
    std::vector<double> x = call.x.values();
    for (std::size_t i = 0; i < x.size(); i += 3) x[i] = static_cast<double>(i % 7);
    call.x.set(x);
    call.give(Given::shared, Given::shared, dtype);
    call.give_running(dtype);
    given = moments(call.x.view());
    lengths.assign(static_cast<std::size_t>(shape[0]), shape[2] / 2);
    for (std::int64_t i = 0; i < shape[0] * shape[2]; ++i) valid.push_back(i % 5 != 0);
  }

  void run() {
    const ConstView x = call.x.view();
    const View y = call.y.view();
    const Options options = call.options();
    instance_norm(x, y, options);
    instance_norm(x, y, {.weight = options.weight, .moments = &given});
    instance_norm(x, y,
                  {.running_mean = options.running_mean,
                   .running_var = options.running_var,
                   .use_input_stats = false});
    instance_norm_backward(
        x, g.view(), given,
        {.grad_input = dx.view(), .grad_weight = dw.view(), .grad_bias = db.view()},
        {.weight = options.weight, .bias = options.bias});
    denormalize(x, given, y, {.weight = options.weight});

    const std::int64_t N = call.setting.N;
    Options extras{.lengths = instnorm::view(lengths, {N}), .activation = Activation::gelu};
    BackwardOptions back{.lengths = extras.lengths, .activation = Activation::gelu};
    const Gradients gradients{.grad_input = dx.view(), .grad_weight = dw.view()};
    instance_norm(x, y, extras);
    instance_norm_backward(x, g.view(), given, gradients, back);
    extras.lengths = back.lengths = {};
    extras.mask = back.mask =
        instnorm::view(static_cast<const void*>(valid.data()), DType::boolean, {N, call.setting.L});
    extras.nan_policy = back.nan_policy = NanPolicy::omit;
    instance_norm(x, y, extras);
    instance_norm_backward(x, g.view(), given, gradients, back);
    instance_norm(x, y, {.nan_policy = NanPolicy::raise});
  }
};

TEST(Allocation, NoneOnceTheSizesHaveBeenSeen) {
  for (const int threads : {1, 3}) {
    set_num_threads(threads);
    for (const DType dtype : kFloats) {
      std::vector<Workload> all;
      for (const Dims& shape :
           {Dims{2, 3, 10}, Dims{2, 3, 5000}, Dims{300, 20, 4}, Dims{1, 2, scaled(150'000)}}) {
        all.emplace_back(dtype, shape, Pattern::dense, Pattern::dense);
        all.emplace_back(dtype, shape, Pattern::channels_last, Pattern::stepped);
      }
      for (Workload& w : all) w.run();
      const long before = g_allocations;
      for (Workload& w : all) w.run();
      EXPECT_EQ(g_allocations - before, 0) << name(dtype) << " on " << threads << " threads";
    }
  }
}

// The counter counts.
TEST(Allocation, IsSeen) {
  const long before = g_allocations;
  const std::vector<double> some(100);
  EXPECT_EQ(g_allocations - before, 1) << some.size();
}

}  // namespace
}  // namespace instnorm::test
