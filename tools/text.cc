#include "text.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <stdexcept>

namespace instnorm::cli {

void print(std::string_view text) {
  errno = 0;
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0) {
    throw std::runtime_error(std::string("cannot write to standard output: ") +
                             std::strerror(errno));
  }
}

std::string one_line(std::string_view text) {
  std::string s;
  for (const char c : text) {
    const auto code = static_cast<unsigned char>(c);
    if (c == '\n') {
      s += "\\n";
    } else if (code < 0x20 || code == 0x7f) {
      constexpr char kDigits[] = "0123456789abcdef";
      s += {'\\', 'x', kDigits[code / 16], kDigits[code % 16]};
    } else {
      s += c;
    }
  }
  return s;
}

std::string number(const char* format, double value) {
  char text[64];
  (void)std::snprintf(text, sizeof text, format, value);
  return text;
}

std::string bytes_text(std::int64_t bytes) {
  constexpr const char* kUnits[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  if (bytes < 1024) return std::to_string(bytes) + " bytes";
  double value = static_cast<double>(bytes);
  int unit = -1;
  while (value >= 1024.0 && unit < 5) {
    value /= 1024.0;
    ++unit;
  }
  return number("%.1f ", value) + kUnits[unit];
}

std::string right(std::string text, std::size_t width) {
  if (text.size() < width) text.insert(0, width - text.size(), ' ');
  return text;
}

std::string left(std::string text, std::size_t width) {
  if (text.size() < width) text.append(width - text.size(), ' ');
  return text;
}

}  // namespace instnorm::cli
