// Activations and their slopes, one functor each, on vectors of the compute type.
// gelu: Hendrycks, Gimpel 2016; gelu_tanh is their approximation; silu: Elfwing, Uchibe, Doya 2018.
#if defined(INSTNORM_CPU_ACTIVATION_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef INSTNORM_CPU_ACTIVATION_INL_H_
#undef INSTNORM_CPU_ACTIVATION_INL_H_
#else
#define INSTNORM_CPU_ACTIVATION_INL_H_
#endif

#include <hwy/highway.h>
#include <instnorm/functional.h>

#include <cstddef>
#include <type_traits>

#include "cpu/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace instnorm::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class D>
HWY_INLINE hn::Vec<D> Constant(D d, double value) {
  return hn::Set(d, static_cast<hn::TFromD<D>>(value));
}

// The value at x of the polynomial with these coefficients, lowest first.
template <size_t kFirst = 0, class D, size_t kTerms>
HWY_INLINE hn::Vec<D> Polynomial(D d, const hn::TFromD<D> (&k)[kTerms], hn::Vec<D> x) {
  const auto first = hn::Set(d, k[kFirst]);
  if constexpr (kFirst + 1 == kTerms) {
    return first;
  } else {
    return hn::MulAdd(Polynomial<kFirst + 1>(d, k, x), x, first);
  }
}

// The coefficients of this file are those of the minimax approximations, of least relative error,
// by Remez' algorithm with 60 digits, rounded. Here of exp(r), |r| <= ln(2) / 2: 1.9e-9 in float,
// 3.1e-18 in double. ln(2) is high + low; high times an exponent is exact. Added to a number of
// exponents' size, `whole` leaves it rounded to an integer in the lowest bits.
template <class T>
struct ExpSeries;
template <>
struct ExpSeries<float> {
  static constexpr float k[] = {0x1p0f,         0x1p0f,         0x1.fffffap-2f, 0x1.55540ap-3f,
                                0x1.55589ap-5f, 0x1.126d1ep-7f, 0x1.6ab96ep-10f};
  static constexpr float high = 0x1.63p-1f, low = -0x1.bd0106p-13f, whole = 0x1.8p23f;
  static constexpr float least = -0x1.5d589ep6f;  // its exp is the smallest normal number
};
template <>
struct ExpSeries<double> {
  static constexpr double k[] = {0x1p0,
                                 0x1p0,
                                 0x1.0000000000010p-1,
                                 0x1.55555555554a2p-3,
                                 0x1.555555554f35cp-5,
                                 0x1.1111111130e3ep-7,
                                 0x1.6c16c18785423p-10,
                                 0x1.a01a01104118fp-13,
                                 0x1.a01992c5b2047p-16,
                                 0x1.71df453c0055ap-19,
                                 0x1.28b31c4c31a05p-22,
                                 0x1.ad660f7b94db9p-26};
  static constexpr double high = 0x1.62e42fefap-1, low = 0x1.cf79abc9e3b39p-40, whole = 0x1.8p52;
  static constexpr double least = -0x1.6232bdd7abcd2p9;
};

// exp(x) for x <= 0, and 0 where that is below the smallest normal number, or x is NaN: the callers
// multiply by what was NaN.
template <class D>
HWY_INLINE hn::Vec<D> ExpOfNegative(D d, hn::Vec<D> x) {
  using Series = ExpSeries<hn::TFromD<D>>;
  const hn::RebindToUnsigned<D> bits;
  constexpr int kMantissa = sizeof(hn::TFromD<D>) == 4 ? 23 : 52;
  const auto whole = hn::Set(d, Series::whole);
  const auto shifted = hn::MulAdd(x, Constant(d, 1.44269504088896340736), whole);
  const auto n = hn::Sub(shifted, whole);
  auto r = hn::NegMulAdd(n, hn::Set(d, Series::high), x);
  r = hn::NegMulAdd(n, hn::Set(d, Series::low), r);
  const auto exponent = hn::ShiftLeft<kMantissa>(hn::BitCast(bits, shifted));
  const auto e = hn::Add(hn::BitCast(bits, Polynomial(d, Series::k, r)), exponent);
  return hn::IfThenElseZero(hn::Ge(x, hn::Set(d, Series::least)), hn::BitCast(d, e));
}

