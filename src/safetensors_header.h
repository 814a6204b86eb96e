// The header of a safetensors file as text: parsed and checked without trust, and made.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace instnorm {

struct TensorInfo {
  std::string dtype;  // the format's word: "F32", "BF16", ...
  std::vector<std::int64_t> shape;
  std::uint64_t begin = 0, end = 0;  // bytes of the data section; set by the functions below
};
using TensorInfos = std::map<std::string, TensorInfo>;

struct SafetensorsHeader {
  TensorInfos tensors;
  std::map<std::string, std::string> metadata;  // "__metadata__"
};

// The limit of the reference implementation, in bytes.
inline constexpr std::uint64_t kMaxSafetensorsHeader = 100'000'000;

// Checks that `text` is one JSON object of legal entries, without duplicates, whose tensors cover
// `data_bytes` bytes exactly, in any order. Throws std::runtime_error with what is wrong, one line
// of printable text whatever the file holds.
SafetensorsHeader parse_safetensors_header(std::string_view text, std::uint64_t data_bytes);

// Sets begin and end as the reference implementation does (larger elements first, then by name),
// and returns the header, padded with spaces to whole multiples of 8 bytes. Throws
// std::invalid_argument for a dtype, shape or name that the format does not have.
std::string make_safetensors_header(TensorInfos& tensors);

// Bits of an element; 0 for a word that the format does not have.
int safetensors_bits(std::string_view dtype);

}  // namespace instnorm
