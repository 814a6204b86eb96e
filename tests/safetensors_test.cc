// The safetensors format: exact bytes out, and no file, however hostile, does more than throw.
#include "safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <vector>

#include "error_of.h"
#include "temporary_folder.h"

namespace instnorm {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

std::string file_of(const std::string& header, std::size_t data_bytes) {
  const std::uint64_t length = header.size();
  std::string file(8, '\0');
  std::memcpy(file.data(), &length, 8);
  file += header;
  for (std::size_t i = 0; i < data_bytes; ++i) file += static_cast<char>(i + 1);
  return file;
}

template <class T>
std::vector<std::byte> bytes_of(const std::vector<T>& values) {
  const auto* p = reinterpret_cast<const std::byte*>(values.data());
  return {p, p + values.size() * sizeof(T)};
}

// What reading a file with these bytes says after the path.
std::string complaint(const std::string& bytes) {
  const TemporaryFolder folder;
  put(folder / "f", bytes);
  const std::string text = error_of<std::runtime_error>([&] { read_safetensors(folder / "f"); });
  EXPECT_EQ(text.find('\n'), std::string::npos) << text;
  for (const char c : text) EXPECT_TRUE(c >= ' ' && c <= '~') << text;
  const std::string start = folder / "f" + " is not a safetensors file: ";
  return text.starts_with(start) ? text.substr(start.size()) : text;
}

TEST(Safetensors, ReadsTheExampleOfTheFormat) {
  // Written down from the format's definition, with all that it allows: any order of entries and
  // tensors, white space, escapes, metadata, an empty tensor, a scalar, eight bytes of padding.
  const TemporaryFolder folder;
  put(folder / "f", file_of(R"({ "b" : {"shape":[2,2],"data_offsets":[8,24],"dtype":"I32"},)"
                            "\n\t"
                            R"("\u00e9\"":{"dtype":"F64","shape":[],"data_offsets":[0,8]},)"
                            R"("__metadata__":{"format":"pt","":"\n"},)"
                            R"("empty":{"dtype":"BF16","shape":[3,0],"data_offsets":[8,8]}})"
                            "        ",
                            24));
  const StoredTensors tensors = read_safetensors(folder / "f");
  ASSERT_EQ(tensors.size(), 3u);
  EXPECT_EQ(tensors.at("b").dtype, "I32");
  EXPECT_EQ(tensors.at("b").shape, (std::vector<std::int64_t>{2, 2}));
  EXPECT_EQ(tensors.at("b").data.front(), std::byte{9});
  EXPECT_EQ(tensors.at("b").data.back(), std::byte{24});
  EXPECT_EQ(tensors.at("\u00e9\"").shape, std::vector<std::int64_t>{});
  EXPECT_EQ(tensors.at("\u00e9\"").data.size(), 8u);
  EXPECT_EQ(tensors.at("empty").shape, (std::vector<std::int64_t>{3, 0}));
  const SafetensorsReader reader(folder / "f");
  EXPECT_EQ(reader.metadata(), (std::map<std::string, std::string>{{"format", "pt"}, {"", "\n"}}));
}

TEST(Safetensors, ReadsAFileWithoutTensors) {
  const TemporaryFolder folder;
  put(folder / "f", file_of("{}", 0));
  EXPECT_TRUE(read_safetensors(folder / "f").empty());
}

