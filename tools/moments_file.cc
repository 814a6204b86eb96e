#include "moments_file.h"

#include <array>
#include <stdexcept>
#include <utility>
#include <vector>

#include "quotes.h"

namespace instnorm::cli {
namespace {

using Part = std::pair<const char*, std::vector<double> Moments::*>;
constexpr std::array<Part, 3> kParts = {Part{"count", &Moments::count},
                                        Part{"mean", &Moments::mean}, Part{"m2", &Moments::m2}};

TensorInfos infos(std::int64_t n, std::int64_t c) {
  TensorInfos infos;
  for (const auto& [name, member] : kParts) infos[name] = {.dtype = "F64", .shape = {n, c}};
  return infos;
}

std::string shown(const TensorInfo& info) {
  std::string s = info.dtype + " (";
  for (std::size_t i = 0; i < info.shape.size(); ++i) {
    s += (i ? ", " : "") + std::to_string(info.shape[i]);
  }
  return s + (info.shape.size() == 1 ? ",)" : ")");
}

}  // namespace

MomentsInput::MomentsInput(const std::string& path, std::int64_t n, std::int64_t c)
    : file_(path), c_(c) {
  for (const auto& [name, wanted] : infos(n, c)) {
    const auto found = file_.tensors().find(name);
    if (found == file_.tensors().end()) {
      throw std::runtime_error(path + ": no moments: there is no " + in_quotes(name));
    }
    if (found->second.dtype != wanted.dtype || found->second.shape != wanted.shape) {
      throw std::runtime_error(path + ": " + name + " must be " + shown(wanted) +
                               ", as the data have N * C rows, got " + shown(found->second));
    }
  }
}

const Moments& MomentsInput::read(std::int64_t first, std::int64_t count) {
  block_.N = count;
  block_.C = c_;
  for (const auto& [name, member] : kParts) {
    auto& values = block_.*member;
    values.resize(static_cast<std::size_t>(count * c_));
    file_.read(name, first * c_, count * c_, values.data());
  }
  return block_;
}

MomentsOutput::MomentsOutput(const std::string& path, std::int64_t n, std::int64_t c, bool replace)
    : file_(path, infos(n, c), replace) {}

void MomentsOutput::write(std::int64_t first, const Moments& block) {
  for (const auto& [name, member] : kParts) {
    file_.write(name, first * block.C, block.N * block.C, (block.*member).data());
  }
}

}  // namespace instnorm::cli
