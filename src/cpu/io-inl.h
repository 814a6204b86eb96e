// Reading and writing: from elements of any float dtype to vectors of the compute type and back,
// whole or in part. The only place that knows the 16-bit formats.
#if defined(INSTNORM_CPU_IO_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef INSTNORM_CPU_IO_INL_H_
#undef INSTNORM_CPU_IO_INL_H_
#else
#define INSTNORM_CPU_IO_INL_H_
#endif

#include <hwy/highway.h>
#include <instnorm/tensor.h>

#include <cstring>
#include <limits>
#include <type_traits>

HWY_BEFORE_NAMESPACE();
namespace instnorm::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Highway 1.0.3 converts float16 with the machine's instructions (to nearest even) from AVX2 on and
// on Arm; its substitute for older x86 truncates and loses NaN, so that one is ours.
#define INSTNORM_NATIVE_FLOAT16 \
  (HWY_TARGET <= HWY_AVX2 ||    \
   (!HWY_ARCH_X86 && HWY_TARGET != HWY_SCALAR && HWY_TARGET != HWY_EMU128))

// Masked loads and stores that touch nothing behind the mask. AVX2's store takes 12 cycles on
// Zen 3.
#define INSTNORM_NATIVE_MASK (HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX2)
#define INSTNORM_FAST_MASKED_STORE (HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3)

// ---- float16, bits in the lower half of 32-bit lanes

template <class DF, class VU = hn::Vec<hn::RebindToUnsigned<DF>>>
HWY_INLINE hn::Vec<DF> Float16Widened(DF df, VU bits) {
  const hn::RebindToUnsigned<DF> du;
  const auto magnitude = hn::And(bits, hn::Set(du, 0x7fffu));
  const auto sign = hn::ShiftLeft<16>(hn::Xor(bits, magnitude));
  // The product moves the exponent's bias, of subnormals too; 2^112 = 2^(127 - 15).
  const auto scaled = hn::Mul(hn::BitCast(df, hn::ShiftLeft<13>(magnitude)),
                              hn::Set(df, 5192296858534827628530496329220096.0f));
  const auto special = hn::Gt(hn::BitCast(hn::RebindToSigned<DF>(), magnitude),
                              hn::Set(hn::RebindToSigned<DF>(), 0x7bff));
  const auto exponent = hn::IfThenElseZero(hn::RebindMask(du, special), hn::Set(du, 0x7f800000u));
  return hn::BitCast(df, hn::Or(hn::Or(hn::BitCast(du, scaled), exponent), sign));
}

template <class DF>
HWY_INLINE hn::Vec<hn::RebindToUnsigned<DF>> Float16Narrowed(DF df, hn::Vec<DF> v) {
  const hn::RebindToUnsigned<DF> du;
  const hn::RebindToSigned<DF> di;
  const auto all = hn::BitCast(du, v);
  const auto sign = hn::And(all, hn::Set(du, 0x80000000u));
  const auto u = hn::Xor(all, sign);
  const auto i = hn::BitCast(di, u);
  const auto odd = hn::And(hn::ShiftRight<13>(u), hn::Set(du, 1u));
  // From 2^-14: rounded to 10 bits of mantissa, bias 127 to 15.
  const auto rounded = hn::Add(hn::Add(u, hn::Set(du, 0xfffu)), odd);
  const auto normal = hn::ShiftRight<13>(hn::Sub(rounded, hn::Set(du, 112u << 23)));
  // Below 2^-14: adding 0.5 leaves the value in units of 2^-24, rounded, in the low bits.
  const auto half = hn::Set(df, 0.5f);
  const auto subnormal =
      hn::Sub(hn::BitCast(du, hn::Add(hn::BitCast(df, u), half)), hn::BitCast(du, half));
  auto bits =
      hn::IfThenElse(hn::RebindMask(du, hn::Lt(i, hn::Set(di, 113 << 23))), subnormal, normal);
  bits = hn::IfThenElse(hn::RebindMask(du, hn::Gt(i, hn::Set(di, (143 << 23) - 1))),
                        hn::Set(du, 0x7c00u), bits);
  bits = hn::IfThenElse(hn::RebindMask(du, hn::Gt(i, hn::Set(di, 255 << 23))), hn::Set(du, 0x7e00u),
                        bits);
  return hn::Or(bits, hn::ShiftRight<16>(sign));
}

// ---- bfloat16. Highway 1.0.3 truncates on every target, so the rounding is ours.

