// Files in the safetensors format: reading and writing, whole or in pieces.
// Definition: https://github.com/huggingface/safetensors (section Format of its README).
#pragma once

#include <instnorm/tensor.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "atomic_file.h"
#include "safetensors_header.h"

namespace instnorm {

// One tensor as the file has it. dtype is the format's own word ("F32", "BF16", "I64", ...); data
// is little-endian, row-major.
struct StoredTensor {
  std::string dtype;
  std::vector<std::int64_t> shape;
  std::vector<std::byte> data;
};
using StoredTensors = std::map<std::string, StoredTensor>;

// Throws std::runtime_error, with the path and what is wrong, if the file cannot be read or is
// malformed.
StoredTensors read_safetensors(const std::string& path);

// Writes the whole file under another name in the same folder and renames it, so that `path` is
// either the old file or the whole new one. Throws std::runtime_error if that fails, and with
// `replace` false if there is a file; std::invalid_argument if the tensors make no legal file.
void write_safetensors(const std::string& path, const StoredTensors& tensors, bool replace = true);

// The format's word for a dtype, and back; nothing for a word that is no DType.
const char* safetensors_word(DType dtype);
std::optional<DType> dtype_of_safetensors(std::string_view word);

// A file whose tensors are read in pieces. It is opened, and its header read and checked, once.
// Throws std::runtime_error, with the path and what is wrong. May be shared by threads.
class SafetensorsReader {
 public:
  explicit SafetensorsReader(const std::string& path);
  ~SafetensorsReader();
  SafetensorsReader(const SafetensorsReader&) = delete;
  SafetensorsReader& operator=(const SafetensorsReader&) = delete;

  const TensorInfos& tensors() const { return header_.tensors; }
  const std::map<std::string, std::string>& metadata() const { return header_.metadata; }

  // Elements first to first + count of one tensor, in row-major order. Throws
  // std::invalid_argument if there are none such, or if elements are no whole bytes.
  void read(const std::string& name, std::int64_t first, std::int64_t count, void* out) const;
  // All bytes of one tensor.
  std::vector<std::byte> read(const std::string& name) const;

 private:
  std::string path_;
  int fd_ = -1;
  SafetensorsHeader header_;
  std::uint64_t data_begin_ = 0;  // offset of the data in the file
};

// A file whose names, dtypes and shapes are known at once and whose data come in pieces, in any
// order. It has its name after commit(). Throws as write_safetensors does. `path` must be a place
// for a regular file, as the order is free.
class SafetensorsWriter {
 public:
  SafetensorsWriter(const std::string& path, const TensorInfos& tensors, bool replace = true);

  // Elements first to first + count of one tensor; each element once.
  void write(const std::string& name, std::int64_t first, std::int64_t count, const void* data);
  // Throws std::invalid_argument if not every element has been written.
  void commit();

 private:
  TensorInfos tensors_;
  std::string start_;  // all before the data
  AtomicFile file_;
  std::uint64_t missing_ = 0;  // bytes still to come
};

}  // namespace instnorm
