#!/usr/bin/env bash
# Builds the wheel twice and compares the bytes: reproducible_wheel.sh [PYTHON], one that has what
# requirements/test.txt names. All that must not matter differs: the folders of the sources, of the build, of nanobind
# and for temporary files, the times of files, the time zone, the umask, the number of jobs. Two full compilations take
# minutes.
set -euo pipefail
cd "$(dirname "$0")/.."
python=$(realpath -s "${1:-.venv/bin/python}")
work=$(mktemp -d)
# Another file system lists the same folder in another order.
other_temporary=$(mktemp -d -p "$([ -w /dev/shm ] && echo /dev/shm || echo "$work")")
trap 'rm -rf "$work" "$other_temporary"' EXIT
export CCACHE_DISABLE=1
unset SOURCE_DATE_EPOCH

# build SOURCE_FOLDER BUILD_FOLDER UMASK JOBS TIME_ZONE TEMPORARY_FOLDER [OPTION...]
build() (
  umask "$3"
  mkdir -p "$1"
  git ls-files -z | tar --create --null --files-from=- | tar --extract --touch --no-same-permissions --directory="$1"
  cd "$1"
  CMAKE_BUILD_PARALLEL_LEVEL=$4 TZ=$5 TMPDIR=$6 "$python" -m pip wheel --quiet --disable-pip-version-check \
    --no-build-isolation --no-deps --config-settings=build-dir="$2" "${@:7}" --wheel-dir "$1/wheel" .
)

mkdir "$work/packages" "$work/temporary"
cp -R "$("$python" -c 'import nanobind; print(nanobind.__path__[0])')" "$work/packages/"

build "$work/a/instnorm" build/wheel 022 2 UTC "$work/temporary"
build "$work/another/much/longer/path" "$work/elsewhere" 077 1 Asia/Tokyo "$other_temporary" \
  --config-settings=cmake.define.nanobind_DIR="$work/packages/nanobind/cmake"
"$python" scripts/compare_wheels.py "$work"/a/instnorm/wheel/*.whl "$work"/another/much/longer/path/wheel/*.whl
