// Errors of the command. std::runtime_error means: the data or files are wrong, exit status 1.
#pragma once

#include <new>
#include <stdexcept>
#include <string>

namespace instnorm::cli {

// The command line, or the environment, asks for something that there is not: exit status 2.
struct UsageError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Calls body; what the library does not take, and a lack of memory, become errors of the data that
// `about` names.
template <class Body>
void blaming(const std::string& about, const Body& body) {
  try {
    body();
  } catch (const std::invalid_argument& e) {
    throw std::runtime_error(about + ": " + e.what());
  } catch (const std::bad_alloc&) {
    throw std::runtime_error(about + ": not enough memory");
  }
}

}  // namespace instnorm::cli
