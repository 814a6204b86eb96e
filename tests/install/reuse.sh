#!/bin/sh
# A compiler launcher that takes the object of BUILD_DIR, if there is one, and compiles otherwise.
#
#   reuse.sh BUILD_DIR COMPILER ARGUMENT...
set -eu
build=$1
shift
previous=
for argument in "$@"; do
  if [ "$previous" = -o ] && [ -f "$build/$argument" ]; then
    exec cp "$build/$argument" "$argument"
  fi
  previous=$argument
done
exec "$@"
