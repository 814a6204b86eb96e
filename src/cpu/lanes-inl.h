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

// The lanes of one virtual vector, addressed as vector k of Count().
template <class D>
class VirtualVector {
 public:
  using T = hn::TFromD<D>;
  using V = hn::Vec<D>;

  static HWY_INLINE constexpr size_t Count() { return kVirtualLanes<T> / hn::Lanes(D()); }

#if HWY_HAVE_SCALABLE
  // Vectors of unknown size cannot be members: the lanes live in memory, that is in L1.
  HWY_INLINE V Get(size_t k) const { return hn::Load(D(), lanes_ + k * hn::Lanes(D())); }
  HWY_INLINE void Set(size_t k, V v) { hn::Store(v, D(), lanes_ + k * hn::Lanes(D())); }

 private:
  HWY_ALIGN T lanes_[kVirtualLanes<T>];
#else
  HWY_INLINE V Get(size_t k) const { return vectors_[k]; }
  HWY_INLINE void Set(size_t k, V v) { vectors_[k] = v; }

 private:
  V vectors_[kVirtualLanes<T> / hn::MaxLanes(D())];
#endif

 public:
  HWY_INLINE void SetZero() {
    for (size_t k = 0; k < Count(); ++k) Set(k, hn::Zero(D()));
  }
  HWY_INLINE void Add(const VirtualVector& other) {
    for (size_t k = 0; k < Count(); ++k) Set(k, hn::Add(Get(k), other.Get(k)));
  }

  // Sum of the lanes: lane i takes in lane i + h, for h = half the lanes, a quarter, ..., 1.
  HWY_INLINE T Fold() {
    for (size_t h = Count() / 2; h > 0; h /= 2) {
      for (size_t k = 0; k < h; ++k) Set(k, hn::Add(Get(k), Get(k + h)));
    }
    return FoldVector(D(), Get(0));
  }

 private:
#if HWY_HAVE_SCALABLE
  static HWY_INLINE T FoldVector(D d, V v) {
    HWY_ALIGN T lanes[kVirtualLanes<T>];
    hn::Store(v, d, lanes);
    for (size_t h = hn::Lanes(d) / 2; h > 0; h /= 2) {
      for (size_t i = 0; i < h; ++i) lanes[i] += lanes[i + h];
    }
    return lanes[0];
  }
#elif HWY_TARGET == HWY_SCALAR
  static HWY_INLINE T FoldVector(D, V v) { return hn::GetLane(v); }
#else
  template <class D2, class V2>
  static HWY_INLINE T FoldVector(D2, V2 v) {
    if constexpr (hn::MaxLanes(D2()) * sizeof(T) > 16) {
      const hn::Half<D2> half;
      return FoldVector(half, hn::Add(hn::LowerHalf(half, v), hn::UpperHalf(half, v)));
    } else if constexpr (sizeof(T) == 4) {
      v = hn::Add(v, hn::Shuffle1032(v));
      return hn::GetLane(hn::Add(v, hn::Shuffle2301(v)));
    } else {
      return hn::GetLane(hn::Add(v, hn::Shuffle01(v)));
    }
  }
#endif
};

}  // namespace instnorm::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
