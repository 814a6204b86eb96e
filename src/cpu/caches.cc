#include "cpu/caches.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <string>

namespace instnorm::cpu {
namespace {

std::string word_in(const std::string& path) {
  std::ifstream file(path);
  std::string word;
  file >> word;
  return word;
}

// "48K", "2048K", "1M"; 0 if it is nothing of the kind.
std::int64_t size_in(const std::string& path) {
  std::ifstream file(path);
  std::int64_t size = 0;
  char unit = '\0';
  if (!(file >> size) || size < 0) return 0;
  file >> unit;
  if (unit == 'K') return size << 10;
  if (unit == 'M') return size << 20;
  return unit == '\0' ? size : 0;
}

[[maybe_unused]] std::int64_t from_libc(int name) { return std::max(::sysconf(name), 0L); }

}  // namespace

Caches caches() {
  Caches sizes;
  for (int i = 0; i < 8; ++i) {
    const std::string index = "/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(i) + "/";
    const std::string level = word_in(index + "level");
    if (level.empty()) break;
    if (word_in(index + "type") == "Instruction") continue;
    if (level == "1") sizes.l1 = size_in(index + "size");
    if (level == "2") sizes.l2 = size_in(index + "size");
    if (level == "3") sizes.l3 = size_in(index + "size");
  }
#ifdef _SC_LEVEL1_DCACHE_SIZE
  if (sizes.l1 == 0) sizes.l1 = from_libc(_SC_LEVEL1_DCACHE_SIZE);
  if (sizes.l2 == 0) sizes.l2 = from_libc(_SC_LEVEL2_CACHE_SIZE);
  if (sizes.l3 == 0) sizes.l3 = from_libc(_SC_LEVEL3_CACHE_SIZE);
#endif
  return sizes;
}

}  // namespace instnorm::cpu