// share = 1 / (1 + exp(-z)) and rest = 1 - share, by e = exp(-|z|), so that nothing overflows and
// neither loses digits.
template <class D>
HWY_INLINE void LogisticAt(D d, hn::Vec<D> z, hn::Vec<D> e, hn::Vec<D>& share, hn::Vec<D>& rest) {
  const auto one = Constant(d, 1.0);
  const auto larger = hn::Div(one, hn::Add(one, e)), smaller = hn::Mul(e, larger);
  const auto negative = hn::Lt(z, hn::Zero(d));
  share = hn::IfThenElse(negative, smaller, larger);
  rest = hn::IfThenElse(negative, larger, smaller);
}

// z / (1 + exp(-u)) for a u of z's sign, at least as large as z far from 0, by e = exp(-|u|). Where
// that is 0, so is its product with z, for an infinite one too.
template <class D>
HWY_INLINE hn::Vec<D> TimesLogistic(D d, hn::Vec<D> z, hn::Vec<D> e) {
  const auto below = hn::Mul(e, hn::Max(z, Constant(d, -1000.0)));
  return hn::Div(hn::IfThenElse(hn::Lt(z, hn::Zero(d)), below, z), hn::Add(Constant(d, 1.0), e));
}

// The normal distribution's integral from -inf to -z is exp(-z^2 / 2) times p(z) / q(z), for
// 0 <= z <= 14 in float, to 39 in double, where the first factor is 0: relative error 5.6e-9 in
// float, 5.2e-17 in double. All coefficients are positive, so nothing cancels.
template <class T>
struct NormalTail;
template <>
struct NormalTail<float> {
  static constexpr float p[] = {0x1p-1f, 0x1.bfbeaep-2f, 0x1.75ae86p-3f, 0x1.4abb5cp-5f,
                                0x1.0b3afp-8f};
  static constexpr float q[] = {0x1p0f,         0x1.ac2188p0f,  0x1.3304b4p0f,
                                0x1.dea5b4p-2f, 0x1.9e89f2p-4f, 0x1.4eeb52p-7f};
};
template <>
struct NormalTail<double> {
  static constexpr double p[] = {0x1p-1,
                                 0x1.8cbd49235426ep-1,
                                 0x1.302856fe7355ap-1,
                                 0x1.28490662bdd37p-2,
                                 0x1.903143f9ebd06p-4,
                                 0x1.830cbc5593782p-6,
                                 0x1.0c03bdcc8b9f8p-8,
                                 0x1.0123faa8e1b06p-11,
                                 0x1.388a928e50fd9p-15,
                                 0x1.7404412c1dd2ep-20};
  static constexpr double q[] = {0x1p0,
                                 0x1.2c7fb960faeb5p+1,
                                 0x1.47d79d00f61f5p+1,
                                 0x1.b6e3efafc4234p+0,
                                 0x1.906a7b3bbef5ep-1,
                                 0x1.0516d7627f57ap-2,
                                 0x1.ef1bf4196a0cap-5,
                                 0x1.52f77d80e5e64p-7,
                                 0x1.43304384b96d8p-10,
                                 0x1.87b661b249b1dp-14,
                                 0x1.d240f1ba59610p-19};
};

// exp(-z^2 / 2), and 0 where z^2 overflows.
template <class D>
HWY_INLINE hn::Vec<D> NormalExp(D d, hn::Vec<D> z) {
  return ExpOfNegative(d, hn::Mul(hn::Mul(z, z), Constant(d, -0.5)));
}

// distance = |z|, cut where the tail is 0; the result times exp(-z^2 / 2) is the tail at |z|.
template <class D>
HWY_INLINE hn::Vec<D> TailShare(D d, hn::Vec<D> z, hn::Vec<D>& distance) {
  using Tail = NormalTail<hn::TFromD<D>>;
  distance = hn::Min(hn::Abs(z), Constant(d, 40.0));
  return hn::Div(Polynomial(d, Tail::p, distance), Polynomial(d, Tail::q, distance));
}

