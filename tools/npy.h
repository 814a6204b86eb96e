// The header of an .npy file as text: parsed and checked without trust, and made.
// Definition: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
#pragma once

#include <instnorm/tensor.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace instnorm::cli {

// What an array may hold: float16, bfloat16, float32, float64; int32, int64; bool.
enum class NpyElements { floats, integers, booleans };

struct NpyHeader {
  DType dtype = DType::float32;
  bool big_endian = false;
  bool fortran_order = false;
  std::vector<std::int64_t> shape;

  std::int64_t elements() const;  // of the whole array; parsing made sure that it does not overflow
};

// As much of the start of a file as npy_header_size() wants to see; a shorter file may be shorter.
inline constexpr std::size_t kNpyPrelude = 12;

// More than any array of floats has use for; NumPy itself stops at 10 000 unless told otherwise.
inline constexpr std::size_t kMaxNpyHeader = 65536;

// Bytes before the data: magic, version, length and the header proper. Throws std::runtime_error,
// with what is wrong, if the file is no .npy file of version 1, 2 or 3.
std::size_t npy_header_size(std::string_view prelude);

// `text` is the npy_header_size() first bytes of a file. Throws std::runtime_error, with what is
// wrong in one line of printable text, unless it describes an array of such elements whose size in
// bytes fits 63 bits. Two-byte void ("V2") is how NumPy writes bfloat16, and is taken for it.
NpyHeader parse_npy_header(std::string_view text, NpyElements elements = NpyElements::floats);

// What numpy.save writes for a dense row-major little-endian array, byte for byte (NumPy 1.25 on).
std::string make_npy_header(DType dtype, const std::vector<std::int64_t>& shape);

}  // namespace instnorm::cli
