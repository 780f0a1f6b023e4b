#!/bin/sh
# expect.sh FILE COMPILE-COMMAND...: passes when the compiler refuses FILE with one error, a static_assert of ours that
# matches the regex in FILE's first line, `// expect: REGEX`, or with N such errors where that is `// expect N: REGEX`. A
# FILE that mentions TENSORNORM_EXPECT_OK must compile with that macro defined.
set -eu
file=$1
shift
fail() { printf '%s: %s\n%s\n' "$file" "$1" "${output-}" >&2; exit 1; }

number=$(sed -n '1s|^// expect *\([0-9]*\): .*|\1|p' "$file")
regex=$(sed -n '1s|^// expect *[0-9]*: *||p' "$file")
[ -n "$regex" ] || fail "the first line must be '// expect: REGEX'"
if output=$("$@" "$file" 2>&1); then fail 'compiles, but must not'; fi
errors=$(printf '%s\n' "$output" | grep 'error:') || fail 'no error'
[ "$(printf '%s\n' "$errors" | wc -l)" -eq "${number:-1}" ] || fail "there must be ${number:-1} errors"
[ "$(printf '%s\n' "$errors" | grep -Ec -- "$regex")" -eq "${number:-1}" ] || fail "every error must match '$regex'"
printf "%s\n" "$output" | grep -qF "$file:" || fail 'no message names a line of this file'
if grep -q TENSORNORM_EXPECT_OK "$file"; then
  output=$("$@" -DTENSORNORM_EXPECT_OK "$file" 2>&1) || fail 'must compile with TENSORNORM_EXPECT_OK'
fi
