#!/bin/sh
# guest.sh find_package|add_subdirectory|pkg_config [TARGET]: builds and runs examples/quickstart.cpp in a project of its own.
# From the environment: SOURCE, the checkout; BUILD, its build tree; WORK, a folder to use; CMAKE, CXX, CXXFLAGS.
set -eu
target=${2:-tensornorm::tensornorm}
rm -rf "$WORK"
mkdir -p "$WORK"
cd "$WORK"
cp "$SOURCE/tests/package/guest/CMakeLists.txt" "$SOURCE/examples/quickstart.cpp" .

# An installed tree must work wherever it is moved to.
install_and_move() {
  "$CMAKE" --install "$BUILD" --prefix "$WORK/before" >/dev/null
  mv before after
}

build_with_cmake() {
  "$CMAKE" -S . -B build -DTENSORNORM_TARGET="$target" -DTENSORNORM_SCALARS=float "$@"
  "$CMAKE" --build build
  mv build/quickstart .
}

case $1 in
  find_package)
    install_and_move
    build_with_cmake -DCMAKE_PREFIX_PATH="$WORK/after"
    ;;
  add_subdirectory)
    build_with_cmake -DTENSORNORM_SOURCE="$SOURCE"
    ;;
  pkg_config)
    install_and_move
    flags=$(PKG_CONFIG_PATH="$WORK/after/share/pkgconfig" pkg-config --cflags tensornorm)
    # pkg-config quotes for the shell, so the shell must read its flags.
    eval "'$CXX' $CXXFLAGS -std=c++17 $flags quickstart.cpp -o quickstart"
    ;;
esac
./quickstart
