#include "cpu/threads.h"

#include <instnorm/runtime.h>

#include <omp.h>
#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <new>
#include <stdexcept>
#include <string>

#include "remembered.h"

namespace instnorm {
namespace {

constexpr int kUnset = 0;
std::atomic<int> g_threads{kUnset};
std::atomic<bool> g_threads_used{false};
std::atomic<bool> g_forked_after_use{false};

int from_environment() {
  const char* text = std::getenv("INSTNORM_NUM_THREADS");
  if (text == nullptr || *text == '\0') return kUnset;
  int value = 0;
  const char* end = text + std::strlen(text);
  const auto [rest, error] = std::from_chars(text, end, value);
  if (error != std::errc() || rest != end || value < 1) {
    throw std::invalid_argument(std::string("INSTNORM_NUM_THREADS=") + text +
                                " is not a positive integer");
  }
  return value;
}

}  // namespace

void set_num_threads(int k) {
  if (k < 1) {
    throw std::invalid_argument("[set_num_threads] expected at least 1 thread, got " +
                                std::to_string(k));
  }
  g_threads.store(k, std::memory_order_relaxed);
}

int get_num_threads() {
  static constinit Remembered<int, -1> remembered;
  const int environment = remembered.or_else(from_environment);
  const int set = g_threads.load(std::memory_order_relaxed);
  if (set != kUnset) return set;
  return environment != kUnset ? environment : omp_get_max_threads();
}

namespace cpu {

int usable_threads() {
  if (omp_in_parallel() || g_forked_after_use.load(std::memory_order_relaxed)) return 1;
  // Behind a number that somebody has mistyped: OpenMP's runtime ends the process where it has no
  // memory for as many, or the system no threads.
  static constinit Remembered<int, 0> most;
  return std::min(get_num_threads(),
                  most.or_else([] { return std::max(256, omp_get_num_procs()); }));
}

void note_threads_used() {
  if (g_threads_used.exchange(true)) return;
  pthread_atfork(nullptr, nullptr,
                 [] { g_forked_after_use.store(true, std::memory_order_relaxed); });
}

bool can_start(int threads) {
  thread_local int started = 1;
  threads = std::min(threads, omp_get_thread_limit());  // the region has no more
  if (threads <= started) return true;
  const std::unique_ptr<pthread_t[]> all(new (std::nothrow)
                                             pthread_t[static_cast<std::size_t>(threads)]);
  if (all == nullptr) return false;
  std::mutex together;  // until it opens, all of them are there
  const auto wait = [](void* gate) -> void* {
    const std::lock_guard lock(*static_cast<std::mutex*>(gate));
    return nullptr;
  };
  int count = 1;  // this one
  {
    const std::lock_guard lock(together);
    while (count < threads &&
           pthread_create(&all[static_cast<std::size_t>(count)], nullptr, wait, &together) == 0) {
      ++count;
    }
  }
  for (int i = 1; i < count; ++i) pthread_join(all[static_cast<std::size_t>(i)], nullptr);
  if (count == threads) started = threads;
  return count == threads;
}

}  // namespace cpu
}  // namespace instnorm
