#!/usr/bin/env bash
# Runs the fuzzers that are built in BUILD (the preset fuzz), each for so many seconds from its corpus,
# two at a time, and prints a table: run.sh BUILD SECONDS. With 0 seconds the corpora alone, the same
# inputs every time. Fails if one finds anything; the input is then BUILD/found/NAME-crash-*, and
# BUILD/NAME.log says what it was.
set -euo pipefail
cd "$(dirname "$0")/.."
build=$1 seconds=$2
mkdir -p "$build/found"

# NAME [TARGET]: the core on one instruction set.
one() {
  local build_corpus name=$1 log=$build/$1${2:+-$2}.log
  local limit=(-max_total_time="$seconds")
  if [ "$seconds" = 0 ]; then
    build_corpus=()
    limit=(-runs=0)
  else
    mkdir -p "$build/corpus/$name"
    build_corpus=("$build/corpus/$name")
  fi
  INSTNORM_CPU_TARGET=${2:-} OMP_NUM_THREADS=1 "$build/fuzz/${name}_fuzz" "${limit[@]}" -max_len=1024 \
    -artifact_prefix="$build/found/$name-" -print_final_stats=1 \
    "${build_corpus[@]}" "fuzz/corpus/$name" >"$log" 2>&1
}

failed=0
pair() {
  local a b
  one $1 & a=$!
  one $2 & b=$!
  wait $a || failed=1
  wait $b || failed=1
}
pair npy_header safetensors_header
pair arguments "core AVX2"
one core SCALAR || failed=1

printf '%-20s %12s %10s  %s\n' fuzzer executions edges found
for name in npy_header safetensors_header arguments core-AVX2 core-SCALAR; do
  log=$build/$name.log
  runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
  edges=$(grep -oE 'cov: [0-9]+' "$log" | tail -n 1 | cut -c6- || true)
  found=$(grep -m 1 -oE '(SUMMARY|ERROR): .*' "$log" || echo nothing)
  printf '%-20s %12s %10s  %s\n' "$name" "${runs:-?}" "${edges:-?}" "$found"
done
exit $failed
