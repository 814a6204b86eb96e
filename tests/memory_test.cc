// Memory of large results is kept for the next one, within a bound, and given back on demand.
#include <gtest/gtest.h>
#include <instnorm/functional.h>
#include <instnorm/runtime.h>
#include <instnorm/tensor.h>
#include <pthread.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <thread>
#include <vector>

#include "cpu/threads.h"
#include "memory.h"

namespace instnorm::test {
namespace {

constexpr std::int64_t kMegabyte = 1 << 20;

class KeptMemory : public testing::Test {
 protected:
  void SetUp() override {
    if (!keeps_memory()) GTEST_SKIP() << "INSTNORM_KEEP_MEMORY=0";
    release_memory();
  }
  void TearDown() override { release_memory(); }
};

Tensor of_bytes(std::int64_t bytes) { return Tensor({bytes}, DType::boolean); }

TEST_F(KeptMemory, GoesToTheNextResultOfThatSize) {
  for (const std::int64_t bytes : {kMegabyte, 3 * kMegabyte + 7, 40 * kMegabyte}) {
    const void* before = nullptr;
    {
      Tensor t = of_bytes(bytes);
      before = t.data();
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(before) % 64, 0u);
      std::memset(t.data(), 1, static_cast<std::size_t>(bytes));  // all of it is there
    }
    EXPECT_EQ(of_bytes(bytes).data(), before) << bytes;
  }
}

TEST_F(KeptMemory, IsTwoResultsForTwo) {
  const Tensor a = of_bytes(5 * kMegabyte), b = of_bytes(5 * kMegabyte);
  EXPECT_NE(a.data(), b.data());
}

TEST_F(KeptMemory, IsGivenBack) {
  EXPECT_EQ(release_memory(), 0);
  {
    const Tensor t = of_bytes(8 * kMegabyte);
  }
  EXPECT_EQ(release_memory(), 8 * kMegabyte);
  EXPECT_EQ(release_memory(), 0);
}

TEST_F(KeptMemory, DoesNotHoldSmallResults) {
  {
    const Tensor t = of_bytes(kMegabyte - 1);
  }
  EXPECT_EQ(release_memory(), 0);
}

// 512 MB unless the environment says otherwise: the oldest go first, and what is larger goes at
// once.
TEST_F(KeptMemory, HasABound) {
  constexpr std::int64_t kBound = 512 * kMegabyte;
  {
    std::vector<Tensor> many;
    for (int i = 0; i < 12; ++i) many.push_back(of_bytes(60 * kMegabyte));
  }
  EXPECT_EQ(release_memory(), 8 * 60 * kMegabyte);
  {
    const Tensor t = of_bytes(kBound + kMegabyte);
  }
  EXPECT_EQ(release_memory(), 0);
}

TEST_F(KeptMemory, MayBeFreedByAnotherThread) {
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([] {
      for (int k = 0; k < 50; ++k) {
        Tensor t = of_bytes((1 + k % 3) * kMegabyte);
        std::memset(t.data(), k, 4096);
        std::thread([moved = std::move(t)] {}).join();
      }
    });
  }
  for (std::thread& t : threads) t.join();
  EXPECT_GE(release_memory(), 0);
}

constexpr std::int64_t kMoreThanThereIs = std::int64_t{1} << 59;  // beyond any address

TEST_F(KeptMemory, GoesBeforeThereIsTooLittle) {
  {
    const Tensor t = of_bytes(8 * kMegabyte);
  }
  EXPECT_THROW(of_bytes(kMoreThanThereIs), std::bad_alloc);
  EXPECT_EQ(release_memory(), 0);
}

TEST_F(KeptMemory, TooLittleWithNothingKept) {
  EXPECT_THROW(of_bytes(kMoreThanThereIs), std::bad_alloc);
}

// Threads of which each wants more stack than there is cannot be started.
class NoThreads {
 public:
  NoThreads() {
    pthread_attr_t attributes{};
    pthread_getattr_default_np(&before_);
    pthread_getattr_default_np(&attributes);
    pthread_attr_setstacksize(&attributes, static_cast<std::size_t>(kMoreThanThereIs));
    pthread_setattr_default_np(&attributes);
    pthread_attr_destroy(&attributes);
  }
  NoThreads(const NoThreads&) = delete;
  NoThreads& operator=(const NoThreads&) = delete;
  ~NoThreads() {
    pthread_setattr_default_np(&before_);
    pthread_attr_destroy(&before_);
  }

 private:
  pthread_attr_t before_{};
};

TEST(TooLittleMemory, ForThreadsIsTheWorkOfOne) {
  const int threads = get_num_threads();
  Tensor x({4, 8, 8192}, DType::float32), alone(x.shape(), DType::float32),
      without(x.shape(), DType::float32);
  for (std::int64_t i = 0; i < x.numel(); ++i) x.data<float>()[i] = static_cast<float>(i % 97);
  set_num_threads(1);
  instance_norm(x, alone, {});
  set_num_threads(3);
  {
    const NoThreads none;
    EXPECT_FALSE(cpu::can_start(3));
    instance_norm(x, without, {});
  }
  EXPECT_TRUE(cpu::can_start(3));
  set_num_threads(threads);
  const auto bytes = static_cast<std::size_t>(x.numel()) * sizeof(float);
  EXPECT_EQ(std::memcmp(alone.data(), without.data(), bytes), 0);
}

}  // namespace
}  // namespace instnorm::test
