#include "border.h"

#include <array>
#include <stdexcept>

#include "dtype.h"
#include "fault.h"

namespace instnorm {

void Border::fail(const std::string& what) const {
  throw std::invalid_argument(std::string("[") + op_ + "] " + what);
}

void Border::input(const char* arg, const ConstView& x, DataFormat format) {
  if (format > DataFormat::NLC) {
    fail("data_format is no DataFormat: " + std::to_string(static_cast<int>(format)));
  }
  const bool last = format == DataFormat::NLC;
  if (!x.defined()) fail(std::string(arg) + " is missing");
  if (x.shape.rank() < 2) {
    fail(std::string(arg) + " must have at least 2 dimensions, " +
         (last ? "(L, C) or (N, L, C)" : "(C, L) or (N, C, L)") + ", got shape " + x.shape.str());
  }
  if (!is_float(x.dtype)) {
    fail(std::string(arg) + " must be float16, bfloat16, float32 or float64, got " + name(x.dtype));
  }
  arg_ = arg;
  p_.x.data = bytes(arg, x);
  shape_ = x.shape;
  n_axis_ = x.shape.rank() > 2 ? 0 : -1;
  c_axis_ = last ? x.shape.rank() - 1 : n_axis_ + 1;
  p_.dtype = x.dtype;
  p_.N = n_axis_ == 0 ? x.shape[0] : 1;
  p_.C = x.shape[c_axis_];
  p_.L = 1;
  for (int i = n_axis_ + 1; i < x.shape.rank(); ++i) {
    if (i != c_axis_) p_.L *= x.shape[i];
  }
  rows(x, n_axis_, c_axis_, p_.x);
}

void Border::operand(const char* arg, const ConstView& v, Rows& r) const {
  if (!v.defined()) fail(std::string(arg) + " is missing");
  if (v.shape != shape_) {
    fail(std::string(arg) + " must have the shape of " + arg_ + ", " + shape_.str() + ", got " +
         v.shape.str());
  }
  if (v.dtype != p_.dtype) {
    fail(std::string(arg) + " must have the dtype of " + arg_ + ", " + name(p_.dtype) + ", got " +
         name(v.dtype));
  }
  r.data = bytes(arg, v);
  rows(v, n_axis_, c_axis_, r);
}

void Border::defined_param(const char* arg, const ConstView& v, bool per_instance,
                           Param& param) const {
  const bool shared = v.shape.rank() == 1 && v.shape[0] == p_.C;
  const bool each = per_instance && v.shape.rank() == 2 && v.shape[0] == p_.N && v.shape[1] == p_.C;
  if (!shared && !each) {
    std::string want = "(C,) = " + Dims{p_.C}.str();
    if (per_instance) want += " or (N, C) = " + Dims{p_.N, p_.C}.str();
    fail(std::string(arg) + " must have shape " + want + ", got " + v.shape.str());
  }
  if (v.dtype != p_.dtype && !(v.dtype == DType::float32 && size_of(p_.dtype) == 2)) {
    fail(std::string(arg) + " must be " + (size_of(p_.dtype) == 2 ? "float32 or " : "") +
         name(p_.dtype) + " for a " + name(p_.dtype) + " " + arg_ + ", got " + name(v.dtype));
  }
  param.data = bytes(arg, v);
  param.dtype = v.dtype;
  param.stride_n = each ? stride_in_bytes(v, 0) : 0;
  param.stride_c = stride_in_bytes(v, each ? 1 : 0);
  param.per_instance = each;
}

void Border::lengths(const ConstView& v) const {
  if (v.dtype != DType::int32 && v.dtype != DType::int64) {
    fail(std::string("lengths must be int32 or int64, got ") + name(v.dtype));
  }
  if (v.shape.rank() != 1 || v.shape[0] != p_.N) {
    fail("lengths must have shape (N,) = " + Dims{p_.N}.str() + ", got " + v.shape.str());
  }
  if (shape_.rank() > 3) {
    fail(std::string("lengths needs ") + arg_ + " of 2 or 3 dimensions, got shape " + shape_.str());
  }
  p_.lengths = {bytes("lengths", v), v.dtype == DType::int64, stride_in_bytes(v, 0)};
  for (std::int64_t n = 0; n < p_.N; ++n) {
    const std::int64_t length = p_.lengths.at(n);
    if (length < 0 || length > p_.L) {
      fail("lengths must be from 0 to L = " + std::to_string(p_.L) + ", got " +
           std::to_string(length) + " at n = " + std::to_string(n));
    }
  }
}

std::string MaskShapes::str() const { return none.str() + ", " + one.str() + " or " + all.str(); }

MaskShapes mask_shapes(const Dims& shape, int n_axis, int c_axis) {
  constexpr std::int64_t kNoAxis = -1;
  const auto with_channels = [&](std::int64_t channels) {
    std::array<std::int64_t, kMaxRank> extent{};
    std::size_t rank = 0;
    extent[rank++] = n_axis == 0 ? shape[0] : 1;
    for (int i = n_axis + 1; i < shape.rank(); ++i) {
      if (i != c_axis) {
        extent[rank++] = shape[i];
      } else if (channels != kNoAxis) {
        extent[rank++] = channels;
      }
    }
    return Dims(extent.data(), rank);
  };
  return {with_channels(kNoAxis), with_channels(1), with_channels(shape[c_axis])};
}

void Border::mask(const ConstView& v) const {
  if (v.dtype != DType::boolean) fail(std::string("mask must be bool, got ") + name(v.dtype));
  const MaskShapes shapes = mask_shapes(shape_, n_axis_, c_axis_);
  const int c_axis = c_axis_ - n_axis_;
  p_.mask.data = bytes("mask", v);
  if (v.shape == shapes.all) {
    rows(v, 0, c_axis, p_.mask);
  } else if (v.shape == shapes.one) {
    rows(v, 0, c_axis, p_.mask);
    p_.mask.stride_c = 0;
  } else if (v.shape == shapes.none) {
    rows(v, 0, -1, p_.mask);
  } else if (v.shape == shape_) {  // unbatched
    rows(v, n_axis_, c_axis_, p_.mask);
  } else {
    fail("mask must have shape " + shapes.str() + ", got " + v.shape.str());
  }
}

void Border::given_moments(const Moments& m) const {
  const auto size = static_cast<std::size_t>(p_.rows());
  if (m.N != p_.N || m.C != p_.C) {
    fail(p_.names.moments + std::string(" must have shape (N, C) = ") + Dims{p_.N, p_.C}.str() +
         ", got " + Dims{m.N, m.C}.str());
  }
  for (const auto* v : {&m.count, &m.mean, &m.m2}) {
    if (v->size() != size) {
      fail(p_.names.moments + std::string(" must have N * C = ") + std::to_string(size) +
           " values each of count, mean " + "and m2, got " + std::to_string(v->size()));
    }
  }
}

std::byte* Border::bytes(const char* arg, const ConstView& v) const {
  if (const Fault fault = fault_of(v); fault != Fault::none) {
    fail(std::string(arg) + ": " + text_of(fault, v));
  }
  if (v.data == nullptr && v.shape.product() > 0) {
    fail(std::string(arg) + " has shape " + v.shape.str() + " but no data");
  }
  // An empty operand may have no address, and is still defined.
  static std::byte nothing;
  if (v.data == nullptr) return &nothing;
  const auto* data = static_cast<const std::byte*>(v.data);
  return const_cast<std::byte*>(data);  // NOLINT(*-const-cast): only mutable views are written
}

void Border::rows(const ConstView& v, int n_axis, int c_axis, Rows& r) const {
  const std::int64_t size = size_of(v.dtype);
  r.stride_n = n_axis == 0 ? stride_in_bytes(v, 0) : 0;
  r.stride_c = c_axis >= 0 ? stride_in_bytes(v, c_axis) : 0;
  const int last_axis = v.shape.rank() - 1;
  if (last_axis - n_axis == (c_axis >= 0 ? 2 : 1)) {  // one dimension along the row, as most have
    const int axis = last_axis == c_axis ? last_axis - 1 : last_axis;
    r.inner = 1;
    r.extent[0] = v.shape[axis];
    r.stride[0] = v.shape[axis] == 1 ? size : stride_in_bytes(v, axis);
    return;
  }
  r.inner = 0;
  for (int i = n_axis + 1; i < v.shape.rank(); ++i) {
    if (v.shape[i] == 1 || i == c_axis) continue;
    const std::int64_t stride = stride_in_bytes(v, i);
    const auto last = static_cast<std::size_t>(r.inner - 1);
    if (r.inner > 0 && r.stride[last] == stride * v.shape[i]) {
      r.extent[last] *= v.shape[i];
      r.stride[last] = stride;
    } else {
      r.extent[last + 1] = v.shape[i];
      r.stride[last + 1] = stride;
      ++r.inner;
    }
  }
  if (r.inner == 0) {
    r.inner = 1;
    r.extent[0] = p_.L;
    r.stride[0] = size;
  }
}

}  // namespace instnorm
