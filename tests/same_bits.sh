#!/bin/sh
# same_bits.sh PROGRAM PROGRAM: both print the same, and something.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$1" >"$folder/first" &
first=$!
"$2" >"$folder/second"
wait $first
[ -s "$folder/first" ] || { echo "$1 printed nothing" && exit 1; }
diff "$folder/first" "$folder/second" || { echo "$1 and $2 print other bits" && exit 1; }
