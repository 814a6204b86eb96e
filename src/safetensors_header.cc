#include "safetensors_header.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <stdexcept>
#include <utility>

#include "quotes.h"

namespace instnorm {
namespace {

using nlohmann::json;

struct Word {
  std::string_view name;
  int bits;
};
// The order of the reference implementation: data lie in the file from the last kind to the first.
constexpr Word kWords[] = {{"BOOL", 8},    {"F4", 4},          {"F6_E2M3", 6},     {"F6_E3M2", 6},
                           {"U8", 8},      {"I8", 8},          {"F8_E5M2", 8},     {"F8_E4M3", 8},
                           {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8}, {"I16", 16},
                           {"U16", 16},    {"F16", 16},        {"BF16", 16},       {"I32", 32},
                           {"U32", 32},    {"F32", 32},        {"C64", 64},        {"F64", 64},
                           {"I64", 64},    {"U64", 64}};

const Word* find_word(std::string_view name) {
  const Word* word = std::ranges::find(kWords, name, &Word::name);
  return word == std::end(kWords) ? nullptr : word;
}

// Bytes of a tensor, or nothing if they overflow or end inside a byte. The product of the non-zero
// extents has to fit, so that a zero elsewhere hides no overflow.
std::optional<std::uint64_t> size_in_bytes(const TensorInfo& info) {
  std::uint64_t bits = static_cast<std::uint64_t>(safetensors_bits(info.dtype));
  bool empty = false;
  for (const std::int64_t extent : info.shape) {
    empty |= extent == 0;
    if (extent != 0 && __builtin_mul_overflow(bits, static_cast<std::uint64_t>(extent), &bits)) {
      return std::nullopt;
    }
  }
  if (empty) return 0;
  if (bits % 8 != 0) return std::nullopt;
  return bits / 8;
}

// Takes the events of one JSON text. It knows where it is by `state_` alone, and stops at the first
// event that does not belong there, so depth is bounded whatever the text nests.
class HeaderEvents {
 public:
  using number_integer_t = json::number_integer_t;
  using number_unsigned_t = json::number_unsigned_t;
  using number_float_t = json::number_float_t;
  using string_t = json::string_t;
  using binary_t = json::binary_t;

  SafetensorsHeader header;
  std::string error;

  bool start_object(std::size_t) {
    switch (state_) {
      case State::start:
        state_ = State::names;
        return true;
      case State::tensor:
        state_ = State::fields;
        return true;
      case State::metadata:
        state_ = State::metadata_keys;
        return true;
      default:
        return unexpected("an object");
    }
  }

  bool end_object() {
    switch (state_) {
      case State::fields:
        if (!has_dtype_) return fail("has no dtype");
        if (!has_shape_) return fail("has no shape");
        if (!has_offsets_) return fail("has no data_offsets");
        info_ = nullptr;
        state_ = State::names;
        return true;
      case State::metadata_keys:
        state_ = State::names;
        return true;
      default:  // the whole text; what follows is the parser's to refuse
        state_ = State::end;
        return true;
    }
  }

  bool key(string_t& name) {
    if (state_ == State::names) return top_level_key(name);
    if (state_ == State::metadata_keys) {
      const auto [entry, is_new] = header.metadata.try_emplace(name);
      if (!is_new) return fail("__metadata__ has " + in_quotes(name) + " twice");
      text_ = &entry->second;
      state_ = State::metadata_value;
      return true;
    }
    bool* seen = nullptr;
    if (name == "dtype") {
      seen = &has_dtype_;
      state_ = State::dtype;
    } else if (name == "shape") {
      seen = &has_shape_;
      state_ = State::before_shape;
    } else if (name == "data_offsets") {
      seen = &has_offsets_;
      state_ = State::before_offsets;
    } else {
      return fail("has an unknown entry " + in_quotes(name));
    }
    if (*seen) return fail("has " + name + " twice");
    *seen = true;
    return true;
  }

  bool string(string_t& value) {
    if (state_ == State::metadata_value) {
      *text_ = std::move(value);
      state_ = State::metadata_keys;
      return true;
    }
    if (state_ != State::dtype) return unexpected("a string");
    if (find_word(value) == nullptr) return fail("has an unknown dtype " + in_quotes(value));
    info_->dtype = std::move(value);
    state_ = State::fields;
    return true;
  }

