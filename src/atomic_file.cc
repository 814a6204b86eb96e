#include "atomic_file.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <new>
#include <stdexcept>
#include <string_view>
#include <system_error>

namespace instnorm {

// One entry of the list of temporary files. Entries are reused and never freed, and whoever swaps
// the path out owns it, so that a signal handler may walk the list at any moment.
struct UnfinishedFile {
  std::atomic<bool> taken{true};
  std::atomic<char*> path{nullptr};
  std::atomic<char*> removed{nullptr};  // done with, where no memory may be freed
  UnfinishedFile* next = nullptr;
};

namespace {

static_assert(std::atomic<char*>::is_always_lock_free && std::atomic<bool>::is_always_lock_free);

std::atomic<UnfinishedFile*> unfinished_files{nullptr};

UnfinishedFile* enlist(const std::string& path) {
  auto copy = std::make_unique<char[]>(path.size() + 1);
  path.copy(copy.get(), path.size());
  UnfinishedFile* slot = unfinished_files.load();
  while (slot != nullptr && slot->taken.exchange(true)) slot = slot->next;
  if (slot == nullptr) {
    slot = std::make_unique<UnfinishedFile>().release();
    slot->next = unfinished_files.load();
    while (!unfinished_files.compare_exchange_weak(slot->next, slot)) {
    }
  }
  slot->path.store(copy.release());
  return slot;
}

void strike_off(UnfinishedFile* slot) noexcept {
  const std::unique_ptr<char[]> path(slot->path.exchange(nullptr));
  const std::unique_ptr<char[]> removed(slot->removed.exchange(nullptr));
  slot->taken.store(false);
}

// The descriptor that a path names, or -1.
int descriptor_named_by(std::string_view path) {
  if (path == "/dev/stdout") return STDOUT_FILENO;
  if (path == "/dev/stderr") return STDERR_FILENO;
  for (std::string_view folder : {"/dev/fd/", "/proc/self/fd/"}) {
    if (!path.starts_with(folder)) continue;
    const char* end = path.data() + path.size();
    int fd = -1;
    const auto parsed = std::from_chars(path.data() + folder.size(), end, fd);
    if (parsed.ec == std::errc() && parsed.ptr == end && fd >= 0) return fd;
  }
  return -1;
}

// A name that no other process is likely to want; O_EXCL settles the rest.
std::string temporary_name() {
  static std::atomic<std::uint64_t> counter{0};
  const auto ticks = static_cast<std::uint64_t>(
      std::chrono::system_clock::now().time_since_epoch() / std::chrono::nanoseconds(1));
  // Weyl steps of the golden ratio keep calls of one clock tick apart.
  const std::uint64_t unique = ticks + counter.fetch_add(1) * 0x9e3779b97f4a7c15u;
  char name[64];
  (void)std::snprintf(name, sizeof name, ".instnorm-%ld-%016llx.tmp", static_cast<long>(::getpid()),
                      static_cast<unsigned long long>(unique));
  return name;
}

int fsync_retrying(int fd) {
  int result = 0;
  do {
    result = ::fsync(fd);
  } while (result != 0 && errno == EINTR);
  return result;
}

// Best effort: by then the file is whole under its name, and not every folder can be opened, nor is
// there always memory for its name.
void flush_folder_of(const std::string& path) noexcept {
  std::string folder;
  try {
    folder = std::filesystem::path(path).parent_path();
  } catch (const std::bad_alloc&) {
    return;
  }
  const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  fsync_retrying(fd);
  ::close(fd);
}

}  // namespace

AtomicFile::AtomicFile(const std::string& path, bool replace)
    : path_(path.c_str()), replace_(replace) {
  if (path.empty()) fail(ENOENT);
  if (path.size() != path_.size()) fail(EINVAL);  // a zero byte: the system sees another path
  if (const int fd = descriptor_named_by(path); fd >= 0) {
    open_straight(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
    return;
  }
  find_target();
  struct stat existing{};
  if (::stat(target_.c_str(), &existing) != 0) {
    if (errno != ENOENT) fail(errno);
  } else if (S_ISCHR(existing.st_mode) || S_ISFIFO(existing.st_mode)) {
    open_straight(::open(target_.c_str(), O_WRONLY | O_CLOEXEC | O_NOCTTY));
    return;
  } else if (S_ISDIR(existing.st_mode)) {
    fail(EISDIR);
  } else if (!S_ISREG(existing.st_mode)) {
    fail(ENOTSUP);
  } else if (!replace_) {
    fail(EEXIST);
  } else if (::faccessat(AT_FDCWD, target_.c_str(), W_OK, AT_EACCESS) != 0) {
    // Renaming would replace a write-protected file without a word.
    fail(errno);
  }
  open_temporary();
}

AtomicFile::~AtomicFile() { discard(); }

void AtomicFile::fail(int error) {
  discard();
  throw std::runtime_error("cannot write " + path_ + ": " + std::generic_category().message(error));
}

void AtomicFile::find_target() {
  std::error_code error;
  std::filesystem::path target = std::filesystem::absolute(path_, error);
  if (error) fail(error.value());
  for (int links = 0;; ++links) {
    const std::filesystem::path next = std::filesystem::read_symlink(target, error);
    if (error) break;              // no link: stat and open will tell what it is
    if (links == 40) fail(ELOOP);  // as many as Linux follows
    target = target.parent_path() / next;
  }
  target_ = target;
}

void AtomicFile::open_straight(int fd) {
  if (fd < 0) fail(errno);
  straight_ = true;
  fd_ = fd;
}

void AtomicFile::open_temporary() {
  const std::filesystem::path folder = std::filesystem::path(target_).parent_path();
  for (int attempt = 0; attempt < 100; ++attempt) {
    temporary_ = folder / temporary_name();
    // Listed before it exists, so that a signal between the two leaves nothing behind.
    slot_ = enlist(temporary_);
    fd_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd_ >= 0) return;
    const int error = errno;
    strike_off(slot_);
    slot_ = nullptr;
    temporary_.clear();
    if (error != EEXIST && error != EINTR) fail(error);
  }
  fail(EEXIST);
}

void AtomicFile::write(const void* data, std::size_t bytes) {
  put(position_, data, bytes);
  position_ += bytes;
}

void AtomicFile::write_at(std::uint64_t offset, const void* data, std::size_t bytes) {
  if (!straight_) {
    put(offset, data, bytes);
  } else if (offset == position_) {
    write(data, bytes);
  } else {
    fail(ESPIPE);
  }
}

void AtomicFile::put(std::uint64_t offset, const void* data, std::size_t bytes) {
  if (fd_ < 0) fail(EBADF);
  const char* p = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t n =
        straight_ ? ::write(fd_, p, bytes) : ::pwrite(fd_, p, bytes, static_cast<off_t>(offset));
    if (n > 0) {
      p += n;
      offset += static_cast<std::uint64_t>(n);
      bytes -= static_cast<std::size_t>(n);
    } else if (n == 0) {
      fail(EIO);
    } else if (errno == EAGAIN) {
      // A pipe that somebody else made non-blocking.
      pollfd ready{fd_, POLLOUT, 0};
      ::poll(&ready, 1, -1);
    } else if (errno != EINTR) {
      fail(errno);
    }
  }
}

