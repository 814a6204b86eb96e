// InstanceNorm1d: PyTorch's defaults, names, modes and files. Values are exactly representable
// where nothing else is said, so they are compared bit for bit.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <instnorm/module.h>

#include <functional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "dtype.h"
#include "error_of.h"
#include "safetensors.h"
#include "temporary_folder.h"

namespace instnorm {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::vector<double> values(const View& v) {
  std::vector<double> result;
  for (std::int64_t i = 0; i < v.shape.product(); ++i) {
    const auto* p = static_cast<const std::byte*>(v.data) + i * size_of(v.dtype);
    result.push_back(is_float(v.dtype) ? load_double(p, v.dtype)
                                       : static_cast<double>(*static_cast<const int64_t*>(v.data)));
  }
  return result;
}

void set(const View& v, const std::vector<double>& to) {
  for (std::size_t i = 0; i < to.size(); ++i) {
    store_double(static_cast<std::byte*>(v.data) + static_cast<std::int64_t>(i) * size_of(v.dtype),
                 v.dtype, to[i]);
  }
}

std::map<std::string, std::vector<double>> all_values(InstanceNorm1d& module) {
  std::map<std::string, std::vector<double>> result;
  for (const auto& [key, view] : module.state()) result[key] = values(view);
  return result;
}

std::vector<std::string> keys(InstanceNorm1d& module) {
  std::vector<std::string> result;
  for (const auto& [key, view] : module.state()) result.push_back(key);
  return result;
}

constexpr DType kFloats[] = {DType::float16, DType::bfloat16, DType::float32, DType::float64};

TEST(Module, HasPyTorchsDefaults) {
  InstanceNorm1d module({.num_features = 3});
  EXPECT_EQ(module.options().eps, 1e-5);
  EXPECT_EQ(module.options().momentum, 0.1);
  EXPECT_FALSE(module.options().affine);
  EXPECT_FALSE(module.options().track_running_stats);
  EXPECT_EQ(module.options().dtype, DType::float32);
  EXPECT_TRUE(module.training());
  EXPECT_TRUE(module.state().empty());
}

TEST(Module, HasTheStateThatItsOptionsAskFor) {
  const std::vector<std::string> affine = {"bias", "weight"}, none;
  const std::vector<std::string> tracked = {"num_batches_tracked", "running_mean", "running_var"};
  for (const DType dtype : kFloats) {
    InstanceNorm1d module(
        {.num_features = 2, .affine = true, .track_running_stats = true, .dtype = dtype});
    EXPECT_THAT(keys(module), ElementsAre("bias", "num_batches_tracked", "running_mean",
                                          "running_var", "weight"));
    for (const auto& [key, view] : module.state()) {
      const bool counter = key == "num_batches_tracked";
      EXPECT_EQ(view.dtype, counter ? DType::int64 : dtype) << key;
      EXPECT_EQ(view.shape, counter ? Dims() : Dims{2}) << key;
      const double start = key == "weight" || key == "running_var" ? 1.0 : 0.0;
      for (const double value : values(view)) EXPECT_EQ(value, start) << key;
    }
  }
  InstanceNorm1d only_weight({.num_features = 2, .affine = true, .bias = false});
  EXPECT_THAT(keys(only_weight), ElementsAre("weight"));
  InstanceNorm1d only_tracked({.num_features = 2, .track_running_stats = true, .bias = true});
  EXPECT_EQ(keys(only_tracked), tracked);
  InstanceNorm1d empty({.num_features = 0, .affine = true});
  EXPECT_EQ(keys(empty), affine);
}

TEST(Module, RefusesImpossibleOptions) {
  EXPECT_EQ(error_of<std::invalid_argument>([] { InstanceNorm1d({.num_features = -1}); }),
            "[InstanceNorm1d] num_features must be at least 0, got -1");
  for (const DType dtype : {DType::boolean, DType::int32, DType::int64}) {
    EXPECT_EQ(error_of<std::invalid_argument>(
                  [=] { InstanceNorm1d({.num_features = 1, .dtype = dtype}); }),
              std::string("[InstanceNorm1d] dtype must be float16, bfloat16, float32 or float64, "
                          "got ") +
                  name(dtype));
  }
}

// Two instances, one channel, rows of two: means 2 and 6, variances 1 and 4, unbiased 2 and 8.
const std::vector<float> kInput = {1, 3, 4, 8};

TEST(Module, TrainingNormalisesByTheInputAndMovesTheRunningStatistics) {
  InstanceNorm1d module(
      {.num_features = 1, .eps = 0, .momentum = 0.5, .affine = true, .track_running_stats = true});
  set(module.state().at("weight"), {2});
  set(module.state().at("bias"), {1});
  const Tensor y = module(view(kInput, {2, 1, 2}));
  EXPECT_EQ(y.shape(), (Dims{2, 1, 2}));
  EXPECT_EQ(std::vector<float>(y.data<float>(), y.data<float>() + 4),
            (std::vector<float>{-1, 3, -1, 3}));
  EXPECT_THAT(values(module.state().at("running_mean")), ElementsAre(2));  // 0.5 * 0 + 0.5 * 4
  EXPECT_THAT(values(module.state().at("running_var")), ElementsAre(3));   // 0.5 * 1 + 0.5 * 5
  EXPECT_THAT(values(module.state().at("num_batches_tracked")), ElementsAre(0));
}

TEST(Module, EvalNormalisesByTheRunningStatisticsAndKeepsThem) {
  InstanceNorm1d module({.num_features = 1, .eps = 1, .track_running_stats = true});
  set(module.state().at("running_mean"), {2});
  set(module.state().at("running_var"), {3});
  module.eval();
  EXPECT_FALSE(module.training());
  const auto before = all_values(module);
  std::vector<float> y(4);
  module.forward(view(kInput, {2, 1, 2}), view(y, {2, 1, 2}));
  EXPECT_EQ(y, (std::vector<float>{-0.5f, 0.5f, 1, 3}));
  EXPECT_EQ(all_values(module), before);
  module.train();
  EXPECT_TRUE(module.training());
}

TEST(Module, WithoutRunningStatisticsEvalIsTraining) {
  InstanceNorm1d module({.num_features = 1, .eps = 0});
  module.eval();
  const Tensor y = module(view(kInput, {2, 1, 2}));
  EXPECT_EQ(std::vector<float>(y.data<float>(), y.data<float>() + 4),
            (std::vector<float>{-1, 1, -1, 1}));
}

TEST(Module, RankTwoIsOneInstance) {
  InstanceNorm1d module({.num_features = 2, .eps = 0, .momentum = 1, .track_running_stats = true});
  const Tensor y = module(view(kInput, {2, 2}));
  EXPECT_EQ(y.shape(), (Dims{2, 2}));
  EXPECT_EQ(std::vector<float>(y.data<float>(), y.data<float>() + 4),
            (std::vector<float>{-1, 1, -1, 1}));
  EXPECT_THAT(values(module.state().at("running_mean")), ElementsAre(2, 6));
  EXPECT_THAT(values(module.state().at("running_var")), ElementsAre(2, 8));
}

TEST(Module, WorksInPlace) {
  InstanceNorm1d module({.num_features = 1, .eps = 0});
  std::vector<float> x = kInput;
  module.forward(view(x, {2, 1, 2}), view(x, {2, 1, 2}));
  EXPECT_EQ(x, (std::vector<float>{-1, 1, -1, 1}));
}

TEST(Module, TakesSixteenBitInputInAFloat32Module) {
  for (const DType dtype : {DType::float16, DType::bfloat16}) {
    InstanceNorm1d module(
        {.num_features = 1, .eps = 0, .affine = true, .track_running_stats = true});
    Tensor x({2, 1, 2}, dtype);
    set(x.view(), {1, 3, 4, 8});
    Tensor y = module(x);
    EXPECT_EQ(y.dtype(), dtype);
    EXPECT_THAT(values(y.view()), ElementsAre(-1, 1, -1, 1));
  }
}

TEST(Module, TakesNoOtherDType) {
  for (const DType dtype : kFloats) {
    for (const DType input : {DType::float16, DType::bfloat16, DType::float32, DType::float64,
                              DType::int32, DType::boolean}) {
      InstanceNorm1d module({.num_features = 1, .affine = true, .dtype = dtype});
      Tensor x({1, 1, 2}, input);
      std::fill_n(static_cast<std::byte*>(x.data()), 2 * size_of(input), std::byte{0});
      const bool allowed =
          input == dtype || (dtype == DType::float32 && is_float(input) && size_of(input) == 2);
      const std::string error = error_of<std::invalid_argument>([&] { module(x); });
      const std::string wanted =
          dtype == DType::float32 ? "float32, float16 or bfloat16" : name(dtype);
      EXPECT_EQ(error, allowed ? "nothing was thrown"
                               : "[InstanceNorm1d] expected " + wanted + " input for a " +
                                     name(dtype) + " module, got " + name(input));
    }
  }
}

TEST(Module, WithoutStateTakesAnyFloatAndAnyChannels) {
  InstanceNorm1d module({.num_features = 3, .eps = 0});
  const std::vector<double> x = {0, 2, 5, 1};
  EXPECT_THAT(values(module(view(x, {1, 2, 2})).view()), ElementsAre(-1, 1, 1, -1));
  EXPECT_THAT(values(module(view(x, {2, 2})).view()), ElementsAre(-1, 1, 1, -1));
  const std::vector<std::int32_t> integers = {0, 2};
  EXPECT_EQ(error_of<std::invalid_argument>([&] { module(view(integers, {1, 1, 2})); }),
            "[instance_norm] x must be float16, bfloat16, float32 or float64, got int32");
}

TEST(Module, RefusesOtherShapesBeforeItWritesAnything) {
  for (const bool affine : {false, true}) {
    InstanceNorm1d module({.num_features = 3, .affine = affine, .track_running_stats = true});
    const auto channels = [affine](const char* in_affine) {
      return affine ? std::string("[InstanceNorm1d] ") + in_affine
                    : "[instance_norm] running_mean must have shape (C,) = (4,), got (3,)";
    };
    const auto before = all_values(module);
    const std::pair<Dims, std::string> cases[] = {
        {{}, "[InstanceNorm1d] expected 2D or 3D input (got 0D input)"},
        {{3}, "[InstanceNorm1d] expected 2D or 3D input (got 1D input)"},
        {{2, 3, 2, 2}, "[InstanceNorm1d] expected 2D or 3D input (got 4D input)"},
        {{2, 4, 5},
         channels("expected input's size at dim=1 to match num_features (3), but got: 4.")},
        {{4, 5}, channels("expected input's size at dim=0 to match num_features (3), but got: 4.")},
        // Rank, then channels, then length, as in PyTorch.
        {{2, 4, 1},
         channels("expected input's size at dim=1 to match num_features (3), but got: 4.")},
        {{2, 3, 1},
         "[instance_norm] expected more than 1 value in each row to normalise by its own "
         "statistics, got x of shape (2, 3, 1)"}};
    for (const auto& [shape, text] : cases) {
      std::vector<float> x(64, 1.0f), y(64, 7.0f);
      EXPECT_EQ(error_of<std::invalid_argument>(
                    [&] { module.forward(view(x.data(), shape), view(y.data(), shape)); }),
                text);
      EXPECT_EQ(error_of<std::invalid_argument>([&] { module.forward(view(x.data(), shape)); }),
                text);
      EXPECT_EQ(y, std::vector<float>(64, 7.0f));
      EXPECT_EQ(all_values(module), before);
    }
    std::vector<float> x(12, 1.0f), y(12, 7.0f);
    EXPECT_THAT(error_of<std::invalid_argument>(
                    [&] { module.forward(view(x, {2, 3, 2}), view(y, {3, 2})); }),
                HasSubstr("y must have the shape of x, (2, 3, 2), got (3, 2)"));
    EXPECT_EQ(all_values(module), before);
  }
}

TEST(Module, LengthOneIsFineWithRunningStatisticsOnly) {
  const std::vector<float> x = {5};
  InstanceNorm1d tracked({.num_features = 1, .eps = 3, .track_running_stats = true});
  tracked.eval();
  EXPECT_EQ(*tracked(view(x, {1, 1, 1})).data<float>(), 2.5f);  // 5 / sqrt(1 + 3)
  InstanceNorm1d untracked({.num_features = 1});
  untracked.eval();
  EXPECT_THROW(untracked(view(x, {1, 1, 1})), std::invalid_argument);
}

TEST(Module, Resets) {
  InstanceNorm1d module({.num_features = 2, .affine = true, .track_running_stats = true});
  const auto start = all_values(module);
  const auto change = [&] {
    for (const auto& [key, view] : module.state()) {
      if (key == "num_batches_tracked") {
        *static_cast<std::int64_t*>(view.data) = 4;
      } else {
        set(view, {8, 9});
      }
    }
  };
  change();
  module.reset_running_stats();
  EXPECT_THAT(values(module.state().at("weight")), ElementsAre(8, 9));
  EXPECT_THAT(values(module.state().at("running_var")), ElementsAre(1, 1));
  EXPECT_THAT(values(module.state().at("num_batches_tracked")), ElementsAre(0));
  change();
  module.reset_parameters();
  EXPECT_EQ(all_values(module), start);
}

TEST(Module, OneModuleInEvalServesSeveralThreads) {
  InstanceNorm1d module({.num_features = 1, .eps = 3, .track_running_stats = true});
  module.eval();
  std::vector<std::vector<float>> results(4, std::vector<float>(4));
  std::vector<std::thread> threads;
  for (auto& y : results) {
    threads.emplace_back([&] { module.forward(view(kInput, {2, 1, 2}), view(y, {2, 1, 2})); });
  }
  for (auto& thread : threads) thread.join();
  for (const auto& y : results) EXPECT_EQ(y, (std::vector<float>{0.5f, 1.5f, 2, 4}));
}

TEST(ModuleFile, ComesBackWhateverTheOptions) {
  const TemporaryFolder folder;
  for (const DType dtype : kFloats) {
    for (int bits = 0; bits < 8; ++bits) {
      const InstanceNorm1dOptions options{.num_features = 3,
                                          .affine = (bits & 1) != 0,
                                          .track_running_stats = (bits & 2) != 0,
                                          .dtype = dtype,
                                          .bias = (bits & 4) != 0};
      InstanceNorm1d saved(options), loaded(options);
      double next = 1;
      for (const auto& [key, view] : saved.state()) {
        if (key == "num_batches_tracked") {
          *static_cast<std::int64_t*>(view.data) = 12345678901;
        } else {
          set(view, {next, next + 1, -0.5});
          next += 2;
        }
      }
      const auto views = loaded.state();
      saved.save(folder / "m");
      loaded.load(folder / "m");
      EXPECT_EQ(all_values(loaded), all_values(saved));
      // Views that somebody holds see the new values.
      for (const auto& [key, view] : views) EXPECT_EQ(values(view), values(saved.state().at(key)));
    }
  }
  EXPECT_EQ(folder.names(), std::vector<std::string>{"m"});
}

class ModuleLoad : public testing::Test {
 protected:
  // A file for a tracked affine module of two channels, with one thing wrong.
  StoredTensors tensors = {{"weight", {"F32", {2}, std::vector<std::byte>(8)}},
                           {"bias", {"F32", {2}, std::vector<std::byte>(8)}},
                           {"running_mean", {"F32", {2}, std::vector<std::byte>(8)}},
                           {"running_var", {"F32", {2}, std::vector<std::byte>(8)}},
                           {"num_batches_tracked", {"I64", {}, std::vector<std::byte>(8)}}};
  InstanceNorm1d module{{.num_features = 2, .affine = true, .track_running_stats = true}};
  TemporaryFolder folder;

