#include "cli.h"

#include <instnorm/runtime.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <functional>
#include <new>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "errors.h"
#include "parse.h"
#include "signals.h"
#include "text.h"

namespace instnorm::cli {
namespace {

enum Status { kDone = 0, kWrongData = 1, kWrongUsage = 2 };

Status complain(Status status, const std::string& what) {
  // Longer than any path may be: somebody's argument, which is of no help in full.
  constexpr std::size_t kShown = 5000;
  const std::string shown = what.size() > kShown ? what.substr(0, kShown) + "..." : what;
  (void)std::fputs(("instnorm: " + one_line(shown) + "\n").c_str(), stderr);
  return status;
}

// As people type the options; CLI11 leaves the dashes out of this message alone.
std::string text_of(const CLI::ParseError& error) {
  constexpr std::string_view kOfFlag = " was given a disallowed flag override";
  std::string text = error.what();
  if (!text.ends_with(kOfFlag)) return text;
  return "--" + text.substr(0, text.size() - kOfFlag.size()) + " takes no value";
}

std::string wrong_usage(const CLI::App& app, const CLI::ParseError& error,
                        const std::string& word) {
  const std::vector<CLI::App*> chosen = app.get_subcommands();
  if (!chosen.empty()) {
    return text_of(error) + "; see instnorm " + chosen[0]->get_name() + " --help";
  }
  const bool command = !word.empty() && word[0] != '-';
  return (command ? "there is no command " + word : text_of(error)) + "; see instnorm --help";
}

// What the environment gets wrong is known before any file is touched.
void check_environment() {
  try {
    cpu_target();
    get_num_threads();
  } catch (const std::invalid_argument& e) {
    throw UsageError(e.what());
  }
}

}  // namespace

int run(int argc, char** argv) {
  CLI::App app("", "instnorm");
  try {
    const std::function<void()> command = describe(app);
    try {
      app.parse(argc, argv);
    } catch (const CLI::ParseError& e) {
      if (e.get_exit_code() == 0) return app.exit(e);  // --help and --version
      throw UsageError(wrong_usage(app, e, argc > 1 ? argv[1] : ""));
    }
    check_environment();
    handle_signals();
    command();
    return kDone;
  } catch (const UsageError& e) {
    return complain(kWrongUsage, e.what());
  } catch (const std::bad_alloc&) {
    return complain(kWrongData, "not enough memory");
  } catch (const std::exception& e) {
    return complain(kWrongData, e.what());
  }
}

}  // namespace instnorm::cli