TEST(Safetensors, KnowsTheSizeOfEveryDType) {
  const std::pair<const char*, std::size_t> bytes_of_eight[] = {
      {"F4", 4},   {"F6_E2M3", 6}, {"F6_E3M2", 6},     {"BOOL", 8},    {"U8", 8},
      {"I8", 8},   {"F8_E5M2", 8}, {"F8_E4M3", 8},     {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8},
      {"I16", 16}, {"U16", 16},    {"F8_E5M2FNUZ", 8}, {"F16", 16},    {"BF16", 16},
      {"I32", 32}, {"U32", 32},    {"F32", 32},        {"C64", 64},    {"F64", 64},
      {"I64", 64}, {"U64", 64}};
  for (const auto& [dtype, bytes] : bytes_of_eight) {
    const auto header = [&](std::size_t end) {
      return std::string(R"({"a":{"dtype":")") + dtype + R"(","shape":[8],"data_offsets":[0,)" +
             std::to_string(end) + "]}}";
    };
    EXPECT_EQ(complaint(file_of(header(bytes), bytes)), "nothing was thrown") << dtype;
    EXPECT_THAT(complaint(file_of(header(bytes + 1), bytes + 1)),
                HasSubstr("dtype and shape need " + std::to_string(bytes)))
        << dtype;
  }
}

TEST(Safetensors, RefusesAFileThatIsNoFile) {
  const TemporaryFolder folder;
  ASSERT_EQ(mkfifo((folder / "pipe").c_str(), 0600), 0);
  const std::pair<std::string, std::string> cases[] = {
      {folder / "none", "No such file or directory"},
      {folder.path(), "Is a directory"},
      {folder / "pipe", "not a regular file"},  // and does not wait for a writer
      {"/dev/null", "not a regular file"},
      {"", "No such file or directory"}};
  for (const auto& [path, reason] : cases) {
    EXPECT_EQ(error_of<std::runtime_error>([&] { read_safetensors(path); }),
              "cannot read " + path + ": " + reason);
  }
  EXPECT_EQ(error_of<std::runtime_error>([] { read_safetensors(std::string("a\0b", 3)); }),
            "cannot read a: Invalid argument");
}

TEST(Safetensors, RefusesALengthThatCannotBe) {
  EXPECT_EQ(complaint(""), "it has fewer than 8 bytes");
  EXPECT_EQ(complaint(std::string("\x02\0\0\0\0\0\0", 7)), "it has fewer than 8 bytes");
  std::string file = file_of("{}", 0);
  file[0] = 3;
  EXPECT_EQ(complaint(file), "its header is cut off");
  file[3] = 5;  // 3 + 5 * 2^24, below the limit
  EXPECT_EQ(complaint(file), "its header is cut off");
  file[3] = 6;
  EXPECT_THAT(complaint(file), StartsWith("its header would have 100663299 bytes, more than"));
  file.replace(0, 8, 8, '\xff');  // 2^64 - 1: adding to it overflows
  EXPECT_THAT(complaint(file), StartsWith("its header would have 18446744073709551615 bytes"));
  EXPECT_EQ(complaint(file_of("", 0)), "header does not begin with {");
}

struct Hostile {
  const char* what;
  std::string header;
  std::size_t data_bytes;
  const char* complaint;
};

// One entry "a" of float32, (2,), unless the argument says otherwise.
std::string entry(const std::string& fields) { return "{\"a\":{" + fields + "}}"; }
std::string shaped(const std::string& shape, const std::string& offsets) {
  return entry(R"("dtype":"F32","shape":)" + shape + R"(,"data_offsets":)" + offsets);
}

const std::vector<Hostile>& hostile_files() {
  const std::string good = R"("dtype":"F32","shape":[2],"data_offsets":[0,8])";
  const std::string deep(1'000'000, '[');
  std::string objects;
  for (int i = 0; i < 300'000; ++i) objects += "{\"a\":";
  static const std::vector<Hostile> cases = {
      {"no JSON", "{abc", 0, "header is not JSON in UTF-8 (byte 2)"},
      {"unfinished", "{\"a\":", 0, "header is not JSON in UTF-8 (byte 6)"},
      {"unfinished string", "{\"a", 0, "header is not JSON in UTF-8"},
      {"text behind", "{}x", 0, "header is not JSON in UTF-8 (byte 3)"},
      {"two objects", "{}{}", 0, "header is not JSON in UTF-8"},
      {"zero byte behind", std::string("{}\0", 3), 0, "header is not JSON in UTF-8 (byte 3)"},
      {"garbage behind a zero byte", std::string("{}\0x\n", 5), 0, "header is not JSON"},
      {"white space before", " {}", 0, "header does not begin with {"},
      {"byte order mark", "\xef\xbb\xbf{}", 0, "header does not begin with {"},
      {"an array", "[]", 0, "header does not begin with {"},
      {"comment", "{/**/}", 0, "header is not JSON in UTF-8"},
      {"trailing comma", "{" + entry(good).substr(1, entry(good).size() - 2) + ",}", 8,
       "header is not JSON in UTF-8"},
      {"invalid UTF-8", "{\"\xff\":{" + good + "}}", 8, "header is not JSON in UTF-8 (byte 3)"},
      {"overlong UTF-8", "{\"\xc0\xaf\":{" + good + "}}", 8, "header is not JSON in UTF-8"},
      {"half a surrogate", R"({"\ud800":{)" + good + "}}", 8, "header is not JSON in UTF-8"},
      {"control character in a name", "{\"\x01\":{" + good + "}}", 8, "header is not JSON"},
      {"deep arrays", "{\"a\":" + deep, 0, "has an array where its entry should be"},
      {"deep arrays in a shape", entry(R"("shape":)" + deep), 0, "has an array in shape"},
      {"deep objects", objects, 0, "header tensor \"a\" has an unknown entry \"a\""},
      {"deep metadata", R"({"__metadata__":{"a":)" + deep, 0, "no string"},
      {"a tensor twice", "{\"a\":{" + good + "},\"a\":{" + good + "}}", 8,
       "has tensor \"a\" twice"},
      {"a tensor twice by escape", "{\"a\":{" + good + R"(},"\u0061":{)" + good + "}}", 8,
       "has tensor \"a\" twice"},
      {"dtype twice", entry(good + R"(,"dtype":"F32")"), 8, "tensor \"a\" has dtype twice"},
      {"shape twice", entry(good + R"(,"shape":[2])"), 8, "tensor \"a\" has shape twice"},
      {"offsets twice", entry(good + R"(,"data_offsets":[0,8])"), 8, "has data_offsets twice"},
      {"metadata twice", R"({"__metadata__":{},"__metadata__":{}})", 0, "has __metadata__ twice"},
      {"a metadata key twice", R"({"__metadata__":{"k":"","k":""}})", 0,
       "__metadata__ has \"k\" twice"},
      {"metadata no object", R"({"__metadata__":"pt"})", 0, "__metadata__ that is no object"},
      {"metadata null", R"({"__metadata__":null})", 0, "__metadata__ that is no object"},
      {"metadata array", R"({"__metadata__":[]})", 0, "__metadata__ that is no object"},
      {"metadata number", R"({"__metadata__":{"k":1}})", 0, "__metadata__ that is no string"},
      {"metadata nested", R"({"__metadata__":{"k":{}}})", 0, "__metadata__ that is no string"},
      {"no dtype", entry(R"("shape":[2],"data_offsets":[0,8])"), 8, "\"a\" has no dtype"},
      {"no shape", entry(R"("dtype":"F32","data_offsets":[0,8])"), 8, "\"a\" has no shape"},
      {"no offsets", entry(R"("dtype":"F32","shape":[2])"), 8, "\"a\" has no data_offsets"},
      {"a second tensor does not inherit", "{\"a\":{" + good + R"(},"b":{}})", 8,
       "\"b\" has no dtype"},
      {"unknown entry", entry(good + R"(,"x":1)"), 8, "has an unknown entry \"x\""},
      {"entry no object", R"({"a":1})", 0, "has a number where its entry should be"},
      {"entry null", R"({"a":null})", 0, "has null where its entry should be"},
      {"unknown dtype", entry(R"("dtype":"F33","shape":[2],"data_offsets":[0,8])"), 8,
       "has an unknown dtype \"F33\""},
      {"dtype in lower case", entry(R"("dtype":"f32","shape":[2],"data_offsets":[0,8])"), 8,
       "has an unknown dtype \"f32\""},
      {"dtype no string", entry(R"("dtype":32)"), 8, "has a number as dtype"},
      {"shape no array", shaped("2", "[0,8]"), 8, "has a number in shape"},
      {"negative extent", shaped("[-2]", "[0,8]"), 8, "has a negative number in shape"},
      {"two negative extents", shaped("[-1,-2]", "[0,8]"), 8, "has a negative number in shape"},
      {"fractional extent", shaped("[2.0]", "[0,8]"), 8, "no 64-bit integer in shape"},
      {"exponent", shaped("[2e0]", "[0,8]"), 8, "no 64-bit integer in shape"},
      {"NaN", shaped("[NaN]", "[0,8]"), 8, "header is not JSON in UTF-8"},
      {"Infinity", shaped("[1e999]", "[0,8]"), 8, "header is not JSON in UTF-8"},
      {"text for an extent", shaped("[\"2\"]", "[0,8]"), 8, "has a string in shape"},
      {"true for an extent", shaped("[true]", "[0,8]"), 8, "has a boolean in shape"},
      {"extent of 2^63", shaped("[9223372036854775808]", "[0,8]"), 8, "extent that is too large"},
      {"extent of 2^64", shaped("[18446744073709551616]", "[0,8]"), 8, "no 64-bit integer"},
      {"product 2^64 wraps to 0", shaped("[4294967296,4294967296]", "[0,0]"), 0, "too large"},
      {"bits wrap to 64", shaped("[576460752303423490]", "[0,8]"), 8, "too large"},
      {"zero hides an overflow", shaped("[0,4611686018427387904,4]", "[0,0]"), 0, "too large"},
      {"no whole bytes", entry(R"("dtype":"F4","shape":[3],"data_offsets":[0,2])"), 2,
       "no whole bytes"},
      {"offsets no array", shaped("[2]", "8"), 8, "has a number in data_offsets"},
      {"one offset", shaped("[2]", "[0]"), 8, "needs two data_offsets"},
      {"no offset", shaped("[2]", "[]"), 8, "needs two data_offsets"},
      {"three offsets", shaped("[2]", "[0,8,8]"), 8, "needs two data_offsets"},
      {"negative offset", shaped("[2]", "[-8,0]"), 8, "has a negative number in data_offsets"},
      {"fractional offset", shaped("[2]", "[0,8.5]"), 8, "no 64-bit integer in data_offsets"},
      {"ends before it begins", shaped("[2]", "[8,0]"), 8, "ends before it begins"},
      {"difference wraps", shaped("[2]", "[18446744073709551608,0]"), 8, "ends before it begins"},
      {"beyond the end", shaped("[2]", "[0,8]"), 7, "lies beyond the end of the file"},
      {"far beyond the end", shaped("[2]", "[18446744073709551600,18446744073709551608]"), 8,
       "lies beyond the end of the file"},
      {"too few bytes", shaped("[3]", "[0,8]"), 8, "has 8 bytes where dtype and shape need 12"},
      {"too many bytes", shaped("[1]", "[0,8]"), 8, "has 8 bytes where dtype and shape need 4"},
      {"bytes behind", shaped("[2]", "[0,8]"), 9, "it has 1 bytes that belong to no tensor"},
      {"bytes and no tensor", "{}", 3, "it has 3 bytes that belong to no tensor"},
      {"a gap before", shaped("[2]", "[4,12]"), 12, "\"a\" leaves a gap before it"},
      {"a gap between",
       R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[3,5]}})",
       5, "\"b\" leaves a gap before it"},
      {"an overlap",
       R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}})",
       3, "\"b\" overlaps the one before it"},
      {"the same place twice",
       R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})",
       2, "\"b\" overlaps the one before it"},
      {"an empty tensor inside another",
       R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[0],"data_offsets":[1,1]}})",
       2, "\"b\" overlaps the one before it"},
      {"a name that would end the line", R"({"a\nb\u001b[31m\u202e":{}})", 0,
       R"(tensor "a\nb\u001b[31m\u202e" has no dtype)"},
      {"a name of a million letters", "{\"" + std::string(1'000'000, 'n') + "\":{}}", 0,
       "nnn\"... has no dtype"}};
  return cases;
}

