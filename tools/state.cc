#include "state.h"

#include <algorithm>
#include <optional>
#include <set>
#include <stdexcept>

#include "dtype.h"
#include "quotes.h"

namespace instnorm::cli {
namespace {

constexpr const char* kNames[] = {"weight", "bias", "running_mean", "running_var"};

// Elements of a tensor that are copied at once.
constexpr std::int64_t kPiece = std::int64_t{1} << 20;

std::string with_dot(const std::string& prefix) {
  return prefix.empty() || prefix.back() == '.' ? prefix : prefix + ".";
}

std::int64_t product(const std::vector<std::int64_t>& shape) {
  std::int64_t product = 1;
  for (std::int64_t extent : shape) product *= extent;
  return product;
}

}  // namespace

State::State(const std::string& path, const std::string& prefix, std::int64_t c, DType data)
    : path_(path), prefix_(with_dot(prefix)), file_(path) {
  for (const char* name : kNames) {
    if (file_.tensors().contains(prefix_ + name)) read_parameter(name, c, data);
  }
  if (parameters_.empty()) fail_empty();
  if (parameters_.contains("running_mean") != parameters_.contains("running_var")) {
    fail("of running_mean and running_var there is only one");
  }
}

void State::fail(const std::string& what) const { throw std::runtime_error(path_ + ": " + what); }

void State::fail_empty() const {
  std::set<std::string> prefixes;
  for (const auto& [key, info] : file_.tensors()) {
    for (const std::string name : kNames) {
      if (!key.ends_with("." + name)) continue;
      prefixes.insert(key.substr(0, key.size() - name.size() - 1));
    }
  }
  std::string possible;
  constexpr std::size_t kShown = 8;
  std::size_t shown = 0;
  for (const std::string& prefix : prefixes) {
    if (shown == kShown) break;
    possible += (shown++ ? ", " : "; possible prefixes: ") + in_quotes(prefix);
  }
  if (prefixes.size() > kShown) possible += ", ...";
  fail("no weight, bias or running statistics under the prefix " + in_quotes(prefix_) + possible);
}

void State::read_parameter(const std::string& name, std::int64_t c, DType data) {
  Parameter& parameter = parameters_[name];
  parameter.key = prefix_ + name;
  const TensorInfo& info = file_.tensors().at(parameter.key);
  const std::optional<DType> dtype = dtype_of_safetensors(info.dtype);
  if (!dtype || !is_float(*dtype)) {
    fail(in_quotes(parameter.key) + " must be float16, bfloat16, float32 or float64, got " +
         in_quotes(info.dtype));
  }
  if (info.shape != std::vector<std::int64_t>{c}) {
    std::string got;
    for (std::int64_t extent : info.shape)
      got += (got.empty() ? "" : ", ") + std::to_string(extent);
    fail(in_quotes(parameter.key) + " must have shape (C,) = " + Dims{c}.str() + ", got (" + got +
         (info.shape.size() == 1 ? ",)" : ")"));
  }
  parameter.dtype = *dtype;
  const std::int64_t size = size_of(*dtype);
  parameter.stored.resize(static_cast<std::size_t>(c * size));
  file_.read(parameter.key, 0, c, parameter.stored.data());
  const DType usable = data == DType::float64 ? DType::float64 : DType::float32;
  parameter.usable = Tensor({c}, usable);
  auto* to = static_cast<std::byte*>(parameter.usable.data());
  for (std::int64_t i = 0; i < c; ++i) {
    store_double(to + i * size_of(usable), usable,
                 load_double(parameter.stored.data() + i * size, *dtype));
  }
}

View State::parameter(const std::string& name) {
  const auto found = parameters_.find(name);
  return found == parameters_.end() ? View{} : found->second.usable.view();
}

std::unique_ptr<SafetensorsWriter> State::save(const std::string& path, bool replace) const {
  auto writer = std::make_unique<SafetensorsWriter>(path, file_.tensors(), replace);
  std::set<std::string> changed;
  for (const char* name : {"running_mean", "running_var"}) {
    const Parameter& parameter = parameters_.at(name);
    const std::int64_t count = product(file_.tensors().at(parameter.key).shape);
    writer->write(parameter.key, 0, count, parameter.stored.data());
    changed.insert(parameter.key);
  }
  std::vector<std::byte> piece;
  for (const auto& [key, info] : file_.tensors()) {
    if (changed.contains(key)) continue;
    const int bits = safetensors_bits(info.dtype);
    if (bits % 8 != 0) fail("cannot copy " + in_quotes(key) + ": its elements are no whole bytes");
    const std::int64_t count = product(info.shape);
    for (std::int64_t first = 0; first < count; first += kPiece) {
      const std::int64_t n = std::min(kPiece, count - first);
      piece.resize(static_cast<std::size_t>(n * bits / 8));
      file_.read(key, first, n, piece.data());
      writer->write(key, first, n, piece.data());
    }
  }
  return writer;
}

}  // namespace instnorm::cli
