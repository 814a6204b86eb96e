// A process that forks after its threads have worked: the child computes too, and right.
#include <gtest/gtest.h>
#include <instnorm/functional.h>
#include <instnorm/runtime.h>

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

namespace instnorm::test {
namespace {

std::vector<float> normalized() {
  constexpr std::int64_t kLength = 100'000;
  std::vector<float> x(8 * kLength), y(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i * 7919 % 1000);
  instance_norm(view(x, {2, 4, kLength}), view(y, {2, 4, kLength}));
  return y;
}

TEST(Fork, TheChildComputesAfterTheParentUsedThreads) {
  set_num_threads(4);
  const std::vector<float> expected = normalized();
  const pid_t child = fork();
  ASSERT_NE(child, -1);
  if (child == 0) {
    alarm(60);  // a child that hangs is killed, and fails the test
    _exit(normalized() == expected ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status)) << "killed by signal " << WTERMSIG(status);
  EXPECT_EQ(WEXITSTATUS(status), 0);
  EXPECT_EQ(normalized(), expected);
}

// Another thread of the parent is in the list of kept memory for most of the time.
TEST(Fork, TheChildReleasesMemory) {
  std::atomic<bool> done{false};
  std::thread busy([&] {
    while (!done) {
      {
        const Tensor t({1 << 20}, DType::boolean);
      }
      release_memory();
    }
  });
  for (int i = 0; i < 200 && !testing::Test::HasFailure(); ++i) {
    const pid_t child = fork();
    ASSERT_NE(child, -1);
    if (child == 0) {
      alarm(5);
      release_memory();
      _exit(0);
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status)) << "killed by signal " << WTERMSIG(status) << " at fork " << i;
  }
  done = true;
  busy.join();
}

}  // namespace
}  // namespace instnorm::test
