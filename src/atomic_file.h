// A file that appears under its name only when it is complete.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace instnorm {

// Writes to a temporary file in the folder of `path`; commit() flushes it to disk and renames it.
// Without commit(), or if the process is told to stop by SIGINT or SIGTERM while it writes and the
// program calls remove_unfinished_files(), nothing of it stays. All members throw
// std::runtime_error with the path and the reason.
class AtomicFile {
 public:
  // With `replace` false an existing `path` is an error here and again at commit().
  AtomicFile(std::string path, bool replace);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(const void* data, std::size_t bytes);
  void commit();

 private:
  std::string path_;
  std::string temporary_;
  bool replace_;
  int fd_ = -1;
};

// Removes the temporary files of all AtomicFiles that are open. Safe to call from a signal handler.
void remove_unfinished_files() noexcept;

}  // namespace instnorm
