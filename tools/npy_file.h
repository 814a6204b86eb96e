// An .npy file, checked without trust, and read in blocks of instances.
#pragma once

#include <instnorm/tensor.h>

#include <cstddef>
#include <cstdint>
#include <string>

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
class NpyFile {
 public:
  // An array of at most `whole_rank` dimensions is one instance; of others the first dimension is
  // that of the instances.
  NpyFile(const std::string& path, NpyElements elements, std::size_t whole_rank);
  ~NpyFile();
  NpyFile(const NpyFile&) = delete;
  NpyFile& operator=(const NpyFile&) = delete;

  const std::string& path() const { return path_; }
  const NpyHeader& header() const { return header_; }
  DType dtype() const { return header_.dtype; }
  bool batched() const { return header_.shape.size() > whole_rank_; }
  std::int64_t instances() const { return batched() ? header_.shape[0] : 1; }
  bool empty() const { return header_.elements() == 0; }
  std::int64_t bytes() const { return header_.elements() * size_of(header_.dtype); }
  std::int64_t bytes_per_instance() const { return empty() ? 0 : bytes() / instances(); }

  // Shape of `count` instances: that of the file with another first extent, if it is batched.
  Dims block_shape(std::int64_t count) const;

  // Instances first to first + count, in the machine's byte order, with the strides that the file's
  // order gives. The view is valid, and may be written to, until the next call.
  View read(std::int64_t first, std::int64_t count);

  [[noreturn]] void fail(const std::string& what) const;

 private:
  void read_header(std::int64_t file_size, NpyElements elements);
  void read_at(std::int64_t offset, std::byte* to, std::int64_t bytes) const;
  void read_fortran(std::int64_t first, std::int64_t count, std::byte* to);

  std::string path_;
  std::size_t whole_rank_;
  int fd_;
  NpyHeader header_;
  std::int64_t data_begin_ = 0;
  Buffer block_, span_;
};

}  // namespace instnorm::cli
