#!/bin/sh
# Installs the library into a temporary prefix and builds main.cc against it as a stranger would,
# with CMake and with pkg-config.
#
#   run.sh BUILD_DIR           installs what BUILD_DIR has built
#   run.sh BUILD_DIR static    installs a static library made of the same objects
set -eu

build=$(cd "$1" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
source=$(cd "$here/../.." && pwd)
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
prefix=$temporary/prefix

fail() {
  echo "install test: $*" >&2
  exit 1
}

# The value of a cache entry of BUILD_DIR, empty if there is none.
cached() {
  sed -n "s/^$1:[A-Z]*=//p" "$build/CMakeCache.txt"
}

cmake=$(cached CMAKE_COMMAND)
cxx=$(cached CMAKE_CXX_COMPILER)
generator=$(cached CMAKE_GENERATOR)
nm=$(cached CMAKE_NM)
pkg_config=$(cached pkg_config)

configure() {
  "$cmake" -G "$generator" -DCMAKE_CXX_COMPILER="$cxx" "$@" >"$temporary/log" 2>&1 ||
    { cat "$temporary/log" >&2; fail "cmake $*"; }
}

compile() {
  "$cmake" --build "$1" --parallel 2 >"$temporary/log" 2>&1 || { cat "$temporary/log" >&2; fail "building $1"; }
}

# Runs the consumer in an empty folder: it prints nothing and leaves its state file there.
run() {
  rm -rf "$temporary/run"
  mkdir "$temporary/run"
  (cd "$temporary/run" && "$@" >output 2>&1) ||
    { cat "$temporary/run/output" >&2; fail "$* failed"; }
  [ ! -s "$temporary/run/output" ] || fail "$* printed something"
  [ "$(ls "$temporary/run")" = "norm.safetensors
output" ] || fail "$* left $(ls "$temporary/run")"
}

if [ "${2-}" = static ]; then
  configure -S "$source" -B "$temporary/build" -DBUILD_SHARED_LIBS=OFF \
    -DCMAKE_CXX_COMPILER_LAUNCHER="sh;$here/reuse.sh;$build" \
    -DCMAKE_BUILD_TYPE="$(cached CMAKE_BUILD_TYPE)" \
    -DCMAKE_CXX_FLAGS="$(cached CMAKE_CXX_FLAGS)" \
    -DINSTNORM_BUILD_TESTS=OFF -DINSTNORM_BUILD_TOOLS=OFF
  compile "$temporary/build"
  build=$temporary/build
fi
"$cmake" --install "$build" --prefix "$prefix" >/dev/null

# What is installed: the public headers, each complete by itself (seen once), and no path of this machine.
installed=$(cd "$prefix/include" && find . -type f | sort)
public=$(cd "$source/include" && find . -name '*.h' | sort)
[ "$installed" = "$public" ] || fail "installed headers: $installed"
[ "${2-}" = static ] || for header in $public; do
  echo "#include <${header#./}>" |
    "$cxx" -std=c++20 -Wall -Wextra -Werror -I"$prefix/include" -fsyntax-only -x c++ - ||
    fail "$header does not compile by itself"
done
pc=$(find "$prefix" -name instnorm.pc)
config=$(find "$prefix" -name instnorm-config.cmake)
if grep -r -e "$source" -e "$build" "$(dirname "$pc")" "$(dirname "$config")"; then
  fail "the package files name folders of the build"
fi
libdir=$(dirname "$(dirname "$pc")")

# With CMake.
configure -S "$here" -B "$temporary/consumer" -DCMAKE_PREFIX_PATH="$prefix" \
  -DCMAKE_CXX_FLAGS="-Wall -Wextra -Werror"
compile "$temporary/consumer"
run "$temporary/consumer/consumer"

# With pkg-config.
PKG_CONFIG_PATH=$(dirname "$pc")
export PKG_CONFIG_PATH
library=$libdir/libinstnorm.so
static=
[ -e "$library" ] || static=--static
# The words of the flags are meant to be split.
# shellcheck disable=SC2046
"$cxx" -std=c++20 "$here/main.cc" -o "$temporary/by-pkg-config" \
  $("$pkg_config" --cflags --libs $static instnorm) || fail "building with pkg-config"
run env LD_LIBRARY_PATH="$libdir" "$temporary/by-pkg-config"

if [ -e "$library" ]; then
  [ "${2-}" != static ] || fail "a shared library where a static one was asked for"
  exported=$("$nm" -D -C --defined-only "$library" | cut -d' ' -f3-)
  foreign=$(echo "$exported" | grep -v '^instnorm::' || true)
  [ -z "$foreign" ] || fail "the library exports more than its own functions: $foreign"
  echo "$exported" | grep -q '^instnorm::instance_norm(' || fail "instance_norm is not exported"
else
  [ -f "$libdir/libinstnorm.a" ] || fail "no library in $libdir"
fi
