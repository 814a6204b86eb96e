// The plan: a function of the problem and the machine that divides the work sensibly, and prints
// itself.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <instnorm/functional.h>

#include <cstdint>
#include <string>

#include "plan.h"
#include "problem.h"
#include "views.h"

namespace instnorm::test {
namespace {

using ::testing::HasSubstr;

// Shapes are planned for, never read: one element of memory stands for all.
Problem problem_of(DType dtype, const Dims& shape, bool in_place = false,
                   Pattern pattern = Pattern::dense) {
  static double memory;
  const Dims strides = strides_of(pattern, shape);
  const View x = view(static_cast<void*>(&memory), dtype, shape, strides);
  std::int64_t reach = 1;
  for (int d = 0; d < shape.rank(); ++d) reach += (shape[d] - 1) * strides[d];
  auto* behind = reinterpret_cast<std::byte*>(&memory) + reach * size_of(dtype);
  const View y = view(static_cast<void*>(behind), dtype, shape, strides);
  return normalize_problem(x, in_place ? x : y, {});
}

Plan plan_of(DType dtype, const Dims& shape, int threads, bool in_place = false,
             Pattern pattern = Pattern::dense) {
  return make_plan(problem_of(dtype, shape, in_place, pattern), {"AVX2", threads});
}

TEST(PlanTest, SmallCallsUseOneThread) {
  EXPECT_EQ(plan_of(DType::float32, {2, 3, 40}, 16).threads, 1);
  EXPECT_EQ(plan_of(DType::float32, {0, 3, 40}, 16).threads, 1);
}

TEST(PlanTest, LargeCallsUseAllThreadsAndNoMore) {
  for (const int threads : {1, 2, 7, 64}) {
    EXPECT_EQ(plan_of(DType::float32, {64, 100, 10'000}, threads).threads, threads);
  }
}

TEST(PlanTest, MoreWorkNeverUsesFewerThreads) {
  int before = 1;
  for (std::int64_t n = 1; n < 1'000'000; n *= 3) {
    const int threads = plan_of(DType::float32, {n, 8, 100}, 32).threads;
    EXPECT_GE(threads, before) << n;
    before = threads;
  }
  EXPECT_EQ(before, 32);
}

TEST(PlanTest, FewLongRowsAreSharedByBlocksAndManyAreNot) {
  EXPECT_EQ(plan_of(DType::float32, {1, 1, 10'000'000}, 4).split, Plan::Split::blocks);
  EXPECT_EQ(plan_of(DType::float32, {10, 100, 10'000}, 4).split, Plan::Split::rows);
  // 24 blocks.
  EXPECT_EQ(plan_of(DType::float32, {1, 1, 98'304}, 24).split, Plan::Split::blocks);
  EXPECT_EQ(plan_of(DType::float32, {1, 1, 98'304}, 25).split, Plan::Split::rows);
}

// The summation tree depends on the row alone.
TEST(PlanTest, BlocksDependOnDTypeAndLengthOnly) {
  for (const DType dtype : kFloats) {
    for (const std::int64_t L : {1000, 10'000, 1'000'000}) {
      const Plan one = plan_of(dtype, {1, 1, L}, 1);
      for (const int threads : {1, 3, 16}) {
        for (const std::int64_t n : {1, 50}) {
          for (const bool in_place : {false, true}) {
            for (const Pattern pattern : {Pattern::dense, Pattern::channels_last}) {
              const Plan p = plan_of(dtype, {n, 3, L}, threads, in_place, pattern);
              EXPECT_EQ(p.block, one.block);
              EXPECT_EQ(p.blocks, one.blocks);
            }
          }
        }
      }
      EXPECT_GE(one.block * one.blocks, L);
      EXPECT_LT(one.block * (one.blocks - 1), L);
    }
  }
}

TEST(PlanTest, StreamsOnlyWhatIsLargeDenseAndElsewhere) {
  const Dims large = {64, 100, 10'000}, small = {2, 3, 40};
  EXPECT_TRUE(plan_of(DType::float32, large, 2).stream);
  EXPECT_TRUE(plan_of(DType::float64, large, 2).stream);
  EXPECT_FALSE(plan_of(DType::float32, small, 2).stream);
  EXPECT_FALSE(plan_of(DType::float32, large, 2, true).stream);
  EXPECT_TRUE(plan_of(DType::float16, large, 2).stream);
  EXPECT_TRUE(plan_of(DType::float32, large, 2, false, Pattern::channels_last).stream);
  EXPECT_FALSE(plan_of(DType::float32, large, 2, false, Pattern::stepped).stream);
}

TEST(PlanTest, StreamsFrom12Megabytes) {
  const auto streams = [](std::int64_t bytes, int threads) {
    return plan_of(DType::float32, {bytes / 2 / 4 / 1024, 1, 1024}, threads).stream;
  };
  for (const int threads : {1, 2}) {
    EXPECT_FALSE(streams(11'990'000, threads));
    EXPECT_TRUE(streams(12'010'000, threads));
  }
}

TEST(PlanTest, OverlapsRowsThatAreLongEnough) {
  EXPECT_FALSE(plan_of(DType::float32, {10, 10, 191}, 1).overlap);
  EXPECT_TRUE(plan_of(DType::float32, {10, 10, 192}, 1).overlap);
  EXPECT_FALSE(plan_of(DType::float64, {10, 10, 95}, 1).overlap);
  EXPECT_TRUE(plan_of(DType::float64, {10, 10, 96}, 1).overlap);
  EXPECT_TRUE(plan_of(DType::float16, {10, 10, 5000}, 1, true).overlap);
  // Streamed as one run as long as that is faster.
  EXPECT_FALSE(plan_of(DType::float32, {1000, 100, 511}, 1).overlap);
  EXPECT_TRUE(plan_of(DType::float32, {1000, 100, 512}, 1).overlap);
  // Rows that are copied, that are columns, or that threads share.
  EXPECT_FALSE(plan_of(DType::float32, {10, 10, 1000}, 1, false, Pattern::stepped).overlap);
  EXPECT_FALSE(plan_of(DType::float32, {10, 10, 1000}, 1, false, Pattern::channels_last).overlap);
  EXPECT_FALSE(plan_of(DType::float32, {1, 1, 10'000'000}, 2).overlap);
}

TEST(PlanTest, TilesStayInTheFirstCacheOrTheSecond) {
  EXPECT_EQ(plan_of(DType::float32, {10, 100, 128}, 1).tile_rows, 32);
  EXPECT_EQ(plan_of(DType::float32, {10, 10, 1024}, 1).tile_rows, 4);
  EXPECT_EQ(plan_of(DType::float32, {10, 10, 100'000}, 1).tile_rows, 1);
  EXPECT_EQ(plan_of(DType::float32, {1, 1, 128}, 1).tile_rows, 1);
  // Streamed, and overlapped or not.
  EXPECT_EQ(plan_of(DType::float32, {1000, 100, 1024}, 1).tile_rows, 16);
  EXPECT_EQ(plan_of(DType::float32, {1000, 100, 256}, 1).tile_rows, 16);
  EXPECT_EQ(plan_of(DType::float32, {1000, 100, 2}, 1).tile_rows, kTileRows);
  EXPECT_EQ(plan_of(DType::float32, {10, 10, 1024}, 1, false, Pattern::channels_last).tile_rows,
            kTileRows);
}

TEST(PlanTest, TilesAcrossInstances) {
  const auto across = [](const Dims& strides, bool with_lengths) {
    static double memory;
    static const std::int64_t lengths[2] = {1, 2};
    const View x = view(static_cast<void*>(&memory), DType::float32, Dims{2, 3, 40}, strides);
    Options o;
    if (with_lengths) o.lengths = view(lengths, {2});
    return make_plan(normalize_problem(x, x, o), {"AVX2", 1}).across_instances;
  };
  EXPECT_TRUE(across({120, 40, 1}, false));
  EXPECT_FALSE(across({120, 40, 1}, true));
  EXPECT_FALSE(across({130, 40, 1}, false));  // not one step from each row to the next
}

TEST(PlanTest, TakesChannelsLastAsColumns) {
  for (const std::int64_t C : {2, 3, 64, 1000}) {
    EXPECT_TRUE(plan_of(DType::float32, {4, C, 100}, 2, false, Pattern::channels_last).columns);
  }
  EXPECT_FALSE(plan_of(DType::float32, {4, 10, 100}, 2).columns);
  EXPECT_FALSE(plan_of(DType::float32, {4, 10, 100}, 2, false, Pattern::stepped).columns);
}

TEST(PlanTest, BytesAreThoseReadAndWritten) {
  EXPECT_EQ(plan_of(DType::float16, {2, 3, 100}, 1).bytes, 2 * 3 * 100 * 2 * 2);
  EXPECT_EQ(plan_of(DType::float64, {2, 3, 100}, 1).bytes, 2 * 3 * 100 * 8 * 2);
}

TEST(PlanTest, PrintsItself) {
  const Problem p = problem_of(DType::float32, {2, 3, 40});
  const Machine machine{"AVX2", 4};
  const std::string text = to_string(make_plan(p, machine), p, machine);
  EXPECT_THAT(text, HasSubstr("N=2 C=3 L=40 float32"));
  EXPECT_THAT(text, HasSubstr("AVX2"));
  EXPECT_THAT(text, HasSubstr("1 of 4"));
}

TEST(PlanTest, SaysWhy) {
  const auto why = [](const Dims& shape, int threads, bool in_place = false,
                      Pattern pattern = Pattern::dense) {
    const Problem p = problem_of(DType::float32, shape, in_place, pattern);
    const Machine machine{"AVX2", threads};
    return to_string(make_plan(p, machine), p, machine);
  };
  const Dims small = {2, 3, 40}, large = {64, 100, 10'000}, one = {1, 1, 10'000'000};
  EXPECT_THAT(why(small, 4), HasSubstr("1 of 4 (too small to share)"));
  EXPECT_THAT(why(large, 4), HasSubstr("4 of 4 (all that may be used)"));
  EXPECT_THAT(why(small, 4), HasSubstr("whole rows (one thread)"));
  EXPECT_THAT(why(large, 4), HasSubstr("whole rows (a row or more for each thread)"));
  EXPECT_THAT(why(one, 4), HasSubstr("blocks of each row (fewer rows than threads)"));
  EXPECT_THAT(why({1, 300, 4096}, 1000),
              HasSubstr("(fewer rows than threads, too short to share)"));
  EXPECT_THAT(why(small, 4), HasSubstr("ordinary (the output may stay in the cache)"));
  EXPECT_THAT(why(large, 4), HasSubstr("streaming (more than the caches hold)"));
  EXPECT_THAT(why(large, 4, true), HasSubstr("ordinary (in place)"));
  EXPECT_THAT(why(large, 4, false, Pattern::stepped), HasSubstr("ordinary (rows are copied)"));
  EXPECT_THAT(why(large, 4, false, Pattern::stepped), HasSubstr("copied block by block"));
  EXPECT_THAT(why({2, 3, 0}, 4), HasSubstr("dense (0 blocks of"));
  static float memory;
  Moments out;
  const Problem p = moments_problem(view(&memory, {1, 1, 1}), {}, &out, {});
  const Machine machine{"AVX2", 4};
  const std::string text = to_string(make_plan(p, machine), p, machine);
  EXPECT_THAT(text, HasSubstr("dense (1 block of"));
  EXPECT_THAT(text, HasSubstr("ordinary (nothing is stored)"));
}

TEST(Explain, SaysWhatTheCallWouldDo) {
  std::vector<float> x(240), y(240);
  const std::string text = explain(view(x, {2, 3, 40}), view(y, {2, 3, 40}));
  EXPECT_THAT(text, HasSubstr("N=2 C=3 L=40 float32"));
  EXPECT_EQ(y, std::vector<float>(240));
}

}  // namespace
}  // namespace instnorm::test
