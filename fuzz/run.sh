#!/usr/bin/env bash
# Builds the fuzzers of the file headers (libFuzzer, Address- and UndefinedBehaviorSanitizer) and runs
# them side by side, from their corpora: fuzz/run.sh [SECONDS]. Fails if one finds anything.
set -euo pipefail
cd "$(dirname "$0")/.."
out=build/fuzz
pids=()
one() {
  local name=$1 seconds=$2
  shift 2
  clang++-19 -std=c++20 -O1 -g1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all \
    -Iinclude -Isrc -Itools "fuzz/${name}_fuzz.cc" "$@" -o "$out/$name"
  mkdir -p "$out/corpus/$name"
  "$out/$name" -max_total_time="$seconds" -max_len=4096 -artifact_prefix="$out/$name-" -print_final_stats=1 \
    "$out/corpus/$name" "fuzz/corpus/$name" >"$out/$name.log" 2>&1
}
mkdir -p "$out"
one npy_header "${1:-20}" tools/npy.cc src/dtype.cc src/tensor.cc src/memory.cc &
pids+=($!)
one safetensors_header "${1:-20}" src/safetensors_header.cc &
pids+=($!)
failed=0
for pid in "${pids[@]}"; do wait "$pid" || failed=1; done
for name in npy_header safetensors_header; do
  printf '%s: ' "$name"
  grep -oE 'DONE +cov: [0-9]+|number_of_executed_units: [0-9]+|ERROR: .*|SUMMARY: .*' "$out/$name.log" | tr '\n' ' ' || true
  echo
done
exit $failed
