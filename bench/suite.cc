// The speed of the library as multiples of the limit: the fastest loop that moves the same bytes,
// timed in turn with it. Values are checked first. Counters of each benchmark:
//   of_limit  time of the call / time of the limit, medians
//   GB/s      read and written by the call, once
// Names are what/dtype/layout/place/L=.../C=...; `place` is where input and output fit: the
// second-level cache, the third, or memory. Threads: INSTNORM_NUM_THREADS. JSON:
// --benchmark_format=json.
#include <benchmark/benchmark.h>
#include <instnorm/functional.h>
#include <instnorm/runtime.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "bench_check.h"
#include "bench_contest.h"
#include "bench_limit.h"

namespace instnorm {
namespace {

using cli::Contestant;
using cli::kLoops;
using cli::Loop;

constexpr double kEps = 1e-5;
constexpr int kRounds = 15;

enum class What { forward, backward, forward_and_read };

const char* name_of(What what) {
  return what == What::forward ? "forward" : what == What::backward ? "backward" : "forward+read";
}

struct Place {
  const char* name;
  std::int64_t bytes;  // of x
};
// Input and output in 1 MB; beyond the second-level cache of any core, below where streaming pays;
// far beyond what a cache holds of it.
constexpr Place kPlaces[] = {{"L2", 400'000}, {"L3", 4'000'000}, {"memory", 64'000'000}};

struct Case {
  What what;
  DType dtype;
  DataFormat format;
  Place place;
  std::int64_t N, C, L;

  Dims shape() const { return format == DataFormat::NCL ? Dims{N, C, L} : Dims{N, L, C}; }
  std::string name() const {
    return std::string(name_of(what)) + "/" + instnorm::name(dtype) + "/" +
           (format == DataFormat::NCL ? "NCL" : "NLC") + "/" + place.name +
           "/L=" + std::to_string(L) + "/C=" + std::to_string(C);
  }
};

// Uniform numbers around 3, the same in every run (Knuth's MMIX generator).
Tensor signal(const Dims& shape, DType dtype, std::uint64_t state) {
  Tensor t(shape, dtype);
  for (std::int64_t i = 0; i < t.numel(); ++i) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    const double value = 2.0 + 2.0 * static_cast<double>(state >> 11) * 0x1p-53;
    const auto single = static_cast<float>(value);
    switch (dtype) {
      case DType::float16:
        t.data<float16>()[i] = float16(single);
        break;
      case DType::bfloat16:
        t.data<bfloat16>()[i] = bfloat16(single);
        break;
      case DType::float32:
        t.data<float>()[i] = single;
        break;
      default:
        t.data<double>()[i] = value;
    }
  }
  return t;
}

// Channels first, for the check.
Tensor as_ncl(const Tensor& t, const Case& c) {
  Tensor out({c.N, c.C, c.L}, c.dtype);
  const auto size = static_cast<std::size_t>(size_of(c.dtype));
  const auto* from = static_cast<const std::byte*>(t.data());
  auto* to = static_cast<std::byte*>(out.data());
  const bool last = c.format == DataFormat::NLC;
  for (std::int64_t n = 0; n < c.N; ++n) {
    for (std::int64_t k = 0; k < c.C; ++k) {
      for (std::int64_t l = 0; l < c.L; ++l) {
        const std::int64_t at = last ? (n * c.L + l) * c.C + k : (n * c.C + k) * c.L + l;
        std::memcpy(to, from + static_cast<std::size_t>(at) * size, size);
        to += size;
      }
    }
  }
  return out;
}

double read_all(const Tensor& t) {
  const auto* values = static_cast<const float*>(t.data());
  const std::int64_t n = t.numel() * size_of(t.dtype()) / 4;
  float sums[64] = {};
  for (std::int64_t i = 0; i + 64 <= n; i += 64) {
    for (int k = 0; k < 64; ++k) sums[k] += values[i + k];
  }
  return sums[0];
}

void measure(benchmark::State& state, const Case& c) {
  const Tensor x = signal(c.shape(), c.dtype, 1), g = signal(c.shape(), c.dtype, 2);
  Tensor y(c.shape(), c.dtype);
  const std::vector<double> of_channels(static_cast<std::size_t>(c.C), 1.0);
  const std::vector<float> singles(of_channels.begin(), of_channels.end());
  const bool wide = c.dtype == DType::float64;
  const ConstView ones = wide ? view(of_channels, {c.C}) : view(singles, {c.C});
  Tensor grad_weight({c.C}, ones.dtype), grad_bias({c.C}, ones.dtype);
  Moments m;
  instance_norm(x, y, {.eps = kEps, .data_format = c.format, .save_moments = &m});
  const Options forward = {.weight = ones, .eps = kEps, .data_format = c.format};
  const BackwardOptions backward = {.weight = ones, .eps = kEps, .data_format = c.format};
  const bool is_backward = c.what == What::backward, then_read = c.what == What::forward_and_read;
  double sink = 0.0;
  const auto call = [&] {
    if (is_backward) {
      instance_norm_backward(
          x, g, m, {.grad_input = y, .grad_weight = grad_weight, .grad_bias = grad_bias}, backward);
    } else {
      instance_norm(x, y, forward);
    }
    if (then_read) sink += read_all(y);
  };
  call();
  const std::string wrong =
      is_backward ? cli::check_backward(as_ncl(x, c), as_ncl(g, c), as_ncl(y, c), kEps)
                  : cli::check_forward(as_ncl(x, c), as_ncl(y, c), kEps);
  if (!wrong.empty()) return state.SkipWithError(wrong.c_str());

  const std::int64_t bytes = x.numel() * size_of(c.dtype);
  const std::int64_t moved = (is_backward ? 3 : 2) * bytes;
  std::vector<Contestant> all = {{call}};
  const int threads = get_num_threads();
  for (const Loop how : kLoops) {
    if (!cli::counts(how, moved, is_backward)) continue;
    // Few bytes are moved faster by one thread.
    for (const int t : {threads, 1}) {
      all.push_back({[&, how, t] {
        cli::move(how, static_cast<const std::byte*>(x.data()),
                  is_backward ? static_cast<const std::byte*>(g.data()) : nullptr,
                  static_cast<std::byte*>(y.data()), bytes, t);
        if (then_read) sink += read_all(y);
      }});
      if (threads == 1) break;
    }
  }
  cli::warm_up(all);
  for (auto _ : state) {
    for (int round = 0; round < kRounds; ++round) cli::time_once(all);
    state.SetIterationTime(all[0].median());
  }
  benchmark::DoNotOptimize(sink);
  double limit = all[1].median();
  for (std::size_t i = 2; i < all.size(); ++i) limit = std::min(limit, all[i].median());
  state.counters["of_limit"] = all[0].median() / limit;
  state.counters["GB/s"] = 1e-9 * static_cast<double>(moved) / all[0].median();
}

void add(What what, DType dtype, DataFormat format, const std::vector<std::int64_t>& lengths,
         const std::vector<std::int64_t>& channels) {
  for (const Place& place : kPlaces) {
    for (std::size_t i = 0; i < lengths.size(); ++i) {
      const std::int64_t L = lengths[i], size = size_of(dtype);
      const std::int64_t rows = std::max<std::int64_t>(place.bytes / size / L, 1);
      const std::int64_t C = std::min(channels[i % channels.size()], rows);
      const Case c{what, dtype, format, place, std::max<std::int64_t>(rows / C, 1), C, L};
      benchmark::RegisterBenchmark(c.name().c_str(), [c](benchmark::State& s) { measure(s, c); })
          ->UseManualTime()
          ->Unit(benchmark::kMicrosecond)
          ->Iterations(1);
    }
  }
}

void add_all() {
  using enum DType;
  using enum DataFormat;
  // Primes, and lengths just above and below powers of two.
  add(What::forward, float32, NCL,
      {17, 24, 31, 40, 53, 60, 100, 127, 129, 200, 257, 509, 1000, 1023, 2049, 4099, 20011},
      {64, 7, 100});
  add(What::backward, float32, NCL, {17, 31, 40, 60, 100, 129, 200, 257, 509, 1023, 4099, 20011},
      {64, 7, 100});
  for (const What what : {What::forward, What::backward}) {
    add(what, float32, NLC, {100, 300, 500, 1000, 300, 500, 1000, 700},
        {32, 64, 128, 3, 7, 12, 80, 100});
  }
  for (const DType dtype : {float16, bfloat16}) {
    add(What::forward, dtype, NCL, {17, 40, 100, 200, 300, 509, 1023, 4099}, {64});
  }
  add(What::forward, float64, NCL, {40, 200, 509, 4099}, {64});
  add(What::forward_and_read, float32, NCL, {40, 100, 200, 509, 1023, 4099}, {64});
}

}  // namespace
}  // namespace instnorm

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  instnorm::add_all();
  benchmark::AddCustomContext("instnorm_version", instnorm::version());
  benchmark::AddCustomContext("cpu_target", instnorm::cpu_target());
  benchmark::AddCustomContext("threads", std::to_string(instnorm::get_num_threads()));
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
