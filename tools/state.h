// The state of one InstanceNorm1d within a safetensors file, under PyTorch's names.
#pragma once

#include <instnorm/tensor.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "safetensors.h"

namespace instnorm::cli {

class State {
 public:
  // `prefix` stands before the names, with or without the final dot. `data` is the dtype of what is
  // to be normalised. Throws std::runtime_error, "PATH: what is wrong", unless there is something
  // of an InstanceNorm1d of C channels.
  State(const std::string& path, const std::string& prefix, std::int64_t c, DType data);

  bool has_running_statistics() const { return parameters_.contains("running_mean"); }

  // As the library takes them: float64 for float64 data, else float32, to which a float64 value is
  // rounded. Undefined where the file has none.
  View parameter(const std::string& name);

  // A running statistic as the file keeps it: bytes that may be changed before save().
  DType stored_dtype(const std::string& name) const { return parameters_.at(name).dtype; }
  std::byte* stored(const std::string& name) { return parameters_.at(name).stored.data(); }

  // Writes the whole file, with the running statistics as they are now and all other tensors as
  // they were. It has its name after commit() of what is returned.
  std::unique_ptr<SafetensorsWriter> save(const std::string& path, bool replace) const;

 private:
  struct Parameter {
    std::string key;
    DType dtype = DType::float32;
    std::vector<std::byte> stored;
    Tensor usable;
  };
  void read_parameter(const std::string& name, std::int64_t c, DType data);
  [[noreturn]] void fail(const std::string& what) const;
  [[noreturn]] void fail_empty() const;

  std::string path_, prefix_;
  SafetensorsReader file_;
  std::map<std::string, Parameter> parameters_;
};

}  // namespace instnorm::cli
