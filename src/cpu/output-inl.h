// Where the results of a row combine go: through the activation into memory, streamed or stored.
#if defined(INSTNORM_CPU_OUTPUT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef INSTNORM_CPU_OUTPUT_INL_H_
#undef INSTNORM_CPU_OUTPUT_INL_H_
#else
#define INSTNORM_CPU_OUTPUT_INL_H_
#endif

#include <hwy/highway.h>

#include <cstddef>

#include "cpu/activation-inl.h"
#include "cpu/io-inl.h"

HWY_BEFORE_NAMESPACE();
namespace instnorm::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// What a write to memory takes at a time, on x86 and nearly all Arm.
constexpr size_t kLineBytes = 64;

// Vectors on their way to y. Those of a long activation wait until there is a group of them.
template <class Act, class D, class T>
class Output {
 public:
  HWY_INLINE Output(T* y, bool stream) : y_(y), stream_(stream) {}

  // To y[i...], whole. Between two calls of Flush i goes on by vectors.
  HWY_INLINE void Put(hn::Vec<D> v, size_t i) {
    if constexpr (Act::kLong) {
      if (waiting_ == 0) first_ = i;
      hn::Store(v, D(), group_ + waiting_);
      waiting_ += hn::Lanes(D());
      if (waiting_ == kGroup<Compute>) Flush();
    } else {
      Store(Act::Value(D(), v), i);
    }
  }
  // The first n lanes.
  HWY_INLINE void PutPart(hn::Vec<D> v, size_t i, size_t n) const {
    const D d;
    if constexpr (Act::kLong) {
      HWY_ALIGN Compute one[hn::MaxLanes(D())];
      hn::Store(v, d, one);
      LongValues<Act>(d, one, hn::Lanes(d));
      v = hn::Load(d, one);
    } else {
      v = Act::Value(d, v);
    }
    StorePartAs(d, v, y_ + i, n);
  }
  // Must be called behind the last whole vector.
  HWY_INLINE void Flush() {
    if constexpr (Act::kLong) {
      if (waiting_ == 0) return;
      const D d;
      LongValues<Act>(d, group_, waiting_);
      for (size_t j = 0; j < waiting_; j += hn::Lanes(d)) {
        Store(hn::Load(d, group_ + j), first_ + j);
      }
      waiting_ = 0;
    }
  }
  // From here on what is put is stored.
  HWY_INLINE void EndStream() {
    Flush();
    stream_ = false;
  }

 private:
  using Compute = hn::TFromD<D>;

  HWY_INLINE void Store(hn::Vec<D> v, size_t i) const {
    if (stream_) {
      StreamAs(D(), v, y_ + i);
    } else {
      StoreAs(D(), v, y_ + i);
    }
  }

  T* y_;
  bool stream_;
  size_t waiting_ = 0, first_ = 0;
  alignas(Act::kLong ? 64 : alignof(Compute)) Compute group_[Act::kLong ? kGroup<Compute> : 1];
};

}  // namespace instnorm::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
