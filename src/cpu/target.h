// Which instruction set is in use.
#pragma once

#include <cstdint>
#include <span>

#include "cpu/kernels.h"

namespace instnorm::cpu {

// One instruction set that the kernels are compiled for: Highway's bit, and its kernels.
struct Target {
  std::int64_t bit;
  const KernelTable* kernels;
};

// All that this build has, best first (kernels.cc).
std::span<const Target> compiled_targets();

// The kernels in use: those of the best instruction set that this machine has, or of the one that
// INSTNORM_CPU_TARGET forces. Throws std::invalid_argument if that is unknown or cannot run here.
const KernelTable& kernels();

}  // namespace instnorm::cpu
