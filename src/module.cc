#include <instnorm/module.h>

#include <algorithm>
#include <cstddef>
#include <stdexcept>
#include <utility>
#include <vector>

#include "dtype.h"
#include "fault.h"
#include "quotes.h"
#include "safetensors.h"

namespace instnorm {
namespace {

void fill(Tensor& tensor, double value) {
  if (!tensor.defined()) return;
  auto* p = static_cast<std::byte*>(tensor.data());
  const std::int64_t size = size_of(tensor.dtype());
  for (std::int64_t i = 0; i < tensor.numel(); ++i) {
    store_double(p + i * size, tensor.dtype(), value);
  }
}

// What a file says may be of any length; a message is not.
std::string shape_of(const std::vector<std::int64_t>& shape) {
  if (shape.size() > static_cast<std::size_t>(kMaxRank)) {
    return std::to_string(shape.size()) + " dimensions";
  }
  return Dims(shape.data(), shape.size()).str();
}

std::string list_of(const std::vector<std::string>& names) {
  constexpr std::size_t kShown = 100;
  std::string text;
  for (std::size_t i = 0; i < names.size() && i < kShown; ++i) {
    text += (i ? ", " : " ") + in_quotes(names[i]);
  }
  if (names.size() > kShown) text += " and " + std::to_string(names.size() - kShown) + " more";
  return text;
}

// All that keeps a file from being loaded into a module; empty if nothing does.
std::string faults_of(const TensorInfos& file, const std::map<std::string, View>& state) {
  std::vector<std::string> missing, unexpected, faults;
  for (const auto& [key, view] : state) {
    const auto found = file.find(key);
    if (found == file.end()) {
      // PyTorch before 0.4 did not write it, PyTorch since does not ask for it where a file states
      // no version, as these files never do, and nothing reads it.
      if (key != "num_batches_tracked") missing.push_back(key);
      continue;
    }
    const TensorInfo& info = found->second;
    if (!std::ranges::equal(info.shape, view.shape)) {
      faults.push_back(key + " must have shape " + view.shape.str() + ", got " +
                       shape_of(info.shape));
    }
    if (info.dtype != safetensors_word(view.dtype)) {
      faults.push_back(key + " must be " + safetensors_word(view.dtype) + ", got " + info.dtype);
    }
  }
  bool running = false;
  for (const auto& [key, info] : file) {
    if (state.contains(key)) continue;
    unexpected.push_back(key);
    running |= key == "running_mean" || key == "running_var";
  }
  if (!unexpected.empty()) {
    faults.insert(faults.begin(), "unexpected" + list_of(unexpected));
    if (running) {
      faults.front() +=
          " (this module has track_running_stats = false; files from before PyTorch 0.4 hold "
          "running statistics nevertheless: remove them, or set track_running_stats)";
    }
  }
  if (!missing.empty()) faults.insert(faults.begin(), "missing" + list_of(missing));
  std::string text;
  for (const std::string& fault : faults) text += (text.empty() ? "" : "; ") + fault;
  return text;
}

[[noreturn]] void fail(const std::string& what) {
  throw std::invalid_argument("[InstanceNorm1d] " + what);
}

void check_input(const ConstView& x, const InstanceNorm1dOptions& options) {
  const int rank = x.shape.rank();
  if (rank != 2 && rank != 3) {
    fail("expected 2D or 3D input (got " + std::to_string(rank) + "D input)");
  }
  if (const Fault fault = fault_of(x); fault != Fault::none) fail("x: " + text_of(fault, x));
  const int dim = rank - 2;
  // As in PyTorch: running statistics that do not fit are the function's to refuse, and where there
  // is nothing to fit any number will do.
  if (options.affine && x.shape[dim] != options.num_features) {
    fail("expected input's size at dim=" + std::to_string(dim) + " to match num_features (" +
         std::to_string(options.num_features) + "), but got: " + std::to_string(x.shape[dim]) +
         ".");
  }
  if (!options.affine && !options.track_running_stats) return;
  const bool half = is_float(x.dtype) && size_of(x.dtype) == 2;
  if (x.dtype != options.dtype && !(half && options.dtype == DType::float32)) {
    fail(std::string("expected ") + name(options.dtype) +
         (options.dtype == DType::float32 ? ", float16 or bfloat16" : "") + " input for a " +
         name(options.dtype) + " module, got " + name(x.dtype));
  }
}

}  // namespace

InstanceNorm1d::InstanceNorm1d(const InstanceNorm1dOptions& options) : options_(options) {
  if (options.num_features < 0) {
    fail("num_features must be at least 0, got " + std::to_string(options.num_features));
  }
  if (!is_float(options.dtype)) {
    fail(std::string("dtype must be float16, bfloat16, float32 or float64, got ") +
         name(options.dtype));
  }
  const Dims shape{options.num_features};
  if (options.affine) {
    weight_ = Tensor(shape, options.dtype);
    if (options.bias) bias_ = Tensor(shape, options.dtype);
  }
  if (options.track_running_stats) {
    running_mean_ = Tensor(shape, options.dtype);
    running_var_ = Tensor(shape, options.dtype);
    num_batches_tracked_ = Tensor(Dims(), DType::int64);
  }
  reset_parameters();
}

Tensor InstanceNorm1d::forward(const ConstView& x) {
  check_input(x, options_);
  Tensor y(x.shape, x.dtype);
  forward(x, y.view());
  return y;
}

void InstanceNorm1d::forward(const ConstView& x, const View& y) {
  check_input(x, options_);
  instance_norm(x, y,
                {.weight = weight_.view(),
                 .bias = bias_.view(),
                 .running_mean = running_mean_.view(),
                 .running_var = running_var_.view(),
                 .use_input_stats = training_ || !options_.track_running_stats,
                 .momentum = options_.momentum,
                 .eps = options_.eps});
}

void InstanceNorm1d::reset_parameters() {
  reset_running_stats();
  fill(weight_, 1.0);
  fill(bias_, 0.0);
}

void InstanceNorm1d::reset_running_stats() {
  fill(running_mean_, 0.0);
  fill(running_var_, 1.0);
  if (num_batches_tracked_.defined()) *num_batches_tracked_.data<std::int64_t>() = 0;
}

template <class Module, class F>
void InstanceNorm1d::each_tensor(Module& module, const F& f) {
  const auto of = [&](const char* key, auto& tensor) {
    if (tensor.defined()) f(key, tensor);
  };
  of("weight", module.weight_);
  of("bias", module.bias_);
  of("running_mean", module.running_mean_);
  of("running_var", module.running_var_);
  of("num_batches_tracked", module.num_batches_tracked_);
}

std::map<std::string, View> InstanceNorm1d::state() {
  std::map<std::string, View> result;
  each_tensor(*this, [&](const char* key, Tensor& tensor) { result[key] = tensor.view(); });
  return result;
}

void InstanceNorm1d::save(const std::string& path) const {
  StoredTensors stored;
  each_tensor(*this, [&](const char* key, const Tensor& tensor) {
    const ConstView view = tensor.view();
    const auto* data = static_cast<const std::byte*>(view.data);
    stored[key] = {safetensors_word(view.dtype),
                   {view.shape.begin(), view.shape.end()},
                   {data, data + view.shape.product() * size_of(view.dtype)}};
  });
  write_safetensors(path, stored);
}

void InstanceNorm1d::load(const std::string& path) {
  const SafetensorsReader file(path);
  const std::map<std::string, View> state = this->state();
  if (const std::string faults = faults_of(file.tensors(), state); !faults.empty()) {
    throw std::runtime_error("cannot load " + path + ": " + faults);
  }
  // All is read before anything is changed.
  std::vector<std::pair<void*, std::vector<std::byte>>> values;
  for (const auto& [key, view] : state) {
    if (file.tensors().contains(key)) values.emplace_back(view.data, file.read(key));
  }
  for (const auto& [to, from] : values)
    std::copy(from.begin(), from.end(), static_cast<std::byte*>(to));
}

}  // namespace instnorm
