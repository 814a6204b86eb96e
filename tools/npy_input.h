// An .npy file of rows, read in blocks of instances.
#pragma once

#include <instnorm/tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "npy.h"

namespace instnorm::cli {

// A buffer that grows when it must and is reused.
class Buffer {
 public:
  // At least `bytes` bytes, 64-byte aligned; what was there before is lost.
  std::byte* need(std::int64_t bytes);

 private:
  Tensor memory_;
  std::int64_t size_ = 0;
};

// Opens the file, checks its header and that its data are all there. All throw std::runtime_error,
// "PATH: what is wrong".
class NpyInput {
 public:
  explicit NpyInput(const std::string& path);
  ~NpyInput();
  NpyInput(const NpyInput&) = delete;
  NpyInput& operator=(const NpyInput&) = delete;

  const std::string& path() const { return path_; }
  const NpyHeader& header() const { return header_; }
  DType dtype() const { return header_.dtype; }
  std::int64_t N() const { return n_; }
  std::int64_t C() const { return c_; }
  std::int64_t L() const { return l_; }
  bool batched() const { return header_.shape.size() > 2; }
  bool empty() const { return header_.elements() == 0; }
  std::int64_t bytes() const { return header_.elements() * size_of(header_.dtype); }

  // Instances of a block: as many as fit, with their moments, into `block_bytes`; at least one.
  std::int64_t instances_per_block(std::int64_t block_bytes) const;

  // Shape of `count` instances: that of the file with another N; (C, L) of a rank 2 file.
  Dims block_shape(std::int64_t count) const;

  // Instances first to first + count, in the machine's byte order, with the strides that the file's
  // order gives. The view is valid, and may be written to, until the next call.
  View read(std::int64_t first, std::int64_t count);

 private:
  [[noreturn]] void fail(const std::string& what) const;
  void read_header(std::int64_t file_size);
  void read_at(std::int64_t offset, std::byte* to, std::int64_t bytes) const;
  void read_fortran(std::int64_t first, std::int64_t count, std::byte* to);

  std::string path_;
  int fd_ = -1;
  NpyHeader header_;
  std::int64_t data_begin_ = 0;
  std::int64_t n_ = 0, c_ = 0, l_ = 0;
  Buffer block_, span_;
};

}  // namespace instnorm::cli
