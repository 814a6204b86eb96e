#!/usr/bin/env bash
# Builds the library for 64-bit Arm and runs its tests on NEON and SVE, by Debian's cross compiler and qemu:
# test_aarch64.sh [--short] [TEST...], programs of tests/; all that ask for arithmetic without it. --short builds the
# programs that it runs alone, and leaves out what takes longest: two minutes. Adds Debian's arm64 packages of the
# libraries to this machine.
set -euo pipefail
cd "$(dirname "$0")/.."
build=build/aarch64
tests=(activation_test backward_test bias_rows_test bits_test cases_test denormalize_test double_backward_test exact_test
       extras_test forward_test moments_test padding_test running_test selection_test targets_test)
# What takes gigabytes.
without='*TwoToThe31*:*64Bits*:*TenMillion*:*LargeOutputs*:*Streamed*'
options=()
if [ "${1-}" = --short ]; then
  shift
  build=build/aarch64-short
  tests=(backward_test targets_test bits_test forward_test exact_test)
  without+=':*StridePattern*:*ManyShortRows*:*AMillionElements*:*ChangeNothing*:*RunsAreAlike*:*GradientsAtEveryLength/*16'
  # -O0 would leave the row algebra's vectors out; more takes longer to compile than it saves here.
  options=(-DCMAKE_BUILD_TYPE=None -DCMAKE_CXX_FLAGS=-O1 -DINSTNORM_BUILD_TOOLS=OFF)
fi
[ $# = 0 ] || tests=("$@")
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

if ! dpkg -s libhwy-dev:arm64 libgtest-dev:arm64 libgmock-dev:arm64 g++-aarch64-linux-gnu qemu-user >/dev/null 2>&1; then
  as_root dpkg --add-architecture arm64
  as_root apt-get update -qq
  as_root apt-get install -y --no-install-recommends qemu-user g++-aarch64-linux-gnu \
    libhwy-dev:arm64 libgtest-dev:arm64 libgmock-dev:arm64 >/dev/null
fi
cmake -G Ninja -S . -B "$build" -DCMAKE_TOOLCHAIN_FILE=cmake/aarch64-linux-gnu.cmake "${options[@]}" >/dev/null
cmake --build "$build" -j "$(nproc)" --target "${tests[@]}"

# One thread: OpenMP's threads wait for ever in this emulator, those of any program. SVE's vectors are emulated
# one by one, here of 256 bits.
export QEMU_LD_PREFIX=/usr/aarch64-linux-gnu OMP_NUM_THREADS=1 OMP_THREAD_LIMIT=1
run() {
  local log=$build/$1.$2.log start=$SECONDS
  if INSTNORM_CPU_TARGET=$2 qemu-aarch64 -cpu max,sve-max-vq=2 "$build/tests/$1" --gtest_brief=1 \
    --gtest_filter="-$without" >"$log" 2>&1; then
    printf '%-20s %-5s %s passed in %d s\n' "$1" "$2" "$(grep -oE '[0-9]+ tests' "$log" | tail -n 1)" $((SECONDS - start))
  else
    printf '%-20s %-5s FAILED, see %s\n' "$1" "$2" "$log"
    return 1
  fi
}
export -f run
export build without
for test in "${tests[@]}"; do
  printf '%s %s\n' "$test" SVE "$test" NEON
done | xargs -P "$(nproc)" -L 1 bash -c 'run "$0" "$1"'
