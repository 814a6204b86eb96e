// What each command takes, as plain data, and the commands themselves. They throw UsageError,
// std::runtime_error for data and files, std::invalid_argument for what the library does not take.
#pragma once

#include <instnorm/functional.h>
#include <instnorm/tensor.h>

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace instnorm::cli {

// An empty string stands for an option that is not given.
struct ApplyOptions {
  std::string input, output;
  double eps = 1e-5;
  DataFormat data_format = DataFormat::NCL;
  std::string lengths, mask;
  NanPolicy nan_policy = NanPolicy::propagate;
  Activation activation = Activation::none;
  std::string state, prefix;
  bool eval = false, train = false;
  double momentum = 0.1;
  std::string save_state;
  std::string moments, save_moments;
  bool explain = false;
  bool force = false;
};
void apply(const ApplyOptions& options);

struct DenormalizeOptions {
  std::string input, output;
  std::string moments;
  std::string state, prefix;
  double eps = 1e-5;
  DataFormat data_format = DataFormat::NCL;
  bool force = false;
};
void denormalize(const DenormalizeOptions& options);

struct MomentsOptions {
  std::string input;
  std::string output;
  DataFormat data_format = DataFormat::NCL;
  bool force = false;
};
void moments(const MomentsOptions& options);

struct BenchOptions {
  std::vector<std::array<std::int64_t, 3>> shapes;  // N, C, L; empty: a handful
  DType dtype = DType::float32;
  bool backward = false;
  bool json = false;
};
void bench(const BenchOptions& options);

struct InfoOptions {
  bool json = false;
};
void info(const InfoOptions& options);

}  // namespace instnorm::cli
