// Overlap of strided views against an oracle that visits every byte.
#include <gtest/gtest.h>
#include <instnorm/tensor.h>

#include <cstddef>
#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "generate.h"
#include "overlap.h"
#include "views.h"

namespace instnorm::test {
namespace {

std::byte g_arena[4096];

// The bytes of each element. Views of the tests stay within the arena.
std::vector<std::ptrdiff_t> element_starts(const ConstView& v) {
  std::vector<std::ptrdiff_t> starts;
  each_offset(v.shape, v.strides, [&](std::int64_t o) {
    starts.push_back(static_cast<const std::byte*>(v.data) - g_arena + o * size_of(v.dtype));
  });
  return starts;
}

std::set<std::ptrdiff_t> bytes_of(const ConstView& v) {
  std::set<std::ptrdiff_t> bytes;
  for (const std::ptrdiff_t start : element_starts(v)) {
    for (std::int64_t b = 0; b < size_of(v.dtype); ++b) bytes.insert(start + b);
  }
  return bytes;
}

bool share_a_byte(const ConstView& a, const ConstView& b) {
  const std::set<std::ptrdiff_t> of_a = bytes_of(a);
  for (const std::ptrdiff_t byte : bytes_of(b)) {
    if (of_a.count(byte)) return true;
  }
  return false;
}

bool meets_itself(const ConstView& v) {
  return static_cast<std::int64_t>(bytes_of(v).size()) != v.shape.product() * size_of(v.dtype);
}

// Up to 4 dimensions of up to 5 elements; strides of 0, of both signs, and of each other's extents.
ConstView random_view(Random& random) {
  constexpr DType kDTypes[] = {DType::float16, DType::float32, DType::float64};
  const DType dtype = kDTypes[random.integer(0, 2)];
  const auto rank = static_cast<std::size_t>(random.integer(0, 4));
  std::vector<std::int64_t> shape(rank), strides(rank);
  for (std::size_t d = 0; d < rank; ++d) {
    shape[d] = random.integer(0, 19) == 0 ? 0 : random.integer(1, 5);
    strides[d] = random.integer(-9, 9);
  }
  // Not a multiple of any element: views may be cut out of bytes.
  const std::ptrdiff_t origin = 2048 + random.integer(-60, 60);
  return view(static_cast<const void*>(g_arena + origin), dtype, Dims(shape.data(), rank),
              Dims(strides.data(), rank));
}

std::string describe(const ConstView& v) {
  return std::string(name(v.dtype)) + " " + v.shape.str() + " strides " + v.strides.str() + " at " +
         std::to_string(static_cast<const std::byte*>(v.data) - g_arena);
}

TEST(Overlap, OfRandomViewsIsExact) {
  Random random(31);
  int meeting = 0;
  constexpr int kPairs = 20'000;
  for (int i = 0; i < kPairs; ++i) {
    const ConstView a = random_view(random), b = random_view(random);
    const bool expected = share_a_byte(a, b);
    meeting += expected;
    ASSERT_EQ(overlap(a, b), expected) << describe(a) << " and " << describe(b);
    ASSERT_EQ(overlap(b, a), expected) << describe(b) << " and " << describe(a);
  }
  // Both answers were asked for often.
  EXPECT_GT(meeting, kPairs / 10);
  EXPECT_LT(meeting, kPairs * 9 / 10);
}

TEST(Overlap, OfRandomViewsWithThemselvesIsExact) {
  Random random(32);
  int meeting = 0;
  constexpr int kViews = 50'000;
  for (int i = 0; i < kViews; ++i) {
    const ConstView v = random_view(random);
    const bool expected = meets_itself(v);
    meeting += expected;
    ASSERT_EQ(overlaps_itself(v), expected) << describe(v);
  }
  EXPECT_GT(meeting, kViews / 10);
  EXPECT_LT(meeting, kViews * 9 / 10);
}

TEST(Overlap, InterleavedViewsDoNotMeet) {
  std::vector<float> x(40);
  const View even = view(x.data(), {20}, {2}), odd = view(x.data() + 1, {20}, {2});
  EXPECT_FALSE(overlap(even, odd));
  EXPECT_TRUE(overlap(even, view(x.data() + 1, {10}, {3})));
  // Left and right halves of the rows of a matrix.
  EXPECT_FALSE(overlap(view(x.data(), {4, 5}, {10, 1}), view(x.data() + 5, {4, 5}, {10, 1})));
  EXPECT_TRUE(overlap(view(x.data(), {4, 6}, {10, 1}), view(x.data() + 5, {4, 5}, {10, 1})));
}

// Indices in products of 64-bit strides; found without visiting elements.
TEST(Overlap, OfHugeViews) {
  std::byte* base = g_arena;
  const std::int64_t huge = std::int64_t{1} << 40;
  const View rows = view(static_cast<void*>(base), DType::float32, {1000, 1000, huge / 1000000},
                         {huge / 1000, huge / 1000000, 1});
  EXPECT_FALSE(overlaps_itself(rows));
  // NOLINTBEGIN(performance-no-int-to-ptr): an address that no object has
  const View shifted =
      view(reinterpret_cast<void*>(reinterpret_cast<std::uintptr_t>(base) + 4 * huge),
           DType::float32, {1000, 1000, huge / 1000000}, {huge / 1000, huge / 1000000, 1});
  // NOLINTEND(performance-no-int-to-ptr)
  EXPECT_FALSE(overlap(rows, shifted));
  EXPECT_TRUE(overlap(rows, view(static_cast<void*>(base + 4096), DType::float32, {1})));
}

TEST(Overlap, AbsentAndEmptyViewsMeetNothing) {
  float x = 0;
  const View one = view(&x, {1}), none = view(&x, {0}), absent{};
  EXPECT_TRUE(overlap(one, one));
  EXPECT_FALSE(overlap(one, none));
  EXPECT_FALSE(overlap(absent, one));
  EXPECT_FALSE(overlaps_itself(none));
  EXPECT_FALSE(overlaps_itself(absent));
}

TEST(Overlap, SameViewIsTheSameElementsInTheSameOrder) {
  std::vector<float> x(12);
  const View v = view(x.data(), {3, 4});
  EXPECT_TRUE(same_view(v, view(x.data(), {3, 4}, {4, 1})));
  EXPECT_FALSE(same_view(v, view(x.data(), {4, 3})));
  EXPECT_FALSE(same_view(v, view(x.data(), {3, 4}, {1, 3})));
  EXPECT_FALSE(same_view(v, view(x.data() + 1, {3, 3}, {4, 1})));
  // The stride of a dimension of one element says nothing.
  EXPECT_TRUE(same_view(view(x.data(), {1, 4}, {99, 1}), view(x.data(), {1, 4})));
  const auto* ints = reinterpret_cast<const std::int32_t*>(x.data());
  EXPECT_FALSE(same_view(v, view(ints, {3, 4})));
}

}  // namespace
}  // namespace instnorm::test
