#include "overlap.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "dtype.h"

namespace instnorm {
namespace {

// One dimension: it adds k * stride bytes, k = 0 .. high.
struct Term {
  std::int64_t stride;  // > 0
  std::int64_t high;
};

struct Terms {
  Term term[2 * kMaxRank];  // the first `count`
  int count = 0;

  // Of k = low .. high. Returns what the first of these adds, by a positive stride.
  std::int64_t add(std::int64_t stride, std::int64_t low, std::int64_t high) {
    if (low == high || stride == 0) return low * stride;
    term[count++] = {std::abs(stride), high - low};
    return std::min(low * stride, high * stride);
  }
};

constexpr int kPatience = 10000;  // steps; slices and transposes need about one a dimension

std::int64_t floor_div(std::int64_t a, std::int64_t b) { return a / b - (a % b != 0 && a < 0); }

// Is there a choice of k with low <= sum of k * stride <= high? Terms sorted by falling stride. For
// each k of the first term the rest must reach what is left, so only those k that leave it in reach
// are tried.
bool reachable(const Term* term, int count, std::int64_t low, std::int64_t high, int& patience) {
  if (low <= 0 && high >= 0) return true;  // all k = 0
  if (count == 0 || high < 0) return false;
  if (--patience < 0) return true;
  std::int64_t rest = 0;
  for (int i = 1; i < count; ++i) rest += term[i].stride * term[i].high;
  const std::int64_t first = std::max<std::int64_t>(0, -floor_div(-(low - rest), term->stride));
  const std::int64_t last = std::min(term->high, floor_div(high, term->stride));
  for (std::int64_t k = first; k <= last; ++k) {
    const std::int64_t part = k * term->stride;
    if (reachable(term + 1, count - 1, low - part, high - part, patience)) return true;
  }
  return false;
}

bool reachable(Terms& terms, std::int64_t low, std::int64_t high) {
  std::sort(terms.term, terms.term + terms.count,
            [](const Term& a, const Term& b) { return a.stride > b.stride; });
  int patience = kPatience;
  return reachable(terms.term, terms.count, low, high, patience);
}

bool empty(const ConstView& v) { return v.shape.product() == 0; }

// Every dimension steps over all that lies within it: the common case, decided without a search.
bool row_major(const ConstView& v) {
  std::int64_t inside = 1;
  for (int i = v.shape.rank() - 1; i >= 0; --i) {
    if (v.shape[i] == 1) continue;
    if (v.strides[i] < inside) return false;
    inside = v.strides[i] * v.shape[i];
  }
  return true;
}

// Addresses as numbers: of a view that leaves its memory they may be those of no pointer.
struct Bounds {
  std::int64_t begin, end;
};

Bounds bounds(const ConstView& v) {
  const auto data = static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(v.data));
  Bounds b{data, data + size_of(v.dtype)};
  for (int i = 0; i < v.shape.rank(); ++i) {
    if (v.shape[i] == 1) continue;
    const std::int64_t reach = (v.shape[i] - 1) * stride_in_bytes(v, i);
    (reach < 0 ? b.begin : b.end) += reach;
  }
  return b;
}

}  // namespace

bool overlap(const ConstView& a, const ConstView& b) {
  if (!a.defined() || !b.defined() || empty(a) || empty(b)) return false;
  const Bounds in_a = bounds(a), in_b = bounds(b);
  if (in_a.end <= in_b.begin || in_b.end <= in_a.begin) return false;

  // address_a + sum(i * stride_a) and address_b + sum(j * stride_b) are less than an element apart.
  const std::int64_t size_a = size_of(a.dtype), size_b = size_of(b.dtype);
  std::int64_t difference = static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(b.data) -
                                                      reinterpret_cast<std::uintptr_t>(a.data));
  Terms terms;
  for (int i = 0; i < a.shape.rank(); ++i) {
    difference -= terms.add(stride_in_bytes(a, i), 0, a.shape[i] - 1);
  }
  for (int i = 0; i < b.shape.rank(); ++i) {
    difference -= terms.add(stride_in_bytes(b, i), -(b.shape[i] - 1), 0);
  }
  return reachable(terms, difference - size_a + 1, difference + size_b - 1);
}

bool overlap(const ConstView& v, const Moments& m) {
  if (!v.defined() || empty(v)) return false;
  const Bounds in_v = bounds(v);
  for (const std::vector<double>* of : {&m.count, &m.mean, &m.m2}) {
    const auto begin = static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(of->data()));
    const auto size = static_cast<std::int64_t>(of->size());
    if (in_v.end <= begin || begin + size * size_of(DType::float64) <= in_v.begin) continue;
    if (overlap(v, ConstView{of->data(), DType::float64, Dims{size}, Dims{1}})) return true;
  }
  return false;
}

bool overlaps_itself(const ConstView& v) {
  if (!v.defined() || empty(v) || row_major(v)) return false;
  // Two elements differ first in some dimension d: k_d >= 1 there, any difference in the later
  // ones.
  const std::int64_t size = size_of(v.dtype);
  for (int d = 0; d < v.shape.rank(); ++d) {
    if (v.shape[d] == 1) continue;
    Terms terms;
    std::int64_t origin = terms.add(stride_in_bytes(v, d), 1, v.shape[d] - 1);
    for (int i = d + 1; i < v.shape.rank(); ++i) {
      origin += terms.add(stride_in_bytes(v, i), -(v.shape[i] - 1), v.shape[i] - 1);
    }
    if (reachable(terms, -origin - size + 1, -origin + size - 1)) return true;
  }
  return false;
}

bool same_view(const ConstView& a, const ConstView& b) {
  if (a.data != b.data || a.dtype != b.dtype || a.shape != b.shape) return false;
  for (int i = 0; i < a.shape.rank(); ++i) {
    if (a.shape[i] > 1 && a.strides[i] != b.strides[i]) return false;
  }
  return true;
}

}  // namespace instnorm
