// Memory runs out at the n-th allocation of a call, for n = 1, 2, ... until the call passes: each
// time std::bad_alloc, what the call only reads and the running statistics as they were, nothing
// leaked, and the next call right.
#include <gtest/gtest.h>
#include <instnorm/functional.h>
#include <instnorm/module.h>
#include <instnorm/runtime.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <new>
#include <string>
#include <thread>
#include <vector>

#include "calls.h"
#include "temporary_folder.h"

namespace {

std::atomic<bool> g_armed{false};
std::atomic<bool> g_for_good{false};  // all that follow fail too
std::atomic<long> g_until_failure{0};
std::atomic<long> g_failures{0};
std::atomic<long> g_alive{0};

bool fails() {
  if (!g_armed) return false;
  const long left = --g_until_failure;
  if (left > 0 || (left < 0 && !g_for_good)) return false;
  ++g_failures;
  return true;
}

void* allocated(std::size_t size, std::size_t alignment) noexcept {
  if (fails()) return nullptr;
  size = (size + alignment - 1) / alignment * alignment;
  void* p = std::aligned_alloc(alignment, size);  // NOLINT(*-owning-memory): operator new is this
  if (p != nullptr) ++g_alive;
  return p;
}

void* or_throw(void* p) {
  if (p == nullptr) throw std::bad_alloc();
  return p;
}

void release(void* p) noexcept {
  if (p != nullptr) --g_alive;
  std::free(p);  // NOLINT(*-owning-memory,*-no-malloc): operator delete is this
}

constexpr std::size_t kPlain = alignof(std::max_align_t);

}  // namespace

void* operator new(std::size_t size) { return or_throw(allocated(size, kPlain)); }
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  return allocated(size, kPlain);
}
void* operator new(std::size_t size, std::align_val_t alignment) {
  return or_throw(allocated(size, static_cast<std::size_t>(alignment)));
}
void operator delete(void* p) noexcept { release(p); }
void operator delete(void* p, std::size_t) noexcept { release(p); }
void operator delete(void* p, const std::nothrow_t&) noexcept { release(p); }
void operator delete(void* p, std::align_val_t) noexcept { release(p); }
void operator delete(void* p, std::size_t, std::align_val_t) noexcept { release(p); }

namespace instnorm::test {
namespace {

// What is called, where the n-th allocation fails. `reset` comes before each call; `unharmed` looks
// at what a call that failed left, `right` at the results of one that did not.
struct Subject {
  std::string name;
  std::function<void()> reset, call, unharmed, right;
};

enum class Warm { no, yes };

long g_thrown = 0;  // by all subjects of a test

class AllocationFailure : public testing::Test {
 protected:
  void SetUp() override { g_thrown = 0; }
  void TearDown() override { EXPECT_GT(g_thrown, 0) << "nothing was allocated"; }
};

// Each call is made by a thread of its own, which has no memory from earlier ones, nor have the
// threads of its loops. Where OpenMP has threads, they live on for a while with some of it.
void fail_at_each_allocation(const Subject& of, bool threads, Warm warm) {
  SCOPED_TRACE(of.name);
  constexpr long kEnough = 1000;
  if (warm == Warm::yes) {
    of.reset();
    std::thread(of.call).join();
  }
  long thrown = 0;
  for (const bool for_good : {false, true}) {
    bool met = true;
    for (long n = 1; met && !testing::Test::HasFailure(); ++n) {
      ASSERT_LT(n, kEnough);
      SCOPED_TRACE("allocation " + std::to_string(n) + (for_good ? " and all that follow" : ""));
      of.reset();
      bool threw = false;
      std::string other;
      const long before = g_alive;
      std::thread([&] {
        g_for_good = for_good;
        g_failures = 0;
        g_until_failure = n;
        g_armed = true;
        try {
          of.call();
        } catch (const std::bad_alloc&) {
          threw = true;
        } catch (const std::exception& e) {
          g_armed = false;
          other = e.what();
        }
        g_armed = false;
      }).join();
      met = g_failures > 0;
      EXPECT_EQ(other, "");
      if (threw) {
        ++thrown;
        of.unharmed();
      } else {
        of.right();
      }
      of.reset();
      if (warm == Warm::yes && !threads) {
        EXPECT_EQ(g_alive, before);
      }
      if (!threw) continue;
      std::thread(of.call).join();
      of.right();
    }
  }
  std::printf("%s: %ld failures\n", of.name.c_str(), thrown);
  g_thrown += thrown;
}

// All calls of functional.h on one input.
struct World {
  Call forward;
  Array g, dx, dw, db, gx, gg;
  Moments given, saved, m;
  std::vector<std::uint8_t> valid;

