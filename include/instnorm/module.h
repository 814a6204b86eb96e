// InstanceNorm1d as a module that owns its parameters and buffers, as torch.nn.InstanceNorm1d does.
#pragma once

#include <instnorm/export.h>
#include <instnorm/functional.h>
#include <instnorm/tensor.h>

#include <cstdint>
#include <map>
#include <string>

namespace instnorm {

struct InstanceNorm1dOptions {
  std::int64_t num_features;
  double eps = 1e-5;
  double momentum = 0.1;
  bool affine = false;               // learnable weight and bias, (C,)
  bool track_running_stats = false;  // keep running_mean and running_var, and use them in eval
  DType dtype = DType::float32;      // of weight, bias, running_mean, running_var
  bool bias = true;                  // false with affine: weight only
};

// A new module is in training mode; weight and running_var are 1, bias and running_mean 0.
class INSTNORM_API InstanceNorm1d {
 public:
  // Throws std::invalid_argument for num_features < 0 or a dtype that is no float.
  explicit InstanceNorm1d(const InstanceNorm1dOptions& options);

  // x is (C, L) or (N, C, L) of the module's dtype, or float16 or bfloat16 with a float32 module.
  // Normalises by the input's statistics in training and where none are tracked, by the running
  // ones in eval. A module without weight, bias and running statistics has nothing that a dtype or
  // a number of channels must fit, and takes any, as PyTorch does (with a warning there; nothing
  // is printed here). Throws std::invalid_argument for another rank, dtype or channel count, and
  // for L == 1 with the input's own statistics.
  Tensor operator()(const ConstView& x) { return forward(x); }
  Tensor forward(const ConstView& x);
  void forward(const ConstView& x, const View& y);

  void train(bool on = true) { training_ = on; }
  void eval() { train(false); }
  bool training() const { return training_; }
  const InstanceNorm1dOptions& options() const { return options_; }

  void reset_parameters();
  void reset_running_stats();

  // PyTorch's names: weight, bias, running_mean, running_var, num_batches_tracked, those that
  // exist. The views stay valid as long as the module lives.
  std::map<std::string, View> state();

  // One safetensors file with PyTorch's names. `save` writes a new file beside it and renames it;
  // it throws std::runtime_error if that fails, and leaves an older file as it was. `load` is
  // strict: missing and unexpected keys, other shapes and dtypes throw std::runtime_error that
  // names them all, and the module keeps its values. Only num_batches_tracked, which files from
  // before PyTorch 0.4 do not have, may be missing; it then keeps its value.
  void save(const std::string& path) const;
  void load(const std::string& path);

 private:
  // Calls f(key, tensor) for each tensor of `module`, const or not, that exists.
  template <class Module, class F>
  static void each_tensor(Module& module, const F& f);

  InstanceNorm1dOptions options_;
  bool training_ = true;
  Tensor weight_, bias_, running_mean_, running_var_, num_batches_tracked_;
};

}  // namespace instnorm
