// A value that is computed at its first use.
#pragma once

#include <atomic>

namespace instnorm {

// `unknown` is none of the values. Threads that come at once may compute it more than once, instead
// of one of them under a lock: the child of a fork in that moment would wait for it for ever.
template <class T, T unknown>
class Remembered {
 public:
  template <class Compute>
  T or_else(const Compute& compute) {
    T value = value_.load(std::memory_order_acquire);
    if (value == unknown) value_.store(value = compute(), std::memory_order_release);
    return value;
  }

 private:
  std::atomic<T> value_{unknown};
};

}  // namespace instnorm
