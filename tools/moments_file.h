// A file of moments, read and written block by block: count, mean, m2, float64, (N, C).
#pragma once

#include <instnorm/functional.h>

#include <cstdint>
#include <string>

#include "safetensors.h"

namespace instnorm::cli {

class MomentsInput {
 public:
  // Throws std::runtime_error, "PATH: what is wrong", unless the file holds moments of N * C rows.
  MomentsInput(const std::string& path, std::int64_t n, std::int64_t c);

  // Those of instances first to first + count; valid until the next call.
  const Moments& read(std::int64_t first, std::int64_t count);

 private:
  SafetensorsReader file_;
  std::int64_t c_;
  Moments block_;
};

class MomentsOutput {
 public:
  // Throws std::runtime_error where an AtomicFile does.
  MomentsOutput(const std::string& path, std::int64_t n, std::int64_t c, bool replace);

  // `block` belongs to the instances from `first` on; each instance once.
  void write(std::int64_t first, const Moments& block);
  void commit() { file_.commit(); }

 private:
  SafetensorsWriter file_;
};

}  // namespace instnorm::cli
