// What a view can be in place of a legal one: everything that no memory is, that no call here
// takes, or that looks wrong and is not. Generated from the legal one.
#pragma once

#include <instnorm/tensor.h>

#include <array>
#include <cctype>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

namespace instnorm::test {

inline constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
inline constexpr std::int64_t kLeast = std::numeric_limits<std::int64_t>::min();
inline constexpr std::int64_t kHuge = std::int64_t{1} << 62;

// In what a view differs from the legal one.
enum class What {
  absent,
  no_data,
  shape,       // another
  dtype,       // another
  impossible,  // no such memory
  repeats,     // strides by which elements are met twice
  far,         // strides to where no address is
  unusual,     // legal: reversed, between elements
  overlap,     // in the memory of another argument
  value,       // of what lies there
};

struct HostileView {
  std::string name;
  What what;
  View view;
};

inline Dims with(Dims dims, int i, std::int64_t value) {
  dims[i] = value;
  return dims;
}
inline Dims filled(int rank, std::int64_t value) {
  std::array<std::int64_t, kMaxRank> all{};
  all.fill(value);
  return Dims(all.data(), static_cast<std::size_t>(rank));
}
inline Dims without_last(const Dims& dims) {
  return Dims(dims.begin(), static_cast<std::size_t>(dims.rank() - 1));
}
inline Dims and_then(const Dims& dims, std::int64_t value) {
  std::vector<std::int64_t> longer(dims.begin(), dims.end());
  longer.push_back(value);
  return Dims(longer.data(), longer.size());
}

inline std::vector<Dims> other_shapes(const Dims& shape) {
  const int rank = shape.rank();
  std::vector<Dims> shapes = {Dims(), without_last(shape), and_then(shape, 2), filled(rank, 0),
                              filled(kMaxRank, 1)};
  for (int i = 0; i < rank; ++i) {
    shapes.push_back(with(shape, i, shape[i] + 1));
    shapes.push_back(with(shape, i, 0));
    if (shape[i] > 0) shapes.push_back(with(shape, i, shape[i] - 1));
    if (i > 0) shapes.push_back(with(with(shape, i, shape[i - 1]), i - 1, shape[i]));
  }
  std::erase(shapes, shape);
  return shapes;
}

inline std::vector<Dims> impossible_shapes(const Dims& shape) {
  const int rank = shape.rank();
  std::vector<Dims> shapes;
  for (int i = 0; i < rank; ++i) {
    for (const std::int64_t extent : {std::int64_t{-1}, kLeast, kHuge, kMost}) {
      shapes.push_back(with(shape, i, extent));
    }
    shapes.push_back(with(filled(rank, 0), i, kHuge));
  }
  if (rank > 1) shapes.push_back(filled(rank, std::int64_t{1} << 32));
  return shapes;
}

inline std::vector<HostileView> hostile_views(const View& v) {
  const Dims& shape = v.shape;
  const int rank = shape.rank();
  std::vector<HostileView> all = {{"absent", What::absent, {}}};
  const auto add = [&](const std::string& name, What what, const View& view) {
    all.push_back({name, what, view});
  };
  add("no data", What::no_data, {nullptr, v.dtype, shape, v.strides});
  for (const Dims& other : other_shapes(shape)) {
    add("shape " + other.str(), What::shape, {v.data, v.dtype, other, contiguous_strides(other)});
  }
  for (const Dims& other : impossible_shapes(shape)) {
    for (const Dims& strides : {contiguous_strides(other), filled(rank, 0)}) {
      add("shape " + other.str() + " strides " + strides.str(), What::impossible,
          {v.data, v.dtype, other, strides});
    }
  }
  for (int i = 0; i < 256; i = i < 8 ? i + 1 : 2 * i - 1) {
    const auto dtype = static_cast<DType>(i);
    if (dtype == v.dtype) continue;
    add("dtype " + std::to_string(i), i < 7 ? What::dtype : What::impossible,
        {v.data, dtype, shape, v.strides});
  }
  for (const Dims& strides : {Dims(), without_last(v.strides), and_then(v.strides, 1)}) {
    add("strides " + strides.str(), What::impossible, {v.data, v.dtype, shape, strides});
  }
  const auto add_strides = [&](What what, const Dims& strides) {
    add("strides " + strides.str(), what, {v.data, v.dtype, shape, strides});
  };
  std::vector<int> wide;  // dimensions of several elements
  for (int i = 0; i < rank; ++i) {
    if (shape[i] > 1) wide.push_back(i);
  }
  for (const int i : wide) {
    add_strides(What::repeats, with(v.strides, i, 0));
    for (const std::int64_t stride : {kMost, kLeast, kHuge, std::int64_t{1} << 60}) {
      add_strides(What::far, with(v.strides, i, stride));
    }
  }
  if (wide.size() > 1) {
    add_strides(What::repeats, filled(rank, 0));
    add_strides(What::repeats, filled(rank, 1));
    add_strides(What::repeats, filled(rank, -1));
    const int first = wide.front();
    add_strides(What::repeats, with(v.strides, first, v.strides[first] - 1));
  }
  auto* data = static_cast<std::byte*>(v.data);
  add("between elements", What::unusual, {data + 1, v.dtype, shape, v.strides});
  Dims reversed = v.strides;
  std::int64_t last = 0;
  for (int i = 0; i < rank; ++i) {
    last += shape[i] > 0 ? (shape[i] - 1) * v.strides[i] : 0;
    reversed[i] = shape[i] > 1 ? -v.strides[i] : kLeast;  // of one element or none: says nothing
  }
  add("reversed", What::unusual, {data + last * size_of(v.dtype), v.dtype, shape, reversed});
  return all;
}

// Does `text` have `word`, not as a part of a longer one?
inline bool names(const std::string& text, const std::string& word) {
  const auto in_word = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) || c == '_';
  };
  for (std::size_t at = text.find(word); at != std::string::npos; at = text.find(word, at + 1)) {
    const std::size_t end = at + word.size();
    if ((at == 0 || !in_word(text[at - 1])) && (end == text.size() || !in_word(text[end]))) {
      return true;
    }
  }
  return false;
}

}  // namespace instnorm::test
