# shellcheck shell=sh
# Sourced by tests/run, examples/run, benchmarks/run and .ci/run, which set root to the checkout.

: "${root:?}"
missing=

# need PACKAGE WHY WHAT...: asks for a Debian package unless one of WHAT, commands or absolute paths, is there.
need() {
  need_package=$1 need_why=$2
  shift 2
  for need_what; do
    case $need_what in
      /*) [ ! -e "$need_what" ] || return 0 ;;
      *) ! command -v "$need_what" >/dev/null || return 0 ;;
    esac
  done
  echo "missing: $need_package, $need_why" >&2
  missing="$missing $need_package"
}

# Installs what `need` missed; nothing and silent when nothing is.
install_missing() {
  [ -n "$missing" ] || return 0
  if ! command -v apt-get >/dev/null; then
    echo "no apt-get here: install the above by other means" >&2
    return 0
  fi
  echo "installing with apt-get:$missing" >&2
  as_root apt-get -qq update >&2
  # shellcheck disable=SC2086  # one word a package
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $missing >&2
  missing=
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

need_build_tools() {
  need cmake 'which configures the build' cmake
  need g++ 'a C++17 compiler' "${CXX:-c++}" g++ clang++
  need ninja-build 'which runs the build' ninja make
  need libeigen3-dev 'the tensors' /usr/include/eigen3/Eigen/Core /usr/local/include/eigen3/Eigen/Core
}

need_mpi() {
  need libopenmpi-dev 'MPI, for ranks that are processes' mpicxx
  need openmpi-bin 'which starts them' mpirun
}

# Lets Open MPI start more ranks than there are processors, also for root; others do not read these variables.
allow_ranks() {
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
  export PRTE_MCA_rmaps_default_mapping_policy=:oversubscribe
}

# build NAME CMAKE-ARGUMENT...: configures the checkout in build/NAME and builds it, or only $targets of it.
build() {
  build_dir=$root/build/$1
  shift
  if command -v ninja >/dev/null; then export CMAKE_GENERATOR="${CMAKE_GENERATOR:-Ninja}"; fi
  # A cache from before the checkout was moved is of no use.
  grep -qsxF "CMAKE_HOME_DIRECTORY:INTERNAL=$root" "$build_dir/CMakeCache.txt" || rm -rf "$build_dir"
  cmake -S "$root" -B "$build_dir" -DCMAKE_BUILD_TYPE=Release -DTENSORNORM_BUILD_TESTS=OFF \
    -DTENSORNORM_BUILD_EXAMPLES=OFF -DTENSORNORM_BUILD_BENCHMARKS=OFF "$@" >/dev/null
  # shellcheck disable=SC2086  # one word a target
  cmake --build "$build_dir" --parallel "$(nproc)" ${targets:+--target $targets} >&2
}