TEST(Safetensors, RefusesHostileHeaders) {
  for (const Hostile& hostile : hostile_files()) {
    const std::string text = complaint(file_of(hostile.header, hostile.data_bytes));
    EXPECT_THAT(text, HasSubstr(hostile.complaint)) << hostile.what;
    EXPECT_LT(text.size(), 400u) << hostile.what;
  }
}

const char* const kTwoTensors =
    R"({"__metadata__":{"k":"v"},"w":{"dtype":"F16","shape":[1,3],"data_offsets":[4,10]},)"
    R"("b":{"dtype":"F32","shape":[],"data_offsets":[0,4]}})";

TEST(Safetensors, RefusesEveryPrefix) {
  const std::string whole = file_of(kTwoTensors, 10);
  EXPECT_EQ(complaint(whole), "nothing was thrown");
  for (std::size_t bytes = 0; bytes < whole.size(); ++bytes) {
    EXPECT_NE(complaint(whole.substr(0, bytes)), "nothing was thrown") << bytes;
  }
}

TEST(Safetensors, AnyByteOfAHeaderMayBeWrong) {
  // Some changes leave a legal header. The others throw std::runtime_error, and nothing else.
  const std::string header = kTwoTensors;
  int refused = 0, changes = 0;
  for (std::size_t at = 0; at < header.size(); ++at) {
    for (int byte = 0; byte < 256; ++byte) {
      std::string changed = header;
      changed[at] = static_cast<char>(byte);
      ++changes;
      try {
        parse_safetensors_header(changed, 10);
      } catch (const std::runtime_error&) {
        ++refused;
      }
    }
  }
  EXPECT_GT(refused, changes / 2);
}

