// The instruction sets kernels are compiled for, and the choice of one at run time.
//
// A kernel is a struct with `template <class Isa> void run() const`, always inlined into one thin function per
// instruction set that carries the target attribute, and `template <class Isa> bool fills() const`. So a plain -O2
// build runs as fast as one for the machine it is on.
#pragma once

#include <type_traits>

// What kernels are made of is compiled only within a kernel, for its instruction set: GCC emits no copy for callers of
// other sets, not even where flags ask for one of every function.
#if defined(__clang__)
#define TENSORNORM_INLINE inline __attribute__((always_inline))
#else
#define TENSORNORM_INLINE inline __attribute__((always_inline, gnu_inline, no_instrument_function))
#endif

/// @def TENSORNORM_NO_AVX512
/// @ingroup macros
/// Defined for all files of a program: the kernels for AVX-512 are not compiled.

/// @def TENSORNORM_BASELINE_ONLY
/// @ingroup macros
/// Defined for all files of a program: neither the kernels for AVX-512 nor those for AVX2 are compiled.

// GCC for Windows spills vectors of 32 bytes to a stack aligned to 16, by instructions that then fault (GCC bug 54412).
#if defined(_WIN64) && !defined(__clang__) && !defined(TENSORNORM_BASELINE_ONLY)
#define TENSORNORM_BASELINE_ONLY
#endif
#if defined(__x86_64__) && !defined(TENSORNORM_BASELINE_ONLY)
#define TENSORNORM_HAS_AVX2 1
#else
#define TENSORNORM_HAS_AVX2 0
#endif
#if TENSORNORM_HAS_AVX2 && !defined(TENSORNORM_NO_AVX512)
#define TENSORNORM_HAS_AVX512 1
#else
#define TENSORNORM_HAS_AVX512 0
#endif

#include "tensornorm/core/ieee_math.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {
namespace core {

// What the compiler's own flags allow: part of every kernel's name, since a kernel is compiled with its unit's
// instructions besides its own.
constexpr unsigned kFlags = 0
#ifdef __AVX__
                            + 1
#endif
#ifdef __FMA__
                            + 2
#endif
#ifdef __AVX2__
                            + 4
#endif
#ifdef __AVX512F__
                            + 8
#endif
    ;

// The baseline alone has loads and stores of less than a vector. Loops of a set that `unrolls` take four vectors at a
// time; where AVX2 is at hand the baseline serves narrow tiles and processors before 2013, and small code matters more.
struct Baseline {
  static constexpr int bytes = 16;
  static constexpr bool is_baseline = true, has_f16c = false, has_32_registers = false, unrolls = !TENSORNORM_HAS_AVX2;
};

// AVX2 and F16C, which every processor with AVX2 has.
struct Avx2 {
  static constexpr int bytes = 32;
  static constexpr bool is_baseline = false, has_f16c = true, has_32_registers = false, unrolls = true;
};

// AVX-512 with its byte, word, double word and vector length parts (x86-64-v4).
struct Avx512 {
  static constexpr int bytes = 64;
  static constexpr bool is_baseline = false, has_f16c = true, has_32_registers = true, unrolls = true;
};

// Vectors of half the size.
template <class Isa>
struct HalfVectors {
  static constexpr int bytes = Isa::bytes / 2;
  static constexpr bool has_f16c = Isa::has_f16c;
};
template <class Isa>
using HalfOf = std::conditional_t<Isa::bytes == Avx512::bytes, Avx2, HalfVectors<Isa>>;

template <unsigned flags, class Kernel>
void run_baseline(const Kernel& kernel) {
  kernel.template run<Baseline>();
}

#if TENSORNORM_HAS_AVX2
inline bool has_avx2() {
#if defined(__AVX2__) && defined(__F16C__)
  return true;
#else
  return __builtin_cpu_supports("avx2");
#endif
}

template <unsigned flags, class Kernel>
__attribute__((target("avx2,f16c"))) void run_avx2(const Kernel& kernel) {
  kernel.template run<Avx2>();
}
#endif

#if TENSORNORM_HAS_AVX512
inline bool has_avx512() {
#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)
  return true;
#else
  return __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
#endif
}

template <unsigned flags, class Kernel>
__attribute__((target("avx2,f16c,avx512f,avx512bw,avx512dq,avx512vl"))) void run_avx512(const Kernel& kernel) {
  kernel.template run<Avx512>();
}
#endif

// Runs the kernel on the better of AVX2 and the baseline whose vectors its tile fills: Kernel::fills<Isa>().
template <class Kernel>
void dispatch_to_avx2(const Kernel& kernel) {
#if TENSORNORM_HAS_AVX2
  if (has_avx2() && kernel.template fills<Avx2>()) return run_avx2<kFlags>(kernel);
#endif
  run_baseline<kFlags>(kernel);
}

// The same of all instruction sets.
template <class Kernel>
void dispatch(const Kernel& kernel) {
#if TENSORNORM_HAS_AVX512
  if (has_avx512() && kernel.template fills<Avx512>()) return run_avx512<kFlags>(kernel);
#endif
  dispatch_to_avx2(kernel);
}

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END
