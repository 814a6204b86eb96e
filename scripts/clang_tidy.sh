#!/usr/bin/env bash
# Runs clang-tidy (.clang-tidy) over every source file that a configured build folder compiles:
#   clang_tidy.sh BUILD_DIR [JOBS]
# Prints what it finds, not the commands; fails if it finds anything.
set -euo pipefail
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if run-clang-tidy-19 -quiet -j "${2:-2}" -p "$1" >"$log" 2>&1; then
  echo "clang-tidy: nothing found"
else
  grep -vE '^\[ *[0-9]+/[0-9]+\]|^[0-9]+ warnings? (generated|treated)|^Suppressed|^Use -header-filter|^$' "$log" || cat "$log"
  exit 1
fi
