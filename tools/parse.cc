#include "parse.h"

#include <instnorm/runtime.h>

#include <CLI/CLI.hpp>
#include <array>
#include <charconv>
#include <cmath>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "commands.h"
#include "errors.h"

namespace instnorm::cli {
namespace {

constexpr int kMostThreads = 4096;

constexpr const char* kForce = "Replace files that exist";

// Under the options of the commands that read .npy files.
constexpr const char* kMemory =
    "Files are read in blocks of instances. Memory: 64 MiB for input, mask and moments (the "
    "environment\n"
    "variable INSTNORM_BLOCK_BYTES sets another number of bytes) or one instance if that is "
    "larger,\n"
    "and as much again for input in Fortran order.";

// A number as Python and C write it, correctly rounded.
CLI::Option* add_number(CLI::App* app, const std::string& name, double& value,
                        const std::string& description, double least) {
  return app
      ->add_option_function<std::string>(
          name,
          [name, &value, least](const std::string& text) {
            const char* end = text.data() + text.size();
            const auto [rest, error] = std::from_chars(text.data(), end, value);
            if (error != std::errc() || rest != end || !std::isfinite(value) || value < least) {
              throw CLI::ValidationError(name, "expected a finite number" +
                                                   std::string(least == 0.0 ? " >= 0" : "") +
                                                   ", got " + text);
            }
          },
          description)
      ->type_name("NUMBER");
}

CLI::Option* add_path(CLI::App* app, const std::string& name, std::string& path,
                      const std::string& description) {
  return app->add_option(name, path, description)
      ->type_name("")
      ->check([](const std::string& text) -> std::string {
        if (text.empty()) return "a path must not be empty";
        if (text == "-") return "- is not supported: standard input and output are no .npy files";
        return "";
      });
}

// Without a value: --force=no would be taken for yes, and --eval=- for no.
CLI::Option* add_flag(CLI::App* app, const std::string& name, bool& value,
                      const std::string& description) {
  return app->add_flag(name, value, description)->disable_flag_override();
}

void add_threads(CLI::App* app) {
  app->add_option_function<int>(
         "--threads", [](int k) { set_num_threads(k); }, "Use at most so many threads")
      ->type_name("K")
      ->check(CLI::Range(1, kMostThreads));
}

void add_eps(CLI::App* app, double& eps) {
  add_number(app, "--eps", eps, "Added to the variance (1e-5)", 0.0);
}

void add_state(CLI::App* app, std::string& state, std::string& prefix) {
  CLI::Option* option = add_path(app, "--state", state,
                                 "Safetensors file with weight, bias, running_mean, running_var");
  option->type_name("FILE");
  app->add_option("--prefix", prefix, "What stands before these names, such as encoder.norm")
      ->type_name("P")
      ->needs(option);
}

// A value that has a name, by the library's own function.
template <class E>
void add_named(CLI::App* app, const std::string& name, const std::string& type, E& value,
               E (*of)(const std::string&), const std::string& description) {
  app->add_option_function<std::string>(
         name,
         [name, &value, of](const std::string& word) {
           try {
             value = of(word);
           } catch (const std::invalid_argument& e) {
             throw CLI::ValidationError(name, e.what());
           }
         },
         description)
      ->type_name(type);
}

void add_data_format(CLI::App* app, DataFormat& format) {
  add_named(app, "--data-format", "NCL|NLC", format, data_format_of,
            "Where the channels are (NCL); NLC is (N, L, C) or (L, C)");
}

void add_values(CLI::App* app, ApplyOptions& o) {
  add_path(app, "--lengths", o.lengths,
           ".npy file of int32 or int64, (N,): how many values of each row are there;\nthe result "
           "is 0 behind them")
      ->type_name("FILE");
  add_path(app, "--mask", o.mask,
           ".npy file of bool, true where a value is there: (N, L), (N, 1, L) or (N, C, L);\n"
           "with NLC (N, L), (N, L, 1) or (N, L, C)")
      ->type_name("FILE");
  add_named(app, "--nan-policy", "P", o.nan_policy, nan_policy_of,
            "propagate (default): a NaN makes its row NaN; omit: it is left out of the statistics "
            "and\nstays; raise: it is an error");
  add_named(app, "--activation", "A", o.activation, activation_of,
            "Applied to the result: relu, leaky_relu, gelu, gelu_tanh or silu");
}

std::function<void()> describe_apply(CLI::App& app) {
  CLI::App* sub = app.add_subcommand("apply", "Normalise the rows of IN and write them to OUT");
  const auto o = std::make_shared<ApplyOptions>();
  add_path(sub, "IN", o->input, ".npy file, (C, L), (N, C, L) or more dimensions, of floats")
      ->required();
  add_path(sub, "OUT", o->output, ".npy file of the same shape and dtype, in C order")->required();
  add_eps(sub, o->eps);
  add_data_format(sub, o->data_format);
  add_values(sub, *o);
  add_state(sub, o->state, o->prefix);
  CLI::Option* eval = add_flag(sub, "--eval", o->eval, "Normalise by the running statistics");
  CLI::Option* train =
      add_flag(sub, "--train", o->train,
               "Normalise by each row's own statistics. Without --eval and --train, the running\n"
               "statistics are used if --state has them")
          ->excludes(eval);
  add_number(sub, "--momentum", o->momentum,
             "Share of the new value in the updated running statistics (0.1)", -HUGE_VAL)
      ->needs(train);
  add_path(sub, "--save-state", o->save_state,
           "Write --state with updated running statistics to FILE")
      ->type_name("FILE")
      ->needs(train);
  add_path(sub, "--moments", o->moments, "Normalise by the moments in FILE")->type_name("FILE");
  add_path(sub, "--save-moments", o->save_moments,
           "Write the moments that the rows were normalised by to FILE")
      ->type_name("FILE");
  add_threads(sub);
  add_flag(sub, "--explain", o->explain, "Say how the work is done, and do it");
  add_flag(sub, "--force", o->force, kForce);
  sub->footer(kMemory);
  return [o] { apply(*o); };
}

std::function<void()> describe_denormalize(CLI::App& app) {
  CLI::App* sub = app.add_subcommand("denormalize", "Undo apply, given its moments");
  const auto o = std::make_shared<DenormalizeOptions>();
  add_path(sub, "Y", o->input, ".npy file of normalised rows")->required();
  add_path(sub, "OUT", o->output, ".npy file of the same shape and dtype, in C order")->required();
  add_path(sub, "--moments", o->moments, "Safetensors file with count, mean, m2 of each row")
      ->type_name("FILE")
      ->required();
  add_state(sub, o->state, o->prefix);
  add_eps(sub, o->eps);
  add_data_format(sub, o->data_format);
  add_threads(sub);
  add_flag(sub, "--force", o->force, kForce);
  sub->footer(kMemory);
  return [o] { denormalize(*o); };
}

std::function<void()> describe_moments(CLI::App& app) {
  CLI::App* sub = app.add_subcommand("moments", "Mean and deviation of each channel, as a table");
  const auto o = std::make_shared<MomentsOptions>();
  add_path(sub, "IN", o->input, ".npy file, (C, L), (N, C, L) or more dimensions, of floats")
      ->required();
  add_path(sub, "-o", o->output, "Write count, mean, m2 of each row, float64 (N, C), to FILE")
      ->type_name("FILE");
  add_data_format(sub, o->data_format);
  add_threads(sub);
  add_flag(sub, "--force", o->force, kForce);
  sub->footer(kMemory);
  return [o] { moments(*o); };
}

std::array<std::int64_t, 3> shape_of(const std::string& text) {
  std::array<std::int64_t, 3> shape{};
  const char *at = text.data(), *end = at + text.size();
  bool good = true;
  for (std::size_t i = 0; i < 3; ++i) {
    const auto [rest, error] = std::from_chars(at, end, shape[i]);
    good = good && error == std::errc() && shape[i] > 0 && (i == 2 ? rest == end : *rest == ',');
    if (!good) break;
    at = rest + 1;
  }
  // Three tensors of float64 in 62 bits.
  std::int64_t bytes = 32;
  for (const std::int64_t extent : shape) {
    good = good && !__builtin_mul_overflow(bytes, extent, &bytes);
  }
  if (!good || shape[2] < 2) {
    throw CLI::ValidationError("--shape", "expected N,C,L, positive and L > 1, got " + text);
  }
  return shape;
}

std::function<void()> describe_bench(CLI::App& app) {
  CLI::App* sub =
      app.add_subcommand("bench", "Speed, beside that of a copy of the same tensor, in GB/s");
  const auto o = std::make_shared<BenchOptions>();
  sub->add_option_function<std::vector<std::string>>(
         "--shape",
         [o](const std::vector<std::string>& texts) {
           for (const std::string& text : texts) o->shapes.push_back(shape_of(text));
         },
         "Sizes to measure; may be given several times (a handful of sizes)")
      ->type_name("N,C,L")
      ->allow_extra_args(false);
  const std::map<std::string, DType> dtypes = {
      {"float16", DType::float16}, {"f16", DType::float16},     {"bfloat16", DType::bfloat16},
      {"bf16", DType::bfloat16},   {"float32", DType::float32}, {"f32", DType::float32},
      {"float64", DType::float64}, {"f64", DType::float64}};
  sub->add_option_function<std::string>(
         "--dtype", [o, dtypes](const std::string& word) { o->dtype = dtypes.at(word); },
         "float16, bfloat16, float32, float64, or f16, bf16, f32, f64 (float32)")
      ->type_name("T")
      ->check([dtypes](const std::string& word) {
        return dtypes.contains(word)
                   ? ""
                   : "expected float16, bfloat16, float32 or float64, got " + word;
      });
  add_flag(sub, "--backward", o->backward, "Measure the gradient of the input too");
  add_threads(sub);
  add_flag(sub, "--json", o->json, "Print JSON");
  return [o] { bench(*o); };
}

std::function<void()> describe_info(CLI::App& app) {
  CLI::App* sub = app.add_subcommand("info", "Version, instruction sets, threads, caches");
  const auto o = std::make_shared<InfoOptions>();
  add_flag(sub, "--json", o->json, "Print JSON");
  return [o] { info(*o); };
}

}  // namespace

std::function<void()> describe(CLI::App& app) {
  app.description(
      "Instance normalisation of 1-D signals:\n"
      "y = (x - mean) / sqrt(var + eps) * weight + bias, for each row (n, c) of a tensor\n"
      "(N, C, L).");
  app.footer("Exit status: 0 done, 1 the data or files are wrong, 2 wrong usage.");
  app.set_version_flag("--version", std::string(version()));
  app.require_subcommand(1);
  std::vector<std::pair<const CLI::App*, std::function<void()>>> commands;
  for (const auto& describe_one :
       {describe_apply, describe_denormalize, describe_moments, describe_bench, describe_info}) {
    std::function<void()> command = describe_one(app);
    const CLI::App* sub = app.get_subcommands([](CLI::App*) { return true; }).back();
    commands.emplace_back(sub, std::move(command));
  }
  return [commands = std::move(commands)] {
    for (const auto& [sub, command] : commands) {
      if (sub->parsed()) command();
    }
  };
}

}  // namespace instnorm::cli
