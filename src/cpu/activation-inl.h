// Activations and their slopes, one functor each, on vectors of the compute type.
// gelu: Hendrycks, Gimpel 2016; gelu_tanh is their approximation; silu: Elfwing, Uchibe, Doya 2018.
#if defined(INSTNORM_CPU_ACTIVATION_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef INSTNORM_CPU_ACTIVATION_INL_H_
#undef INSTNORM_CPU_ACTIVATION_INL_H_
#else
#define INSTNORM_CPU_ACTIVATION_INL_H_
#endif

#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>
#include <instnorm/functional.h>

#include <cstddef>
#include <type_traits>

HWY_BEFORE_NAMESPACE();
namespace instnorm::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class D>
HWY_INLINE hn::Vec<D> Constant(D d, double value) {
  return hn::Set(d, static_cast<hn::TFromD<D>>(value));
}

// exp(x) for x <= 0, and 0 where that is below the smallest normal number. NaN gives 0: the callers
// multiply by what was NaN.
template <class D>
HWY_INLINE hn::Vec<D> ExpOfNegative(D d, hn::Vec<D> x) {
#if HWY_TARGET == HWY_SCALAR
  // Highway's conversion to int of one NaN is undefined; those of vectors are what x86 and Arm do.
  x = hn::IfThenElse(hn::IsNaN(x), Constant(d, -1000.0), x);
#endif
  return hn::Exp(d, x);
}

// share = 1 / (1 + exp(-z)) and rest = 1 - share, by exp of what is not positive, so that nothing
// overflows and neither loses digits.
template <class D>
HWY_INLINE void LogisticAt(D d, hn::Vec<D> z, hn::Vec<D>& share, hn::Vec<D>& rest) {
  const auto one = Constant(d, 1.0);
  const auto e = ExpOfNegative(d, hn::Neg(hn::Abs(z)));
  const auto larger = hn::Div(one, hn::Add(one, e)), smaller = hn::Mul(e, larger);
  const auto negative = hn::Lt(z, hn::Zero(d));
  share = hn::IfThenElse(negative, smaller, larger);
  rest = hn::IfThenElse(negative, larger, smaller);
}

// Coefficients of erfc(x) exp(x^2) / t in powers of s = 2 t - 1, t = 2 / (2 + x), x >= 0, lowest
// first: the expansion in Chebyshev polynomials, computed with 60 digits and cut where the next
// term is below half a unit in the last place (relative error 1.5e-7 in float, 5e-16 in double).
template <class T>
struct ErfcSeries;
template <>
struct ErfcSeries<float> {
  static constexpr float k[] = {0x1.058672p-1f,   0x1.5fd386p-2f,  0x1.1e2dc4p-3f,
                                0x1.2a8968p-6f,   -0x1.604eb4p-7f, -0x1.a8cf74p-9f,
                                0x1.90d146p-10f,  0x1.bdd9fap-12f, -0x1.39bbccp-12f,
                                -0x1.054ac2p-15f, 0x1.610f06p-15f, -0x1.0964bp-19f};
};
template <>
struct ErfcSeries<double> {
  static constexpr double k[] = {
      0x1.058671b52c776p-1,   0x1.5fd386754eff9p-2,  0x1.1e2deea6b0f9ep-3,
      0x1.2a88e6107db56p-6,   -0x1.606e4154c34b0p-7, -0x1.a89eaff910639p-9,
      0x1.9517bb2a4804dp-10,  0x1.b6fbfa08ca456p-12, -0x1.5ba42bd241b8fp-12,
      -0x1.20545efaa2454p-16, 0x1.2ef8d8cc3217ap-14, -0x1.1e74612fef2e4p-16,
      -0x1.6bd3e360533fap-17, 0x1.0e6750e7aafeep-17, -0x1.36374abd89dccp-21,
      -0x1.e7ab3768a55fep-20, 0x1.14b7ecceb7a7ep-20, -0x1.84f05f977b921p-27,
      -0x1.5ea0b157ce49ep-22, 0x1.7a9af2a8df725p-23, 0x1.36f857e7d010ep-25,
      -0x1.24d58b84f31b0p-24, 0x1.baccf936d38b5p-28, 0x1.b3c98de4832ecp-27,
      -0x1.04e725a005ce5p-29, -0x1.0bd114fe4922dp-30};
};

