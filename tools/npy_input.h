// An .npy file of rows, (N, C, L) or (C, L), with the channels where the data format says.
#pragma once

#include <instnorm/functional.h>

#include <cstdint>
#include <string>

#include "npy_file.h"

namespace instnorm::cli {

class NpyInput : public NpyFile {
 public:
  NpyInput(const std::string& path, DataFormat format);

  std::int64_t N() const { return instances(); }
  std::int64_t C() const { return c_; }
  std::int64_t L() const { return l_; }

  // Instances of a block: as many as fit into `block_bytes`, with their moments and with what else
  // is read of each; at least one.
  std::int64_t instances_per_block(std::int64_t block_bytes, std::int64_t besides) const;

 private:
  std::int64_t c_ = 0, l_ = 0;
};

}  // namespace instnorm::cli