TEST(Safetensors, AFileThatShrinksWhileItIsReadIsAnError) {
  const TemporaryFolder folder;
  put(folder / "f", file_of(kTwoTensors, 10));
  const SafetensorsReader reader(folder / "f");
  ASSERT_EQ(truncate((folder / "f").c_str(), 40), 0);
  float value = 0;
  EXPECT_THAT(error_of<std::runtime_error>([&] { reader.read("b", 0, 1, &value); }),
              HasSubstr("it became shorter while it was read"));
}

TEST(Safetensors, ReadsSlices) {
  const TemporaryFolder folder;
  std::vector<double> values(1000);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<double>(i);
  write_safetensors(folder / "f", {{"m", {"F64", {100, 10}, bytes_of(values)}},
                                   {"a", {"I32", {1}, bytes_of(std::vector<std::int32_t>{7})}}});
  const SafetensorsReader reader(folder / "f");
  EXPECT_EQ(reader.tensors().at("m").dtype, "F64");
  EXPECT_EQ(reader.tensors().at("m").shape, (std::vector<std::int64_t>{100, 10}));
  double slice[3] = {};
  reader.read("m", 997, 3, slice);
  EXPECT_THAT(slice, testing::ElementsAre(997, 998, 999));
  reader.read("m", 1000, 0, slice);
  for (const auto& [first, count] : std::vector<std::pair<std::int64_t, std::int64_t>>{
           {998, 3}, {-1, 1}, {0, -1}, {1001, 0}, {1, INT64_MAX}, {INT64_MAX, INT64_MAX}}) {
    EXPECT_THAT(error_of<std::invalid_argument>([&] { reader.read("m", first, count, slice); }),
                HasSubstr("tensor \"m\" has 1000 elements"));
  }
  EXPECT_THAT(error_of<std::invalid_argument>([&] { reader.read("x", 0, 0, slice); }),
              HasSubstr("there is no tensor \"x\""));
}

