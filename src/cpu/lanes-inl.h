// The virtual vector: kVirtualBytes of lanes, whatever the width of the machine's vectors. Every
// sum is taken in these lanes and folded in one fixed order, so that its bits do not depend on the
// instruction set's width. Per-target include guard, as Highway has it.
#if defined(INSTNORM_CPU_LANES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef INSTNORM_CPU_LANES_INL_H_
#undef INSTNORM_CPU_LANES_INL_H_
#else
#define INSTNORM_CPU_LANES_INL_H_
#endif

#include <hwy/highway.h>

#include <type_traits>

// Of a lambda that is part of a loop: left to themselves compilers call it where it is large, and
// what it captures then lives in memory.
// Only where compilers optimise, as HWY_INLINE: without that, GCC 12 misaligns vectors that it
// returns into the frame of what it inlined.
#ifdef __OPTIMIZE__
#define INSTNORM_INLINED HWY_ATTR __attribute__((always_inline))
#else
#define INSTNORM_INLINED HWY_ATTR
#endif

// Can a vector of this instruction set be a member, and an element of an array?
#define INSTNORM_SIZED_VECTORS (!HWY_HAVE_SCALABLE && HWY_TARGET != HWY_SCALAR)

HWY_BEFORE_NAMESPACE();
namespace instnorm::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// 128 bytes are 2 registers of AVX-512, 4 of AVX2, 8 of SSE and NEON: enough independent additions
// to hide their latency on the wide ones (2 ports * 4 cycles / 2 sums), few enough to stay in
// registers.
constexpr size_t kVirtualBytes = 128;

template <class T>
constexpr size_t kVirtualLanes = kVirtualBytes / sizeof(T);

// The machine's vectors, at most one virtual vector wide (SVE can be wider).
template <class T>
using VectorOf = hn::CappedTag<T, kVirtualLanes<T>>;

// A constant of a loop, to be kept in an object: a vector with the value in all lanes, or the value
// alone where a vector cannot be a member.
#if HWY_HAVE_SCALABLE
template <class D>
using Repeated = hn::TFromD<D>;
template <class D>
HWY_INLINE hn::Vec<D> All(D d, Repeated<D> value) {
  return hn::Set(d, value);
}
#else
template <class D>
using Repeated = hn::Vec<D>;
template <class D>
HWY_INLINE hn::Vec<D> All(D, Repeated<D> value) {
  return value;
}
#endif
template <class D>
HWY_INLINE Repeated<D> Repeat([[maybe_unused]] D d, double value) {
  const auto lane = static_cast<hn::TFromD<D>>(value);
#if HWY_HAVE_SCALABLE
  return lane;
#else
  return hn::Set(d, lane);
#endif
}

// The lanes of one virtual vector, addressed as vector k.
template <class D>
class VirtualVector {
 public:
  using T = hn::TFromD<D>;
  using V = hn::Vec<D>;

  // The implicit one is not compiled for the instruction set, which that of NEON's vectors asks
  // for.
  HWY_INLINE VirtualVector() {}  // NOLINT

#if !INSTNORM_SIZED_VECTORS
  // Vectors of unknown size cannot be members, and 32 scalars do not fit into registers: the lanes
  // live in memory, that is in L1.
  HWY_INLINE V Get(size_t k) const { return hn::Load(D(), lanes_ + k * hn::Lanes(D())); }
  HWY_INLINE void Set(size_t k, V v) { hn::Store(v, D(), lanes_ + k * hn::Lanes(D())); }

  // Calls f(k) for each vector.
  template <class F>
  static HWY_INLINE void Each(const F& f) {
    for (size_t k = 0; k < kVirtualLanes<T> / hn::Lanes(D()); ++k) f(k);
  }
#else
  static constexpr size_t kCount = kVirtualLanes<T> / hn::MaxLanes(D());

  HWY_INLINE V Get(size_t k) const { return vectors_[k]; }
  HWY_INLINE void Set(size_t k, V v) { vectors_[k] = v; }

  // By constants: what a variable indexes, compilers keep in memory.
  template <size_t kFirst = 0, size_t kEnd = kCount, class F>
  static HWY_INLINE void Each(const F& f) {
    if constexpr (kFirst < kEnd) {
      f(std::integral_constant<size_t, kFirst>());
      Each<kFirst + 1, kEnd>(f);
    }
  }
#endif

  HWY_INLINE void SetZero() {
    Each([&](auto k) INSTNORM_INLINED { Set(k, hn::Zero(D())); });
  }
  HWY_INLINE void Add(const VirtualVector& other) {
    Each([&](auto k) INSTNORM_INLINED { Set(k, hn::Add(Get(k), other.Get(k))); });
  }

