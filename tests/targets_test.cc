// The instruction set and the number of threads, as the environment and the program ask for them;
// and the results of each instruction set against those of the others. The numerics of each are
// tested by running their test programs on it (tests/CMakeLists.txt).
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <instnorm/runtime.h>
#include <instnorm/version.h>

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

namespace instnorm::test {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;

struct Probe {
  std::string output;
  int exit_code = -1;
};

// Both are read once in a process, so each question takes one.
Probe probe(const std::string& environment, const std::string& file = "") {
  const std::string command = "unset INSTNORM_CPU_TARGET INSTNORM_NUM_THREADS; " + environment +
                              " " EMULATOR " '" RUNTIME_PROBE "' " +
                              (file.empty() ? "" : "'" + file + "'");
  Probe result;
  FILE* pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) return result;
  char buffer[256];
  while (std::fgets(buffer, sizeof buffer, pipe)) result.output += buffer;
  const int status = pclose(pipe);
  result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return result;
}

Probe probe_target(const std::string& name, const std::string& file = "") {
  return probe("INSTNORM_CPU_TARGET='" + name + "'", file);
}

TEST(Targets, TheOneInUseIsAvailableAndTheOneAskedFor) {
  const std::vector<std::string> available = available_cpu_targets();
  EXPECT_THAT(available, Contains(std::string(cpu_target())));
  const char* wanted = std::getenv("INSTNORM_CPU_TARGET");
  EXPECT_EQ(cpu_target(), wanted != nullptr ? std::string(wanted) : available.front());
}

TEST(Targets, AreDistinct) {
  std::vector<std::string> available = available_cpu_targets();
  EXPECT_FALSE(available.empty());
  std::sort(available.begin(), available.end());
  EXPECT_EQ(std::adjacent_find(available.begin(), available.end()), available.end());
}

TEST(Targets, EachRunsWhenAskedForByName) {
  for (const std::string& target : available_cpu_targets()) {
    const Probe p = probe_target(target);
    EXPECT_EQ(p.exit_code, 0) << p.output;
    EXPECT_THAT(p.output, HasSubstr("target " + target + "\n"));
  }
}

TEST(Targets, TheBestOneRunsWhenNoneIsAskedFor) {
  const std::string best = "target " + available_cpu_targets().front() + "\n";
  EXPECT_THAT(probe("").output, HasSubstr(best));
  EXPECT_THAT(probe_target("").output, HasSubstr(best));
}

TEST(Targets, NamesAreReadInAnyCase) {
  for (const std::string& target : available_cpu_targets()) {
    std::string lower = target;
    for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    EXPECT_THAT(probe_target(lower).output, HasSubstr("target " + target + "\n"));
  }
}

// Where AVX512 cannot run they are refused like it, where it can they mean it.
TEST(Targets, OtherNamesOfAvx512) {
  const Probe plain = probe_target("AVX512");
  for (const char* name : {"AVX-512", "avx_512", "AVX3", "avx3"}) {
    EXPECT_EQ(probe_target(name).exit_code, plain.exit_code) << name;
  }
}

TEST(Targets, AWrongNameIsAnErrorThatListsThePossibleOnes) {
  for (const char* wrong : {"MMX", "AVX2x", "0", "NEON,AVX2"}) {
    const Probe p = probe_target(wrong);
    EXPECT_EQ(p.exit_code, 1);
    EXPECT_THAT(p.output, HasSubstr(std::string("INSTNORM_CPU_TARGET=") + wrong));
    for (const std::string& target : available_cpu_targets()) {
      EXPECT_THAT(p.output, HasSubstr(target));
    }
  }
}

TEST(Threads, NumberIsThatOfTheEnvironmentOrOfTheProgram) {
  EXPECT_THAT(probe("INSTNORM_NUM_THREADS=3").output, HasSubstr("threads 3\n"));
  EXPECT_THAT(probe("OMP_NUM_THREADS=5").output, HasSubstr("threads 5\n"));
  EXPECT_THAT(probe("INSTNORM_NUM_THREADS='' OMP_NUM_THREADS=5").output, HasSubstr("threads 5\n"));
  EXPECT_GE(get_num_threads(), 1);
  set_num_threads(6);
  EXPECT_EQ(get_num_threads(), 6);
}

TEST(Threads, AnImpossibleNumberIsAnError) {
  for (const char* wrong : {"0", "-1", "many", "2.5", "3x", "99999999999"}) {
    const Probe p = probe(std::string("INSTNORM_NUM_THREADS=") + wrong);
    EXPECT_EQ(p.exit_code, 1) << wrong;
    EXPECT_THAT(p.output, AllOf(HasSubstr("INSTNORM_NUM_THREADS"), HasSubstr(wrong)));
  }
}

TEST(Runtime, VersionIsThatOfTheHeaders) { EXPECT_STREQ(version(), INSTNORM_VERSION); }

// ---- across instruction sets

std::vector<double> results_of(const std::string& target) {
  // Of this process alone: the tests of the other targets run beside it.
  const std::string file =
      ::testing::TempDir() + "/instnorm_" + std::to_string(::getpid()) + "_" + target + ".raw";
  const Probe p = probe_target(target, file);
  EXPECT_EQ(p.exit_code, 0) << p.output;
  std::ifstream in(file, std::ios::binary | std::ios::ate);
  std::vector<double> values(static_cast<std::size_t>(in.tellg()) / sizeof(double));
  in.seekg(0);
  in.read(reinterpret_cast<char*>(values.data()),
          static_cast<std::streamsize>(values.size() * sizeof(double)));
  in.close();
  (void)std::remove(file.c_str());
  EXPECT_FALSE(values.empty());
  return values;
}

// What older x86 lacks: a product and a sum in one rounding.
bool fuses(const std::string& target) {
  return target != "SCALAR" && target != "EMU128" && target != "SSE2" && target != "SSSE3" &&
         target != "SSE4";
}

bool same_bits(double a, double b) { return a == b || (std::isnan(a) && std::isnan(b)); }

// All that fuse products and sums give the same bits, and so do all that do not.
TEST(Targets, GiveTheSameBitsAsTheirKind) {
  std::vector<double> of_kind[2];
  std::string name_of_kind[2];
  for (const std::string& target : available_cpu_targets()) {
    const int kind = fuses(target);
    const std::vector<double> values = results_of(target);
    if (of_kind[kind].empty()) {
      of_kind[kind] = values;
      name_of_kind[kind] = target;
      continue;
    }
    ASSERT_EQ(values.size(), of_kind[kind].size());
    std::size_t different = 0;
    for (std::size_t i = 0; i < values.size(); ++i) {
      different += !same_bits(values[i], of_kind[kind][i]);
    }
    EXPECT_EQ(different, 0u) << target << " and " << name_of_kind[kind];
  }
  if (of_kind[0].empty() || of_kind[1].empty()) return;
  // Between the kinds: each is within its tolerance of the reference, elsewhere tested.
  double largest = 0.0;
  std::size_t different = 0;
  for (std::size_t i = 0; i < of_kind[0].size(); ++i) {
    const double a = of_kind[0][i], b = of_kind[1][i];
    EXPECT_EQ(std::isfinite(a), std::isfinite(b));
    if (same_bits(a, b)) continue;
    ++different;
    largest = std::max(largest, std::fabs(a - b) / (1.0 + std::fabs(a)));
  }
  std::printf("%s and %s differ in %zu of %zu values, by at most %.2g of 1 + |value|\n",
              name_of_kind[0].c_str(), name_of_kind[1].c_str(), different, of_kind[0].size(),
              largest);
}

}  // namespace
}  // namespace instnorm::test
