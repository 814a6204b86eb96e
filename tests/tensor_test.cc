// Views, Dims, Tensor, and the 16-bit formats: every pattern of bits, and every rounding there is.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <instnorm/tensor.h>

#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <new>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "dtype.h"
#include "formats.h"
#include "generate.h"

namespace instnorm::test {
namespace {

template <class F>
std::string message_of(const F& f) {
  try {
    f();
  } catch (const std::invalid_argument& e) {
    return e.what();
  }
  return "no std::invalid_argument";
}

// ---- the formats

template <class T>
class SixteenBits : public ::testing::Test {
 public:
  static constexpr DType kDType = dtype_of<T>::value;
  static T from_bits(std::uint16_t bits) {
    T value;
    value.bits = bits;
    return value;
  }
  // What the format says of a float.
  static std::uint16_t expected(float v) {
    return bits_of_16(kDType, quantize(kDType, static_cast<double>(v)));
  }
};
using SixteenBitTypes = ::testing::Types<float16, bfloat16>;
TYPED_TEST_SUITE(SixteenBits, SixteenBitTypes);

TYPED_TEST(SixteenBits, EveryPatternIsItsValueAndComesBack) {
  for (std::uint32_t i = 0; i <= 0xffff; ++i) {
    const auto bits = static_cast<std::uint16_t>(i);
    const auto value = static_cast<float>(this->from_bits(bits));
    const double expected = value_of_16_bits(this->kDType, bits);
    if (std::isnan(expected)) {
      ASSERT_TRUE(std::isnan(value)) << i;
      ASSERT_TRUE(std::isnan(value_of_16_bits(this->kDType, TypeParam(value).bits))) << i;
    } else {
      ASSERT_EQ(static_cast<double>(value), expected) << i;
      ASSERT_EQ(std::signbit(value), (i & 0x8000) != 0) << i;
      ASSERT_EQ(TypeParam(value).bits, bits);
    }
  }
}

// The two ways in which formats.h rounds.
TYPED_TEST(SixteenBits, ReferencesAgree) {
  Random random(40);
  for (int i = 0; i < 100'000; ++i) {
    const auto v =
        static_cast<double>(std::bit_cast<float>(static_cast<std::uint32_t>(random.bits())));
    if (std::isnan(v)) continue;
    const auto expected = static_cast<double>(round_to(this->kDType, static_cast<long double>(v)));
    ASSERT_EQ(quantize(this->kDType, v), expected) << std::hexfloat << v;
  }
}

// Half way to the next value, and the float32 neighbours of that.
TYPED_TEST(SixteenBits, EveryTieGoesToEven) {
  for (std::uint32_t i = 0; i <= 0xffff; ++i) {
    const auto value = static_cast<float>(this->from_bits(static_cast<std::uint16_t>(i)));
    const auto next = static_cast<float>(this->from_bits(static_cast<std::uint16_t>(i + 1)));
    if (!std::isfinite(value) || !std::isfinite(next)) continue;
    const float middle = value + (next - value) / 2;  // exact
    for (const float v : {middle, std::nextafter(middle, value), std::nextafter(middle, next)}) {
      ASSERT_EQ(TypeParam(v).bits, this->expected(v)) << std::hexfloat << v;
    }
  }
}

TYPED_TEST(SixteenBits, FloatsOfEveryMagnitude) {
  Random random(41);
  for (int i = 0; i < 300'000; ++i) {
    const auto v = std::bit_cast<float>(static_cast<std::uint32_t>(random.bits()));
    const TypeParam narrow(v);
    if (std::isnan(v)) {
      ASSERT_TRUE(std::isnan(static_cast<float>(narrow)));
    } else {
      ASSERT_EQ(narrow.bits, this->expected(v)) << std::hexfloat << v;
    }
  }
}

TYPED_TEST(SixteenBits, OverflowAndItsThreshold) {
  const double top = largest(this->kDType);
  const double half_ulp = std::ldexp(unit_roundoff(this->kDType), format_of(this->kDType).emax);
  const auto threshold = static_cast<float>(top + half_ulp);  // a tie, to the even side: infinity
  EXPECT_EQ(static_cast<double>(static_cast<float>(TypeParam(std::nextafter(threshold, 0.0f)))),
            top);
  EXPECT_TRUE(std::isinf(static_cast<float>(TypeParam(threshold))));
  EXPECT_TRUE(std::isinf(static_cast<float>(TypeParam(std::numeric_limits<float>::infinity()))));
  EXPECT_LT(static_cast<float>(TypeParam(-std::numeric_limits<float>::max())), 0.0f);
}

// NaN with all its payload in the bits that are cut off stays NaN.
TYPED_TEST(SixteenBits, NaNStaysNaN) {
  for (const std::uint32_t bits :
       {0x7f800001u, 0xff800001u, 0x7fc00000u, 0x7fffffffu, 0x7f801000u}) {
    EXPECT_TRUE(std::isnan(static_cast<float>(TypeParam(std::bit_cast<float>(bits))))) << bits;
  }
}

// What the library stores of a double, in every format: rounded once.
TEST(StoreDouble, RoundsOnce) {
  Random random(42);
  for (const DType dtype : kFloats) {
    for (int i = 0; i < 100'000; ++i) {
      double v = std::bit_cast<double>(random.bits());
      if (i % 2) {
        // Near a tie of the format: further than float32 can tell, nearer than double can.
        const double base = quantize(dtype, random.normal());
        const double ulp = std::ldexp(unit_roundoff(dtype), std::ilogb(base) + 1);
        v = base + ulp / 2 +
            std::ldexp(static_cast<double>(random.integer(-2, 2)),
                       std::ilogb(base) - static_cast<int>(random.integer(26, 50)));
      }
      std::array<std::byte, 8> got{}, expected{};
      store_double(got.data(), dtype, v);
      store(dtype, expected.data(), v);
      if (std::isnan(v)) {
        ASSERT_TRUE(std::isnan(load_double(got.data(), dtype)));
      } else {
        ASSERT_EQ(load_double(got.data(), dtype), load(dtype, expected.data()))
            << name(dtype) << " " << std::hexfloat << v;
      }
    }
  }
}

TEST(DTypes, NamesAndSizes) {
  const std::pair<DType, const char*> kNames[] = {
      {DType::float16, "float16"}, {DType::bfloat16, "bfloat16"}, {DType::float32, "float32"},
      {DType::float64, "float64"}, {DType::boolean, "bool"},      {DType::int32, "int32"},
      {DType::int64, "int64"}};
  const std::int64_t sizes[] = {2, 2, 4, 8, 1, 4, 8};
  for (std::size_t i = 0; i < std::size(kNames); ++i) {
    EXPECT_STREQ(name(kNames[i].first), kNames[i].second);
    EXPECT_EQ(size_of(kNames[i].first), sizes[i]);
  }
}

// ---- Dims

TEST(DimsTest, ProductAndText) {
  EXPECT_EQ(Dims().product(), 1);
  EXPECT_EQ((Dims{20, 100, 40}).product(), 80'000);
  EXPECT_EQ((Dims{3, 0, 5}).product(), 0);
  EXPECT_EQ(Dims().str(), "()");
  EXPECT_EQ(Dims{3}.str(), "(3,)");
  EXPECT_EQ((Dims{20, -1}).str(), "(20, -1)");
  EXPECT_EQ((Dims{1, 2}), (Dims{1, 2}));
  EXPECT_FALSE((Dims{1, 2}) == (Dims{1, 2, 0}));
  EXPECT_FALSE((Dims{1, 2}) == (Dims{2, 1}));
}

TEST(DimsTest, MoreThanEightAreAnError) {
  EXPECT_NO_THROW((Dims{1, 1, 1, 1, 1, 1, 1, 1}));
  EXPECT_THAT(message_of([] { Dims{1, 1, 1, 1, 1, 1, 1, 1, 1}; }), ::testing::HasSubstr("rank 9"));
}

TEST(DimsTest, ContiguousStrides) {
  EXPECT_EQ(contiguous_strides({2, 3, 4}), (Dims{12, 4, 1}));
  EXPECT_EQ(contiguous_strides({2, 0, 4}), (Dims{4, 4, 1}));
  EXPECT_EQ(contiguous_strides({}), Dims());
}

// ---- views

TEST(ViewTest, OfContainersAndPointers) {
  std::vector<float> x(24);
  const std::array<double, 6> a{};
  const View v = view(x, {2, 3, 4});
  EXPECT_EQ(v.data, x.data());
  EXPECT_EQ(v.dtype, DType::float32);
  EXPECT_EQ(v.strides, (Dims{12, 4, 1}));
  EXPECT_TRUE(v.defined());
  const ConstView c = view(a, {6});
  EXPECT_EQ(c.data, a.data());
  EXPECT_EQ(c.dtype, DType::float64);
  EXPECT_EQ(view(x.data() + 1, {3}, {-1}).strides, Dims{-1});
  EXPECT_EQ(view(std::span(x).subspan(4), {20}).data, x.data() + 4);
  static_assert(
      std::is_same_v<decltype(view(std::declval<const float* const&>(), {1})), ConstView>);
  static_assert(std::is_same_v<decltype(view(std::declval<float* const&>(), {1})), View>);
  const ConstView converted = v;
  EXPECT_EQ(converted.shape, v.shape);
  EXPECT_FALSE(View().defined());
  EXPECT_FALSE(ConstView().defined());
  EXPECT_TRUE(view(static_cast<float*>(nullptr), {0}).defined());
}

TEST(ViewTest, Mistakes) {
  std::vector<float> x(24);
  float* p = x.data();
  using ::testing::HasSubstr;
  EXPECT_THAT(message_of([&] { view(p, {2, -3}); }), HasSubstr("negative extent in shape (2, -3)"));
  EXPECT_THAT(message_of([&] { view(p, {2, 3}, {1}); }),
              HasSubstr("strides (1,) do not fit shape (2, 3)"));
  EXPECT_THAT(message_of([&] { view(p, {std::int64_t{1} << 40, std::int64_t{1} << 40}); }),
              HasSubstr("too many elements"));
  EXPECT_THAT(message_of([&] { view(p, {0, std::int64_t{1} << 40, std::int64_t{1} << 40}); }),
              HasSubstr("too many elements"));
  EXPECT_THAT(message_of([&] { view(x, {5, 5}); }),
              HasSubstr("shape (5, 5) with strides (5, 1) does not fit a container of 24"));
  EXPECT_NO_THROW(view(x, {4, 6}));
  EXPECT_NO_THROW(view(x, {12}, {2}));
  EXPECT_THAT(message_of([&] { view(x, {13}, {2}); }), HasSubstr("does not fit"));
  EXPECT_THAT(message_of([&] { view(x, {2}, {-1}); }), HasSubstr("does not fit"));
  EXPECT_NO_THROW(view(x, {100}, {0}));
  EXPECT_NO_THROW(view(x, {0, 100}));
  EXPECT_THAT(message_of([&] { view(x, {3, 3}, {std::int64_t{1} << 62, std::int64_t{1} << 62}); }),
              HasSubstr("overflow"));
  std::vector<float> nothing;
  EXPECT_NO_THROW(view(nothing, {3, 0}));
  EXPECT_THAT(message_of([&] { view(nothing, {1}); }), HasSubstr("container of 0 elements"));
}

// ---- Tensor

TEST(TensorTest, OwnsAlignedMemory) {
  Tensor t({2, 3}, DType::float32);
  EXPECT_TRUE(t.defined());
  EXPECT_EQ(t.shape(), (Dims{2, 3}));
  EXPECT_EQ(t.dtype(), DType::float32);
  EXPECT_EQ(t.numel(), 6);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(t.data()) % 64, 0u);
  t.data<float>()[5] = 2.0f;
  EXPECT_EQ(std::as_const(t).data<float>()[5], 2.0f);
  EXPECT_EQ(t.view().strides, (Dims{3, 1}));
  const View mutable_view = t;
  const ConstView const_view = std::as_const(t);
  EXPECT_EQ(mutable_view.data, t.data());
  EXPECT_EQ(const_view.data, t.data());
}

TEST(TensorTest, MovesAndIsUndefinedAtFirst) {
  Tensor none;
  EXPECT_FALSE(none.defined());
  EXPECT_EQ(none.numel(), 0);
  EXPECT_FALSE(none.view().defined());
  EXPECT_FALSE(std::as_const(none).view().defined());
  Tensor t({4}, DType::float64);
  const void* data = t.data();
  Tensor moved = std::move(t);
  EXPECT_EQ(moved.data(), data);
  EXPECT_EQ(moved.numel(), 4);
  static_assert(!std::is_copy_constructible_v<Tensor>);
}

TEST(TensorTest, EmptyAndScalar) {
  EXPECT_EQ(Tensor({0, 5}, DType::float32).numel(), 0);
  EXPECT_TRUE(Tensor({0, 5}, DType::float32).view().defined());
  Tensor scalar({}, DType::int64);
  EXPECT_EQ(scalar.numel(), 1);
}

TEST(TensorTest, Mistakes) {
  EXPECT_THAT(message_of([] { Tensor({2, -1}, DType::float32); }),
              ::testing::HasSubstr("negative extent"));
  EXPECT_THROW(Tensor({std::int64_t{1} << 61, 1}, DType::float64), std::bad_alloc);
  Tensor t({2}, DType::float32);
  EXPECT_THAT(message_of([&] { t.data<double>(); }),
              ::testing::HasSubstr("dtype is float32, not float64"));
}

}  // namespace
}  // namespace instnorm::test