template <class DF>
HWY_INLINE hn::Vec<hn::RebindToUnsigned<DF>> Bfloat16Narrowed(DF, hn::Vec<DF> v) {
  const hn::RebindToUnsigned<DF> du;
  const auto u = hn::BitCast(du, v);
  const auto odd = hn::And(hn::ShiftRight<16>(u), hn::Set(du, 1u));
  const auto rounded = hn::ShiftRight<16>(hn::Add(hn::Add(u, hn::Set(du, 0x7fffu)), odd));
  const auto quiet = hn::Or(hn::ShiftRight<16>(u), hn::Set(du, 0x40u));
  return hn::IfThenElse(hn::RebindMask(du, hn::IsNaN(v)), quiet, rounded);
}

// ---- whole vectors

// Floats rounded to 16 bits, as those bits.
template <class T, class DF>
HWY_INLINE hn::Vec<hn::Rebind<uint16_t, DF>> Narrowed(DF df, hn::Vec<DF> v) {
  const hn::Rebind<uint16_t, DF> d16;
  const hn::RebindToSigned<DF> di;
  if constexpr (std::is_same_v<T, bfloat16>) {
    return hn::DemoteTo(d16, hn::BitCast(di, Bfloat16Narrowed(df, v)));
  } else {
#if INSTNORM_NATIVE_FLOAT16
    return hn::BitCast(d16, hn::DemoteTo(hn::Rebind<hwy::float16_t, DF>(), v));
#else
    return hn::DemoteTo(d16, hn::BitCast(di, Float16Narrowed(df, v)));
#endif
  }
}

// The floats that these 16 bits stand for.
template <class T, class DF>
HWY_INLINE hn::Vec<DF> Widened(DF df, hn::Vec<hn::Rebind<uint16_t, DF>> bits) {
  const hn::RebindToUnsigned<DF> du;
  if constexpr (std::is_same_v<T, bfloat16>) {
    return hn::BitCast(df, hn::ShiftLeft<16>(hn::PromoteTo(du, bits)));
  } else {
#if INSTNORM_NATIVE_FLOAT16
    return hn::PromoteTo(df, hn::BitCast(hn::Rebind<hwy::float16_t, DF>(), bits));
#else
    return Float16Widened(df, hn::PromoteTo(du, bits));
#endif
  }
}

// T: the element type in memory; D: the tag of the compute type, float or double.
template <class D, class T>
HWY_INLINE hn::Vec<D> LoadAs(D d, const T* p) {
  using Compute = hn::TFromD<D>;
  if constexpr (std::is_same_v<Compute, T>) {
    return hn::LoadU(d, p);
  } else if constexpr (std::is_same_v<Compute, double>) {
    const hn::Rebind<float, D> df;
    return hn::PromoteTo(d, LoadAs(df, p));
  } else {
    const hn::Rebind<uint16_t, D> d16;
    return Widened<T>(d, hn::LoadU(d16, reinterpret_cast<const uint16_t*>(p)));
  }
}

// double to float; beyond its range infinity, where Highway's scalar target has the largest float.
template <class DF, class VD>
HWY_INLINE hn::Vec<DF> ToFloat(DF df, VD v) {
#if HWY_TARGET == HWY_SCALAR
  return hn::Set(df, static_cast<float>(hn::GetLane(v)));
#else
  return hn::DemoteTo(df, v);
#endif
}

template <class D, class T>
HWY_INLINE void StoreAs(D d, hn::Vec<D> v, T* p) {
  using Compute = hn::TFromD<D>;
  if constexpr (std::is_same_v<Compute, T>) {
    hn::StoreU(v, d, p);
  } else if constexpr (std::is_same_v<Compute, double>) {
    const hn::Rebind<float, D> df;
    if constexpr (std::is_same_v<T, float>) {
      hn::StoreU(ToFloat(df, v), df, p);
    } else {
      // double -> float -> 16 bits would round twice, so the first rounding is to odd: towards
      // zero, then the last bit set if anything was lost.
      const hn::RebindToUnsigned<decltype(df)> duf;
      const hn::RebindToSigned<decltype(df)> dif;
      const auto nearest = ToFloat(df, v);
      const auto back = hn::PromoteTo(d, nearest);
      const auto inexact =
          hn::DemoteTo(df, hn::IfThenElse(hn::Ne(back, v), hn::Set(d, 1.0), hn::Zero(d)));
      const auto beyond = hn::DemoteTo(
          df, hn::IfThenElse(hn::Gt(hn::Abs(back), hn::Abs(v)), hn::Set(d, 1.0), hn::Zero(d)));
      const auto zero = hn::Zero(df);
      const auto bits = hn::BitCast(dif, nearest);
      const auto truncated =
          hn::Add(bits, hn::VecFromMask(dif, hn::RebindMask(dif, hn::Ne(beyond, zero))));
      const auto odd =
          hn::Or(hn::BitCast(duf, truncated),
                 hn::And(hn::VecFromMask(duf, hn::RebindMask(duf, hn::Ne(inexact, zero))),
                         hn::Set(duf, 1u)));
      const auto finite =
          hn::Lt(hn::Abs(nearest), hn::Set(df, std::numeric_limits<float>::infinity()));
      StoreAs(df, hn::IfThenElse(finite, hn::BitCast(df, odd), nearest), p);
    }
  } else {
    hn::StoreU(Narrowed<T>(d, v), hn::Rebind<uint16_t, D>(), reinterpret_cast<uint16_t*>(p));
  }
}

