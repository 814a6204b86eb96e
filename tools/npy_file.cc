#include "npy_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <stdexcept>

namespace instnorm::cli {
namespace {

static_assert(std::endian::native == std::endian::little, "data are written as they are in memory");

constexpr std::int64_t kMaxRead = std::int64_t{1} << 30;  // Linux takes no more in one call

// In Fortran order a block is many short runs. Reading on through a gap this short costs less than
// another system call; what is read on this way goes through a buffer of kSpan bytes.
constexpr std::int64_t kGap = 4096;
constexpr std::int64_t kSpan = std::int64_t{1} << 20;

template <class T>
void swap_bytes(std::byte* data, std::int64_t elements) {
  for (std::int64_t i = 0; i < elements; ++i) {
    T value;
    std::memcpy(&value, data + i * std::int64_t{sizeof(T)}, sizeof(T));
    if constexpr (sizeof(T) == 2) value = __builtin_bswap16(value);
    if constexpr (sizeof(T) == 4) value = __builtin_bswap32(value);
    if constexpr (sizeof(T) == 8) value = __builtin_bswap64(value);
    std::memcpy(data + i * std::int64_t{sizeof(T)}, &value, sizeof(T));
  }
}

}  // namespace

std::byte* Buffer::need(std::int64_t bytes) {
  if (bytes > size_) {
    size_ = 0;
    memory_ = Tensor();  // first, so that the old and the new one do not stand side by side
    memory_ = Tensor({(bytes + 7) / 8}, DType::float64);
    size_ = bytes;
  }
  static std::byte nothing[8];
  return size_ > 0 ? static_cast<std::byte*>(memory_.data()) : nothing;
}

NpyFile::NpyFile(const std::string& path, NpyElements elements, std::size_t whole_rank)
    : path_(path),
      whole_rank_(whole_rank),
      // Without O_NONBLOCK, opening a pipe would wait for its writer before it could be refused.
      fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
  if (fd_ < 0) fail(std::strerror(errno));
  try {
    struct stat status{};
    if (::fstat(fd_, &status) != 0) fail(std::strerror(errno));
    if (S_ISDIR(status.st_mode)) fail("is a directory");
    if (!S_ISREG(status.st_mode)) fail("is not a regular file; pipes and devices are not read");
    read_header(status.st_size, elements);
  } catch (...) {
    ::close(fd_);
    throw;
  }
}

NpyFile::~NpyFile() { ::close(fd_); }

void NpyFile::fail(const std::string& what) const { throw std::runtime_error(path_ + ": " + what); }

void NpyFile::read_header(std::int64_t file_size, NpyElements elements) {
  std::string text(static_cast<std::size_t>(std::min<std::int64_t>(kNpyPrelude, file_size)), '\0');
  const auto read_text = [&] {
    read_at(0, reinterpret_cast<std::byte*>(text.data()), static_cast<std::int64_t>(text.size()));
  };
  read_text();
  try {
    data_begin_ = static_cast<std::int64_t>(npy_header_size(text));
    if (data_begin_ > file_size) throw std::runtime_error("the file ends within its header");
    text.resize(static_cast<std::size_t>(data_begin_));
    read_text();
    header_ = parse_npy_header(text, elements);
  } catch (const std::runtime_error& e) {
    fail(e.what());
  }
  // What lies behind the array is not looked at, as NumPy does not.
  if (bytes() > file_size - data_begin_) {
    fail("the file ends early: its header promises " + std::to_string(bytes()) +
         " bytes of data, " + std::to_string(file_size - data_begin_) + " are there");
  }
}

Dims NpyFile::block_shape(std::int64_t count) const {
  Dims shape(header_.shape.data(), header_.shape.size());
  if (batched()) shape[0] = count;
  return shape;
}

View NpyFile::read(std::int64_t first, std::int64_t count) {
  const Dims shape = block_shape(count);
  const std::int64_t size = size_of(header_.dtype), instance = bytes_per_instance();
  std::byte* data = block_.need(count * instance);
  Dims strides = contiguous_strides(shape);
  if (!header_.fortran_order) {
    read_at(data_begin_ + first * instance, data, count * instance);
  } else {
    read_fortran(first, count, data);
    std::int64_t stride = 1;
    for (int i = 0; i < shape.rank(); ++i) {
      strides[i] = stride;
      stride *= std::max<std::int64_t>(shape[i], 1);
    }
  }
  if (header_.big_endian) {
    const std::int64_t elements = count * instance / size;
    if (size == 2) swap_bytes<std::uint16_t>(data, elements);
    if (size == 4) swap_bytes<std::uint32_t>(data, elements);
    if (size == 8) swap_bytes<std::uint64_t>(data, elements);
  }
  return view(static_cast<void*>(data), header_.dtype, shape, strides);
}

// The file holds, for each position within an instance, the N values of all instances; of each such
// run the block has `count`, from `first` on, and keeps the order.
void NpyFile::read_fortran(std::int64_t first, std::int64_t count, std::byte* to) {
  if (empty() || count == 0) return;
  const std::int64_t size = size_of(header_.dtype);
  const std::int64_t run = instances() * size, part = count * size,
                     begin = data_begin_ + first * size;
  const std::int64_t positions = bytes() / run;
  if (count == instances()) return read_at(begin, to, positions * run);
  if (run - part > kGap) {
    for (std::int64_t p = 0; p < positions; ++p) read_at(begin + p * run, to + p * part, part);
    return;
  }
  const std::int64_t at_once = std::max<std::int64_t>(1, kSpan / run);
  for (std::int64_t p = 0; p < positions; p += at_once) {
    const std::int64_t k = std::min(at_once, positions - p);
    std::byte* span = span_.need(at_once * run);
    read_at(begin + p * run, span, (k - 1) * run + part);
    for (std::int64_t i = 0; i < k; ++i) {
      std::memcpy(to + (p + i) * part, span + i * run, static_cast<std::size_t>(part));
    }
  }
}

void NpyFile::read_at(std::int64_t offset, std::byte* to, std::int64_t bytes) const {
  while (bytes > 0) {
    const ssize_t got =
        ::pread(fd_, to, static_cast<std::size_t>(std::min(bytes, kMaxRead)), offset);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail(std::strerror(errno));
    if (got == 0) fail("the file became shorter while it was read");
    offset += got;
    to += got;
    bytes -= got;
  }
}

}  // namespace instnorm::cli