void AtomicFile::commit() {
  if (fd_ < 0) fail(EBADF);
  // EINVAL: a file system that has nothing to flush.
  if (!straight_ && fsync_retrying(fd_) != 0 && errno != EINVAL) fail(errno);
  const int fd = fd_;
  fd_ = -1;
  // EINTR leaves the descriptor closed on Linux.
  if (::close(fd) != 0 && errno != EINTR) fail(errno);
  if (straight_) return;
  give_name();
  strike_off(slot_);
  slot_ = nullptr;
  temporary_.clear();
  flush_folder_of(target_);
}

void AtomicFile::give_name() {
  if (!replace_) {
    // A second name fails if there is such a file, at whatever moment it appeared.
    if (::link(temporary_.c_str(), target_.c_str()) == 0) {
      ::unlink(temporary_.c_str());
      return;
    }
    if (errno != EPERM && errno != ENOTSUP && errno != ENOSYS && errno != EMLINK) fail(errno);
    // No second names on this file system: an empty file of our own holds the place.
    const int place = ::open(target_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (place < 0) fail(errno);
    ::close(place);
  }
  if (::rename(temporary_.c_str(), target_.c_str()) != 0) {
    const int error = errno;
    if (!replace_) ::unlink(target_.c_str());
    fail(error);
  }
}

void AtomicFile::discard() noexcept {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
  if (temporary_.empty()) return;
  ::unlink(temporary_.c_str());
  strike_off(slot_);
  slot_ = nullptr;
  temporary_.clear();
}

void remove_unfinished_files() noexcept {
  const int saved = errno;
  for (UnfinishedFile* slot = unfinished_files.load(); slot != nullptr; slot = slot->next) {
    if (char* path = slot->path.exchange(nullptr)) {
      ::unlink(path);
      slot->removed.store(path);
    }
  }
  errno = saved;
}

}  // namespace instnorm
