#!/usr/bin/env bash
# Runs the fuzzers that are built in BUILD (the preset fuzz), each for so many seconds from its corpus,
# two at a time, and prints a table: run.sh BUILD SECONDS. With 0 seconds the corpora alone, the same
# inputs every time. The core runs on each instruction set that this machine has; then all inputs of
# its corpora must give the same bits on those that fuse products and sums, and on those that do not.
# Fails if one finds anything; the input is then BUILD/found/NAME-*, and BUILD/NAME.log says what it was.
set -euo pipefail
cd "$(dirname "$0")/.."
build=$1 seconds=$2
mkdir -p "$build/found"
export OMP_NUM_THREADS=1

# NAME [TARGET]: the core on one instruction set.
one() {
  local build_corpus name=$1 log=$build/$1${2:+-$2}.log status=0
  local limit=(-max_total_time="$seconds")
  if [ "$seconds" = 0 ]; then
    build_corpus=()
    limit=(-runs=0)
  else
    mkdir -p "$build/corpus/$name"
    build_corpus=("$build/corpus/$name")
  fi
  INSTNORM_CPU_TARGET=${2:-} "$build/fuzz/${name}_fuzz" "${limit[@]}" -max_len=1024 \
    -artifact_prefix="$build/found/$name-" -print_final_stats=1 \
    "${build_corpus[@]}" "fuzz/corpus/$name" >"$log" 2>&1 || status=$?
  if [ $status = 75 ]; then
    echo "not on this machine" >"$log"
  elif [ $status != 0 ]; then
    return 1
  fi
}

failed=0
export -f one
export build seconds
printf '%s\n' npy_header safetensors_header npy_file safetensors_file arguments "core AVX512" "core AVX2" "core SSE4" "core SCALAR" |
  xargs -P 2 -L 1 bash -c 'one "$@"' one || failed=1

printf '%-20s %12s %10s  %s\n' fuzzer executions edges found
for name in npy_header npy_file safetensors_header safetensors_file arguments core-{AVX512,AVX2,SSE4,SCALAR}; do
  log=$build/$name.log
  if grep -q '^not on this machine' "$log"; then
    printf '%-20s not on this machine\n' "$name"
    continue
  fi
  runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
  edges=$(grep -oE 'cov: [0-9]+' "$log" | tail -n 1 | cut -c6- || true)
  found=$(grep -m 1 -oE '(SUMMARY|ERROR): .*' "$log" || echo nothing)
  printf '%-20s %12s %10s  %s\n' "$name" "${runs:-?}" "${edges:-?}" "$found"
done

# TARGET: the digests of the core's inputs, in their order. Each runs once: libFuzzer repeats one that
# has allocated more often than freed, which is not the same on every run, to look for a leak.
digests() {
  local file=$build/$1.digests
  rm -f "$file"
  INSTNORM_CPU_TARGET=$1 INSTNORM_DIGESTS=$file "$build/fuzz/core_fuzz" -detect_leaks=0 "${inputs[@]}" >"$build/digests-$1.log" 2>&1 ||
    [ $? = 75 ]
}
mapfile -t inputs < <(find fuzz/corpus/core "$build/corpus/core" -type f 2>/dev/null | sort)
for target in AVX512 AVX2 SSE4 SCALAR; do
  digests $target || failed=1
done
# Those of the same kind, where both are here.
agree() {
  if [ ! -e "$build/$1.digests" ]; then
    echo "$1 and $2: not compared, $1 is not on this machine"
  elif cmp "$build/$1.digests" "$build/$2.digests"; then
    echo "$1 and $2: the same bits for $(wc -l <"$build/$2.digests") inputs"
  else
    failed=1
  fi
}
agree AVX512 AVX2
agree SSE4 SCALAR
exit $failed