// factor * z, and 0 where the factor has become it: also for an infinite z.
template <class D>
HWY_INLINE hn::Vec<D> Weighted(D d, hn::Vec<D> factor, hn::Vec<D> z) {
  return hn::IfThenElse(hn::Eq(factor, hn::Zero(d)), hn::Zero(d), hn::Mul(z, factor));
}

// The slope at z, of which exp may have lost that z is NaN.
template <class D>
HWY_INLINE hn::Vec<D> WithNaN(D, hn::Vec<D> z, hn::Vec<D> slope) {
  return hn::IfThenElse(hn::IsNaN(z), z, slope);
}

// Short activations are functions of one vector, Value and Slope.

struct NoActivation {
  static constexpr bool kLong = false;
  template <class D>
  static HWY_INLINE hn::Vec<D> Value(D, hn::Vec<D> z) {
    return z;
  }
};

// NaN is neither above nor below 0 and stays.
struct Relu {
  static constexpr bool kLong = false;
  template <class D>
  static HWY_INLINE hn::Vec<D> Value(D d, hn::Vec<D> z) {
    return hn::IfThenElse(hn::Le(z, hn::Zero(d)), hn::Zero(d), z);
  }
  template <class D>
  static HWY_INLINE hn::Vec<D> Slope(D d, hn::Vec<D> z) {
    return hn::IfThenElse(hn::Le(z, hn::Zero(d)), hn::Zero(d), Constant(d, 1.0));
  }
};

struct LeakyRelu {
  static constexpr bool kLong = false;
  static constexpr double kSlope = 0.01;
  template <class D>
  static HWY_INLINE hn::Vec<D> Value(D d, hn::Vec<D> z) {
    return hn::IfThenElse(hn::Gt(z, hn::Zero(d)), z, hn::Mul(z, Constant(d, kSlope)));
  }
  template <class D>
  static HWY_INLINE hn::Vec<D> Slope(D d, hn::Vec<D> z) {
    return hn::IfThenElse(hn::Gt(z, hn::Zero(d)), Constant(d, 1.0), Constant(d, kSlope));
  }
};

// Long ones are functions of one vector and of its Exp: Value and Slope. LongValues and LongSlopes
// (below) apply them.

// z * integral = max(z, 0) - |z| * tail. Below -38 (float: -13) that is 0.
struct Gelu {
  static constexpr bool kLong = true;
  template <class D>
  static HWY_INLINE hn::Vec<D> Exp(D d, hn::Vec<D> z) {
    return NormalExp(d, z);
  }
  template <class D>
  static HWY_INLINE hn::Vec<D> Value(D d, hn::Vec<D> z, hn::Vec<D> e) {
    hn::Vec<D> distance;
    const auto share = TailShare(d, z, distance);
    return hn::NegMulAdd(hn::Mul(distance, e), share, Relu::Value(d, z));
  }
  template <class D>
  static HWY_INLINE hn::Vec<D> Slope(D d, hn::Vec<D> z, hn::Vec<D> e) {
    hn::Vec<D> distance;
    const auto tail = hn::Mul(e, TailShare(d, z, distance));
    const auto density = hn::Mul(e, Constant(d, 0.39894228040143267794));
    const auto integral =
        hn::IfThenElse(hn::Lt(z, hn::Zero(d)), tail, hn::Sub(Constant(d, 1.0), tail));
    return WithNaN(d, z, hn::Add(integral, Weighted(d, density, z)));
  }
};

// z / 2 (1 + tanh u) = z sigmoid(2 u), u = sqrt(2 / pi) (z + 0.044715 z^3).
struct GeluTanh {
  static constexpr bool kLong = true;
  template <class D>
  static HWY_INLINE hn::Vec<D> TwiceU(D d, hn::Vec<D> z) {
    const auto cubic = hn::MulAdd(hn::Mul(z, z), Constant(d, 0.044715), Constant(d, 1.0));
    return hn::Mul(hn::Mul(z, cubic), Constant(d, 1.5957691216057307117));
  }
  template <class D>
  static HWY_INLINE hn::Vec<D> Exp(D d, hn::Vec<D> z) {
    return ExpOfNegative(d, hn::Neg(hn::Abs(TwiceU(d, z))));
  }
  template <class D>
  static HWY_INLINE hn::Vec<D> Value(D d, hn::Vec<D> z, hn::Vec<D> e) {
    return TimesLogistic(d, z, e);
  }
  template <class D>
  static HWY_INLINE hn::Vec<D> Slope(D d, hn::Vec<D> z, hn::Vec<D> e) {
    hn::Vec<D> share, rest;
    LogisticAt(d, TwiceU(d, z), e, share, rest);
    const auto inner = hn::MulAdd(hn::Mul(z, z), Constant(d, 3 * 0.044715), Constant(d, 1.0));
    const auto curve = hn::Mul(hn::Mul(share, rest), Constant(d, 1.5957691216057307117));
    return WithNaN(d, z, hn::Add(share, Weighted(d, curve, hn::Mul(z, inner))));
  }
};

