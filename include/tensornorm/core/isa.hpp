// The instruction sets kernels are compiled for, and the choice of one at run time.
//
// A kernel is a struct with `template <class Isa> void run() const`, always inlined into one thin function per
// instruction set that carries the target attribute. So a plain -O2 build runs as fast as one for the machine it is on.
#pragma once

#define TENSORNORM_INLINE inline __attribute__((always_inline))

#if defined(__x86_64__) && !defined(TENSORNORM_BASELINE_ONLY)
#define TENSORNORM_HAS_AVX2 1
#else
#define TENSORNORM_HAS_AVX2 0
#endif

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

struct Baseline {
  static constexpr int bytes = 16;
  static constexpr bool has_f16c = false;
};

// AVX2, FMA and F16C, which came to every processor together (x86-64-v3).
struct Avx2 {
  static constexpr int bytes = 32;
  static constexpr bool has_f16c = true;
};

template <unsigned flags, class Kernel>
void run_baseline(const Kernel& kernel) {
  kernel.template run<Baseline>();
}

#if TENSORNORM_HAS_AVX2
inline bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }

template <unsigned flags, class Kernel>
__attribute__((target("avx2,fma,f16c"))) void run_avx2(const Kernel& kernel) {
  kernel.template run<Avx2>();
}
#endif

// Runs the kernel on the best instruction set of this machine; no other is compiled where the flags allow that one.
template <class Kernel>
void run(const Kernel& kernel) {
#if TENSORNORM_HAS_AVX2
#if !defined(__AVX2__) || !defined(__FMA__) || !defined(__F16C__)
  if (!has_avx2()) return run_baseline<kFlags>(kernel);
#endif
  run_avx2<kFlags>(kernel);
#else
  run_baseline<kFlags>(kernel);
#endif
}

}  // namespace core
}  // namespace tensornorm
