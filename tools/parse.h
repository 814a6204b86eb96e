// From the words of the command line to the plain data of commands.h.
#pragma once

#include <functional>

namespace CLI {
class App;
}

namespace instnorm::cli {

// Adds the commands and their options to `app`. After a successful parse the result runs the chosen
// command. Values that are wrong throw CLI::ParseError while parsing; options that wait for their
// part of the library throw UsageError.
std::function<void()> describe(CLI::App& app);

}  // namespace instnorm::cli
