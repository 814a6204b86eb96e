// A progress bar on a terminal, for what takes longer than a second.
#pragma once

#include <chrono>
#include <cstdint>

namespace instnorm::cli {

class Progress {
 public:
  // Draws to standard error, and only if that is a terminal.
  explicit Progress(std::int64_t total);
  ~Progress();  // leaves an empty line
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void at(std::int64_t done);

 private:
  using Clock = std::chrono::steady_clock;
  bool terminal_;
  bool drawn_ = false;
  std::int64_t total_;
  Clock::time_point start_, next_;
};

}  // namespace instnorm::cli
