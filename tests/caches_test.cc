// The cache sizes read from the system are those that libc knows, where it does.
#include <gtest/gtest.h>

#include <unistd.h>

#include <cstdint>

#include "cpu/caches.h"

namespace instnorm::test {
namespace {

TEST(Caches, AreThoseOfTheSystem) {
  const cpu::Caches found = cpu::caches();
  const auto agrees = [](std::int64_t size, int name) {
    const std::int64_t wanted = ::sysconf(name);  // 0 or -1 where libc does not know
    return size >= 0 && (wanted <= 0 || size == wanted);
  };
  EXPECT_TRUE(agrees(found.l1, _SC_LEVEL1_DCACHE_SIZE)) << found.l1;
  EXPECT_TRUE(agrees(found.l2, _SC_LEVEL2_CACHE_SIZE)) << found.l2;
  if (found.l2 > 0) {
    EXPECT_LE(found.l1, found.l2);
  }
  if (found.l3 > 0) {
    EXPECT_LE(found.l2, found.l3);
  }
}

}  // namespace
}  // namespace instnorm::test
