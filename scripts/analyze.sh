#!/usr/bin/env bash
# Compiles the library and the command with GCC's -fanalyzer, which follows each path through a function and those it
# calls: analyze.sh [JOBS]. Fails if it finds anything; what has passed is not analysed again until it changes.
set -euo pipefail
cd "$(dirname "$0")/.."
build=build/analyze

# GCC 12 says of itself that the analyzer is for C, and knows nothing of file descriptors, as GCC 13 does. Three of its
# warnings were looked at by kind and by sample in these sources, and were wrong each time:
off=(
  # an object that a function returns, which is made where its caller wants it; bytes that memcpy has written
  use-of-uninitialized-value
  # the nodes of a std::map that copies itself, with an exception between the node and its place; what lives for ever
  malloc-leak
  # of operator new, which throws
  possible-null-dereference
)
# At -O1, where it sees through the functions of the standard library: at -O0 it takes several times as long, and has
# not seen a double free that was planted.
cmake -G Ninja -S . -B "$build" -DCMAKE_CXX_COMPILER=g++ -DCMAKE_BUILD_TYPE=None -DINSTNORM_BUILD_TESTS=OFF \
  -DINSTNORM_WERROR=ON \
  -DCMAKE_CXX_FLAGS="-O1 -DNDEBUG -fanalyzer $(printf -- '-Wno-analyzer-%s ' "${off[@]}")" >/dev/null

# Left out: the kernels, which are Highway's vectors, and four files that are CLI11's, JSON's and bench's templates for
# the most part. They take as long as all others together, and hold neither memory nor files.
left_out='kernels|kernels_16bit|cli|parse|safetensors_header|bench'
mapfile -t objects < <(ninja -C "$build" -t targets all |
  sed -nE 's#^((src|tools)/CMakeFiles/.*\.cc\.o): .*#\1#p' | grep -vE "/($left_out)\.cc\.o\$" |
  awk '{ print (/safetensors|info|forward|backward|quotes/ ? 0 : 1), $0 }' | sort -s -k 1,1 | cut -d ' ' -f 2) # longest first
log=$build/analyze.log
if ninja -C "$build" -k 0 -j "${1:-2}" "${objects[@]}" >"$log"; then
  echo "-fanalyzer: nothing found in ${#objects[@]} files"
else
  grep -vE '^\[[0-9]+/[0-9]+\] |^FAILED: |^/.* -fanalyzer |^ninja: ' "$log" || cat "$log"
  exit 1
fi
