#!/bin/sh
# expect.sh FILE COMPILE-COMMAND...: passes when the compiler refuses FILE and its first error matches the regex in FILE's
# first line, `// expect: REGEX`. A FILE that mentions TENSORNORM_EXPECT_OK must compile with that macro defined.
set -eu
file=$1
shift
fail() { printf '%s: %s\n%s\n' "$file" "$1" "${output-}" >&2; exit 1; }

regex=$(sed -n '1s|^// expect: *||p' "$file")
[ -n "$regex" ] || fail "the first line must be '// expect: REGEX'"
if output=$("$@" "$file" 2>&1); then fail 'compiles, but must not'; fi
printf '%s\n' "$output" | grep 'error:' | head -n 1 | grep -Eq -- "$regex" || fail "the first error must match '$regex'"
printf "%s\n" "$output" | grep -qF "$file:" || fail 'no message names a line of this file'
if grep -q TENSORNORM_EXPECT_OK "$file"; then
  output=$("$@" -DTENSORNORM_EXPECT_OK "$file" 2>&1) || fail 'must compile with TENSORNORM_EXPECT_OK'
fi
