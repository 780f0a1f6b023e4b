#!/bin/sh
# Every ```cpp block of README.md and include/tensornorm/README.md that has a main() compiles, and prints the ```text
# block that follows it, if one does before the next program. The first is examples/quickstart.cpp, and README's own
# compile line builds it; the others are linked with the passes. Every link of a README to a file leads to one.
# From the environment: SOURCE, the checkout; WORK, a folder to use; CXX, CXXFLAGS; EIGEN, Eigen's include folder;
# PASSES, the library that holds the passes.
set -eu
rm -rf "$WORK"
mkdir -p "$WORK"
cd "$WORK"
ln -s "$SOURCE/include" "$SOURCE/examples" .

for folder in . benchmarks cmake examples examples/data include/tensornorm include/tensornorm/core \
  include/tensornorm/core/plan include/tensornorm/core/kernel include/tensornorm/core/pass \
  include/tensornorm/core/thread include/tensornorm/core/whitening include/tensornorm/core/clip tests; do
  awk '
    /^```/ { code = !code }
    !code { n = split($0, part, /\]\(/); for (i = 2; i <= n; ++i) { sub(/[)#].*/, "", part[i]); print part[i] } }
  ' "$SOURCE/$folder/README.md" | while read -r link; do
    case $link in
      '' | *:*) ;;
      *) [ -e "$SOURCE/$folder/$link" ] || { echo "$folder/README.md links to $link, which is not there" && exit 1; } ;;
    esac
  done
done

awk '
  !/^```/ { block = block $0 "\n"; next }
  kind == "" { kind = $0; block = ""; next }
  kind == "```cpp" { program = block ~ /int main\(/ ? ++count ".cpp" : ""; if (program) printf "%s", block > program }
  kind == "```text" && program { printf "%s", block > (count ".txt"); program = "" }
  { kind = "" }
' "$SOURCE/README.md" "$SOURCE/include/tensornorm/README.md"

cmp 1.cpp examples/quickstart.cpp
for program in [0-9]*.cpp; do
  name=${program%.cpp}
  echo "program $name of the READMEs"
  # shellcheck disable=SC2086  # flags
  "$CXX" $CXXFLAGS -std=c++17 -DTENSORNORM_COMPILED -I include -isystem "$EIGEN" "$program" "$PASSES" -o "$name" -pthread
  "./$name" >"$name.out"
  [ ! -f "$name.txt" ] || diff "$name.txt" "$name.out"
done

compile=$(grep -E -m 1 '^(g|c|clang)\+\+ ' "$SOURCE/README.md")
echo "README.md: $compile"
cp 1.cpp quickstart.cpp
eval "$compile"
./quickstart | diff 1.txt -