  bool start_array(std::size_t) {
    if (state_ == State::before_shape) {
      state_ = State::shape;
    } else if (state_ == State::before_offsets) {
      state_ = State::offsets;
    } else {
      return unexpected("an array");
    }
    return true;
  }

  bool end_array() {
    if (state_ == State::offsets && offsets_ != 2) return fail("needs two data_offsets");
    state_ = State::fields;
    return true;
  }

  bool number_unsigned(number_unsigned_t value) {
    if (state_ == State::shape) {
      if (!std::in_range<std::int64_t>(value)) return fail("has an extent that is too large");
      info_->shape.push_back(static_cast<std::int64_t>(value));
    } else if (state_ == State::offsets) {
      if (offsets_ == 2) return fail("needs two data_offsets");
      (offsets_ == 0 ? info_->begin : info_->end) = value;
      ++offsets_;
    } else {
      return unexpected("a number");
    }
    return true;
  }

  bool number_integer(number_integer_t) { return unexpected("a negative number"); }
  bool number_float(number_float_t, const string_t&) {
    return unexpected("a number that is no 64-bit integer");
  }
  bool null() { return unexpected("null"); }
  bool boolean(bool) { return unexpected("a boolean"); }
  bool binary(binary_t&) { return unexpected("binary data"); }

  bool parse_error(std::size_t position, const std::string&, const json::exception&) {
    error = "header is not JSON in UTF-8 (byte " + std::to_string(position) + ")";
    return false;
  }

 private:
  enum class State {
    start,
    names,
    tensor,
    fields,
    dtype,
    before_shape,
    shape,
    before_offsets,
    offsets,
    metadata,
    metadata_keys,
    metadata_value,
    end
  };

  bool top_level_key(const string_t& name) {
    if (name == "__metadata__") {
      if (std::exchange(has_metadata_, true)) return fail("has __metadata__ twice");
      state_ = State::metadata;
      return true;
    }
    const auto [entry, is_new] = header.tensors.try_emplace(name);
    if (!is_new) return fail("has tensor " + in_quotes(name) + " twice");
    name_ = &entry->first;
    info_ = &entry->second;
    has_dtype_ = has_shape_ = has_offsets_ = false;
    offsets_ = 0;
    state_ = State::tensor;
    return true;
  }

  bool fail(const std::string& what) {
    const std::string where = info_ == nullptr ? "" : "tensor " + in_quotes(*name_) + " ";
    error = "header " + where + what;
    return false;
  }

  bool unexpected(const char* what) {
    const char* where = "";
    switch (state_) {
      case State::tensor:
        where = " where its entry should be";
        break;
      case State::dtype:
        where = " as dtype";
        break;
      case State::before_shape:
      case State::shape:
        where = " in shape";
        break;
      case State::before_offsets:
      case State::offsets:
        where = " in data_offsets";
        break;
      case State::metadata:
        return fail("has a __metadata__ that is no object");
      case State::metadata_value:
        return fail("has a value in __metadata__ that is no string");
      default:
        break;
    }
    return fail(std::string("has ") + what + where);
  }