struct Silu {
  static constexpr bool kLong = true;
  template <class D>
  static HWY_INLINE hn::Vec<D> Exp(D d, hn::Vec<D> z) {
    return ExpOfNegative(d, hn::Neg(hn::Abs(z)));
  }
  template <class D>
  static HWY_INLINE hn::Vec<D> Value(D d, hn::Vec<D> z, hn::Vec<D> e) {
    return TimesLogistic(d, z, e);
  }
  template <class D>
  static HWY_INLINE hn::Vec<D> Slope(D d, hn::Vec<D> z, hn::Vec<D> e) {
    hn::Vec<D> share, rest;
    LogisticAt(d, z, e, share, rest);
    return WithNaN(d, z, hn::Add(share, Weighted(d, hn::Mul(share, rest), z)));
  }
};

// At most so many values at a time.
template <class T>
constexpr size_t kGroup = 512 / sizeof(T);

// z[i...] = result(z, exp(z)) of each vector of n values, whole vectors of them. One vector's
// arithmetic waits for itself most of the time: exp alone is a chain of 40 cycles. In two loops
// there are fewer instructions behind each wait, so the processor has more vectors under way.
template <class D, class Exp, class Result>
HWY_INLINE void InTwoLoops(D d, hn::TFromD<D>* HWY_RESTRICT z, size_t n, const Exp& exp,
                           const Result& result) {
  HWY_ALIGN hn::TFromD<D> e[kGroup<hn::TFromD<D>>];
  const size_t lanes = hn::Lanes(d);
  for (size_t i = 0; i < n; i += lanes) hn::Store(exp(hn::Load(d, z + i)), d, e + i);
  for (size_t i = 0; i < n; i += lanes) {
    hn::Store(result(hn::Load(d, z + i), hn::Load(d, e + i)), d, z + i);
  }
}

// In the place of z. Functions of their own, so that each is compiled once, not for each dtype and
// loop.
template <class Act, class D, class V = hn::Vec<D>>
HWY_NOINLINE void LongValues(D d, hn::TFromD<D>* z, size_t n) {
  InTwoLoops(
      d, z, n, [d](V v) INSTNORM_INLINED { return Act::Exp(d, v); },
      [d](V v, V e) INSTNORM_INLINED { return Act::Value(d, v, e); });
}
template <class Act, class D, class V = hn::Vec<D>>
HWY_NOINLINE void LongSlopes(D d, hn::TFromD<D>* z, size_t n) {
  InTwoLoops(
      d, z, n, [d](V v) INSTNORM_INLINED { return Act::Exp(d, v); },
      [d](V v, V e) INSTNORM_INLINED { return Act::Slope(d, v, e); });
}

// Is a loop over this one whose speed does not hang on its instructions' number? Double arithmetic
// on float data is for rare rows.
template <class D, class T, class Act>
constexpr bool kLongValue =
    !std::is_same_v<Act, NoActivation> || (sizeof(hn::TFromD<D>) == 8 && sizeof(T) < 8);

// Calls f with the functor of an activation, if it is one.
template <class F>
HWY_INLINE void WithActivation(Activation activation, const F& f) {
  switch (activation) {
    case Activation::none:
      return;
    case Activation::relu:
      return f(Relu());
    case Activation::leaky_relu:
      return f(LeakyRelu());
    case Activation::gelu:
      return f(Gelu());
    case Activation::gelu_tanh:
      return f(GeluTanh());
    case Activation::silu:
      return f(Silu());
  }
}

}  // namespace instnorm::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
