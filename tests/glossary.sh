#!/bin/sh
# glossary.sh CORE: every name in the glossary of CORE/README.md is a name in the code of CORE, comments left aside.
set -euf

# What is between backticks in the table below the heading.
names=$(awk -F '`' '
  /^## / { inside = $0 == "## Glossary" }
  inside && /^\|/ { for (i = 2; i <= NF; i += 2) print $i }
' "$1/README.md" | sort -u)
[ "$names" ] || { echo "finds no glossary in $1/README.md" >&2; exit 1; }
code=$(find "$1" -name '*.hpp' -exec sed 's|//.*||' {} +)

missing=0
for name in $names; do
  printf '%s\n' "$code" | grep -qwF -e "$name" && continue
  echo "$1/README.md explains $name, which is no name in the code" >&2
  missing=1
done
exit $missing
