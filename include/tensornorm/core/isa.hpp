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

// What the compiler's own flags allow. The flags are part of the type, and so of every kernel's name: translation units
// built with different flags never share a kernel.
constexpr unsigned kBaselineFlags = 0
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

template <unsigned flags>
struct Baseline {
  static constexpr int bytes = 16;
  static constexpr bool has_f16c = false;
};

// AVX2, FMA and F16C, which came to every processor together (x86-64-v3).
struct Avx2 {
  static constexpr int bytes = 32;
  static constexpr bool has_f16c = true;
};

#if TENSORNORM_HAS_AVX2
inline bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }

template <class Kernel>
__attribute__((target("avx2,fma,f16c"))) void run_avx2(const Kernel& kernel) {
  kernel.template run<Avx2>();
}
#endif

template <unsigned flags, class Kernel>
void run_baseline(const Kernel& kernel) {
  kernel.template run<Baseline<flags>>();
}

template <class Kernel>
void run(const Kernel& kernel) {
#if TENSORNORM_HAS_AVX2
  if (has_avx2()) return run_avx2(kernel);
#endif
  run_baseline<kBaselineFlags>(kernel);
}

}  // namespace core
}  // namespace tensornorm
