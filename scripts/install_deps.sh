#!/usr/bin/env bash
# Installs by apt what is missing for building (build), for the tests too (test), for the benchmarks
# (bench), for the whole of .ci/run (ci). Does nothing, and asks nobody, where all is there.
set -euo pipefail

case "${1:-build}" in
  build | test | bench | ci) level=${1:-build} ;;
  *)
    echo "usage: $0 [build|test|bench|ci]" >&2
    exit 2
    ;;
esac

have() { command -v "$1" >/dev/null 2>&1; }
# Once for each architecture that has it (scripts/test_aarch64.sh adds one).
installed() { [[ " $(dpkg-query -W -f='${db:Status-Status} ' "$1" 2>/dev/null) " == *" installed "* ]]; }
cmake_is_enough() {
  have cmake && [ "$(printf '%s\n' 3.22 "$(cmake --version | sed -n '1s/[^0-9]*//p')" | sort -V | head -n 1)" = 3.22 ]
}

packages=()
# A tool counts wherever it comes from; a library counts as its package.
have c++ || packages+=(g++)
cmake_is_enough || packages+=(cmake)
have ninja || packages+=(ninja-build)
"${PYTHON:-python3}" -c 'import ensurepip, venv' 2>/dev/null || packages+=(python3-venv)
libraries=(libhwy-dev libcli11-dev nlohmann-json3-dev)
if [ "$level" != build ]; then
  libraries+=(libgtest-dev libgmock-dev)
  have pkg-config || have pkgconf || packages+=(pkg-config)
  # The Python package is compiled.
  "${PYTHON:-python3}" -c 'import os, sysconfig
raise SystemExit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' 2>/dev/null ||
    packages+=(python3-dev)
fi
if [ "$level" = bench ] || [ "$level" = ci ]; then # ci: clang-tidy reads the benchmarks
  libraries+=(libbenchmark-dev)
fi
if [ "$level" = ci ]; then
  libraries+=(libclang-rt-19-dev libomp-19-dev)
  have clang++-19 || packages+=(clang-19)
  have llvm-cov-19 || packages+=(llvm-19)
  have clang-tidy-19 || packages+=(clang-tidy-19)
fi

if ! have apt-get || ! have dpkg-query; then
  echo "install_deps: this is no Debian or Ubuntu. If the build stops at a missing package, these" >&2
  echo "  are Debian's names of what it needs: g++ cmake ninja-build ${libraries[*]}" >&2
  exit 0
fi
for library in "${libraries[@]}"; do
  installed "$library" || packages+=("$library")
done
[ ${#packages[@]} -gt 0 ] || exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  if ! have sudo; then
    echo "install_deps: these packages are missing, and neither root nor sudo is here to install them:" >&2
    echo "  apt-get install ${packages[*]}" >&2
    exit 1
  fi
  as_root=(sudo)
fi
echo "install_deps: installing ${packages[*]}"
export DEBIAN_FRONTEND=noninteractive
"${as_root[@]}" apt-get update -q
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
  apt-get install -y -q --no-install-recommends "${packages[@]}"
