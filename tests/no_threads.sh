#!/bin/sh
# no_threads.sh COMPILE-COMMAND...: programs that use none of Eigen's threads need a platform that has none. None of our
# headers then includes the standard ones of threads and clocks, or has variables of a thread. Eigen's own may.
set -eu

# Our headers' own lines that have to do with threads, of a program compiled with these FLAG...
lines() {
  echo '#include <tensornorm/tensornorm.hpp>' | "$@" -E -dI -x c++ - |
    awk '/^# [0-9]+ "/ { ours = $3 ~ "/tensornorm/"; next }
      ours && /# *include *<(thread|mutex|shared_mutex|condition_variable|future|chrono)>|thread_local/'
}

found=$(lines "$@")
[ -z "$found" ] || { printf 'without EIGEN_USE_THREADS:\n%s\n' "$found" >&2; exit 1; }
found=$(lines "$@" -DEIGEN_USE_THREADS)
[ "$found" ] || { echo 'finds nothing with EIGEN_USE_THREADS: it does not look where it should' >&2; exit 1; }