  explicit World(const Dims& shape, Pattern pattern = Pattern::dense)
      : forward(DType::float32, shape, ramp(shape), pattern, pattern),
        g(DType::float32, shape, ramp(shape), pattern),
        dx(DType::float32, shape, pattern),
        dw(DType::float32, {shape[1]}),
        db(DType::float32, {shape[1]}),
        gx(DType::float32, shape),
        gg(DType::float32, shape) {
    forward.give(Given::shared, Given::shared, DType::float32);
    reset_running();
    for (std::int64_t i = 0; i < shape[0] * shape[2]; ++i) valid.push_back(i % 5 != 0);
  }

  static std::vector<double> ramp(const Dims& shape) {
    std::vector<double> v(static_cast<std::size_t>(shape.product()));
    for (std::size_t i = 0; i < v.size(); ++i) v[i] = static_cast<double>(i * 7919 % 101);
    return v;
  }

  void reset_running() { forward.give_running(DType::float32); }

  ConstView mask() const {
    return view(static_cast<const void*>(valid.data()), DType::boolean,
                {forward.setting.N, forward.setting.L});
  }

  std::vector<std::vector<std::byte>> read_only() const {
    return {forward.x.memory(), g.memory(), forward.weight.memory(), forward.bias.memory()};
  }
  std::vector<std::vector<std::byte>> running() const {
    return {forward.running_mean.memory(), forward.running_var.memory()};
  }
  std::vector<std::vector<std::byte>> results() const {
    return {forward.y.bits(),
            dx.bits(),
            dw.bits(),
            gx.bits(),
            gg.bits(),
            forward.running_mean.bits(),
            forward.running_var.bits()};
  }

