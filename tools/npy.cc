#include "npy.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <optional>
#include <stdexcept>

namespace instnorm::cli {
namespace {

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr std::size_t kMaxRank = 64;  // NumPy's own

[[noreturn]] void fail(const std::string& what) { throw std::runtime_error(what); }

std::uint32_t byte(std::string_view text, std::size_t i) {
  return static_cast<unsigned char>(text[i]);
}

// What a hostile header wrote, fit to be shown.
std::string shown(std::string_view text) {
  std::string s;
  for (char c : text.substr(0, 40)) s += c >= ' ' && c <= '~' ? c : '?';
  return "'" + s + (text.size() > 40 ? "..." : "") + "'";
}

// The Python literals that occur in a header: str, bool, int, tuple of int.
class Literals {
 public:
  // `python2` allows 10L for 10.
  Literals(std::string_view text, bool python2) : text_(text), python2_(python2) {}

  bool take(char c) {
    skip_space();
    if (at_ == text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  void need(char c) {
    if (!take(c)) unexpected(std::string("'") + c + "'");
  }
  bool next_is(char c) {
    skip_space();
    return at_ < text_.size() && text_[at_] == c;
  }
  void need_end() {
    skip_space();
    if (at_ != text_.size()) unexpected("its end");
  }

  std::string_view string(const char* what) {
    const char quote = take('\'') ? '\'' : take('"') ? '"' : '\0';
    if (quote == '\0') unexpected(what);
    const std::size_t first = at_;
    while (at_ < text_.size() && text_[at_] != quote) {
      if (text_[at_] < ' ' || text_[at_] > '~' || text_[at_] == '\\') unexpected(what);
      ++at_;
    }
    if (at_ == text_.size()) unexpected("a closing quote");
    return text_.substr(first, at_++ - first);
  }

  bool boolean() {
    skip_space();
    for (const auto& [word, value] : {std::pair<std::string_view, bool>{"True", true},
                                      std::pair<std::string_view, bool>{"False", false}}) {
      if (text_.substr(at_, word.size()) == word) {
        at_ += word.size();
        return value;
      }
    }
    unexpected("True or False");
  }

  std::vector<std::int64_t> tuple() {
    std::vector<std::int64_t> values;
    need('(');
    while (!take(')')) {
      if (values.size() == kMaxRank) fail("the header's shape has more than 64 dimensions");
      values.push_back(extent());
      if (take(',')) continue;
      if (values.size() == 1) unexpected("','");  // (3) is no tuple
      need(')');
      break;
    }
    return values;
  }

 private:
  void skip_space() {
    while (at_ < text_.size() && std::strchr(" \t\r\n\f", text_[at_]) && text_[at_] != '\0') ++at_;
  }

  std::int64_t extent() {
    skip_space();
    if (next_is('-')) fail("the header's shape has a negative extent");
    const char* first = text_.data() + at_;
    std::int64_t value = 0;
    const auto [rest, error] = std::from_chars(first, text_.data() + text_.size(), value);
    if (error == std::errc::result_out_of_range) fail("the header's shape is too large");
    if (error != std::errc() || (*first == '0' && rest - first > 1)) unexpected("an extent");
    at_ += static_cast<std::size_t>(rest - first);
    if (python2_ && at_ < text_.size() && text_[at_] == 'L') ++at_;
    return value;
  }

  [[noreturn]] void unexpected(const std::string& wanted) {
    fail("the header is not what NumPy writes: expected " + wanted + " at its character " +
         std::to_string(at_ + 1));
  }

  std::string_view text_;
  bool python2_;
  std::size_t at_ = 0;
};

// As the library says it.
const char* required(NpyElements elements) {
  return elements == NpyElements::integers ? "lengths must be int32 or int64" : "mask must be bool";
}

void set_dtype(NpyHeader& header, std::string_view descr, NpyElements elements) {
  std::string_view type = descr;
  const char order = type.empty() ? '\0' : type.front();
  const bool has_order = order != '\0' && std::strchr("<>=|", order);
  if (has_order) type.remove_prefix(1);
  header.big_endian = order == '>';
  if (type == "O") fail("the array holds Python objects (a pickle), not numbers");
  if (elements == NpyElements::integers && (type == "i4" || type == "i8")) {
    header.dtype = type == "i4" ? DType::int32 : DType::int64;
  } else if (elements == NpyElements::booleans && type == "b1") {
    header.dtype = DType::boolean;
  } else if (elements != NpyElements::floats) {
    fail(std::string(required(elements)) + ", got dtype " + shown(descr));
  } else if (type == "f2") {
    header.dtype = DType::float16;
  } else if (type == "f4") {
    header.dtype = DType::float32;
  } else if (type == "f8") {
    header.dtype = DType::float64;
  } else if (descr == "bfloat16" || (type == "V2" && has_order)) {
    if (header.big_endian) fail("dtype '>V2' is not bfloat16 as NumPy writes it ('<V2')");
    header.dtype = DType::bfloat16;
  } else {
    fail("dtype " + shown(descr) +
         " is not float16, bfloat16, float32 or float64; convert it first, as with "
         "x.astype('float32') in NumPy");
  }
}

// Of the non-zero extents: NumPy too refuses a shape whose zero hides an overflow.
void check_size(const NpyHeader& header) {
  std::int64_t bytes = size_of(header.dtype);
  for (std::int64_t extent : header.shape) {
    if (extent > 0 && __builtin_mul_overflow(bytes, extent, &bytes)) {
      fail("the header's shape is too large");
    }
  }
}

const char* descr_of(DType dtype) {
  switch (dtype) {
    case DType::float16:
      return "<f2";
    case DType::bfloat16:
      return "<V2";
    case DType::float64:
      return "<f8";
    default:
      return "<f4";
  }
}

}  // namespace

std::int64_t NpyHeader::elements() const {
  std::int64_t product = 1;
  for (std::int64_t extent : shape) product *= extent;
  return product;
}

std::size_t npy_header_size(std::string_view prelude) {
  if (prelude.substr(0, kMagic.size()) != kMagic) {
    if (prelude.substr(0, 2) == "PK") fail("this is a zip archive (.npz?), not an .npy file");
    fail(prelude.empty() ? "the file is empty, not an .npy file" : "not an .npy file");
  }
  if (prelude.size() < 10) fail("the file ends within its header");
  const std::uint32_t major = byte(prelude, 6), minor = byte(prelude, 7);
  if (major < 1 || major > 3 || minor != 0) {
    fail("version " + std::to_string(major) + "." + std::to_string(minor) +
         " of the .npy format is not 1.0, 2.0 or 3.0");
  }
  std::size_t length = byte(prelude, 8) | byte(prelude, 9) << 8;
  if (major > 1) {
    if (prelude.size() < 12) fail("the file ends within its header");
    length |= byte(prelude, 10) << 16 | byte(prelude, 11) << 24;
  }
  if (length > kMaxNpyHeader) {
    fail("the header claims " + std::to_string(length) + " bytes; at most " +
         std::to_string(kMaxNpyHeader) + " are read");
  }
  return (major == 1 ? 10u : 12u) + length;
}

NpyHeader parse_npy_header(std::string_view text, NpyElements elements) {
  const bool version1 = text[6] == 1;
  Literals in(text.substr(version1 ? 10 : 12), text[6] < 3);
  NpyHeader header;
  constexpr std::array<std::string_view, 3> kKeys = {"descr", "fortran_order", "shape"};
  std::array<bool, 3> seen{};
  std::string_view descr;
  in.need('{');
  while (!in.take('}')) {
    const std::string_view key = in.string("a key");
    const auto k =
        static_cast<std::size_t>(std::find(kKeys.begin(), kKeys.end(), key) - kKeys.begin());
    if (k == kKeys.size()) fail("the header has an unknown key, " + shown(key));
    if (seen[k]) fail("the header has the key " + shown(key) + " twice");
    seen[k] = true;
    in.need(':');
    if (k == 0) {
      if (in.next_is('[')) fail("the array has a structured dtype, not numbers");
      descr = in.string("a dtype");
    } else if (k == 1) {
      header.fortran_order = in.boolean();
    } else {
      header.shape = in.tuple();
    }
    if (!in.take(',')) {
      in.need('}');
      break;
    }
  }
  in.need_end();
  for (std::size_t k = 0; k < kKeys.size(); ++k) {
    if (!seen[k]) fail("the header lacks the key " + shown(kKeys[k]));
  }
  set_dtype(header, descr, elements);
  check_size(header);
  return header;
}

std::string make_npy_header(DType dtype, const std::vector<std::int64_t>& shape) {
  std::string dict =
      std::string("{'descr': '") + descr_of(dtype) + "', 'fortran_order': False, 'shape': (";
  for (std::size_t i = 0; i < shape.size(); ++i) {
    dict += (i ? ", " : "") + std::to_string(shape[i]);
  }
  dict += shape.size() == 1 ? ",), }" : "), }";
  // Room for the first extent to grow to 21 digits in place, as NumPy leaves it.
  if (!shape.empty()) dict.append(21 - std::to_string(shape[0]).size(), ' ');
  const std::size_t unpadded = 10 + dict.size() + 1;
  dict.append((64 - unpadded % 64) % 64, ' ');
  dict += '\n';
  std::string header(kMagic);
  header +=
      {'\1', '\0', static_cast<char>(dict.size() & 0xff), static_cast<char>(dict.size() >> 8)};
  return header + dict;
}

}  // namespace instnorm::cli
