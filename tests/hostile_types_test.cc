// What hostile_test.cc is for the functions, for all else that is public: views, Tensor, Dims,
// Moments, the module and its files, names, threads.
#include <gtest/gtest.h>
#include <instnorm/instnorm.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <functional>
#include <map>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "dtype.h"
#include "hostile.h"
#include "scale.h"
#include "temporary_folder.h"

namespace instnorm::test {
namespace {

enum class Outcome { fine, invalid, no_memory, runtime_error, other };

struct Result {
  Outcome outcome = Outcome::fine;
  std::string message;
};

template <class F>
Result outcome_of(const F& call) {
  try {
    call();
  } catch (const std::invalid_argument& e) {
    return {Outcome::invalid, e.what()};
  } catch (const std::bad_alloc&) {
    return {Outcome::no_memory, ""};
  } catch (const std::runtime_error& e) {
    return {Outcome::runtime_error, e.what()};
  } catch (const std::exception& e) {
    return {Outcome::other, e.what()};
  }
  return {};
}

Tensor zeros(const Dims& shape) {
  Tensor t(shape, DType::float32);
  std::fill_n(t.data<float>(), t.numel(), 0.0f);
  return t;
}

bool is_a_line(const std::string& message) {
  return !message.empty() && message.size() < 1000 && message.find('\n') == std::string::npos;
}

// Calls f with all tuples of `rank` of the values.
template <class F>
void each_dims(int rank, const std::vector<std::int64_t>& values, const F& f) {
  Dims dims = filled(rank, 0);
  std::vector<std::size_t> at(static_cast<std::size_t>(rank), 0);
  for (;;) {
    for (int i = 0; i < rank; ++i) dims[i] = values[at[static_cast<std::size_t>(i)]];
    f(dims);
    int i = 0;
    while (i < rank && ++at[static_cast<std::size_t>(i)] == values.size()) {
      at[static_cast<std::size_t>(i++)] = 0;
    }
    if (i == rank) return;
  }
}

// What the documentation says of a view, in arithmetic that does not overflow.
struct Measured {
  bool negative = false, empty = false;
  long double bytes = 4, low = 0, high = 0;  // exact near the borders: all are powers of 2 or small

