// For which instruction sets the kernels are compiled: all that Highway offers for the
// architecture, but those left out here. To be included before foreach_target.h.
#pragma once

// With sanitizers each instruction set takes minutes to compile: two are enough to find what they
// find.
#ifdef INSTNORM_FEW_TARGETS
#define INSTNORM_LEFT_OUT (HWY_AVX3 | HWY_SSE4)
#elif !defined(INSTNORM_LEFT_OUT)
#define INSTNORM_LEFT_OUT 0
#endif
// SSSE3 is within a year of SSE4; the later steps of AVX-512 and SVE add nothing that is used here.
#define HWY_DISABLED_TARGETS \
  (INSTNORM_LEFT_OUT | HWY_SSSE3 | HWY_AVX3_DL | HWY_SVE_256 | HWY_SVE2 | HWY_SVE2_128)