TEST(Safetensors, ElementsThatAreNoBytesAreReadAsAWhole) {
  const TemporaryFolder folder;
  put(folder / "f", file_of(R"({"a":{"dtype":"F4","shape":[4],"data_offsets":[0,2]}})", 2));
  const SafetensorsReader reader(folder / "f");
  EXPECT_EQ(reader.read("a"), (std::vector<std::byte>{std::byte{1}, std::byte{2}}));
  EXPECT_THAT(error_of<std::invalid_argument>([&] { reader.read("a", 0, 1, nullptr); }),
              HasSubstr("no whole bytes"));
}

TEST(Safetensors, WritesTheBytesThatTheFormatSays) {
  const TemporaryFolder folder;
  write_safetensors(folder / "f", {{"a", {"F16", {2}, bytes_of<std::uint16_t>({1, 2})}},
                                   {"c", {"F32", {1}, bytes_of<float>({1.0f})}},
                                   {"b", {"F32", {1, 1}, bytes_of<float>({2.0f})}},
                                   {"n", {"I64", {}, bytes_of<std::int64_t>({3})}},
                                   {"e", {"F64", {0}, {}}}});
  const std::string metadata = R"({"__metadata__":{"format":"pt"})";
  std::string header = metadata + R"(,"n":{"dtype":"I64","shape":[],"data_offsets":[0,8]},)"
                                  R"("e":{"dtype":"F64","shape":[0],"data_offsets":[8,8]},)"
                                  R"("b":{"dtype":"F32","shape":[1,1],"data_offsets":[8,12]},)"
                                  R"("c":{"dtype":"F32","shape":[1],"data_offsets":[12,16]},)"
                                  R"("a":{"dtype":"F16","shape":[2],"data_offsets":[16,20]}})";
  header.append((8 - header.size() % 8) % 8, ' ');
  const std::string data("\3\0\0\0\0\0\0\0\0\0\0\x40\0\0\x80\x3f\1\0\2\0", 20);
  EXPECT_EQ(contents(folder / "f"), file_of(header, 0) + data);
  EXPECT_EQ(header.size() % 8, 0u);

  write_safetensors(folder / "none", {});
  EXPECT_EQ(contents(folder / "none"), file_of(metadata + "}", 0));
}

