#include "safetensors.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <system_error>
#include <utility>

#include "quotes.h"

namespace instnorm {
namespace {

static_assert(std::endian::native == std::endian::little, "files are little-endian, as memory is");

constexpr std::uint64_t kLengthBytes = 8;  // of the header's length before the header

struct WordOfDType {
  const char* word;
  DType dtype;
};
constexpr WordOfDType kWordOfDType[] = {{"F16", DType::float16},  {"BF16", DType::bfloat16},
                                        {"F32", DType::float32},  {"F64", DType::float64},
                                        {"BOOL", DType::boolean}, {"I32", DType::int32},
                                        {"I64", DType::int64}};

[[noreturn]] void malformed(const std::string& path, const std::string& what) {
  throw std::runtime_error(path + " is not a safetensors file: " + what);
}

[[noreturn]] void unreadable(const std::string& path, int error) {
  throw std::runtime_error("cannot read " + path + ": " + std::generic_category().message(error));
}

// A descriptor that closes itself.
class File {
 public:
  explicit File(const std::string& path) {
    if (path.find('\0') != std::string::npos) unreadable(path.c_str(), EINVAL);
    // Without O_NONBLOCK a pipe would wait here for its writer; regular files do not mind it.
    fd_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd_ < 0) unreadable(path, errno);
  }
  ~File() {
    if (fd_ >= 0) ::close(fd_);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_ = -1;
};

void read_at(const std::string& path, int fd, std::uint64_t offset, void* out, std::size_t bytes) {
  char* p = static_cast<char*>(out);
  while (bytes > 0) {
    const ssize_t n = ::pread(fd, p, bytes, static_cast<off_t>(offset));
    if (n > 0) {
      p += n;
      offset += static_cast<std::uint64_t>(n);
      bytes -= static_cast<std::size_t>(n);
    } else if (n == 0) {
      malformed(path, "it became shorter while it was read");
    } else if (errno != EINTR) {
      unreadable(path, errno);
    }
  }
}

const TensorInfo& find_tensor(const TensorInfos& tensors, const std::string& name) {
  const auto found = tensors.find(name);
  if (found == tensors.end()) {
    throw std::invalid_argument("[safetensors] there is no tensor " + in_quotes(name));
  }
  return found->second;
}

// The header and the length before it. Sets begin and end of the tensors.
std::string start_of_file(TensorInfos& tensors) {
  const std::string header = make_safetensors_header(tensors);
  const std::uint64_t length = header.size();
  std::string start(kLengthBytes, '\0');
  std::memcpy(start.data(), &length, kLengthBytes);
  return start + header;
}

// The piece of a tensor as bytes of the data section.
struct Piece {
  std::uint64_t offset = 0;
  std::size_t bytes = 0;
};

Piece find_piece(const TensorInfos& tensors, const std::string& name, std::int64_t first,
                 std::int64_t count) {
  const TensorInfo& info = find_tensor(tensors, name);
  const auto size = static_cast<std::uint64_t>(safetensors_bits(info.dtype) / 8);
  if (safetensors_bits(info.dtype) % 8 != 0) {
    throw std::invalid_argument("[safetensors] elements of " + info.dtype + " are no whole bytes");
  }
  const auto elements = static_cast<std::int64_t>((info.end - info.begin) / size);
  if (first < 0 || count < 0 || first > elements || count > elements - first) {
    throw std::invalid_argument("[safetensors] tensor " + in_quotes(name) + " has " +
                                std::to_string(elements) + " elements, none of " +
                                std::to_string(first) + " + " + std::to_string(count));
  }
  return {info.begin + static_cast<std::uint64_t>(first) * size,
          static_cast<std::size_t>(count) * size};
}

}  // namespace

const char* safetensors_word(DType dtype) {
  for (const WordOfDType& entry : kWordOfDType) {
    if (entry.dtype == dtype) return entry.word;
  }
  return "";
}

std::optional<DType> dtype_of_safetensors(std::string_view word) {
  for (const WordOfDType& entry : kWordOfDType) {
    if (entry.word == word) return entry.dtype;
  }
  return std::nullopt;
}

SafetensorsReader::SafetensorsReader(const std::string& path) : path_(path) {
  File file(path);
  struct stat status{};
  if (::fstat(file.get(), &status) != 0) unreadable(path, errno);
  if (S_ISDIR(status.st_mode)) unreadable(path, EISDIR);
  if (!S_ISREG(status.st_mode)) {
    throw std::runtime_error("cannot read " + path + ": not a regular file");
  }
  const auto size = static_cast<std::uint64_t>(status.st_size);
  if (size < kLengthBytes) malformed(path, "it has fewer than 8 bytes");
  std::uint64_t length = 0;
  read_at(path, file.get(), 0, &length, kLengthBytes);
  if (length > kMaxSafetensorsHeader) {
    malformed(path, "its header would have " + std::to_string(length) +
                        " bytes, more than the format's limit");
  }
  if (length > size - kLengthBytes) malformed(path, "its header is cut off");
  data_begin_ = kLengthBytes + length;
  std::string text(length, '\0');
  read_at(path, file.get(), kLengthBytes, text.data(), text.size());
  try {
    header_ = parse_safetensors_header(text, size - data_begin_);
  } catch (const std::runtime_error& error) {
    malformed(path, error.what());
  }
  fd_ = file.release();
}

SafetensorsReader::~SafetensorsReader() { ::close(fd_); }

void SafetensorsReader::read(const std::string& name, std::int64_t first, std::int64_t count,
                             void* out) const {
  const Piece piece = find_piece(header_.tensors, name, first, count);
  read_at(path_, fd_, data_begin_ + piece.offset, out, piece.bytes);
}

std::vector<std::byte> SafetensorsReader::read(const std::string& name) const {
  const TensorInfo& info = find_tensor(header_.tensors, name);
  std::vector<std::byte> data(info.end - info.begin);
  read_at(path_, fd_, data_begin_ + info.begin, data.data(), data.size());
  return data;
}

StoredTensors read_safetensors(const std::string& path) {
  const SafetensorsReader reader(path);
  StoredTensors tensors;
  for (const auto& [name, info] : reader.tensors()) {
    tensors[name] = {info.dtype, info.shape, reader.read(name)};
  }
  return tensors;
}

void write_safetensors(const std::string& path, const StoredTensors& tensors, bool replace) {
  TensorInfos infos;
  for (const auto& [name, tensor] : tensors) infos[name] = {tensor.dtype, tensor.shape};
  const std::string start = start_of_file(infos);
  // In the order of the file, so that it may be a pipe.
  std::map<std::uint64_t, const std::vector<std::byte>*> data;
  for (const auto& [name, info] : infos) {
    const std::vector<std::byte>& bytes = tensors.at(name).data;
    if (bytes.size() != info.end - info.begin) {
      throw std::invalid_argument("[safetensors] tensor " + in_quotes(name) + " needs " +
                                  std::to_string(info.end - info.begin) + " bytes of data, got " +
                                  std::to_string(bytes.size()));
    }
    if (!bytes.empty()) data[info.begin] = &bytes;
  }
  AtomicFile file(path, replace);
  file.write(start.data(), start.size());
  for (const auto& [begin, bytes] : data) file.write(bytes->data(), bytes->size());
  file.commit();
}

SafetensorsWriter::SafetensorsWriter(const std::string& path, const TensorInfos& tensors,
                                     bool replace)
    : tensors_(tensors), start_(start_of_file(tensors_)), file_(path, replace) {
  if (!file_.random_access()) {
    throw std::runtime_error("cannot write " + path +
                             ": its parts come in any order, which needs a regular file");
  }
  for (const auto& [name, info] : tensors_) missing_ += info.end - info.begin;
  file_.write(start_.data(), start_.size());
}

void SafetensorsWriter::write(const std::string& name, std::int64_t first, std::int64_t count,
                              const void* data) {
  const Piece piece = find_piece(tensors_, name, first, count);
  if (piece.bytes > missing_) {
    throw std::invalid_argument("[safetensors] tensor " + in_quotes(name) + " is written twice");
  }
  file_.write_at(start_.size() + piece.offset, data, piece.bytes);
  missing_ -= piece.bytes;
}

void SafetensorsWriter::commit() {
  if (missing_ > 0) {
    throw std::invalid_argument("[safetensors] " + std::to_string(missing_) +
                                " bytes of data have not been written");
  }
  file_.commit();
}

}  // namespace instnorm
