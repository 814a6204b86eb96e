// What is timed takes turns, so that what else the machine does hits all alike.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <functional>
#include <vector>

namespace instnorm::cli {

struct Contestant {
  std::function<void()> once;
  int repeat = 1;
  std::vector<double> seconds{};

  double run() const {
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < repeat; ++i) once();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() / repeat;
  }
  double median() const {
    std::vector<double> sorted = seconds;
    const auto middle = sorted.begin() + static_cast<std::ptrdiff_t>(sorted.size() / 2);
    std::nth_element(sorted.begin(), middle, sorted.end());
    return *middle;
  }
};

// Pages, caches and threads are there afterwards, and each knows how often it is repeated.
inline void warm_up(std::vector<Contestant>& all) {
  constexpr double kOneRun = 100e-6;  // what takes less is repeated: the clock costs 20 to 50 ns
  for (Contestant& c : all) {
    c.run();
    c.repeat = static_cast<int>(std::clamp(kOneRun / std::max(c.run(), 1e-9), 1.0, 10000.0));
  }
}

inline void time_once(std::vector<Contestant>& all) {
  for (Contestant& c : all) c.seconds.push_back(c.run());
}

}  // namespace instnorm::cli