TEST(Safetensors, AnyNameComesBack) {
  const TemporaryFolder folder;
  StoredTensors tensors;
  for (const std::string name :
       {"", "a.b", "quote\" back\\slash / \n\t\x01\x7f", "\u00e9\u4e2d\U0001f600"}) {
    tensors[name] = {"U8", {1}, {std::byte{5}}};
  }
  tensors[std::string("zero\0byte", 9)] = {"U8", {1}, {std::byte{6}}};
  write_safetensors(folder / "f", tensors);
  const StoredTensors back = read_safetensors(folder / "f");
  ASSERT_EQ(back.size(), 5u);
  for (const auto& [name, tensor] : tensors) EXPECT_EQ(back.at(name).data, tensor.data);
}

TEST(Safetensors, RefusesToWriteWhatTheFormatDoesNotHave) {
  const TemporaryFolder folder;
  const std::vector<std::byte> one(1), none;
  const std::pair<StoredTensors, const char*> cases[] = {
      {{{"__metadata__", {"U8", {1}, one}}}, "keeps for itself"},
      {{{"a", {"U9", {1}, one}}}, "tensor \"a\" has an unknown dtype \"U9\""},
      {{{"a", {"U8", {-1}, one}}}, "tensor \"a\" has a negative extent"},
      {{{"a", {"F4", {1}, one}}}, "no whole bytes"},
      {{{"a", {"U8", {INT64_MAX, 4}, one}}}, "too large"},
      {{{"a", {"U8", {2}, one}}}, "tensor \"a\" needs 2 bytes of data, got 1"},
      {{{"a", {"U8", {}, none}}}, "tensor \"a\" needs 1 bytes of data, got 0"},
      {{{"\xff", {"U8", {1}, one}}}, "is not UTF-8"}};
  for (const auto& [tensors, text] : cases) {
    EXPECT_THAT(error_of<std::invalid_argument>([&] { write_safetensors(folder / "f", tensors); }),
                HasSubstr(text));
  }
  EXPECT_TRUE(folder.names().empty());
}

