// The formulas of the row algebra that every row takes, of Real: a double, or as many doubles as a
// vector has, of which each gets the bits it would get alone. Included inside a namespace, by
// row_algebra.h and by cpu/algebra-inl.h for each instruction set: compilers do not inline what
// belongs to one instruction set into what does not.
//
// INSTNORM_FORMULA is what its functions are declared with. Needs of Real, beside the operators:
// choose(answer, yes, no), magnitude(x), square_root(x), to_float_and_back(x),
// float_inverse_root(x).

// What comparing them gives: bool, or as many.
template <class Real>
using Answer = decltype(std::declval<Real>() < std::declval<Real>());

// An unevaluated sum hi + lo, |lo| at most half a unit in the last place of hi.
template <class Real>
struct PairOf {
  Real hi{0.0}, lo{0.0};
};

// Exact sum of two doubles (Knuth, TAOCP 2, 4.2.2, theorem B).
template <class Real>
INSTNORM_FORMULA PairOf<Real> two_sum(Real a, Real b) {
  const Real s = a + b;
  const Real t = s - a;
  const Real error = (a - (s - t)) + (b - t);
  // An infinite sum has no error term; without this it would be NaN.
  return {s, choose(magnitude(s) <= Real(kDoubleMax), error, Real(0.0))};
}

// Mean and m2 of one block.
template <class Real>
struct MeanAndM2 {
  PairOf<Real> mean;
  Real m2;
};
template <class Real>
INSTNORM_FORMULA MeanAndM2<Real> mean_and_m2(Real count, Real centre, Real s, Real q) {
  const Real mean_lo = s / count;
  const Real m2 = q - s * mean_lo;
  return {two_sum(centre, mean_lo), choose(m2 < Real(0.0), Real(0.0), m2)};  // NaN stays NaN
}

// A row normalised by moments, its own or given ones, is its bias by definition for fewer than 2
// values and for zero variance with eps = 0.
template <class Real>
INSTNORM_FORMULA Answer<Real> is_bias(Real count, Real var, Real eps) {
  return (count < Real(2.0)) | ((var == Real(0.0)) & (eps == Real(0.0)));
}

// And is it that whatever x is, Inf and NaN too? Where x has the zero variance itself, all
// x - mean are 0, and the row is an ordinary one.
template <class Real>
INSTNORM_FORMULA Answer<Real> is_bias_whatever_x(Real count, Real var, Real eps,
                                                 bool given_moments) {
  return given_moments ? is_bias(count, var, eps) : count < Real(2.0);
}

// The variance as rstd_of takes it.
template <class Compute, class Real>
INSTNORM_FORMULA Real variance_of(Real count, Real m2) {
  // Half a unit in the last place of double is nothing to float, and a division takes as long as
  // ten multiplications.
  if constexpr (std::is_same_v<Compute, float>) return m2 * (Real(1.0) / count);
  return m2 / count;
}

// Where float_inverse_root may be taken.
template <class Real>
INSTNORM_FORMULA Answer<Real> has_float_root(Real x) {
  return (Real(kFloatMin) <= x) & (x <= Real(kFloatMax));
}

// 1 / sqrt(var + eps), and 0 where a row normalised by moments is its bias. For rows of float to
// 2^-44, and, of many at a time, only where var + eps has_float_root.
template <class Compute, class Real>
INSTNORM_FORMULA Real rstd_of(Real count, Real var, Real eps) {
  const Answer<Real> bias = is_bias(count, var, eps);
  const Real v = var + eps;
  if constexpr (std::is_same_v<Compute, float>) {
    if constexpr (std::is_same_v<Real, double>) {
      if (!has_float_root(v)) return choose(bias, 0.0, 1.0 / square_root(v));
    }
    // Newton's step from a relative error of d, at most 2^-22.8, leaves 1.5 d^2. A division and a
    // root of double take four times as long as those of float.
    const Real e = float_inverse_root(v);
    return choose(bias, Real(0.0), e * (Real(1.5) - Real(0.5) * v * e * e));
  }
  return choose(bias, Real(0.0), Real(1.0) / square_root(v));
}

// Is this variance, taken in float, right?
template <class Real>
INSTNORM_FORMULA Answer<Real> float_variance(Real var) {
  return (var > Real(kSmallestVariance)) & (var <= Real(kDoubleMax));
}

// Can statistics with this variance, taken in the common arithmetic of the compute type, be
// trusted? double is left by squares beyond 2^1024 and, unless eps makes that irrelevant, below
// 2^-900.
template <class Compute, class Real>
INSTNORM_FORMULA Answer<Real> common_variance(Real var, Real eps) {
  if constexpr (std::is_same_v<Compute, float>) {
    return float_variance(var);
  } else {
    return (var <= Real(kDoubleMax)) & ((var > Real(0x1p-900)) | (eps > Real(0x1p-800)));
  }
}

