// What an .npy file says is one thing, what it still holds when it is read another.
#include "npy_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <unistd.h>

#include <stdexcept>
#include <string>

#include "error_of.h"
#include "npy_input.h"
#include "temporary_folder.h"

namespace instnorm::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

// (40, 3, 100) of float32, in either order.
std::string file_of(const char* fortran_order) {
  std::string header = make_npy_header(DType::float32, {40, 3, 100});
  header.replace(header.find("False"), 5, fortran_order);  // of 5 letters
  return header + std::string(40 * 3 * 100 * 4, '\0');
}

void expect_it_says_so(const char* fortran_order) {
  const TemporaryFolder folder;
  const std::string path = folder / "x.npy";
  put(path, file_of(fortran_order));
  NpyInput input(path, DataFormat::NCL);
  EXPECT_NO_THROW(input.read(0, 40));
  ASSERT_EQ(::truncate(path.c_str(), static_cast<off_t>(contents(path).size() / 2)), 0);
  EXPECT_THAT(error_of<std::runtime_error>([&] { input.read(30, 10); }),
              AllOf(StartsWith(path), HasSubstr("the file became shorter while it was read")));
}

TEST(NpyFile, ThatBecomesShorterWhileItIsReadIsAnError) { expect_it_says_so("False"); }
TEST(NpyFile, ThatBecomesShorterWhileItIsReadInPiecesIsAnError) { expect_it_says_so("True "); }

}  // namespace
}  // namespace instnorm::cli
