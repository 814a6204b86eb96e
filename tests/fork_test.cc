// A process that forks after its threads have worked: the child computes too, and right.
#include <gtest/gtest.h>
#include <instnorm/functional.h>
#include <instnorm/runtime.h>

#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
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

}  // namespace
}  // namespace instnorm::test