// NaN fits, here and below: it poisons the row either way.
template <class Real>
INSTNORM_FORMULA Answer<Real> float_factor(Real a) {
  const Real size = magnitude(a);
  return !((size > Real(kFloatMax)) | ((size < Real(kFloatMin)) & (size != Real(0.0))));
}

// y = (x * scale - centre) * a + b
template <class Real>
struct AffineCoefficientsOf {
  Real scale{1.0}, centre{0.0}, a{0.0}, b{0.0};
};

template <class Real>
INSTNORM_FORMULA Answer<Real> fits_float(const AffineCoefficientsOf<Real>& k) {
  const Answer<Real> others = (magnitude(k.centre) > Real(kLargestCentre)) |
                              (k.scale != Real(1.0)) | (magnitude(k.b) > Real(kFloatMax));
  return float_factor(k.a) & !others;
}

// y = (x - mean) * rstd * weight + bias, where mean and rstd are those of x * scale. `centre` is
// mean.hi rounded to the compute type; what the rounding loses goes into b, where it is smaller
// than 2^-24 |mean| * rstd * |weight|: x - centre is exact for x near the mean, so no digit is lost
// at a large mean.
template <class Compute, class Real>
INSTNORM_FORMULA AffineCoefficientsOf<Real> affine(PairOf<Real> mean, Real rstd, Real weight,
                                                   Real bias, Real scale = Real(1.0)) {
  const Real a = rstd * weight;
  Real centre = mean.hi;
  if constexpr (std::is_same_v<Compute, float>) centre = to_float_and_back(centre);
  const Real rest = (mean.hi - centre) + mean.lo;
  // A row that is its bias by definition takes nothing from the mean, which may be infinite.
  const Answer<Real> only_bias = rstd == Real(0.0);
  return {scale, choose(only_bias, Real(0.0), centre), a,
          choose(only_bias | (rest == Real(0.0)), bias, bias - rest * a)};
}

// Sums of a backward over one row: about `centre`, the mean rounded to the compute type.
template <class Real>
struct GradientSumsOf {
  Real g{0.0};   // sum of g
  Real gx{0.0};  // sum of g * (x - centre)
};

// dx = p * g + q * (x - centre) + r
template <class Real>
struct BackwardCoefficientsOf {
  Real centre{0.0}, p{0.0}, q{0.0}, r{0.0};
};

template <class Real>
INSTNORM_FORMULA Answer<Real> fits_float(const BackwardCoefficientsOf<Real>& k) {
  const Answer<Real> others =
      (magnitude(k.centre) > Real(kLargestCentre)) | (magnitude(k.r) > Real(kFloatMax));
  return float_factor(k.p) & float_factor(k.q) & !others;
}

// May a row of float with these moments have its gradient sums taken in float?
template <class Real>
INSTNORM_FORMULA Answer<Real> float_gradient_row(Real mean, Real var) {
  return !(((var != Real(0.0)) & (var < Real(kSmallestVariance))) |
           (magnitude(mean) > Real(kLargestCentre)));
}

// And can the sums that came of it be trusted?
template <class Real>
INSTNORM_FORMULA Answer<Real> float_gradient(const GradientSumsOf<Real>& sums, Real mean,
                                             Real var) {
  return float_gradient_row(mean, var) & (magnitude(sums.g) <= Real(kDoubleMax)) &
         (magnitude(sums.gx) <= Real(kDoubleMax));
}

// What a row gives to the gradients of its weight and bias.
template <class Real>
struct ParameterGradientsOf {
  Real weight{0.0}, bias{0.0};
};

// With xhat = (x - mean) * rstd: sum of g * xhat, and sum of g.
template <class Real>
INSTNORM_FORMULA ParameterGradientsOf<Real> parameter_gradients(const GradientSumsOf<Real>& sums,
                                                                Real centre, Real mean, Real rstd) {
  return {(sums.gx - (mean - centre) * sums.g) * rstd, sums.g};
}

// dx = weight * rstd * (g - mean(g) - xhat * mean(g * xhat)); where the moments are constants,
// weight * rstd * g; where the row is its bias (rstd = 0, the count may be 0), 0.
template <class Real>
INSTNORM_FORMULA BackwardCoefficientsOf<Real> backward_coefficients(
    const ParameterGradientsOf<Real>& sums, Real centre, Real mean, Real rstd, Real weight,
    Real count, bool constant_moments) {
  const Real p = weight * rstd, zero(0.0);
  if (constant_moments) return {centre, p, zero, zero};
  const Real share = p * Real(-1.0) / count;
  const Real q = share * rstd * sums.weight;
  const Real r = share * sums.bias - q * (mean - centre);
  const Answer<Real> only_g = rstd == zero;
  return {centre, p, choose(only_g, zero, q), choose(only_g, zero, r)};
}