// The normal distribution at z: its density and its integral from -inf.
template <class D>
HWY_INLINE void NormalAt(D d, hn::Vec<D> z, hn::Vec<D>& density, hn::Vec<D>& integral) {
  using Compute = hn::TFromD<D>;
  constexpr auto& k = ErfcSeries<Compute>::k;
  constexpr size_t kTerms = sizeof(k) / sizeof(k[0]);
  const auto one = Constant(d, 1.0), two = Constant(d, 2.0);
  const auto x = hn::Mul(hn::Abs(z), Constant(d, 0.70710678118654752440));
  // exp(-z^2 / 2); where z^2 overflows it is 0, as it should be.
  const auto e = ExpOfNegative(d, hn::Mul(hn::Mul(z, z), Constant(d, -0.5)));
  const auto t = hn::Div(two, hn::Add(two, x));
  const auto s = hn::Sub(hn::Add(t, t), one);
  auto series = hn::Set(d, k[kTerms - 1]);
  for (size_t i = kTerms - 1; i-- > 0;) series = hn::MulAdd(series, s, hn::Set(d, k[i]));
  const auto tail = hn::Mul(hn::Mul(Constant(d, 0.5), t), hn::Mul(series, e));
  density = hn::Mul(e, Constant(d, 0.39894228040143267794));
  integral = hn::IfThenElse(hn::Lt(z, hn::Zero(d)), tail, hn::Sub(one, tail));
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

struct NoActivation {
  template <class D>
  static HWY_INLINE hn::Vec<D> Value(D, hn::Vec<D> z) {
    return z;
  }
};

// NaN is neither above nor below 0 and stays.
struct Relu {
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

// The long ones are functions of their own, so that each is compiled once, not for each dtype and
// loop.

// z below -38 (float: -13) has an integral below the smallest number: the product is 0 there, and
// for -inf.
struct Gelu {
  template <class D>
  static HWY_NOINLINE hn::Vec<D> Value(D d, hn::VecArg<hn::Vec<D>> z) {
    hn::Vec<D> density, integral;
    NormalAt(d, z, density, integral);
    return Weighted(d, integral, z);
  }
  template <class D>
  static HWY_NOINLINE hn::Vec<D> Slope(D d, hn::VecArg<hn::Vec<D>> z) {
    hn::Vec<D> density, integral;
    NormalAt(d, z, density, integral);
    return WithNaN(d, z, hn::Add(integral, Weighted(d, density, z)));
  }
};

// z / 2 (1 + tanh u) = z sigmoid(2 u), u = sqrt(2 / pi) (z + 0.044715 z^3).
struct GeluTanh {
  template <class D>
  static HWY_INLINE void At(D d, hn::Vec<D> z, hn::Vec<D> z2, hn::Vec<D>& share, hn::Vec<D>& rest) {
    const auto cubic = hn::MulAdd(z2, Constant(d, 0.044715), Constant(d, 1.0));
    const auto twice_u = hn::Mul(hn::Mul(z, cubic), Constant(d, 1.5957691216057307117));
    LogisticAt(d, twice_u, share, rest);
  }
  template <class D>
  static HWY_NOINLINE hn::Vec<D> Value(D d, hn::VecArg<hn::Vec<D>> z) {
    hn::Vec<D> share, rest;
    At(d, z, hn::Mul(z, z), share, rest);
    return Weighted(d, share, z);
  }
  template <class D>
  static HWY_NOINLINE hn::Vec<D> Slope(D d, hn::VecArg<hn::Vec<D>> z) {
    const auto z2 = hn::Mul(z, z);
    hn::Vec<D> share, rest;
    At(d, z, z2, share, rest);
    const auto inner = hn::MulAdd(z2, Constant(d, 3 * 0.044715), Constant(d, 1.0));
    const auto curve = hn::Mul(hn::Mul(share, rest), Constant(d, 1.5957691216057307117));
    return WithNaN(d, z, hn::Add(share, Weighted(d, curve, hn::Mul(z, inner))));
  }
};

struct Silu {
  template <class D>
  static HWY_NOINLINE hn::Vec<D> Value(D d, hn::VecArg<hn::Vec<D>> z) {
    hn::Vec<D> share, rest;
    LogisticAt(d, z, share, rest);
    return Weighted(d, share, z);
  }
  template <class D>
  static HWY_NOINLINE hn::Vec<D> Slope(D d, hn::VecArg<hn::Vec<D>> z) {
    hn::Vec<D> share, rest;
    LogisticAt(d, z, share, rest);
    return WithNaN(d, z, hn::Add(share, Weighted(d, hn::Mul(share, rest), z)));
  }
};

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
