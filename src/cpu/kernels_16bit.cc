// The kernels of float16 and bfloat16: a file of their own, to be compiled beside kernels.cc.
#include "cpu/instruction_sets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/kernels_16bit.cc"
#include <hwy/foreach_target.h>  // IWYU pragma: keep
#include <hwy/highway.h>
#include <instnorm/tensor.h>

#include "cpu/kernels-inl.h"

HWY_BEFORE_NAMESPACE();
namespace instnorm::cpu::HWY_NAMESPACE {

constinit const DtypeKernels kOfFloat16 = KernelsOfDtype<float, float16>();
constinit const DtypeKernels kOfBfloat16 = KernelsOfDtype<float, bfloat16>();

}  // namespace instnorm::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