// Past the caches, where there is such a store; p is aligned to what is written. Doubles that are
// written as a smaller type are rare rows.
template <class D, class T>
HWY_INLINE void StreamAs(D d, hn::Vec<D> v, T* p) {
  if constexpr (std::is_same_v<hn::TFromD<D>, T>) {
    hn::Stream(v, d, p);
  } else if constexpr (sizeof(hn::TFromD<D>) == 8 || hn::MaxLanes(D()) * sizeof(T) < 16) {
    StoreAs(d, v, p);  // and no instruction set streams less than 16 bytes
  } else {
    hn::Stream(Narrowed<T>(d, v), hn::Rebind<uint16_t, D>(), reinterpret_cast<uint16_t*>(p));
  }
}

// ---- parts of vectors: the first n lanes, 0 <= n; nothing behind them is touched

// memcpy of n < 2 * kPiece elements, in pieces of constant size: a call of the library's, of a size
// that it has to look at, takes longer than all else that is done with a short row.
template <size_t kPiece, class T>
HWY_INLINE void CopyPart(T* to, const T* from, size_t n) {
  if (n & kPiece) {
    std::memcpy(static_cast<void*>(to), static_cast<const void*>(from), kPiece * sizeof(T));
    to += kPiece;
    from += kPiece;
  }
  if constexpr (kPiece > 1) CopyPart<kPiece / 2>(to, from, n);
}

template <class D, class T>
HWY_INLINE hn::Vec<D> LoadPartAs(D d, const T* p, size_t n) {
  if (n >= hn::Lanes(d)) return LoadAs(d, p);
#if INSTNORM_NATIVE_MASK
  if constexpr (std::is_same_v<hn::TFromD<D>, T>) return hn::MaskedLoad(hn::FirstN(d, n), d, p);
#endif
#if INSTNORM_FAST_MASKED_STORE
  if constexpr (sizeof(T) == 2 && sizeof(hn::TFromD<D>) == 4) {
    const hn::Rebind<uint16_t, D> d16;
    return Widened<T>(
        d, hn::MaskedLoad(hn::FirstN(d16, n), d16, reinterpret_cast<const uint16_t*>(p)));
  }
#endif
  T part[hn::MaxLanes(D())] = {};
  CopyPart<hn::MaxLanes(D())>(part, p, n);
  return LoadAs(d, part);
}

template <class D, class T>
HWY_INLINE void StorePartAs(D d, hn::Vec<D> v, T* p, size_t n) {
  if (n >= hn::Lanes(d)) return StoreAs(d, v, p);
#if INSTNORM_FAST_MASKED_STORE
  if constexpr (std::is_same_v<hn::TFromD<D>, T>) {
    return hn::BlendedStore(v, hn::FirstN(d, n), d, p);
  } else if constexpr (sizeof(T) == 2 && sizeof(hn::TFromD<D>) == 4) {
    const hn::Rebind<uint16_t, D> d16;
    return hn::BlendedStore(Narrowed<T>(d, v), hn::FirstN(d16, n), d16,
                            reinterpret_cast<uint16_t*>(p));
  }
#endif
  T part[hn::MaxLanes(D())];
  StoreAs(d, v, part);
  CopyPart<hn::MaxLanes(D())>(p, part, n);
}

// ---- how a loop reads: whole vectors in its body, a part at its end

template <class D>
struct Whole {
  template <class T>
  HWY_INLINE hn::Vec<D> Load(const T* p) const {
    return LoadAs(D(), p);
  }
  HWY_INLINE hn::Vec<D> Keep(hn::Vec<D> v) const { return v; }
};

template <class D>
struct Part {
  size_t n;  // lanes that are there, at most those of a vector
  template <class T>
  HWY_INLINE hn::Vec<D> Load(const T* p) const {
    return LoadPartAs(D(), p, n);
  }
  // Zero in the lanes that are not there.
  HWY_INLINE hn::Vec<D> Keep(hn::Vec<D> v) const {
    return hn::IfThenElseZero(hn::FirstN(D(), n), v);
  }
};

}  // namespace instnorm::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
