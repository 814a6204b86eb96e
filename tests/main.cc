// The main of every test program. A program that is to run on one instruction set, by
// INSTNORM_CPU_TARGET, skips as a whole where that cannot run, and with INSTNORM_TEST_OTHER_TARGETS
// where that is what the library takes by itself.
#include <gtest/gtest.h>
#include <instnorm/runtime.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
// The OpenMP runtime is not instrumented: without this its own synchronisation is taken for races.
extern "C" const char* __tsan_default_options();
extern "C" const char* __tsan_default_options() { return "ignore_noninstrumented_modules=1"; }
#endif
#endif

int main(int argc, char** argv) {
  constexpr int kSkipped = 77;  // SKIP_RETURN_CODE in tests/CMakeLists.txt
  ::testing::InitGoogleTest(&argc, argv);
  const char* wanted = std::getenv("INSTNORM_CPU_TARGET");
  if (wanted != nullptr && *wanted != '\0') {
    const auto available = instnorm::available_cpu_targets();
    if (std::find(available.begin(), available.end(), wanted) == available.end()) {
      std::printf("Skipped: this machine or this build has no %s; it has", wanted);
      for (const std::string& target : available) std::printf(" %s", target.c_str());
      std::printf("\n");
      return kSkipped;
    }
    if (std::getenv("INSTNORM_TEST_OTHER_TARGETS") != nullptr && wanted == available.front()) {
      std::printf("Skipped: %s is what runs without INSTNORM_CPU_TARGET\n", wanted);
      return kSkipped;
    }
  }
  return RUN_ALL_TESTS();
}
