#include "cli.h"

#include <instnorm/runtime.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <functional>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

#include "errors.h"
#include "parse.h"
#include "signals.h"
#include "text.h"

namespace instnorm::cli {
namespace {

enum Status { kDone = 0, kWrongData = 1, kWrongUsage = 2 };

Status complain(Status status, const std::string& what) {
  std::fputs(("instnorm: " + one_line(what) + "\n").c_str(), stderr);
  return status;
}

std::string wrong_usage(const CLI::App& app, const CLI::ParseError& error,
                        const std::string& word) {
  const std::vector<CLI::App*> chosen = app.get_subcommands();
  if (!chosen.empty()) {
    return error.what() + std::string("; see instnorm ") + chosen[0]->get_name() + " --help";
  }
  const bool command = !word.empty() && word[0] != '-';
  return (command ? "there is no command " + word : std::string(error.what())) +
         "; see instnorm --help";
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
