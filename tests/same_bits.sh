#!/bin/sh
# same_bits.sh PROGRAM...: each prints tests/bits.txt. After a change of arithmetic, write that file anew:
# build/tests/tests/bits >tests/bits.txt
set -eu
expected=$(dirname -- "$(readlink -f -- "$0")")/bits.txt
printed=$(mktemp)
trap 'rm -f "$printed"' EXIT
for program; do
  $program >"$printed"
  diff "$expected" "$printed" || { echo "$program prints other bits" && exit 1; }
done