TEST(Safetensors, AFailedWriteLeavesTheOldFile) {
  const TemporaryFolder folder;
  put(folder / "f", "old");
  EXPECT_EQ(error_of<std::runtime_error>([&] { write_safetensors(folder / "f", {}, false); }),
            "cannot write " + (folder / "f") + ": File exists");
  EXPECT_EQ(error_of<std::runtime_error>([] { write_safetensors("/dev/full", {}); }),
            "cannot write /dev/full: No space left on device");
  EXPECT_EQ(contents(folder / "f"), "old");
  write_safetensors(folder / "f", {}, true);
  EXPECT_TRUE(read_safetensors(folder / "f").empty());
  EXPECT_EQ(folder.names(), std::vector<std::string>{"f"});
}

TEST(SafetensorsWriter, TakesPiecesInAnyOrder) {
  const TemporaryFolder folder;
  const std::vector<double> a = {1, 2, 3, 4, 5, 6}, b = {7};
  {
    SafetensorsWriter writer(folder / "pieces", {{"a", {"F64", {2, 3}}}, {"b", {"F64", {}}}},
                             false);
    writer.write("a", 4, 2, &a[4]);
    writer.write("b", 0, 1, &b[0]);
    writer.write("a", 0, 4, &a[0]);
    writer.write("a", 6, 0, nullptr);
    EXPECT_FALSE(std::filesystem::exists(folder / "pieces"));
    writer.commit();
  }
  write_safetensors(folder / "whole",
                    {{"a", {"F64", {2, 3}, bytes_of(a)}}, {"b", {"F64", {}, bytes_of(b)}}});
  EXPECT_EQ(contents(folder / "pieces"), contents(folder / "whole"));
}

TEST(SafetensorsWriter, RefusesMistakes) {
  const TemporaryFolder folder;
  const TensorInfos tensors = {{"a", {"F64", {3}}}};
  const std::vector<double> a(4);
  {
    SafetensorsWriter writer(folder / "f", tensors);
    writer.write("a", 0, 2, a.data());
    EXPECT_THAT(error_of<std::invalid_argument>([&] { writer.commit(); }),
                HasSubstr("8 bytes of data have not been written"));
    EXPECT_THAT(error_of<std::invalid_argument>([&] { writer.write("a", 2, 2, a.data()); }),
                HasSubstr("has 3 elements"));
    EXPECT_THAT(error_of<std::invalid_argument>([&] { writer.write("b", 0, 1, a.data()); }),
                HasSubstr("there is no tensor \"b\""));
    EXPECT_THAT(error_of<std::invalid_argument>([&] { writer.write("a", 0, 2, a.data()); }),
                HasSubstr("is written twice"));
  }
  put(folder / "old", "old");
  EXPECT_THROW(SafetensorsWriter(folder / "old", tensors, false), std::runtime_error);
  EXPECT_THROW(SafetensorsWriter(folder / "g", {{"a", {"F99", {}}}}), std::invalid_argument);
  EXPECT_THAT(error_of<std::runtime_error>([&] { SafetensorsWriter("/dev/null", tensors); }),
              HasSubstr("needs a regular file"));
  EXPECT_EQ(folder.names(), std::vector<std::string>{"old"});
}

TEST(Safetensors, EveryDTypeHasAWord) {
  const std::pair<DType, const char*> words[] = {
      {DType::float16, "F16"}, {DType::bfloat16, "BF16"}, {DType::float32, "F32"},
      {DType::float64, "F64"}, {DType::boolean, "BOOL"},  {DType::int32, "I32"},
      {DType::int64, "I64"}};
  for (const auto& [dtype, word] : words) {
    EXPECT_STREQ(safetensors_word(dtype), word);
    EXPECT_EQ(dtype_of_safetensors(word), dtype);
    EXPECT_EQ(safetensors_bits(word), 8 * size_of(dtype));
  }
  EXPECT_EQ(dtype_of_safetensors("U8"), std::nullopt);
}

}  // namespace
}  // namespace instnorm
