#!/usr/bin/env bash
# The tests in Python with another Python, and with another PyTorch if one is named, in an environment of its own:
#   test_python.sh PYTHON [TORCH [WHEEL]], e.g. test_python.sh python3.12 2.6.0
# Builds the wheel of that Python into build/wheels, unless one is given, such as the stable ABI's of another Python.
# Needs what `make test` has built: the command and the programs that the tests run.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${1:?which Python} torch=${2:-} wheel=${3:-}
name=$("$python" -c 'import platform; print(platform.python_version())')${torch:+-torch-$torch}
home=build/python/$name
export INSTNORM_BUILD_DIR=${INSTNORM_BUILD_DIR:-$PWD/build/test} OMP_WAIT_POLICY=PASSIVE
[ -x "$INSTNORM_BUILD_DIR/tests/module_io" ] || { echo "$INSTNORM_BUILD_DIR: make test comes first" >&2; exit 1; }

rm -rf "$home"
"$python" -m venv "$home"
pip() { "$home/bin/python" -m pip --quiet --disable-pip-version-check "$@"; }
pip install --require-hashes -r requirements/test.lock
[ -z "$torch" ] || pip install "torch==$torch" expecttest
if [ -z "$wheel" ]; then
  mkdir -p build/wheels
  CMAKE_BUILD_PARALLEL_LEVEL=$(nproc) pip wheel --no-build-isolation --no-deps \
    --config-settings=build-dir="$home/cmake" --wheel-dir "$home/wheel" .
  wheel=$(echo "$home"/wheel/*.whl)
  cp "$wheel" build/wheels/
fi
pip install --no-deps "$wheel"
echo "== $name: $(basename "$wheel")"
"$home/bin/python" -m pytest -q -n "$(nproc)" --dist worksteal tests/python ${torch:+tests/torch}
INSTNORM_WHEEL=$(realpath "$wheel") "$home/bin/python" -m pytest -q tests/project/test_wheel.py
