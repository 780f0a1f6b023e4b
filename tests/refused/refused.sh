#!/bin/sh
# refused.sh FILE COMPILE-COMMAND...: passes when the compiler's first error matches the regex in FILE's first line,
# `// expect: REGEX`, and what ends the compilation follows at once. FILE's second line may add `// flags: FLAG...`. A
# FILE that mentions TENSORNORM_EXPECT_OK must compile with that macro defined.
set -eu
file=$1
shift
fail() { printf '%s: %s\n%s\n' "$file" "$1" "${output-}" >&2; exit 1; }

regex=$(sed -n '1s|^// expect: *||p' "$file")
[ -n "$regex" ] || fail "the first line must be '// expect: REGEX'"
# shellcheck disable=SC2046  # one word a flag
set -- "$@" $(sed -n '2s|^// flags: *||p' "$file")
if output=$("$@" "$file" 2>&1); then fail 'compiles, but must not'; fi
errors=$(printf '%s\n' "$output" | grep 'error:')
printf '%s\n' "$errors" | head -n 1 | grep -Eq -- "$regex" || fail "the first error must match '$regex'"
[ "$(printf '%s\n' "$errors" | sed 1d | grep -vc 'fatal error: .*see the error above')" = 0 ] || fail 'other errors follow'
if grep -q TENSORNORM_EXPECT_OK "$file"; then
  output=$("$@" -DTENSORNORM_EXPECT_OK "$file" 2>&1) || fail 'must compile with TENSORNORM_EXPECT_OK'
fi
