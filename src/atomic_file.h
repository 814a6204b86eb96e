// A file that appears under its name only when it is complete.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace instnorm {

struct UnfinishedFile;

// Writes to a temporary file in the folder of `path`; commit() flushes it to disk and gives it its
// name. Without commit(), or after remove_unfinished_files(), nothing of it stays. A new file has
// mode 0666 without the umask. A symbolic link stays, and the file it leads to is replaced.
//
// What cannot be replaced is written straight through: a pipe, a character device, and /dev/stdout,
// /dev/stderr, /dev/fd/K, /proc/self/fd/K whatever is behind them.
//
// All members throw std::runtime_error "cannot write PATH: REASON". After that only destruction is
// of use. Different objects may be used from different threads.
class AtomicFile {
 public:
  // With `replace` false an existing regular file is an error here and again at commit().
  AtomicFile(const std::string& path, bool replace);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  // Behind all that write() has written before.
  void write(const void* data, std::size_t bytes);
  // At any place, in any order; bytes never written are 0. What is written straight through takes
  // its bytes in order only: there `offset` must be the number of bytes written so far.
  void write_at(std::uint64_t offset, const void* data, std::size_t bytes);
  void commit();

  // False where bytes go straight through.
  bool random_access() const { return !straight_; }

 private:
  [[noreturn]] void fail(int error);
  void find_target();
  void open_straight(int fd);
  void open_temporary();
  void put(std::uint64_t offset, const void* data, std::size_t bytes);
  void give_name();
  void discard() noexcept;

  std::string path_;       // as the caller gave it, for messages
  std::string target_;     // absolute, links followed
  std::string temporary_;  // absolute; empty where bytes go straight through
  bool replace_;
  bool straight_ = false;
  int fd_ = -1;
  std::uint64_t position_ = 0;      // of the next write()
  UnfinishedFile* slot_ = nullptr;  // in the list of remove_unfinished_files()
};

// Removes the temporary files of all AtomicFiles that are open. Async-signal-safe.
void remove_unfinished_files() noexcept;

}  // namespace instnorm
