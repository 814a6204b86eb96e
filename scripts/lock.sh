#!/usr/bin/env bash
# Makes requirements/demo.lock and test.lock anew from the .txt beside them: what these need in turn, for every Python
# and platform, with the hashes of PyPI's files. Keeps versions that still fit; --upgrade takes the newest.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work"
"$work/bin/python" -m pip install --quiet --disable-pip-version-check uv==0.13.9

# lock NAME OLDEST_PYTHON [OPTION...]
lock() {
  local file=requirements/$1.lock
  "$work/bin/uv" pip compile --quiet --universal --python-version "$2" --generate-hashes --no-header \
    --no-annotate --output-file "$file" "${@:3}" "requirements/$1.txt" >/dev/null
  sed -i "1i # By scripts/lock.sh from $1.txt: change that." "$file"
}
lock demo 3.9 "$@"
lock test 3.10 --constraints requirements/demo.lock "$@"