  void clear() {
    reset_running();
    for (Array* a : {&forward.y, &dx, &gx, &gg}) {
      a->set(std::vector<double>(static_cast<std::size_t>(a->shape().product()), 0.0));
    }
    dw.set(std::vector<double>(static_cast<std::size_t>(dw.shape().product()), 0.0));
    m = saved = Moments();
  }
};

bool consistent(const Moments& m) {
  const auto size = static_cast<std::size_t>(m.N * m.C);
  return m.count.size() == size && m.mean.size() == size && m.m2.size() == size;
}

// `call` of a world: compared with what it gives when memory lasts.
Subject subject(World& w, std::string name, std::function<void()> call, bool is_first = false) {
  struct Expected {
    std::vector<std::vector<std::byte>> read_only, running, results;
    std::vector<double> mean;
  };
  auto expected = std::make_shared<Expected>();
  w.clear();
  expected->read_only = w.read_only();
  expected->running = w.running();
  if (!is_first) {
    std::thread(call).join();
    expected->results = w.results();
    expected->mean = w.m.mean;
  }
  return {std::move(name), [&w] { w.clear(); }, call,
          [&w, expected] {
            EXPECT_TRUE(w.read_only() == expected->read_only) << "an input was written";
            EXPECT_TRUE(w.running() == expected->running) << "running statistics were written";
            EXPECT_TRUE(consistent(w.saved)) << "moments of a shape that they do not have";
            EXPECT_TRUE(consistent(w.m));
          },
          [&w, expected] {
            EXPECT_TRUE(w.read_only() == expected->read_only);
            if (expected->results.empty()) {
              expected->results = w.results();
              expected->mean = w.m.mean;
            }
            EXPECT_TRUE(w.results() == expected->results) << "results are not right";
            EXPECT_EQ(w.m.mean, expected->mean);
          }};
}

std::vector<Subject> functions(World& w) {
  const auto forward = [&w](auto&& change) {
    Options o = w.forward.options();
    o.save_moments = &w.saved;
    change(o);
    instance_norm(w.forward.x.view(), w.forward.y.view(), o);
  };
  w.given = moments(w.forward.x.view());
  return {
      subject(w, "instance_norm", [=] { forward([](Options&) {}); }),
      subject(w, "instance_norm of a mask",
              [=, &w] {
                forward([&](Options& o) {
                  o.mask = w.mask();
                  o.nan_policy = NanPolicy::omit;
                  o.activation = Activation::gelu;
                });
              }),
      subject(w, "instance_norm by moments",
              [=, &w] { forward([&](Options& o) { o.moments = &w.given; }); }),
      subject(w, "instance_norm in evaluation",
              [=] { forward([](Options& o) { o.use_input_stats = false; }); }),
      subject(
          w, "instance_norm_backward",
          [&w] {
            instance_norm_backward(
                w.forward.x.view(), w.g.view(), w.given,
                {.grad_input = w.dx.view(), .grad_weight = w.dw.view(), .grad_bias = w.db.view()},
                {.weight = w.forward.weight.view()});
          }),
      subject(w, "instance_norm_double_backward",
              [&w] {
                const ConstView u = w.g.view();
                instance_norm_double_backward(
                    w.forward.x.view(), w.g.view(), w.given, {.grad_input = u},
                    {.x = w.gx.view(), .weight = w.dw.view(), .grad_output = w.gg.view()},
                    {.weight = w.forward.weight.view()});
              }),
      subject(w, "moments", [&w] { w.m = moments(w.forward.x.view()); }),
      subject(w, "Moments::merge", [&w] { w.m = w.given.merge(w.given); }),
      subject(w, "Moments::std", [&w] { w.m = w.given, w.m.mean = w.given.std(); }),
      subject(w, "explain",
              [&w] { EXPECT_NE(explain(w.forward.x.view(), w.forward.y.view()), ""); }),
  };
}

// Without any call before it in this process.
TEST_F(AllocationFailure, OfTheFirstCall) {
  World w({2, 3, 40});
  fail_at_each_allocation(
      subject(
          w, "the first call",
          [&w] { instance_norm(w.forward.x.view(), w.forward.y.view(), w.forward.options()); },
          true),
      false, Warm::no);
}

TEST_F(AllocationFailure, OfEveryFunction) {
  set_num_threads(1);
  for (const Dims& shape : {Dims{2, 3, 40}, Dims{1, 2, 20'000}}) {
    World w(shape);
    for (const Subject& of : functions(w)) fail_at_each_allocation(of, false, Warm::yes);
  }
}

// Also in the threads of OpenMP, where an exception that leaves the loop would end the process.
TEST_F(AllocationFailure, InThreadsThatShareRows) {
  set_num_threads(3);
  World w({2, 3, 34'000});  // the moments of half of it take all threads too
  for (const Subject& of : functions(w)) fail_at_each_allocation(of, true, Warm::yes);
}

TEST_F(AllocationFailure, InThreadsThatShareBlocks) {
  set_num_threads(4);
  World w({1, 2, 100'000});
  for (const Subject& of : functions(w)) fail_at_each_allocation(of, true, Warm::yes);
}

TEST_F(AllocationFailure, OfATensor) {
  for (const std::int64_t bytes : {std::int64_t{100}, std::int64_t{3} << 20}) {
    bool made = false;
    const auto right = [&] { EXPECT_TRUE(made); };
    // The list of memory that is kept for the next result may fail to grow: then it is not kept.
    const auto call = [&] {
      const Tensor t({bytes}, DType::boolean);
      made = t.defined();
    };
    const auto reset = [&] {
      made = false;
      release_memory();
    };
    const Subject of{"a Tensor of " + std::to_string(bytes) + " bytes", reset, call, [] {}, right};
    if (bytes == 100) {
      fail_at_each_allocation(of, false, Warm::yes);
      continue;
    }
    for (long n = 1; n < 4; ++n) {
      reset();
      g_for_good = true;
      g_until_failure = n;
      g_armed = true;
      EXPECT_NO_THROW(call());
      g_armed = false;
      right();
    }
  }
  EXPECT_THROW(Tensor({std::int64_t{1} << 60}, DType::boolean), std::bad_alloc);
  EXPECT_THROW(Tensor({std::int64_t{1} << 62}, DType::float64), std::bad_alloc);
}

struct ModuleWorld {
  TemporaryFolder folder;
  InstanceNorm1d norm{{.num_features = 3, .affine = true, .track_running_stats = true}};
  std::vector<float> x = std::vector<float>(2 * 3 * 40);
  std::map<std::string, View> state = norm.state();

  ModuleWorld() {
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i % 7);
    norm.save(folder / "old");
  }
  void fill(float value) {
    for (const auto& [key, view] : state) {
      if (view.dtype == DType::float32) std::fill_n(static_cast<float*>(view.data), 3, value);
    }
  }
  bool all(float value) const {
    for (const auto& [key, view] : state) {
      const auto* p = static_cast<const float*>(view.data);
      if (view.dtype == DType::float32 && std::count(p, p + 3, value) != 3) return false;
    }
    return true;
  }
};

TEST_F(AllocationFailure, OfAModule) {
  ModuleWorld w;
  const ConstView x = view(w.x, {2, 3, 40});
  float first = 0, expected = 0;
  const auto fill = [&] { w.fill(2.0f); };
  const auto unharmed = [&] { EXPECT_TRUE(w.all(2.0f)); };
  fail_at_each_allocation(
      {"InstanceNorm1d()", [] {},
       [] { InstanceNorm1d({.num_features = 3, .affine = true, .track_running_stats = true}); },
       [] {}, [] {}},
      false, Warm::yes);
  fill();
  expected = *w.norm(x).data<float>();
  fail_at_each_allocation(
      {"InstanceNorm1d::forward", fill, [&] { first = *w.norm(x).data<float>(); }, unharmed,
       [&] { EXPECT_EQ(first, expected); }},
      false, Warm::yes);
}

TEST_F(AllocationFailure, OfSave) {
  ModuleWorld w;
  w.fill(3.0f);
  w.norm.save(w.folder / "file");
  const std::string old = contents(w.folder / "old"), later = contents(w.folder / "file");
  ASSERT_NE(old, later);
  fail_at_each_allocation({"InstanceNorm1d::save", [&] { put(w.folder / "file", old); },
                           [&] { w.norm.save(w.folder / "file"); },
                           [&] {
                             EXPECT_EQ(contents(w.folder / "file"), old);
                             EXPECT_EQ(w.folder.names().size(), 2u) << "a temporary file stays";
                           },
                           [&] {
                             EXPECT_EQ(contents(w.folder / "file"), later);
                             EXPECT_EQ(w.folder.names().size(), 2u);
                           }},
                          false, Warm::yes);
}

TEST_F(AllocationFailure, OfLoad) {
  ModuleWorld w;
  w.fill(3.0f);
  w.norm.save(w.folder / "file");
  fail_at_each_allocation(
      {"InstanceNorm1d::load", [&] { w.fill(2.0f); }, [&] { w.norm.load(w.folder / "file"); },
       [&] { EXPECT_TRUE(w.all(2.0f)); }, [&] { EXPECT_TRUE(w.all(3.0f)); }},
      false, Warm::yes);
}

}  // namespace
}  // namespace instnorm::test
