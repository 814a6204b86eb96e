#include "cpu/target.h"

#include <instnorm/runtime.h>

#include <hwy/targets.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

#include "remembered.h"

namespace instnorm {
namespace cpu {
namespace {

// Highway's name, but for AVX3, which everybody else calls AVX-512.
const char* name_of(const Target& target) {
  return target.bit == HWY_AVX3 ? "AVX512" : hwy::TargetName(target.bit);
}

std::vector<const Target*> available() {
  std::vector<const Target*> targets;
  for (const Target& target : compiled_targets()) {
    if ((target.bit & hwy::SupportedTargets()) != 0) targets.push_back(&target);
  }
  return targets;
}

std::string normalised(std::string name) {
  std::erase_if(name, [](char c) { return c == '-' || c == '_'; });
  for (char& c : name) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return name == "AVX3" ? "AVX512" : name;
}

const Target* choose() {
  const std::vector<const Target*> targets = available();
  const char* wanted = std::getenv("INSTNORM_CPU_TARGET");
  if (wanted == nullptr || *wanted == '\0') return targets.front();
  std::string possible;
  for (const Target* target : targets) {
    if (name_of(*target) == normalised(wanted)) return target;
    possible += (possible.empty() ? "" : ", ") + std::string(name_of(*target));
  }
  throw std::invalid_argument(
      std::string("INSTNORM_CPU_TARGET=") + wanted +
      " is unknown or not supported by this machine; possible: " + possible);
}

const Target& chosen() {
  static constinit Remembered<const Target*, nullptr> target;
  return *target.or_else(choose);
}

}  // namespace

const KernelTable& kernels() { return *chosen().kernels; }

}  // namespace cpu

const char* cpu_target() { return cpu::name_of(cpu::chosen()); }

std::vector<std::string> available_cpu_targets() {
  std::vector<std::string> names;
  for (const cpu::Target* target : cpu::available()) names.emplace_back(cpu::name_of(*target));
  return names;
}

}  // namespace instnorm
