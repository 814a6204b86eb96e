// instnorm info: what the library found on this machine.
#include <instnorm/runtime.h>

#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>

#include "commands.h"
#include "cpu/caches.h"
#include "text.h"

namespace instnorm::cli {
namespace {

bool is_set(const char* variable) {
  const char* text = std::getenv(variable);
  return text != nullptr && *text != '\0';
}

std::string why_threads() {
  if (is_set("INSTNORM_NUM_THREADS")) return "INSTNORM_NUM_THREADS";
  if (is_set("OMP_NUM_THREADS")) return "OMP_NUM_THREADS";
  return "the CPUs that this process may use";
}

std::string why_target() {
  return is_set("INSTNORM_CPU_TARGET") ? "INSTNORM_CPU_TARGET" : "the best available";
}

std::string cache_text(std::int64_t bytes) { return bytes > 0 ? bytes_text(bytes) : "unknown"; }

}  // namespace

void info(const InfoOptions& o) {
  const cpu::Caches caches = cpu::caches();
  if (o.json) {
    nlohmann::ordered_json j;
    j["version"] = version();
    j["cpu_target"] = cpu_target();
    j["why_cpu_target"] = why_target();
    j["available_cpu_targets"] = available_cpu_targets();
    j["threads"] = get_num_threads();
    j["why_threads"] = why_threads();
    j["cache_bytes"] = {{"L1", caches.l1}, {"L2", caches.l2}, {"L3", caches.l3}};
    return print(j.dump(2) + "\n");
  }
  std::string targets;
  for (const std::string& target : available_cpu_targets()) {
    targets += (targets.empty() ? "" : ", ") + target;
  }
  print(std::string("version          ") + version() + "\n" +  //
        "instruction set  " + cpu_target() + " (" + why_target() + ")\n" + "available        " +
        targets + "\n" +  //
        "threads          " + std::to_string(get_num_threads()) + " (" + why_threads() + ")\n" +
        "caches           L1 " + cache_text(caches.l1) + ", L2 " + cache_text(caches.l2) + ", L3 " +
        cache_text(caches.l3) + "\n");
}

}  // namespace instnorm::cli
