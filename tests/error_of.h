// What a call throws.
#pragma once

#include <string>

namespace instnorm {

template <class Error, class Call>
std::string error_of(const Call& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing was thrown";
}

}  // namespace instnorm
