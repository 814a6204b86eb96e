// Moments: of every input, merged in any grouping, and what they say of their spread.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <instnorm/functional.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <ranges>
#include <stdexcept>
#include <vector>

#include "calls.h"
#include "scale.h"

namespace instnorm::test {
namespace {

INSTANTIATE_TEST_SUITE_P(Moments, EveryDType, kEveryDType, kDTypeName);

TEST_P(EveryDType, AreRightInEveryStridePattern) {
  for (const Dims& shape : {Dims{3, 21}, Dims{2, 3, 21}, Dims{2, 3, 4, 5}, Dims{1, 2, 53, 100}}) {
    for (const Pattern pattern : kInputPatterns) {
      Random random(2);
      Call call(GetParam(), shape, normal_values(random, shape.product(), 3.0, 2.0), pattern);
      const Moments m = moments(call.x.view());
      EXPECT_EQ(m.N, call.setting.N);
      EXPECT_EQ(m.C, call.setting.C);
      EXPECT_TRUE(call.moments_are_right(m)) << shape.str() << " " << name_of(pattern);
    }
  }
}

TEST_P(EveryDType, OfOneValueAndOfNone) {
  Call one(GetParam(), {1, 2, 1}, {3.5, -2.0});
  const Moments m = moments(one.x.view());
  EXPECT_EQ(m.count, (std::vector<double>{1, 1}));
  EXPECT_EQ(m.mean, (std::vector<double>{3.5, -2.0}));
  EXPECT_EQ(m.m2, (std::vector<double>{0, 0}));
  Call none(GetParam(), {1, 2, 0}, {});
  const Moments empty = moments(none.x.view());
  EXPECT_EQ(empty.count, (std::vector<double>{0, 0}));
  EXPECT_EQ(empty.mean, (std::vector<double>{0, 0}));
  EXPECT_EQ(empty.m2, (std::vector<double>{0, 0}));
}

TEST(Moments, EmptyIsTheNeutralElement) {
  const Moments none = Moments::empty(2, 3);
  EXPECT_EQ(none.N, 2);
  EXPECT_EQ(none.C, 3);
  EXPECT_EQ(none.count, std::vector<double>(6, 0.0));
  Random random(4);
  Call call(DType::float64, {2, 3, 17}, normal_values(random, 2 * 3 * 17, 1e9, 1.0));
  const Moments m = moments(call.x.view());
  for (const Moments& merged : {m.merge(none), none.merge(m)}) {
    EXPECT_EQ(merged.N, 2);
    EXPECT_EQ(merged.C, 3);
    EXPECT_EQ(merged.count, m.count);
    EXPECT_EQ(merged.mean, m.mean);
    EXPECT_EQ(merged.m2, m.m2);
  }
}

TEST(Moments, EmptyOfNoShapeIsAnError) {
  EXPECT_THROW(Moments::empty(-1, 3), std::invalid_argument);
  EXPECT_THROW(Moments::empty(3, -1), std::invalid_argument);
  EXPECT_THROW(Moments::empty(std::int64_t{1} << 62, 4), std::invalid_argument);
  EXPECT_TRUE(Moments::empty(0, 3).count.empty());
}

TEST(Moments, MergeOfOtherShapesIsAnError) {
  try {
    Moments::empty(2, 3).merge(Moments::empty(3, 2));
    FAIL();
  } catch (const std::invalid_argument& e) {
    EXPECT_THAT(e.what(), ::testing::HasSubstr("(2, 3) and (3, 2)"));
  }
}

TEST(Moments, ShapeOfTheirVectors) {
  EXPECT_TRUE(Moments::empty(0, 3).var().empty());
  EXPECT_TRUE(Moments::empty(3, 0).var().empty());
  Moments m = Moments::empty(1, 3);
  m.N = -1;
  EXPECT_THROW(m.var(), std::invalid_argument);
  m.C = -3;
  EXPECT_THROW(m.var(), std::invalid_argument);
  m.C = 3;
  EXPECT_THROW(m.var(), std::invalid_argument);
}

TEST(Moments, VarAndStdDivideByCountLessDdof) {
  Moments m = Moments::empty(1, 4);
  m.count = {4, 2, 1, 0};
  m.m2 = {12, 8, 0, 0};
  EXPECT_EQ(m.var()[0], 3.0);
  EXPECT_EQ(m.var(1)[0], 4.0);
  EXPECT_EQ(m.std(1)[0], 2.0);
  EXPECT_EQ(m.std()[1], 2.0);
  EXPECT_EQ(m.var(1)[1], 8.0);
  EXPECT_EQ(m.var()[2], 0.0);
  EXPECT_TRUE(std::isnan(m.var(1)[2]));
  EXPECT_TRUE(std::isnan(m.std(1)[2]));
  EXPECT_TRUE(std::isnan(m.var()[3]));
  EXPECT_TRUE(std::isnan(m.var(2)[1]));
}

// Sums that are exact in any order: integers about a mean that is one.
TEST(Moments, MergeIsExactWhereTheSumsAre) {
  Moments a = Moments::empty(1, 1), b = a;
  a.count = {2}, a.mean = {4}, a.m2 = {2};   // 3, 5
  b.count = {2}, b.mean = {8}, b.m2 = {18};  // 5, 11
  const Moments ab = a.merge(b), ba = b.merge(a);
  for (const Moments& m : {ab, ba}) {
    EXPECT_EQ(m.count, std::vector<double>{4});
    EXPECT_EQ(m.mean, std::vector<double>{6});
    EXPECT_EQ(m.m2, std::vector<double>{36});
  }
}

// However a stream is cut and grouped, it has the moments of the whole.
TEST_P(EveryDType, OfAStreamOfChunksAreThoseOfTheWhole) {
  constexpr std::int64_t kLength = 10000;
  Random random(6);
  Call whole(GetParam(), {1, 2, kLength}, normal_values(random, 2 * kLength, 100.0, 3.0));
  const std::vector<double> x = whole.x.values();
  const auto chunk = [&](std::int64_t first, std::int64_t last) {
    std::vector<double> part;
    for (std::int64_t c = 0; c < 2; ++c) {
      part.insert(part.end(), x.begin() + c * kLength + first, x.begin() + c * kLength + last);
    }
    Call call(GetParam(), {1, 2, last - first}, part);
    return moments(call.x.view());
  };
  Moments forwards = Moments::empty(1, 2), backwards = Moments::empty(1, 2);
  std::vector<Moments> chunks;
  for (std::int64_t first = 0; first < kLength;) {
    const std::int64_t last = std::min(kLength, first + random.integer(0, 700));
    chunks.push_back(chunk(first, last));
    forwards = forwards.merge(chunks.back());
    first = last;
  }
  for (const Moments& m : std::views::reverse(chunks)) backwards = m.merge(backwards);
  // As a tree.
  while (chunks.size() > 1) {
    std::vector<Moments> pairs;
    for (std::size_t i = 0; i + 1 < chunks.size(); i += 2) {
      pairs.push_back(chunks[i].merge(chunks[i + 1]));
    }
    if (chunks.size() % 2) pairs.push_back(chunks.back());
    chunks = pairs;
  }
  EXPECT_TRUE(whole.moments_are_right(forwards));
  EXPECT_TRUE(whole.moments_are_right(backwards));
  EXPECT_TRUE(whole.moments_are_right(chunks[0]));
}

// Counts far apart, and means far apart in units of their spread.
TEST(Moments, MergeOfUnequalParts) {
  Moments large = Moments::empty(1, 1), small = large;
  large.count = {1e15}, large.mean = {1e8}, large.m2 = {1e15};
  small.count = {1}, small.mean = {0}, small.m2 = {0};
  const Moments m = large.merge(small);
  EXPECT_EQ(m.count[0], 1e15 + 1);
  EXPECT_NEAR(m.mean[0], 1e8 - 1e8 / 1e15, 2e-8);
  EXPECT_NEAR(m.m2[0], 1e15 + 1e16 - 10, 4.0);  // 1e16 * 1e15 / (1e15 + 1)
}

// A thousand parts of a row, each of less than half a unit in the last place of the sum.
TEST(Moments, SmallPartsOfALongRowAreNotLost) {
  constexpr std::int64_t kPart = 2048, kParts = 1000;
  std::vector<double> x(kPart * (kParts + 1));
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double size = i < kPart ? 0x1p27 : 1.0;
    x[i] = i % 2 ? size : -size;
  }
  const Moments m = moments(view(x, {1, static_cast<std::int64_t>(x.size())}));
  EXPECT_NEAR(m.mean[0], 0.0, 1e-12);
  const double expected = kPart * 0x1p54 + kPart * kParts;  // exact: 250 units of 2^13 above 2^65
  EXPECT_NEAR(m.m2[0], expected, expected * m2_bound(DType::float64).relative);
}

TEST(Moments, NaNAndInfinityStayInTheirRow) {
  const double inf = std::numeric_limits<double>::infinity();
  for (const DType dtype : kFloats) {
    Call call(dtype, {1, 4, 3}, {1, 2, 3, 1, std::nan(""), 3, 1, inf, 3, -inf, 1, inf});
    const Moments m = moments(call.x.view());
    EXPECT_EQ(m.mean[0], 2.0);
    EXPECT_EQ(m.m2[0], 2.0);
    EXPECT_TRUE(std::isnan(m.mean[1]));
    EXPECT_EQ(m.mean[2], inf) << name(dtype);
    EXPECT_TRUE(std::isnan(m.mean[3]));
    for (std::size_t i = 1; i < 4; ++i) EXPECT_TRUE(std::isnan(m.m2[i])) << name(dtype);
  }
}

TEST(Moments, CountIsExactBeyondAHundredThousand) {
  const Dims shape = {1, 1, 100'003};
  Call call(DType::float16, shape, std::vector<double>(100'003, 1.0));
  EXPECT_EQ(moments(call.x.view()).count[0], 100'003.0);
}

// More than 2^31 elements, of 2^16 in memory.
TEST(Moments, IndicesHave64Bits) {
  constexpr std::int64_t kLength = 1 << 16;
  const std::int64_t instances = scaled((1 << 15) + 1);
  const std::vector<float16> row(kLength, float16(1.5f));
  const Moments m = moments(view(row.data(), {instances, 1, kLength}, {0, 0, 1}));
  EXPECT_EQ(m.mean, std::vector<double>(static_cast<std::size_t>(instances), 1.5));
  EXPECT_EQ(m.m2, std::vector<double>(static_cast<std::size_t>(instances), 0.0));
}

}  // namespace
}  // namespace instnorm::test
