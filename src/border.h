// The checks of one call. Every message begins with the op in brackets, and says what was expected
// and what came.
#pragma once

#include <instnorm/functional.h>
#include <instnorm/tensor.h>

#include <cstddef>
#include <cstdint>
#include <string>

#include "overlap.h"
#include "problem.h"

namespace instnorm {

// Of a mask for an input of `shape`, whose dimensions are as Border::rows has them: without
// channels, with one for all, with all. N comes first, 1 for an unbatched input, whose own shape is
// taken too.
struct MaskShapes {
  Dims none, one, all;
  std::string str() const;
};
MaskShapes mask_shapes(const Dims& shape, int n_axis, int c_axis);

class Border {
 public:
  Border(const char* op, Problem& problem) : op_(op), p_(problem) {}

  [[noreturn]] void fail(const std::string& what) const;

  // Reads N, C, L and the dtype off the input, whose shape everything else is measured by.
  void input(const char* arg, const ConstView& x, DataFormat format);

  // Has the input's shape and dtype.
  void operand(const char* arg, const ConstView& v, Rows& rows) const;

  // (C,) or, where `per_instance` allows it, (N, C). V is a View or a ConstView; an absent one is
  // not even converted, which is what most of them are.
  template <class V>
  void param(const char* arg, const V& v, bool per_instance, Param& param) const {
    if (v.defined()) defined_param(arg, v, per_instance, param);
  }

  void activation(Activation activation) const {
    if (activation > Activation::silu) {
      fail("activation is no Activation: " + std::to_string(static_cast<int>(activation)));
    }
  }

  // lengths, mask, nan_policy: which values are there.
  template <class Options>
  void presence(const Options& o) const {
    if (o.lengths.defined()) lengths(o.lengths);
    if (o.mask.defined()) mask(o.mask);
    if (p_.lengths.defined() && p_.mask.defined()) {
      fail("lengths and mask are both given: give one of them");
    }
    if (o.nan_policy > NanPolicy::raise) {
      fail("nan_policy is no NanPolicy: " + std::to_string(static_cast<int>(o.nan_policy)));
    }
    p_.nan_policy = o.nan_policy;
  }

  void lengths(const ConstView& v) const;
  void given_moments(const Moments& m) const;

  // An output must not meet itself, nor an input unless it is that input (in place).
  template <class V>
  void writes(const char* arg, const V& out) const {
    if (out.defined() && overlaps_itself(out)) fail(std::string(arg) + " overlaps itself");
  }
  template <class V, class W>
  void apart(const char* arg, const V& out, const char* other, const W& v) const {
    if (!out.defined() || !v.defined()) return;
    if (overlap(out, v)) fail(std::string(arg) + " overlaps " + other);
  }
  template <class V>
  void apart(const char* arg, const V& out, const char* other, const Moments& m) const {
    if (out.defined() && overlap(out, m)) fail(std::string(arg) + " overlaps " + other);
  }
  // The same for lengths and mask, which most calls do not have.
  template <class V, class Options>
  void apart_from_presence(const char* arg, const V& out, const Options& o) const {
    if (!p_.lengths.defined() && !p_.mask.defined()) return;
    apart(arg, out, "lengths", o.lengths);
    apart(arg, out, "mask", o.mask);
  }
  bool in_place(const char* arg, const ConstView& out, const char* other,
                const ConstView& v) const {
    if (same_view(out, v)) return true;
    apart(arg, out, other, v);
    return false;
  }

 private:
  void defined_param(const char* arg, const ConstView& v, bool per_instance, Param& param) const;
  void mask(const ConstView& v) const;
  std::byte* bytes(const char* arg, const ConstView& v) const;
  // Rows of a view whose dimensions are, in order: N where n_axis is 0 (else it is -1), C at c_axis
  // (or none, -1), and along the row all others.
  void rows(const ConstView& v, int n_axis, int c_axis, Rows& rows) const;

  const char* op_;
  Problem& p_;
  const char* arg_ = "";
  Dims shape_;
  int n_axis_ = -1, c_axis_ = 0;
};

}  // namespace instnorm
