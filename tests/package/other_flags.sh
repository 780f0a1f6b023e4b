#!/bin/sh
# A file whose flags disagree with those of the passes that it links about memory or exceptions does not link; one whose
# flags agree does, and runs. From the environment: SOURCE, WORK, CXX, CXXFLAGS, EIGEN, as in readme.sh.
set -eu
rm -rf "$WORK"
mkdir -p "$WORK"
cd "$WORK"

compile() {
  # shellcheck disable=SC2086  # flags
  "$CXX" $CXXFLAGS -std=c++17 -O0 -DTENSORNORM_COMPILED -DTENSORNORM_BASELINE_ONLY -I "$SOURCE/include" \
    -isystem "$EIGEN" "$@"
}

cat >passes.cpp <<'PASSES'
#include <tensornorm/instantiate/common.hpp>
#include <tensornorm/instantiate/layers.hpp>
TENSORNORM_INSTANTIATE_LAYERS(float);
PASSES
compile -c passes.cpp -o passes.o
cat >program.cpp <<'PROGRAM'
#include <tensornorm/batch_norm.hpp>
int main() {
  Eigen::MatrixXf x = Eigen::MatrixXf::Random(8, 3), y;
  tensornorm::BatchNorm<float> norm(3);
  norm.forward(x, y);
  return y.rows() != 8;
}
PROGRAM
compile program.cpp passes.o -o program
./program

for flag in -DEIGEN_MAX_ALIGN_BYTES=128 -DEIGEN_DEFAULT_TO_ROW_MAJOR -fno-exceptions; do
  if compile "$flag" program.cpp passes.o -o other >messages 2>&1; then
    echo "a file compiled with $flag links passes compiled without" >&2
    exit 1
  fi
  grep -q 'undefined reference.*Engine' messages
done
