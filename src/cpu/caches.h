// Sizes of the data caches of the first CPU.
#pragma once

#include <cstdint>

namespace instnorm::cpu {

// Bytes; 0 where the system does not say.
struct Caches {
  std::int64_t l1 = 0, l2 = 0, l3 = 0;
};

Caches caches();

}  // namespace instnorm::cpu
