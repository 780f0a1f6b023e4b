#!/bin/sh
# same_bits.sh PROGRAM PROGRAM: both print the same, and something.
set -eu
first=$("$1")
second=$("$2")
[ "$first" ] || { echo "$1 printed nothing" && exit 1; }
[ "$first" = "$second" ] || { printf '%s\n' "$1:" "$first" "$2:" "$second" && exit 1; }
