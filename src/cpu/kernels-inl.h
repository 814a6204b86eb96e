// From row sums and row combine to the functions of kernels.h, for any dtype. Compiled once for
// each instruction set; per-target include guard, as Highway has it.
#if defined(INSTNORM_CPU_KERNELS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef INSTNORM_CPU_KERNELS_INL_H_
#undef INSTNORM_CPU_KERNELS_INL_H_
#else
#define INSTNORM_CPU_KERNELS_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <type_traits>

#include "cpu/activation-inl.h"
#include "cpu/algebra-inl.h"
#include "cpu/columns-inl.h"
#include "cpu/combine-inl.h"
#include "cpu/kernels.h"
#include "cpu/sums-inl.h"
#include "plan.h"

HWY_BEFORE_NAMESPACE();
namespace instnorm::cpu::HWY_NAMESPACE {

template <class T>
HWY_INLINE const T* Segment(In in, int64_t i) {
  return reinterpret_cast<const T*>(in.data + i * in.step);
}

template <class T>
HWY_INLINE T* Segment(Out out, int64_t i) {
  return reinterpret_cast<T*>(out.data + i * out.step);
}

// Is this the arithmetic of most rows? The other one is not worth code that is fast for many.
template <class Compute, class T>
constexpr bool kCommon = sizeof(Compute) == 4 || sizeof(T) == 8;

template <class Compute, class T>
void Moments(In x, int64_t count, int64_t n, double scale, const MomentSums& out) {
  const VectorOf<Compute> d;
  int64_t i = 0;
#if INSTNORM_SIZED_VECTORS
  if constexpr (kCommon<Compute, T>) {
    constexpr int64_t kTogether = kFoldedTogether<decltype(d)>;
    while (scale == 1.0 && count - i > 1) {
      const int64_t together = std::min(count - i, kTogether);
      BlockMomentsTogether(
          d, [&](size_t k) INSTNORM_INLINED { return Segment<T>(x, i + static_cast<int64_t>(k)); },
          static_cast<size_t>(together), static_cast<size_t>(n), out.at(i));
      i += together;
    }
  }
#endif
  for (; i < count; ++i) {
    BlockMoments(d, Segment<T>(x, i), static_cast<size_t>(n), scale, out.at(i));
  }
}

template <class Act, class Compute, class T>
HWY_INLINE void AffineWith(In x, Out y, int64_t count, int64_t n, const AffineColumns& k,
                           bool stream) {
  const VectorOf<Compute> d;
  for (int64_t first = 0; first < count; first += kTileRows) {
    // Converted together, and then read from memory into all lanes by one instruction.
    const int64_t rows = std::min(count - first, kTileRows);
    Compute centre[kTileRows], a[kTileRows], b[kTileRows];
    for (int64_t i = 0, at = first * k.step; i < rows; ++i, at += k.step) {
      centre[i] = static_cast<Compute>(k.centre[at]);
      a[i] = static_cast<Compute>(k.a[at]);
      b[i] = static_cast<Compute>(k.b[at]);
    }
    if constexpr (kCommon<Compute, T>) {
      constexpr bool kLong = kLongValue<decltype(d), T, Act>;
      if (k.scale == 1.0 && IsRun<kLong, decltype(d), T>(d, rows, n, x.step, stream) &&
          (rows == 1 || y.step == x.step)) {
        using Value = AffineValue<decltype(d), T, false>;
        const T* of_x = Segment<T>(x, first);
        const auto value_of = [&](size_t i) INSTNORM_INLINED {
          return Value{of_x, Repeat(d, 0.0), Repeat(d, centre[i]), Repeat(d, a[i]),
                       Repeat(d, b[i])};
        };
        CombineRun<Act>(d, Segment<T>(y, first), static_cast<size_t>(rows), static_cast<size_t>(n),
                        stream, value_of,
                        [&](size_t i) INSTNORM_INLINED { hwy::Prefetch(of_x + rows * n + i); });
        continue;
      }
    }
    for (int64_t i = 0; i < rows; ++i) {
      BlockAffine<Act>(d, Segment<T>(x, first + i), Segment<T>(y, first + i),
                       static_cast<size_t>(n), k.scale, centre[i], a[i], b[i], stream);
    }
  }
}

template <class Compute, class T>
void Affine(In x, Out y, int64_t count, int64_t n, const AffineColumns& k, bool stream) {
  AffineWith<NoActivation, Compute, T>(x, y, count, n, k, stream);
}

#if INSTNORM_SIZED_VECTORS
template <bool kStream, class Compute, class T>
void AffineMomentsWith(In x, Out y, int64_t count, int64_t n, const AffineColumns& k, In next,
                       const MomentSums& out) {
  using D = VectorOf<Compute>;
  using Value = AffineValue<D, T, false>;
  using Beside = CombineBeside<kStream, D, T, Value>;
  const D d;
  for (int64_t i = 0, at = 0; i < count; ++i, at += k.step) {
    const Value value{Segment<T>(x, i), Repeat(d, 0.0), Repeat(d, k.centre[at]), Repeat(d, k.a[at]),
                      Repeat(d, k.b[at])};
    BlockMomentsBeside(d, Segment<T>(next, i), static_cast<size_t>(n), out.at(i),
                       Beside(Segment<T>(y, i), static_cast<size_t>(n), value));
  }
}

template <class Compute, class T>
void AffineMoments(In x, Out y, int64_t count, int64_t n, const AffineColumns& k, bool stream,
                   In next, const MomentSums& of_next) {
  const auto with =
      stream ? &AffineMomentsWith<true, Compute, T> : &AffineMomentsWith<false, Compute, T>;
  with(x, y, count, n, k, next, of_next);
}
#endif

template <class Compute, class T>
constexpr AffineMomentsKernel AffineMomentsOf() {
#if INSTNORM_SIZED_VECTORS
  if constexpr (kCommon<Compute, T>) return &AffineMoments<Compute, T>;
#endif
  return nullptr;
}

template <class Compute, class T>
void Activated(In x, Out y, int64_t count, int64_t n, const AffineColumns& k, Activation activation,
               bool stream) {
  WithActivation(activation, [&](auto act) HWY_ATTR {
    AffineWith<decltype(act), Compute, T>(x, y, count, n, k, stream);
  });
}

template <class Compute, class T>
void Slope(In g, In x, void* h, int64_t count, int64_t n, const AffineColumns& k,
           Activation activation) {
  const VectorOf<Compute> d;
  WithActivation(activation, [&](auto act) HWY_ATTR {
    for (int64_t i = 0, at = 0; i < count; ++i, at += k.step) {
      BlockSlope<decltype(act)>(d, Segment<T>(g, i), Segment<T>(x, i),
                                static_cast<Compute*>(h) + i * n, static_cast<size_t>(n),
                                {1.0, k.centre[at], k.a[at], k.b[at]});
    }
  });
}

template <class Compute, class G, class T>
void Gradients(In g, In x, int64_t count, int64_t n, const double* centre, int64_t centre_step,
               const GradientSumsOut& out) {
  const VectorOf<Compute> d;
  int64_t i = 0;
#if INSTNORM_SIZED_VECTORS
  if constexpr (kCommon<Compute, T>) {
    constexpr int64_t kTogether = kFoldedTogether<decltype(d)>;
    while (count - i > 1) {
      const int64_t together = std::min(count - i, kTogether);
      const auto nth = [i](size_t k) { return i + static_cast<int64_t>(k); };
      BlockGradientSumsTogether(
          d, [&](size_t k) INSTNORM_INLINED { return Segment<G>(g, nth(k)); },
          [&](size_t k) INSTNORM_INLINED { return Segment<T>(x, nth(k)); },
          [&](size_t k) INSTNORM_INLINED { return centre[nth(k) * centre_step]; },
          static_cast<size_t>(together), static_cast<size_t>(n), out.at(i));
      i += together;
    }
  }
#endif
  for (; i < count; ++i) {
    BlockGradientSums(d, Segment<G>(g, i), Segment<T>(x, i), static_cast<size_t>(n),
                      centre[i * centre_step], out.g[i], out.gx[i], NoWork());
  }
}

// p * g + q * (x - centre) + r of row i.
template <class G, class T, class D>
HWY_INLINE BackwardValue<D, G, T> BackwardOf(D d, const G* g, const T* x, const BackwardColumns& k,
                                             int64_t at) {
  return {
      g, x, Repeat(d, k.centre[at]), Repeat(d, k.p[at]), Repeat(d, k.q[at]), Repeat(d, k.r[at])};
}

// Of how many rows has x a part in the gradient? Where it has none it may be NaN.
HWY_INLINE int64_t RowsThatTakeX(int64_t count, const BackwardColumns& k) {
  int64_t rows = 0;
  for (int64_t i = 0, at = 0; i < count; ++i, at += k.step) {
    rows += k.q[at] != 0.0 || k.r[at] != 0.0;
  }
  return rows;
}

template <class Compute, class G, class T>
void Backward(In g, In x, Out dx, int64_t count, int64_t n, const BackwardColumns& k, bool stream) {
  const VectorOf<Compute> d;
  if constexpr (kCommon<Compute, T> && std::is_same_v<G, T>) {
    if (IsRun<false, decltype(d), T>(d, count, n, x.step, stream) && g.step == x.step &&
        dx.step == x.step && RowsThatTakeX(count, k) == count) {
      const G* of_g = Segment<G>(g, 0);
      const T* of_x = Segment<T>(x, 0);
      const auto value_of = [&](size_t i) INSTNORM_INLINED {
        return BackwardOf<G, T>(d, of_g, of_x, k, static_cast<int64_t>(i) * k.step);
      };
      CombineRun<NoActivation>(d, Segment<T>(dx, 0), static_cast<size_t>(count),
                               static_cast<size_t>(n), stream, value_of,
                               [&](size_t i) INSTNORM_INLINED {
                                 hwy::Prefetch(of_g + count * n + i);
                                 hwy::Prefetch(of_x + count * n + i);
                               });
      return;
    }
  }
  for (int64_t i = 0, at = 0; i < count; ++i, at += k.step) {
    BlockBackward(d, Segment<G>(g, i), Segment<T>(x, i), Segment<T>(dx, i), static_cast<size_t>(n),
                  {k.centre[at], k.p[at], k.q[at], k.r[at]}, stream);
  }
}

#if INSTNORM_SIZED_VECTORS
template <bool kStream, class Compute, class T>
void BackwardSumsWith(In g, In x, Out dx, int64_t count, int64_t n, const BackwardColumns& k,
                      In next_g, In next_x, const double* centre, int64_t centre_step,
                      const GradientSumsOut& out) {
  using D = VectorOf<Compute>;
  using Value = BackwardValue<D, T, T>;
  using Beside = CombineBeside<kStream, D, T, Value>;
  const D d;
  for (int64_t i = 0; i < count; ++i) {
    const Value value = BackwardOf<T, T>(d, Segment<T>(g, i), Segment<T>(x, i), k, i * k.step);
    BlockGradientSums(d, Segment<T>(next_g, i), Segment<T>(next_x, i), static_cast<size_t>(n),
                      centre[i * centre_step], out.g[i], out.gx[i],
                      Beside(Segment<T>(dx, i), static_cast<size_t>(n), value));
  }
}

template <class Compute, class T>
void BackwardSums(In g, In x, Out dx, int64_t count, int64_t n, const BackwardColumns& k,
                  bool stream, In next_g, In next_x, const double* centre, int64_t centre_step,
                  const GradientSumsOut& of_next) {
  if (RowsThatTakeX(count, k) != count) {
    Backward<Compute, T, T>(g, x, dx, count, n, k, stream);
    return Gradients<Compute, T, T>(next_g, next_x, count, n, centre, centre_step, of_next);
  }
  const auto with =
      stream ? &BackwardSumsWith<true, Compute, T> : &BackwardSumsWith<false, Compute, T>;
  with(g, x, dx, count, n, k, next_g, next_x, centre, centre_step, of_next);
}
#endif

template <class Compute, class T>
constexpr BackwardSumsKernel BackwardSumsOf() {
#if INSTNORM_SIZED_VECTORS
  if constexpr (kCommon<Compute, T>) return &BackwardSums<Compute, T>;
#endif
  return nullptr;
}

template <class Compute, class T>
void Double(In g, In u, In x, Out dx, int64_t count, int64_t n, const DoubleColumns& k,
            bool stream) {
  const VectorOf<Compute> d;
  for (int64_t i = 0, at = 0; i < count; ++i, at += k.step) {
    BlockDouble(d, Segment<T>(g, i), Segment<T>(u, i), Segment<T>(x, i), Segment<T>(dx, i),
                static_cast<size_t>(n), k.centre[at], k.p[at], k.s[at], k.q[at], k.r[at], stream);
  }
}

template <class Compute, class T>
constexpr Kernels KernelsOf() {
  return {&Moments<Compute, T>,
          &Affine<Compute, T>,
          AffineMomentsOf<Compute, T>(),
          &Activated<Compute, T>,
          &Slope<Compute, T>,
          {&Gradients<Compute, T, T>, &Backward<Compute, T, T>, BackwardSumsOf<Compute, T>()},
          {&Gradients<Compute, Compute, T>, &Backward<Compute, Compute, T>, nullptr},
          &Double<Compute, T>,
          &ForwardAlgebra<Compute>,
          &BackwardAlgebra<Compute>};
}

#if INSTNORM_SIZED_VECTORS
template <class T, class Memory>
HWY_INLINE size_t Step(Memory m) {
  return static_cast<size_t>(m.step) / sizeof(T);
}

template <class Compute, class T>
void MomentsOfColumns(In x, int64_t count, int64_t n, const MomentSums& out) {
  ColumnMoments(VectorOf<Compute>(), Segment<T>(x, 0), Step<T>(x), static_cast<size_t>(count),
                static_cast<size_t>(n), out);
}

template <class Compute, class T>
void AffineOfColumns(In x, Out y, int64_t count, int64_t n, const AffineColumns& k,
                     Activation activation, bool stream) {
  const auto with = [&](auto act) HWY_ATTR {
    ColumnAffine<decltype(act)>(VectorOf<Compute>(), Segment<T>(x, 0), Step<T>(x), Segment<T>(y, 0),
                                Step<T>(y), static_cast<size_t>(count), static_cast<size_t>(n), k,
                                stream);
  };
  if (activation == Activation::none) return with(NoActivation());
  WithActivation(activation, with);
}

template <class Compute, class T>
void GradientsOfColumns(In g, In x, int64_t count, int64_t n, const double* centre,
                        const GradientSumsOut& out) {
  ColumnGradientSums(VectorOf<Compute>(), Segment<T>(g, 0), Step<T>(g), Segment<T>(x, 0),
                     Step<T>(x), static_cast<size_t>(count), static_cast<size_t>(n), centre, out);
}

template <class Compute, class T>
void BackwardOfColumns(In g, In x, Out dx, int64_t count, int64_t n, const BackwardColumns& k,
                       bool stream) {
  if (RowsThatTakeX(count, k) == 0) {
    return ColumnScaled(VectorOf<Compute>(), Segment<T>(g, 0), Step<T>(g), Segment<T>(dx, 0),
                        Step<T>(dx), static_cast<size_t>(count), static_cast<size_t>(n), k.p,
                        stream);
  }
  ColumnBackward(VectorOf<Compute>(), Segment<T>(g, 0), Step<T>(g), Segment<T>(x, 0), Step<T>(x),
                 Segment<T>(dx, 0), Step<T>(dx), static_cast<size_t>(count), static_cast<size_t>(n),
                 k, stream);
}

template <class Compute, class T>
constexpr ColumnKernels ColumnsOf() {
  return {&MomentsOfColumns<Compute, T>, &AffineOfColumns<Compute, T>,
          &GradientsOfColumns<Compute, T>, &BackwardOfColumns<Compute, T>};
}
#else
template <class Compute, class T>
constexpr ColumnKernels ColumnsOf() {
  return {};
}
#endif

template <class Compute, class T>
constexpr DtypeKernels KernelsOfDtype() noexcept {
  return {KernelsOf<Compute, T>(), KernelsOf<double, T>(), ColumnsOf<Compute, T>()};
}

// kernels_16bit.cc
extern const DtypeKernels kOfFloat16, kOfBfloat16;

}  // namespace instnorm::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
