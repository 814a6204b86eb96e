#include "progress.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <string>

namespace instnorm::cli {
namespace {

constexpr auto kSilent = std::chrono::seconds(1);
constexpr auto kInterval = std::chrono::milliseconds(100);
constexpr std::int64_t kWidth = 40;

}  // namespace

Progress::Progress(std::int64_t total)
    : terminal_(::isatty(STDERR_FILENO) == 1),
      total_(std::max<std::int64_t>(total, 1)),
      start_(Clock::now()),
      next_(start_ + kSilent) {}

Progress::~Progress() {
  if (drawn_) (void)std::fputs("\r\033[K", stderr);
}

void Progress::at(std::int64_t done) {
  if (!terminal_ || Clock::now() < next_) return;
  drawn_ = true;
  next_ = Clock::now() + kInterval;
  const double share = static_cast<double>(done) / static_cast<double>(total_);
  const double seconds = std::chrono::duration<double>(Clock::now() - start_).count();
  const auto filled = static_cast<std::size_t>(share * kWidth);
  const std::string bar = std::string(filled, '#') + std::string(kWidth - filled, ' ');
  (void)std::fprintf(stderr, "\r[%s] %3.0f %%  %.0f s left \033[K", bar.c_str(), share * 100,
                     share > 0 ? seconds / share - seconds : 0.0);
  (void)std::fflush(stderr);
}

}  // namespace instnorm::cli
