// --lengths and --mask: which values of an input are there, read along with it.
#pragma once

#include <instnorm/functional.h>

#include <cstdint>
#include <optional>
#include <string>

#include "npy_file.h"
#include "npy_input.h"

namespace instnorm::cli {

class Selection {
 public:
  // At most one of them; an empty path stands for none. Throws std::runtime_error, "PATH: what is
  // wrong", for a file that does not fit the input. All lengths are looked at.
  Selection(const std::string& lengths, const std::string& mask, const NpyInput& input,
            DataFormat format);

  std::int64_t bytes_per_instance() const;

  // Those of the instances first to first + count; valid until the next call.
  void give(std::int64_t first, std::int64_t count, Options& options);

  // "lengths (PATH)" or "mask (PATH)"; empty without either.
  std::string str() const;

 private:
  void check_lengths(const NpyInput& input);
  void check_mask(const NpyInput& input, DataFormat format) const;

  std::optional<NpyFile> lengths_, mask_;
};

}  // namespace instnorm::cli
