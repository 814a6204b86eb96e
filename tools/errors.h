// What the command throws besides std::runtime_error, which means: the data or files are wrong.
#pragma once

#include <stdexcept>

namespace instnorm::cli {

// The command line, or the environment, asks for something that there is not: exit status 2.
struct UsageError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

}  // namespace instnorm::cli
