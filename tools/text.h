// Text for people: what is printed, and how numbers and names look in it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace instnorm::cli {

// Writes to standard output and makes sure that it got there; std::runtime_error otherwise.
void print(std::string_view text);

// With control characters, line breaks too, as \n or \x1b: one line whatever a path holds.
std::string one_line(std::string_view text);

std::string bytes_text(std::int64_t bytes);  // "48.0 KiB"

// printf of one number: number("%.3g", x).
std::string number(const char* format, double value);

// Filled with spaces to `width` characters, on the left; as it is if it is longer.
std::string right(std::string text, std::size_t width);
std::string left(std::string text, std::size_t width);

}  // namespace instnorm::cli
