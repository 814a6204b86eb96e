// The kernels of every instruction set: this file is compiled once for each of them by
// foreach_target.h.
#include "cpu/instruction_sets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/kernels.cc"
#include <hwy/foreach_target.h>  // IWYU pragma: keep
#include <hwy/highway.h>
#include <instnorm/tensor.h>

#include <span>

#include "cpu/kernels-inl.h"
#include "cpu/target.h"

HWY_BEFORE_NAMESPACE();
namespace instnorm::cpu::HWY_NAMESPACE {

constinit const DtypeKernels kOfFloat32 = KernelsOfDtype<float, float>();
constinit const DtypeKernels kOfFloat64 = KernelsOfDtype<double, double>();
// NOLINTNEXTLINE(cppcoreguidelines-interfaces-global-init): where they are is a constant
constinit const KernelTable kTable = {&kOfFloat16, &kOfBfloat16, &kOfFloat32, &kOfFloat64};

}  // namespace instnorm::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace instnorm::cpu {

std::span<const Target> compiled_targets() {
  static constexpr Target kTargets[] = {
#if (HWY_TARGETS & HWY_AVX3) && HWY_STATIC_TARGET != HWY_AVX3
      {HWY_AVX3, &N_AVX3::kTable},
#endif
#if (HWY_TARGETS & HWY_AVX2) && HWY_STATIC_TARGET != HWY_AVX2
      {HWY_AVX2, &N_AVX2::kTable},
#endif
#if (HWY_TARGETS & HWY_SSE4) && HWY_STATIC_TARGET != HWY_SSE4
      {HWY_SSE4, &N_SSE4::kTable},
#endif
#if (HWY_TARGETS & HWY_SVE) && HWY_STATIC_TARGET != HWY_SVE
      {HWY_SVE, &N_SVE::kTable},
#endif
      {HWY_STATIC_TARGET, &HWY_STATIC_DISPATCH(kTable)},
  };
  return kTargets;
}

}  // namespace instnorm::cpu
#endif
