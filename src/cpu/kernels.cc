// The kernels of every instruction set: this file is compiled once for each of them by
// foreach_target.h.
#include "cpu/instruction_sets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/kernels.cc"
#include <hwy/foreach_target.h>  // IWYU pragma: keep
#include <hwy/highway.h>
#include <instnorm/tensor.h>

#include <vector>

#include "cpu/kernels-inl.h"
#include "cpu/target.h"

HWY_BEFORE_NAMESPACE();
namespace instnorm::cpu::HWY_NAMESPACE {

const KernelTable& Table() {
  static const KernelTable kTable = {KernelsOfFloat16(), KernelsOfBfloat16(),
                                     KernelsOfDtype<float, float>(),
                                     KernelsOfDtype<double, double>()};
  return kTable;
}

}  // namespace instnorm::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace instnorm::cpu {

const std::vector<Target>& compiled_targets() {
  static const std::vector<Target> kTargets = {
#if (HWY_TARGETS & HWY_AVX3) && HWY_STATIC_TARGET != HWY_AVX3
      {HWY_AVX3, &N_AVX3::Table},
#endif
#if (HWY_TARGETS & HWY_AVX2) && HWY_STATIC_TARGET != HWY_AVX2
      {HWY_AVX2, &N_AVX2::Table},
#endif
#if (HWY_TARGETS & HWY_SSE4) && HWY_STATIC_TARGET != HWY_SSE4
      {HWY_SSE4, &N_SSE4::Table},
#endif
#if (HWY_TARGETS & HWY_SVE) && HWY_STATIC_TARGET != HWY_SVE
      {HWY_SVE, &N_SVE::Table},
#endif
      {HWY_STATIC_TARGET, &HWY_STATIC_DISPATCH(Table)},
  };
  return kTargets;
}

}  // namespace instnorm::cpu
#endif
