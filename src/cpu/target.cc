#include "cpu/target.h"

#include <instnorm/runtime.h>

#include <hwy/targets.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

namespace instnorm {
namespace cpu {
namespace {

// Highway's name, but for AVX3, which everybody else calls AVX-512.
std::string name_of(const Target& target) {
  return target.bit == HWY_AVX3 ? "AVX512" : hwy::TargetName(target.bit);
}

std::vector<Target> available() {
  std::vector<Target> targets = compiled_targets();
  std::erase_if(targets, [](const Target& t) { return (t.bit & hwy::SupportedTargets()) == 0; });
  return targets;
}

std::string normalised(std::string name) {
  std::erase_if(name, [](char c) { return c == '-' || c == '_'; });
  for (char& c : name) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return name == "AVX3" ? "AVX512" : name;
}

Target choose() {
  const std::vector<Target> targets = available();
  const char* wanted = std::getenv("INSTNORM_CPU_TARGET");
  if (wanted == nullptr || *wanted == '\0') return targets.front();
  for (const Target& target : targets) {
    if (name_of(target) == normalised(wanted)) return target;
  }
  std::string possible;
  for (const Target& target : targets) possible += (possible.empty() ? "" : ", ") + name_of(target);
  throw std::invalid_argument(
      std::string("INSTNORM_CPU_TARGET=") + wanted +
      " is unknown or not supported by this machine; possible: " + possible);
}

const Target& chosen() {
  static const Target target = choose();  // tried again by the next caller if it throws
  return target;
}

}  // namespace

const KernelTable& kernels() {
  static const KernelTable& table = chosen().kernels();
  return table;
}

}  // namespace cpu

const char* cpu_target() {
  static const std::string name = cpu::name_of(cpu::chosen());
  return name.c_str();
}

std::vector<std::string> available_cpu_targets() {
  std::vector<std::string> names;
  for (const cpu::Target& target : cpu::available()) names.push_back(cpu::name_of(target));
  return names;
}

}  // namespace instnorm
