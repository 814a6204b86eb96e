// instnorm bench: checks, then times, then speaks in bytes.
#include <instnorm/functional.h>
#include <instnorm/runtime.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "bench_check.h"
#include "bench_contest.h"
#include "bench_limit.h"
#include "commands.h"
#include "dtype.h"
#include "errors.h"
#include "text.h"

namespace instnorm::cli {
namespace {

constexpr double kEps = 1e-5;
constexpr double kSeconds = 0.5;  // for each shape
constexpr std::size_t kMinRuns = 7;

using Shape = std::array<std::int64_t, 3>;

constexpr Shape kShapes[] = {{20, 100, 40}, {32, 64, 1000}, {8, 512, 4096}, {1, 2, 2'000'000}};

std::string text_of(const Shape& s) { return Dims{s[0], s[1], s[2]}.str(); }

// Values around 3 with deviation 2, the same in every run: sums of four uniform numbers.
Tensor signal(const Shape& shape, DType dtype, std::uint64_t seed) {
  Tensor t({shape[0], shape[1], shape[2]}, dtype);
  auto* at = static_cast<std::byte*>(t.data());
  std::uint64_t state = seed;
  for (std::int64_t i = 0; i < t.numel(); ++i, at += size_of(dtype)) {
    double sum = -2.0;
    for (int k = 0; k < 4; ++k) {
      // Knuth's MMIX generator; its upper bits are the random ones.
      state = state * 6364136223846793005u + 1442695040888963407u;
      sum += static_cast<double>(state >> 11) * 0x1p-53;
    }
    store_double(at, dtype, 3.0 + 2.0 * std::sqrt(3.0) * sum);
  }
  return t;
}

void time_interleaved(std::vector<Contestant>& all) {
  warm_up(all);
  const auto start = std::chrono::steady_clock::now();
  while (all[0].seconds.size() < kMinRuns ||
         std::chrono::steady_clock::now() - start < std::chrono::duration<double>(kSeconds)) {
    time_once(all);
  }
}

struct Result {
  Shape shape;
  double copy = 0.0, forward = 0.0, backward = 0.0;  // GB/s; bytes read and written
  double triad = 0.0;
};

// The fastest way to move an array's bytes, among the contestants.
class Limit {
 public:
  Limit(std::vector<Contestant>& all, const Tensor& from, const Tensor* second, Tensor& to)
      : first_(all.size()), last_(add(all, from, second, to)) {}
  double seconds(const std::vector<Contestant>& all) const {
    double least = all[first_].median();
    for (std::size_t i = first_; i < last_; ++i) least = std::min(least, all[i].median());
    return least;
  }

 private:
  // Returns how many there are then.
  static std::size_t add(std::vector<Contestant>& all, const Tensor& from, const Tensor* second,
                         Tensor& to) {
    const std::int64_t bytes = from.numel() * size_of(from.dtype());
    const int threads = get_num_threads();
    for (const Loop how : kLoops) {
      if (!counts(how, (second == nullptr ? 2 : 3) * bytes, second != nullptr)) continue;
      // Few bytes are moved faster by one thread.
      for (const int t : {threads, 1}) {
        all.push_back({[&from, second, &to, how, bytes, t] {
          move(how, static_cast<const std::byte*>(from.data()),
               second == nullptr ? nullptr : static_cast<const std::byte*>(second->data()),
               static_cast<std::byte*>(to.data()), bytes, t);
        }});
        if (threads == 1) break;
      }
    }
    return all.size();
  }

  std::size_t first_, last_;
};

Result measure(const Shape& shape, const BenchOptions& o) {
  const Tensor x = signal(shape, o.dtype, 1);
  Tensor y(x.shape(), o.dtype);
  Moments moments;
  instance_norm(x, y, {.eps = kEps, .save_moments = &moments});
  std::string wrong = check_forward(x, y, kEps);
  Tensor g, gx;
  if (o.backward) {
    g = signal(shape, o.dtype, 2);
    gx = Tensor(x.shape(), o.dtype);
    instance_norm_backward(x, g, moments, {.grad_input = gx}, {.eps = kEps});
    if (wrong.empty()) wrong = check_backward(x, g, gx, kEps);
  }
  if (!wrong.empty()) throw std::invalid_argument(wrong);

  std::vector<Contestant> all;
  const Limit copy(all, x, nullptr, y);
  const std::size_t forward = all.size();
  all.push_back({[&] { instance_norm(x, y, {.eps = kEps}); }});
  std::vector<Limit> triad;
  if (o.backward) {
    all.push_back(
        {[&] { instance_norm_backward(x, g, moments, {.grad_input = gx}, {.eps = kEps}); }});
    triad.emplace_back(all, x, &g, gx);
  }
  time_interleaved(all);
  const double bytes = 1e-9 * static_cast<double>(x.numel() * size_of(o.dtype));
  Result result{.shape = shape};
  result.copy = 2 * bytes / copy.seconds(all);
  result.forward = 2 * bytes / all[forward].median();
  if (o.backward) {
    result.backward = 3 * bytes / all[forward + 1].median();
    result.triad = 3 * bytes / triad[0].seconds(all);
  }
  return result;
}

std::string json(const std::vector<Result>& results, const BenchOptions& o) {
  nlohmann::ordered_json j;
  j["version"] = version();
  j["cpu_target"] = cpu_target();
  j["threads"] = get_num_threads();
  j["dtype"] = name(o.dtype);
  j["results"] = nlohmann::ordered_json::array();
  for (const Result& r : results) {
    nlohmann::ordered_json row = {{"shape", r.shape},
                                  {"copy_gb_per_s", r.copy},
                                  {"forward_gb_per_s", r.forward},
                                  {"forward_of_copy", r.forward / r.copy}};
    if (o.backward) {
      row["backward_gb_per_s"] = r.backward;
      row["backward_of_copy"] = r.backward / r.copy;
      row["triad_gb_per_s"] = r.triad;
      row["backward_of_triad"] = r.backward / r.triad;
    }
    j["results"].push_back(row);
  }
  return j.dump(2) + "\n";
}

std::string heading(const BenchOptions& o) {
  std::string s =
      std::string(name(o.dtype)) + ", " + cpu_target() + ", " + std::to_string(get_num_threads()) +
      (get_num_threads() == 1 ? " thread" : " threads") + "; GB/s read and written, medians\n" +
      left("(N, C, L)", 22) + right("copy", 8) + right("forward", 10) + right("of copy", 10);
  if (o.backward) s += right("triad", 10) + right("backward", 10) + right("of triad", 10);
  return s + "\n";
}

std::string line(const Result& r, const BenchOptions& o) {
  const auto both = [](double rate, double limit) {
    return right(number("%.1f", rate), 10) + right(number("%.0f %%", 100 * rate / limit), 10);
  };
  std::string s =
      left(text_of(r.shape), 22) + right(number("%.1f", r.copy), 8) + both(r.forward, r.copy);
  if (o.backward) s += right(number("%.1f", r.triad), 10) + both(r.backward, r.triad);
  return s + "\n";
}

}  // namespace

void bench(const BenchOptions& o) {
  std::vector<Result> results;
  if (!o.json) print(heading(o));
  std::span<const Shape> shapes = o.shapes;
  if (shapes.empty()) shapes = kShapes;
  for (const Shape& shape : shapes) {
    blaming("bench " + text_of(shape), [&] { results.push_back(measure(shape, o)); });
    if (!o.json) print(line(results.back(), o));
  }
  if (o.json) print(json(results, o));
}

}  // namespace instnorm::cli
