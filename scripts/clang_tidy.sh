#!/usr/bin/env bash
# Runs clang-tidy (.clang-tidy) over every source file of ours; a configured build folder must compile them all:
#   clang_tidy.sh BUILD_DIR [JOBS]
# Prints what it finds, not the commands; fails if it finds anything.
set -euo pipefail
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# Each of our own files once: some are part of several programs, and nanobind's are compiled too.
mkdir -p "$1/clang-tidy"
"${PYTHON:-python3}" - "$1" >"$1/clang-tidy/compile_commands.json" <<'END'
import json, subprocess, sys
from pathlib import Path
ours = {str(Path(name).resolve()) for name in subprocess.check_output(["git", "ls-files", "*.cc"], text=True).split()}
commands = json.loads(Path(sys.argv[1], "compile_commands.json").read_text())
first = {c["file"]: c for c in reversed(commands) if c["file"] in ours}
if missing := ours - first.keys():
    sys.exit("clang-tidy: not compiled, so not read: " + " ".join(sorted(missing)))
print(json.dumps(list(first.values())))
END
if run-clang-tidy-19 -quiet -j "${2:-2}" -p "$1/clang-tidy" >"$log" 2>&1; then
  echo "clang-tidy: nothing found"
else
  grep -vE '^\[ *[0-9]+/[0-9]+\]|^[0-9]+ warnings? (generated|treated)|^Suppressed|^Use -header-filter|^$' "$log" || cat "$log"
  exit 1
fi
