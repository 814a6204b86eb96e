// The header of .npy files. What the command does with whole files is tested in tests/cli.
#include "npy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <random>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace instnorm::cli {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

std::string file(const std::string& dict, char version = 1) {
  std::string s = "\x93NUMPY";
  s += {version, '\0', static_cast<char>(dict.size() & 0xff), static_cast<char>(dict.size() >> 8)};
  if (version > 1) s += {'\0', '\0'};
  return s + dict;
}

NpyHeader parsed(const std::string& dict, char version = 1) {
  const std::string text = file(dict, version);
  EXPECT_EQ(npy_header_size(std::string_view(text).substr(0, kNpyPrelude)), text.size());
  return parse_npy_header(text);
}

TEST(NpyHeader, IsTheBytesThatNumPyWrites) {
  // numpy.save of numpy.zeros((20, 100, 40), 'f4'), NumPy 2.4.
  EXPECT_EQ(make_npy_header(DType::float32, {20, 100, 40}),
            std::string("\x93NUMPY\x01\x00\x76\x00", 10) +
                "{'descr': '<f4', 'fortran_order': False, 'shape': (20, 100, 40), }" +
                std::string(51, ' ') + "\n");
}

TEST(NpyHeader, ReadsWhatItMakes) {
  for (DType dtype : {DType::float16, DType::bfloat16, DType::float32, DType::float64}) {
    for (const std::vector<std::int64_t>& shape :
         {std::vector<std::int64_t>{}, {7}, {0, 3}, {1, 2, 3, 4, 5, 6, 7, 8}, {INT64_MAX / 8}}) {
      const std::string text = make_npy_header(dtype, shape);
      EXPECT_EQ(text.size() % 64, 0u);
      EXPECT_EQ(npy_header_size(text), text.size());
      const NpyHeader header = parse_npy_header(text);
      EXPECT_EQ(header.dtype, dtype);
      EXPECT_EQ(header.shape, shape);
      EXPECT_FALSE(header.fortran_order);
      EXPECT_FALSE(header.big_endian);
    }
  }
}

TEST(NpyHeader, KnowsOrderAndByteOrder) {
  const NpyHeader header = parsed("{\"shape\":(2L,3L),'fortran_order':True,'descr':'>f8',}  \n", 2);
  EXPECT_EQ(header.dtype, DType::float64);
  EXPECT_TRUE(header.big_endian);
  EXPECT_TRUE(header.fortran_order);
  EXPECT_THAT(header.shape, ElementsAre(2, 3));
  EXPECT_EQ(header.elements(), 6);
}

TEST(NpyHeader, SizesAreLimitedTo63Bits) {
  const auto shape = [](const std::string& s) {
    return [s] { parsed("{'descr': '<f8', 'fortran_order': False, 'shape': " + s + "}"); };
  };
  EXPECT_NO_THROW(shape("(1152921504606846975,)")());  // 2^60 - 1
  EXPECT_THAT(shape("(1152921504606846976,)"),
              ThrowsMessage<std::runtime_error>(HasSubstr("too large")));
  EXPECT_THAT(shape("(9223372036854775808,)"),
              ThrowsMessage<std::runtime_error>(HasSubstr("too large")));
  EXPECT_THAT(shape("(4294967296, 4294967296, 0)"),
              ThrowsMessage<std::runtime_error>(HasSubstr("too large")));
}

TEST(NpyHeader, MessagesShowNothingUnprintable) {
  try {
    parsed("{'descr': '" + std::string(200, 'x') + "', 'fortran_order': False, 'shape': (2, 3)}");
    FAIL() << "no error";
  } catch (const std::runtime_error& e) {
    EXPECT_LT(std::string(e.what()).size(), 200u);
  }
}

// Whatever the bytes are, there is a header or a runtime_error.
TEST(NpyHeader, SurvivesChangedBytes) {
  const std::string good = file("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3, 4), }\n");
  std::mt19937 random(1);
  const std::string alphabet = "0123456789'\"{}(),:<>=|f248VTFalse \n\\L-" + std::string(1, '\0');
  int refused = 0;
  for (int i = 0; i < 20000; ++i) {
    std::string text = good;
    for (int k = 0; k < 1 + i % 3; ++k) {
      text[6 + random() % (text.size() - 6)] = alphabet[random() % alphabet.size()];
    }
    text.resize(text.size() - random() % 4 / 3);
    try {
      const std::size_t size = npy_header_size(text.substr(0, kNpyPrelude));
      if (size <= text.size()) parse_npy_header(text.substr(0, size));
    } catch (const std::runtime_error& e) {
      ++refused;
      for (char c : std::string(e.what())) EXPECT_TRUE(c >= ' ' && c <= '~');
    }
  }
  EXPECT_GT(refused, 10000);
}

}  // namespace
}  // namespace instnorm::cli