  std::string load(InstanceNorm1d& into) {
    write_safetensors(folder / "m", tensors);
    const auto before = all_values(into);
    std::string text = error_of<std::runtime_error>([&] { into.load(folder / "m"); });
    if (text == "nothing was thrown") return text;
    EXPECT_EQ(all_values(into), before);
    const std::string start = "cannot load " + (folder / "m") + ": ";
    EXPECT_EQ(text.substr(0, start.size()), start);
    return text.substr(start.size());
  }
};

TEST_F(ModuleLoad, TakesWhatFits) {
  EXPECT_EQ(load(module), "nothing was thrown");
  for (const auto& [key, values] : all_values(module)) {
    for (const double value : values) EXPECT_EQ(value, 0) << key;
  }
}

TEST_F(ModuleLoad, NamesAllThatIsWrong) {
  tensors.erase("weight");
  tensors.erase("running_mean");
  tensors["extra"] = tensors["other\nline"] = {"U8", {0}, {}};
  tensors["bias"] = {"F64", {3}, std::vector<std::byte>(24)};
  tensors["running_var"] = {"F32", {2, 1}, std::vector<std::byte>(8)};
  tensors["num_batches_tracked"] = {"I32", {}, std::vector<std::byte>(4)};
  EXPECT_EQ(
      load(module),
      R"(missing "running_mean", "weight"; unexpected "extra", "other\nline"; )"
      "bias must have shape (2,), got (3,); bias must be F32, got F64; "
      "num_batches_tracked must be I64, got I32; running_var must have shape (2,), got (2, 1)");
}

TEST_F(ModuleLoad, ConvertsNothing) {
  for (const char* dtype : {"F16", "BF16", "F64", "I32", "U8"}) {
    const auto bytes = static_cast<std::size_t>(2 * safetensors_bits(dtype) / 8);
    tensors["weight"] = {dtype, {2}, std::vector<std::byte>(bytes)};
    EXPECT_EQ(load(module), std::string("weight must be F32, got ") + dtype);
  }
}

TEST_F(ModuleLoad, DoesWithoutTheCounterAsFilesFromBeforePyTorch04Must) {
  tensors.erase("num_batches_tracked");
  *static_cast<std::int64_t*>(module.state().at("num_batches_tracked").data) = 6;
  EXPECT_EQ(load(module), "nothing was thrown");
  EXPECT_THAT(values(module.state().at("num_batches_tracked")), ElementsAre(6));
  EXPECT_THAT(values(module.state().at("running_var")), ElementsAre(0, 0));
}

TEST_F(ModuleLoad, ExplainsRunningStatisticsThatNobodyTracks) {
  InstanceNorm1d untracked({.num_features = 2, .affine = true});
  tensors.erase("num_batches_tracked");
  EXPECT_EQ(load(untracked),
            "unexpected \"running_mean\", \"running_var\" (this module has track_running_stats = "
            "false; files from before PyTorch 0.4 hold running statistics nevertheless: remove "
            "them, or set track_running_stats)");
}

TEST_F(ModuleLoad, ABiasThatIsSwitchedOffIsUnexpected) {
  InstanceNorm1d module_without(
      {.num_features = 2, .affine = true, .track_running_stats = true, .bias = false});
  EXPECT_EQ(load(module_without), "unexpected \"bias\"");
  InstanceNorm1d plain({.num_features = 2, .track_running_stats = true});
  EXPECT_EQ(load(plain), "unexpected \"bias\", \"weight\"");
}

TEST_F(ModuleLoad, AMessageHasAnEnd) {
  for (int i = 0; i < 5000; ++i) tensors[std::to_string(i)] = {"U8", {0}, {}};
  tensors["weight"].shape = std::vector<std::int64_t>(1000, 1);
  tensors["weight"].data.resize(4);
  const std::string text = load(module);
  EXPECT_THAT(text, HasSubstr(" and 4900 more; weight must have shape (2,), got 1000 dimensions"));
  EXPECT_LT(text.size(), 2000u);
}

TEST_F(ModuleLoad, AnUnreadableFileChangesNothing) {
  const auto before = all_values(module);
  EXPECT_EQ(error_of<std::runtime_error>([&] { module.load(folder / "none"); }),
            "cannot read " + (folder / "none") + ": No such file or directory");
  put(folder / "bad", "12345678{");
  EXPECT_THAT(error_of<std::runtime_error>([&] { module.load(folder / "bad"); }),
              HasSubstr((folder / "bad") + " is not a safetensors file: "));
  EXPECT_EQ(all_values(module), before);
}

TEST(ModuleFile, AFailedSaveLeavesTheOldFile) {
  const TemporaryFolder folder;
  const InstanceNorm1d module({.num_features = 2, .affine = true});
  EXPECT_EQ(error_of<std::runtime_error>([&] { module.save(folder / "none/m"); }),
            "cannot write " + (folder / "none/m") + ": No such file or directory");
  EXPECT_EQ(error_of<std::runtime_error>([&] { module.save("/dev/full"); }),
            "cannot write /dev/full: No space left on device");
  EXPECT_EQ(error_of<std::runtime_error>([&] { module.save(folder.path()); }),
            "cannot write " + folder.path() + ": Is a directory");
  EXPECT_TRUE(folder.names().empty());
  module.save(folder / "m");
  module.save(folder / "m");  // replaces
  EXPECT_EQ(folder.names(), std::vector<std::string>{"m"});
}

}  // namespace
}  // namespace instnorm