  // The lanes folded into one vector: lane i takes in lane i + h, for h = half the lanes, a
  // quarter,
  // ..., those of a vector. Fold (below) goes on to 1.
#if !INSTNORM_SIZED_VECTORS
  HWY_INLINE V FoldToVector() {
    for (size_t h = kVirtualLanes<T> / hn::Lanes(D()) / 2; h > 0; h /= 2) {
      for (size_t k = 0; k < h; ++k) Set(k, hn::Add(Get(k), Get(k + h)));
    }
    return Get(0);
  }
  // Of the first half of the lanes; the others are zero.
  HWY_INLINE V FoldHead() { return FoldToVector(); }

 private:
  HWY_ALIGN T lanes_[kVirtualLanes<T>];
#else
  template <size_t h = kCount / 2>
  HWY_INLINE V FoldToVector() {
    if constexpr (h > 0) {
      Each<0, h>([&](auto k) INSTNORM_INLINED { Set(k, hn::Add(Get(k), Get(k + h))); });
      return FoldToVector<h / 2>();
    } else {
      return Get(0);
    }
  }
  HWY_INLINE V FoldHead() { return FoldToVector<kCount / 4>(); }

 private:
  V vectors_[kCount];
#endif
};

// Sum of the lanes of a vector: lane i takes in lane i + h, for h = half the lanes, ..., 1.
#if HWY_HAVE_SCALABLE
template <class D, class T = hn::TFromD<D>>
HWY_INLINE T Fold(D d, hn::Vec<D> v) {
  HWY_ALIGN T lanes[kVirtualLanes<T>];
  hn::Store(v, d, lanes);
  for (size_t h = hn::Lanes(d) / 2; h > 0; h /= 2) {
    for (size_t i = 0; i < h; ++i) lanes[i] += lanes[i + h];
  }
  return lanes[0];
}
#elif HWY_TARGET == HWY_SCALAR
template <class D, class T = hn::TFromD<D>>
HWY_INLINE T Fold(D, hn::Vec<D> v) {
  return hn::GetLane(v);
}
#else
template <class D, class T = hn::TFromD<D>>
HWY_INLINE T Fold(D, hn::Vec<D> v) {
  if constexpr (hn::MaxLanes(D()) * sizeof(T) > 16) {
    const hn::Half<D> half;
    return Fold(half, hn::Add(hn::LowerHalf(half, v), hn::UpperHalf(half, v)));
  } else if constexpr (sizeof(T) == 4) {
    v = hn::Add(v, hn::Shuffle1032(v));
    return hn::GetLane(hn::Add(v, hn::Shuffle2301(v)));
  } else {
    return hn::GetLane(hn::Add(v, hn::Shuffle01(v)));
  }
}
#endif

// As many vectors as one has lanes can be folded together.
#if INSTNORM_SIZED_VECTORS
template <class D>
constexpr size_t kFoldedTogether = hn::MaxLanes(D());

// Lane i of the result is Fold(v[i]), by the same additions: a transposition whose every step adds
// what it brings together. Of two vectors, each step keeps one's lanes in place and swaps the
// other's neighbours, so that it costs one shuffle and two blends.
template <class D>
HWY_INLINE hn::Vec<D> FoldEach(D d, hn::Vec<D>* HWY_RESTRICT v) {
  using V = hn::Vec<D>;
  constexpr size_t kLanes = hn::MaxLanes(D());
  constexpr size_t kBytes = kLanes * sizeof(hn::TFromD<D>);
  const hn::Repartition<uint64_t, D> d64;
  size_t count = kLanes;
  const auto step = [&](const auto& fold) INSTNORM_INLINED {
    count /= 2;
    for (size_t j = 0; j < count; ++j) v[j] = fold(v[j], v[j + count]);
  };
  if constexpr (kBytes > 32) {
    step([&](V a, V b) INSTNORM_INLINED {
      return hn::Add(hn::ConcatLowerLower(d, b, a), hn::ConcatUpperUpper(d, b, a));
    });
  }
  if constexpr (kBytes > 16) {
    step([&](V a, V b) INSTNORM_INLINED {
      return hn::Add(hn::OddEvenBlocks(b, a), hn::SwapAdjacentBlocks(hn::OddEvenBlocks(a, b)));
    });
  }
  step([&](V a, V b) INSTNORM_INLINED {
    const auto a64 = hn::BitCast(d64, a), b64 = hn::BitCast(d64, b);
    return hn::Add(hn::BitCast(d, hn::OddEven(b64, a64)),
                   hn::BitCast(d, hn::Shuffle01(hn::OddEven(a64, b64))));
  });
  if constexpr (sizeof(hn::TFromD<D>) == 4) {
    step([&](V a, V b) INSTNORM_INLINED {
      return hn::Add(hn::OddEven(b, a), hn::Shuffle2301(hn::OddEven(a, b)));
    });
  }
  return v[0];
}
#endif

}  // namespace instnorm::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