  Measured(const Dims& shape, const Dims& strides) {
    for (int i = 0; i < shape.rank(); ++i) {
      negative |= shape[i] < 0;
      empty |= shape[i] == 0;
      if (shape[i] > 0) bytes *= static_cast<long double>(shape[i]);
      const long double reach =
          (static_cast<long double>(shape[i]) - 1) * static_cast<long double>(strides[i]);
      (reach < 0 ? low : high) += reach;
    }
  }
  bool is_memory() const {
    return !negative && bytes <= 0x1p60L && (empty || 4 * (high - low) <= 0x1p60L);
  }
  bool fits(long double size) const { return empty || (low >= 0 && high < size); }
};

TEST(HostileTypes, EveryShapeWithEveryStrides) {
  const std::vector<std::int64_t> extents = {-1,    0,     1,     2, 3, std::int64_t{1} << 31,
                                             kHuge, kMost, kLeast};
  const std::vector<std::int64_t> steps = {0,     1,     -1,    2, std::int64_t{1} << 31,
                                           kHuge, kMost, kLeast};
  std::vector<float> memory(24);
  long refused = 0, fine = 0;
  for (int rank = 1; rank <= 3; ++rank) {
    each_dims(rank, extents, [&](const Dims& shape) {
      const auto check = [&](const Dims& given, const Dims& strides) {
        const Measured m(shape, strides);
        const Result raw = outcome_of([&] { view(memory.data(), shape, given); });
        const Result of = outcome_of([&] { view(memory, shape, given); });
        ASSERT_EQ(raw.outcome, m.is_memory() ? Outcome::fine : Outcome::invalid)
            << shape.str() << given.str() << raw.message;
        ASSERT_EQ(of.outcome, m.is_memory() && m.fits(24) ? Outcome::fine : Outcome::invalid)
            << shape.str() << given.str() << of.message;
        for (const Result& r : {raw, of}) {
          ASSERT_TRUE(r.outcome == Outcome::fine || is_a_line(r.message)) << r.message;
          ++(r.outcome == Outcome::fine ? fine : refused);
        }
      };
      check({}, contiguous_strides(shape));
      each_dims(rank, steps, [&](const Dims& strides) { check(strides, strides); });
      for (const Dims& strides : {without_last(shape), and_then(shape, 1)}) {
        if (strides.rank() == 0) continue;
        ASSERT_EQ(outcome_of([&] { view(memory, shape, strides); }).outcome, Outcome::invalid);
      }
    });
  }
  std::printf("%ld views refused, %ld made\n", refused, fine);
  EXPECT_GT(refused, 600'000);
  EXPECT_GT(fine, 10'000);
}

TEST(HostileTypes, EveryDType) {
  float x = 0;
  for (int i = 0; i < 256; ++i) {
    const auto dtype = static_cast<DType>(i);
    const bool is = i < 7;
    EXPECT_EQ(size_of(dtype) > 0, is) << i;
    EXPECT_EQ(std::string(name(dtype)) != "no dtype", is) << i;
    EXPECT_EQ(outcome_of([&] { view(static_cast<void*>(&x), dtype, {1}); }).outcome,
              is ? Outcome::fine : Outcome::invalid);
    EXPECT_EQ(outcome_of([&] { Tensor({2}, dtype); }).outcome,
              is ? Outcome::fine : Outcome::invalid);
    const Result module =
        outcome_of([&] { InstanceNorm1d({.num_features = 2, .affine = true, .dtype = dtype}); });
    EXPECT_EQ(module.outcome, i < kFloatDTypes ? Outcome::fine : Outcome::invalid);
    if (module.outcome == Outcome::invalid) {
      EXPECT_TRUE(names(module.message, "dtype")) << module.message;
    }
  }
}

TEST(HostileTypes, EveryDTypeOfATensorsData) {
  const auto check = [](auto element) {
    constexpr DType wanted = dtype_of<decltype(element)>::value;
    for (int i = 0; i < 7; ++i) {
      const auto dtype = static_cast<DType>(i);
      Tensor t({2}, dtype);
      const Result of = outcome_of([&] { t.template data<decltype(element)>(); });
      const Result of_const =
          outcome_of([&] { std::as_const(t).template data<decltype(element)>(); });
      for (const Result& r : {of, of_const}) {
        EXPECT_EQ(r.outcome, dtype == wanted ? Outcome::fine : Outcome::invalid);
        EXPECT_TRUE(r.outcome == Outcome::fine || names(r.message, "dtype")) << r.message;
      }
    }
  };
  check(float16());
  check(bfloat16());
  check(0.0f);
  check(0.0);
  check(false);
  check(std::int32_t{});
  check(std::int64_t{});
}

TEST(HostileTypes, EveryShapeOfATensor) {
  const std::vector<std::int64_t> extents = {-1,    0,     1,     3, std::int64_t{1} << 59,
                                             kHuge, kMost, kLeast};
  for (int rank = 0; rank <= 4; ++rank) {
    each_dims(rank, extents, [&](const Dims& shape) {
      const bool negative = std::any_of(shape.begin(), shape.end(), [](auto e) { return e < 0; });
      long double all = 1;
      bool empty = false;
      for (const std::int64_t e : shape) {
        if (e > 0) all *= static_cast<long double>(e);
        empty |= e == 0;
      }
      if (kSanitized && !empty && all > 100 && all < 0x1p60L) return;  // no bad_alloc there
      const Result r = outcome_of([&] { Tensor(shape, DType::float64); });
      const Outcome expected = negative || all >= 0x1p63L ? Outcome::invalid
                               : !empty && all > 100      ? Outcome::no_memory
                                                          : Outcome::fine;
      ASSERT_EQ(r.outcome, expected) << shape.str() << " " << r.message;
    });
  }
  const std::vector<std::int64_t> many(100, 1);
  for (std::size_t rank = 9; rank <= 100; ++rank) {
    EXPECT_EQ(outcome_of([&] { Dims(many.data(), rank); }).outcome, Outcome::invalid);
  }
  for (const std::size_t rank : {std::size_t{1} << 31, std::size_t{1} << 32, ~std::size_t{0}}) {
    EXPECT_EQ(outcome_of([&] { Dims(many.data(), rank); }).outcome, Outcome::invalid);
  }
}

TEST(HostileTypes, EveryShapeOfMoments) {
  each_dims(2, {-1, 0, 1, 3, std::int64_t{1} << 56, std::int64_t{1} << 60, kHuge, kMost, kLeast},
            [](const Dims& nc) {
              const long double rows =
                  static_cast<long double>(nc[0]) * static_cast<long double>(nc[1]);
              const bool fine = nc[0] >= 0 && nc[1] >= 0 && rows < 10;
              if (kSanitized && rows >= 10 && rows < 0x1p60L) return;  // no bad_alloc there
              const Result r = outcome_of([&] { Moments::empty(nc[0], nc[1]); });
              // Whether no such thing can be or only not here is the machine's to say.
              EXPECT_EQ(r.outcome == Outcome::fine, fine) << nc.str();
              EXPECT_TRUE(fine || r.outcome == Outcome::invalid ||
                          (r.outcome == Outcome::no_memory && rows > 1e9L))
                  << nc.str() << r.message;
            });
}

TEST(HostileTypes, EveryMemberOfMoments) {
  const Moments good = Moments::empty(2, 3);
  std::vector<Moments> spoilt;
  for (std::int64_t Moments::* extent : {&Moments::N, &Moments::C}) {
    for (const std::int64_t value :
         {std::int64_t{0}, std::int64_t{7}, std::int64_t{-1}, kHuge, kMost, kLeast}) {
      spoilt.push_back(good);
      spoilt.back().*extent = value;
    }
  }
  for (std::vector<double> Moments::* vector : {&Moments::count, &Moments::mean, &Moments::m2}) {
    for (const std::size_t size : {std::size_t{0}, std::size_t{5}, std::size_t{7}}) {
      spoilt.push_back(good);
      (spoilt.back().*vector).resize(size);
    }
  }
  for (const Moments& m : spoilt) {
    const std::function<void()> calls[] = {[&] { m.var(); }, [&] { m.std(); }, [&] { m.merge(m); },
                                           [&] { m.merge(good); }, [&] { good.merge(m); }};
    for (const auto& call : calls) {
      const Result r = outcome_of(call);
      EXPECT_EQ(r.outcome, Outcome::invalid);
      EXPECT_TRUE(is_a_line(r.message)) << r.message;
    }
  }
  for (const std::int64_t ddof : {kLeast, std::int64_t{-1}, std::int64_t{9}, kMost}) {
    EXPECT_EQ(outcome_of([&] { good.std(ddof); }).outcome, Outcome::fine);
  }
}

TEST(HostileTypes, EveryName) {
  const std::vector<std::string> hostile = {
      "",     "hostile", "ncl",      "none", std::string("NCL\0", 4),
      "a\nb", "\xff",    "\x1b[31m", "\"",   std::string(100'000, 'N')};
  for (const std::string& value : hostile) {
    const std::pair<const char*, Result> results[] = {
        {"nan_policy", outcome_of([&] { nan_policy_of(value); })},
        {"data_format", outcome_of([&] { data_format_of(value); })},
        {"activation", outcome_of([&] { activation_of(value); })}};
    for (const auto& [option, r] : results) {
      EXPECT_EQ(r.outcome, Outcome::invalid);
      EXPECT_TRUE(names(r.message, option) && is_a_line(r.message)) << r.message;
      EXPECT_TRUE(std::ranges::all_of(r.message, [](char c) { return c >= ' ' && c <= '~'; }));
    }
  }
}

TEST(HostileTypes, EveryNumberOfThreads) {
  const int before = get_num_threads();
  for (const int k : {0, -1, -1000, std::numeric_limits<int>::min()}) {
    const Result r = outcome_of([&] { set_num_threads(k); });
    EXPECT_EQ(r.outcome, Outcome::invalid);
    EXPECT_TRUE(names(r.message, "set_num_threads") && is_a_line(r.message)) << r.message;
    EXPECT_EQ(get_num_threads(), before);
  }
  // Rows for all of them, and blocks.
  for (const Dims& shape : {Dims{4, 256, 300}, Dims{1, 1, 300'000}}) {
    const Tensor x = zeros(shape);
    Tensor y(shape, DType::float32);
    for (const int k : {1000, 100'000, std::numeric_limits<int>::max()}) {
      set_num_threads(k);
      EXPECT_EQ(get_num_threads(), k);
      EXPECT_EQ(outcome_of([&] { instance_norm(x, y); }).outcome, Outcome::fine);
    }
  }
  set_num_threads(before);
}

// ---- the module

using State = std::map<std::string, std::vector<std::byte>>;

State state_of(InstanceNorm1d& norm) {
  State all;
  for (const auto& [key, v] : norm.state()) {
    const auto* data = static_cast<const std::byte*>(v.data);
    all[key] = {data, data + v.shape.product() * size_of(v.dtype)};
  }
  return all;
}

TEST(HostileTypes, EveryOptionOfTheModule) {
  for (const bool affine : {false, true}) {
    for (const bool track : {false, true}) {
      for (const std::int64_t features : {std::int64_t{-1}, kLeast, kHuge, kMost}) {
        const Result r = outcome_of([&] {
          InstanceNorm1d(
              {.num_features = features, .affine = affine, .track_running_stats = track});
        });
        const bool stateless = !affine && !track;
        EXPECT_EQ(r.outcome, features < 0 ? Outcome::invalid
                             : stateless  ? Outcome::fine  // it has nothing of that size
                                          : Outcome::no_memory);
        EXPECT_TRUE(features >= 0 || names(r.message, "num_features")) << r.message;
      }
      // As in PyTorch these are anybody's choice.
      for (const double value : {std::nan(""), HUGE_VAL, -HUGE_VAL, -1.0, 1e308}) {
        InstanceNorm1d norm({.num_features = 3,
                             .eps = value,
                             .momentum = value,
                             .affine = affine,
                             .track_running_stats = track});
        const std::vector<float> x(48, 1.0f);
        EXPECT_EQ(outcome_of([&] { norm(view(x, {2, 3, 8})); }).outcome, Outcome::fine);
      }
    }
  }
}

TEST(HostileTypes, EveryInputOfTheModule) {
  // Between two guards, as are those of hostile_test.cc.
  std::vector<float> x(4096, 1.0f), y(4096, 2.0f);
  const View in = view(x.data() + 2048, {2, 3, 8}), out = view(y.data() + 2048, {2, 3, 8});
  long tried = 0;
  for (const bool affine : {false, true}) {
    for (const bool track : {false, true}) {
      for (const bool training : {false, true}) {
        InstanceNorm1d norm({.num_features = 3, .affine = affine, .track_running_stats = track});
        norm.train(training);
        const State before = state_of(norm);
        const auto check = [&](const HostileView& value, const char* argument, const auto& call) {
          const auto old = std::make_pair(x, y);
          const Result r = outcome_of(call);
          const bool read = std::strcmp(argument, "x") == 0;
          const bool may = value.what == What::unusual || (value.what == What::repeats && read);
          ASSERT_EQ(r.outcome, may ? Outcome::fine : Outcome::invalid)
              << argument << " " << value.name << ": " << r.message;
          ++tried;
          if (may) {
            y = old.second;
            norm.reset_running_stats();
            return;
          }
          EXPECT_TRUE(is_a_line(r.message) &&
                      (names(r.message, argument) || names(r.message, "input")))
              << r.message;
          EXPECT_TRUE(state_of(norm) == before) << value.name;
          EXPECT_TRUE(x == old.first && y == old.second) << value.name;
        };
        for (const HostileView& value : hostile_views(in)) {
          check(value, "x", [&] { norm.forward(value.view, out); });
          const bool another = value.what == What::shape || value.what == What::dtype;
          if (another) continue;  // the module may well take it
          check(value, "x", [&] { norm(value.view); });
        }
        for (const HostileView& value : hostile_views(out)) {
          check(value, "y", [&] { norm.forward(in, value.view); });
        }
      }
    }
  }
  std::printf("%ld calls of the module\n", tried);
  EXPECT_GT(tried, 1000);
}

TEST(HostileTypes, EveryPathOfTheModule) {
  TemporaryFolder folder;
  InstanceNorm1d norm({.num_features = 3, .affine = true, .track_running_stats = true});
  norm.save(folder / "good");
  const std::string good = contents(folder / "good");
  put(folder / "text", "not one");
  put(folder / "empty", "");
  std::filesystem::create_directory(folder / "folder");
  std::filesystem::create_symlink("loop", folder / "loop");
  std::filesystem::create_symlink("nothing", folder / "dangling");
  const std::vector<std::string> names = folder.names();
  const State before = state_of(norm);

  std::vector<std::string> paths = {"",
                                    folder / "folder",
                                    folder / "loop",
                                    folder / "good/file",
                                    folder / "no folder/file",
                                    folder / std::string(300, 'x'),
                                    std::string(5000, 'x'),
                                    (folder / "good") + std::string("\0.txt", 5)};
  const auto fails = [&](const std::string& path, const auto& call) {
    const Result r = outcome_of(call);
    EXPECT_EQ(r.outcome, Outcome::runtime_error) << path << ": " << r.message;
    EXPECT_NE(r.message.find(path.substr(0, path.find('\0'))), std::string::npos) << r.message;
    EXPECT_TRUE(state_of(norm) == before) << path;
    EXPECT_EQ(folder.names(), names) << path;
    EXPECT_EQ(contents(folder / "good"), good) << path;
  };
  for (const std::string& path : paths) {
    fails(path, [&] { norm.save(path); });
    fails(path, [&] { norm.load(path); });
  }
  for (const std::string& path : {folder / "missing", folder / "dangling", folder / "text",
                                  folder / "empty", std::string("/dev/null")}) {
    fails(path, [&] { norm.load(path); });
  }
  for (std::size_t size = 0; size < good.size(); ++size) {
    put(folder / "text", good.substr(0, size));
    fails(folder / "text", [&] { norm.load(folder / "text"); });
  }
}

}  // namespace
}  // namespace instnorm::test
