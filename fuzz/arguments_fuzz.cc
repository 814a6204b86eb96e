// Any words are a command, or an error of usage in the words of CLI11 or ours. Nothing is run.
#include <CLI/CLI.hpp>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "errors.h"
#include "parse.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // A word ends with a byte of 0, as in a process.
  std::vector<std::string> words(1);
  for (std::size_t i = 0; i < size; ++i) {
    if (data[i] == 0) {
      words.emplace_back();
    } else {
      words.back() += static_cast<char>(data[i]);
    }
  }
  CLI::App app("", "instnorm");
  const auto command = instnorm::cli::describe(app);
  try {
    app.parse(std::vector<std::string>(words.rbegin(), words.rend()));
    return 0;
  } catch (const CLI::ParseError&) {
    return 0;
  } catch (const instnorm::cli::UsageError&) {
    return 0;
  }
}