  State state_ = State::start;
  const std::string* name_ = nullptr;  // of the tensor whose entry is being read
  TensorInfo* info_ = nullptr;
  std::string* text_ = nullptr;  // where the next value of __metadata__ goes
  bool has_metadata_ = false, has_dtype_ = false, has_shape_ = false, has_offsets_ = false;
  int offsets_ = 0;
};

// Every tensor has the size that its dtype and shape say, and together they fill the data section.
void check_layout(const TensorInfos& tensors, std::uint64_t data_bytes) {
  std::vector<TensorInfos::const_pointer> by_place;
  for (const auto& entry : tensors) {
    const TensorInfo& info = entry.second;
    const auto fail = [&entry](const std::string& what) {
      throw std::runtime_error("header tensor " + in_quotes(entry.first) + " " + what);
    };
    if (info.end < info.begin) fail("ends before it begins");
    if (info.end > data_bytes) fail("lies beyond the end of the file");
    const std::optional<std::uint64_t> bytes = size_in_bytes(info);
    if (!bytes) fail("has a shape that is too large or no whole bytes");
    if (*bytes != info.end - info.begin) {
      fail("has " + std::to_string(info.end - info.begin) + " bytes where dtype and shape need " +
           std::to_string(*bytes));
    }
    by_place.push_back(&entry);
  }
  std::ranges::sort(by_place, {}, [](TensorInfos::const_pointer entry) {
    return std::pair(entry->second.begin, entry->second.end);
  });
  std::uint64_t end = 0;
  for (const auto* entry : by_place) {
    if (entry->second.begin != end) {
      throw std::runtime_error(
          "header tensor " + in_quotes(entry->first) +
          (entry->second.begin < end ? " overlaps the one before it" : " leaves a gap before it"));
    }
    end = entry->second.end;
  }
  if (end != data_bytes) {
    throw std::runtime_error("it has " + std::to_string(data_bytes - end) +
                             " bytes that belong to no tensor");
  }
}

// Not by an array of json's, whose destructor takes memory and ends the process if there is none.
std::string list_of(const std::vector<std::int64_t>& extents) {
  std::string text;
  for (const std::int64_t extent : extents) {
    if (!text.empty()) text += ',';
    text += std::to_string(extent);
  }
  return text;
}

std::string key_of(const std::string& name) {
  try {
    return json(name).dump();
  } catch (const json::type_error&) {
    throw std::invalid_argument("[safetensors] the name " + in_quotes(name) + " is not UTF-8");
  }
}

}  // namespace

SafetensorsHeader parse_safetensors_header(std::string_view text, std::uint64_t data_bytes) {
  if (!text.starts_with('{')) throw std::runtime_error("header does not begin with {");
  // The parser takes a 0 for the end of its input.
  if (const auto at = text.find('\0'); at != std::string_view::npos) {
    throw std::runtime_error("header is not JSON in UTF-8 (byte " + std::to_string(at + 1) + ")");
  }
  HeaderEvents events;
  if (!json::sax_parse(text, &events)) throw std::runtime_error(events.error);
  check_layout(events.header.tensors, data_bytes);
  return std::move(events.header);
}

std::string make_safetensors_header(TensorInfos& tensors) {
  std::vector<TensorInfos::pointer> order;
  for (auto& entry : tensors) {
    const auto fail = [&entry](const std::string& what) {
      throw std::invalid_argument("[safetensors] tensor " + in_quotes(entry.first) + " " + what);
    };
    if (entry.first == "__metadata__") fail("has a name that the format keeps for itself");
    if (find_word(entry.second.dtype) == nullptr) {
      fail("has an unknown dtype " + in_quotes(entry.second.dtype));
    }
    for (const std::int64_t extent : entry.second.shape) {
      if (extent < 0) fail("has a negative extent");
    }
    order.push_back(&entry);
  }
  std::ranges::sort(order, [](TensorInfos::pointer a, TensorInfos::pointer b) {
    const Word* word_a = find_word(a->second.dtype);
    const Word* word_b = find_word(b->second.dtype);
    return word_a != word_b ? word_a > word_b : a->first < b->first;
  });
  // As PyTorch's writer has it: some loaders refuse a file that does not say so.
  std::string text = R"({"__metadata__":{"format":"pt"})";
  std::uint64_t end = 0;
  for (auto* entry : order) {
    TensorInfo& info = entry->second;
    const std::optional<std::uint64_t> bytes = size_in_bytes(info);
    info.begin = end;
    if (!bytes || __builtin_add_overflow(end, *bytes, &end)) {
      throw std::invalid_argument("[safetensors] tensor " + in_quotes(entry->first) +
                                  " is too large or no whole bytes");
    }
    info.end = end;
    text += ',' + key_of(entry->first) + ":{\"dtype\":\"" + info.dtype + "\",\"shape\":[" +
            list_of(info.shape) + "],\"data_offsets\":[" + std::to_string(info.begin) + "," +
            std::to_string(info.end) + "]}";
  }
  text += '}';
  text.append((8 - text.size() % 8) % 8, ' ');
  if (text.size() > kMaxSafetensorsHeader) {
    throw std::invalid_argument("[safetensors] the header would have more than " +
                                std::to_string(kMaxSafetensorsHeader) + " bytes");
  }
  return text;
}

int safetensors_bits(std::string_view dtype) {
  const Word* word = find_word(dtype);
  return word == nullptr ? 0 : word->bits;
}

}  // namespace instnorm
