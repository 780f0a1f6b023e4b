// The few operations on vectors that compilers do not lower well, or at all, from plain vector code.
//
// Kernels are generic functions, inlined into one that has the instruction set. GCC lowers broadcasts and conversions
// earlier, for the generic function's own instruction set; so on GCC those of AVX2 and AVX-512 are spelled as
// instructions. clang lowers late, but offers half precision in a type of its own. For AArch64 GCC would convert lane
// by lane.
#pragma once

#include <Eigen/Core>
#include <cstdint>
#include <cstring>

#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/kernel/isa.hpp"
#include "tensornorm/core/plan/axis.hpp"
#if defined(__x86_64__)
#include <emmintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {
namespace core {

template <class T, int lanes>
struct VecOf {
  typedef T type __attribute__((vector_size(lanes * sizeof(T))));
};
template <class T, int lanes>
using Vec = typename VecOf<T, lanes>::type;

template <class Isa, class T>
constexpr int kLanes = Isa::bytes / static_cast<int>(sizeof(T));

template <class To, class From>
TENSORNORM_INLINE void copy_bits(const From& from, To& to) {
  static_assert(sizeof(To) == sizeof(From), "tensornorm: a vector and its memory differ in size");
  std::memcpy(&to, &from, sizeof to);
}

// The halves of a vector.
template <class V, class Half>
TENSORNORM_INLINE void split(const V& v, Half& low, Half& high) {
  static_assert(2 * sizeof(Half) == sizeof(V), "tensornorm: a half is half as wide");
  const V whole = v;  // so that v may stay in a register
  std::memcpy(&low, &whole, sizeof low);
  std::memcpy(&high, reinterpret_cast<const char*>(&whole) + sizeof low, sizeof high);
}

// The sum of a vector's lanes, halves first.
template <class T, int lanes>
TENSORNORM_INLINE T sum_lanes(const Vec<T, lanes>& v) {
  if constexpr (lanes == 2) {
    return v[0] + v[1];
  } else {
    Vec<T, lanes / 2> low, high;
    split(v, low, high);
    low += high;
    return sum_lanes<T, lanes / 2>(low);
  }
}

// Stores a vector past the cache; p is on a boundary of the vector's size.
template <class Isa, class V>
TENSORNORM_INLINE void store_past_cache(void* p, const V& v) {
#if defined(__clang__)
  __builtin_nontemporal_store(v, static_cast<V*>(p));
  return;
#elif defined(__x86_64__)
  if constexpr (Isa::bytes > 16) {
    asm("vmovntps {%1, %0|%0, %1}" : "=m"(*static_cast<V*>(p)) : "v"(v));
    return;
  } else if constexpr (sizeof v == 16) {
    __m128i bits;
    copy_bits(v, bits);
    _mm_stream_si128(static_cast<__m128i*>(p), bits);
    return;
  }
#elif defined(__aarch64__)
  if constexpr (sizeof v == 16) {
    Vec<double, 2> halves;
    copy_bits(v, halves);
    asm("stnp %d1, %d2, %0" : "=Q"(*static_cast<V*>(p)) : "w"(halves[0]), "w"(halves[1]));
    return;
  }
#endif
  std::memcpy(p, &v, sizeof v);
}

template <class Isa>
struct VectorOps {
  static constexpr int kFloats = kLanes<Isa, float>;

  template <class T, class V>
  static TENSORNORM_INLINE void broadcast(const T& value, V& v) {
    v = value - V{};
  }
  // 16-bit to 32-bit lanes, or half a vector of float to one of double.
  template <class Narrow, class Wide>
  static TENSORNORM_INLINE void widen(const Narrow& narrow, Wide& wide) {
    wide = __builtin_convertvector(narrow, Wide);
  }
  // to[i] += the sum of the lanes of vector i of four vectors of four doubles, halves first.
  template <class Doubles>
  static TENSORNORM_INLINE void add_sums_of_lanes(const Doubles& a, const Doubles& b, const Doubles& c,
                                                  const Doubles& d, double* to) {
    const Doubles ac = __builtin_shufflevector(a, c, 0, 1, 4, 5) + __builtin_shufflevector(a, c, 2, 3, 6, 7);
    const Doubles bd = __builtin_shufflevector(b, d, 0, 1, 4, 5) + __builtin_shufflevector(b, d, 2, 3, 6, 7);
    Doubles sums;
    std::memcpy(&sums, to, sizeof sums);
    sums += __builtin_shufflevector(ac, bd, 0, 4, 2, 6) + __builtin_shufflevector(ac, bd, 1, 5, 3, 7);
    std::memcpy(to, &sums, sizeof sums);
  }
  // The halves of a vector of float as vectors of double.
  template <class V, class Doubles>
  static TENSORNORM_INLINE void widen(const V& v, Doubles& low, Doubles& high) {
    if constexpr (kFloats == 4) {
      low = __builtin_convertvector(__builtin_shufflevector(v, v, 0, 1), Doubles);
      high = __builtin_convertvector(__builtin_shufflevector(v, v, 2, 3), Doubles);
    } else if constexpr (kFloats == 8) {
      low = __builtin_convertvector(__builtin_shufflevector(v, v, 0, 1, 2, 3), Doubles);
      high = __builtin_convertvector(__builtin_shufflevector(v, v, 4, 5, 6, 7), Doubles);
    } else {
      low = __builtin_convertvector(__builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7), Doubles);
      high = __builtin_convertvector(__builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15), Doubles);
    }
  }
  // And back, rounded.
  template <class Doubles, class V>
  static TENSORNORM_INLINE void narrow(const Doubles& low, const Doubles& high, V& v) {
    using Part = Vec<float, kFloats / 2>;
    const Part parts[2] = {__builtin_convertvector(low, Part), __builtin_convertvector(high, Part)};
    copy_bits(parts, v);
  }
  // 32-bit to 16-bit lanes; the values fit.
  template <class Wide, class Narrow>
  static TENSORNORM_INLINE void narrow(const Wide& wide, Narrow& narrow) {
    narrow = __builtin_convertvector(wide, Narrow);
  }
#if defined(__clang__)
  typedef __fp16 Half __attribute__((vector_size(kFloats * 2)));
#endif
  template <class V>
  static TENSORNORM_INLINE void load_half(const Eigen::half* p, V& v) {
#if defined(__clang__)
    if constexpr (Isa::has_f16c) {
      Half half;
      std::memcpy(&half, p, sizeof half);
      v = __builtin_convertvector(half, V);
      return;
    }
#endif
    float lanes[static_cast<std::size_t>(kFloats)];
    for (int i = 0; i < kFloats; ++i) lanes[i] = static_cast<float>(p[i]);
    std::memcpy(&v, lanes, sizeof v);
  }
  template <class V, class Narrow>
  static TENSORNORM_INLINE void pack_half(const V& v, Narrow& narrow) {
#if defined(__clang__)
    if constexpr (Isa::has_f16c) {
      copy_bits(__builtin_convertvector(v, Half), narrow);
      return;
    }
#endif
    Eigen::half lanes[static_cast<std::size_t>(kFloats)];
    for (int i = 0; i < kFloats; ++i) lanes[i] = static_cast<Eigen::half>(static_cast<float>(v[i]));
    std::memcpy(&narrow, static_cast<const void*>(lanes), sizeof narrow);
  }
};

#if defined(__aarch64__)
template <>
struct VectorOps<Baseline> {
  using Floats = Vec<float, 4>;
  using Doubles = Vec<double, 2>;
  using Words = Vec<std::uint32_t, 4>;
  using Shorts = Vec<std::uint16_t, 4>;

  template <class T, class V>
  static TENSORNORM_INLINE void broadcast(const T& value, V& v) {
    v = value - V{};
  }
  static TENSORNORM_INLINE void widen(const Vec<float, 2>& half, Doubles& v) {
    float32x2_t floats;
    copy_bits(half, floats);
    copy_bits(vcvt_f64_f32(floats), v);
  }
  static TENSORNORM_INLINE void widen(const Floats& v, Doubles& low, Doubles& high) {
    float32x4_t floats;
    copy_bits(v, floats);
    copy_bits(vcvt_f64_f32(vget_low_f32(floats)), low);
    copy_bits(vcvt_high_f64_f32(floats), high);
  }
  static TENSORNORM_INLINE void narrow(const Doubles& low, const Doubles& high, Floats& v) {
    float64x2_t lower, upper;
    copy_bits(low, lower);
    copy_bits(high, upper);
    copy_bits(vcvt_high_f32_f64(vcvt_f32_f64(lower), upper), v);
  }
  static TENSORNORM_INLINE void widen(const Shorts& narrow, Words& wide) {
    uint16x4_t shorts;
    copy_bits(narrow, shorts);
    copy_bits(vmovl_u16(shorts), wide);
  }
  static TENSORNORM_INLINE void narrow(const Words& wide, Shorts& narrow) {
    uint32x4_t words;
    copy_bits(wide, words);
    copy_bits(vmovn_u32(words), narrow);
  }
  static TENSORNORM_INLINE void load_half(const Eigen::half* p, Floats& v) {
    float16x4_t half;
    std::memcpy(&half, p, sizeof half);
    copy_bits(vcvt_f32_f16(half), v);
  }
  static TENSORNORM_INLINE void pack_half(const Floats& v, Shorts& half) {
    float32x4_t floats;
    copy_bits(v, floats);
    copy_bits(vcvt_f16_f32(floats), half);
  }
};
#endif

#if TENSORNORM_HAS_AVX2 && !defined(__clang__)
template <>
struct VectorOps<Avx2> {
  using Floats = Vec<float, 8>;
  using Doubles = Vec<double, 4>;
  using Words = Vec<std::uint32_t, 8>;
  using Shorts = Vec<std::uint16_t, 8>;

  static TENSORNORM_INLINE void add_sums_of_lanes(const Doubles& a, const Doubles& b, const Doubles& c,
                                                  const Doubles& d, double* to) {
    Doubles low, high, ac, bd, sums;
    asm("vperm2f128 {$0x20, %2, %1, %0|%0, %1, %2, 0x20}" : "=x"(low) : "x"(a), "x"(c));
    asm("vperm2f128 {$0x31, %2, %1, %0|%0, %1, %2, 0x31}" : "=x"(high) : "x"(a), "x"(c));
    ac = low + high;
    asm("vperm2f128 {$0x20, %2, %1, %0|%0, %1, %2, 0x20}" : "=x"(low) : "x"(b), "x"(d));
    asm("vperm2f128 {$0x31, %2, %1, %0|%0, %1, %2, 0x31}" : "=x"(high) : "x"(b), "x"(d));
    bd = low + high;
    asm("vunpcklpd {%2, %1, %0|%0, %1, %2}" : "=x"(low) : "x"(ac), "x"(bd));
    asm("vunpckhpd {%2, %1, %0|%0, %1, %2}" : "=x"(high) : "x"(ac), "x"(bd));
    std::memcpy(&sums, to, sizeof sums);
    sums += low + high;
    std::memcpy(to, &sums, sizeof sums);
  }
  static TENSORNORM_INLINE void broadcast(const float& value, Floats& v) {
    asm("vbroadcastss {%1, %0|%0, %1}" : "=x"(v) : "m"(value));
  }
  static TENSORNORM_INLINE void broadcast(const double& value, Doubles& v) {
    asm("vbroadcastsd {%1, %0|%0, %1}" : "=x"(v) : "m"(value));
  }
  static TENSORNORM_INLINE void widen(const Vec<float, 4>& half, Doubles& v) {
    asm("vcvtps2pd {%1, %0|%0, %1}" : "=x"(v) : "xm"(half));
  }
  static TENSORNORM_INLINE void widen(const Floats& v, Doubles& low, Doubles& high) {
    asm("vcvtps2pd {%x1, %0|%0, %x1}" : "=x"(low) : "x"(v));
    asm("vextractf128 {$1, %1, %x0|%x0, %1, 1}\n\tvcvtps2pd {%x0, %0|%0, %x0}" : "=x"(high) : "x"(v));
  }
  static TENSORNORM_INLINE void narrow(const Doubles& low, const Doubles& high, Floats& v) {
    Floats upper;
    asm("vcvtpd2ps{y %1, %x0| %x0, %1}" : "=x"(v) : "x"(low));
    asm("vcvtpd2ps{y %1, %x0| %x0, %1}" : "=x"(upper) : "x"(high));
    asm("vinsertf128 {$1, %x1, %0, %0|%0, %0, %x1, 1}" : "+x"(v) : "x"(upper));
  }
  static TENSORNORM_INLINE void widen(const Shorts& narrow, Words& wide) {
    asm("vpmovzxwd {%1, %0|%0, %1}" : "=x"(wide) : "xm"(narrow));
  }
  static TENSORNORM_INLINE void narrow(const Words& wide, Shorts& narrow) {
    asm("vextracti128 {$1, %1, %0|%0, %1, 1}\n\tvpackusdw {%0, %x1, %0|%0, %x1, %0}" : "=&x"(narrow) : "x"(wide));
  }
  static TENSORNORM_INLINE void load_half(const Eigen::half* p, Floats& v) {
    Shorts half;
    std::memcpy(&half, p, sizeof half);
    asm("vcvtph2ps {%1, %0|%0, %1}" : "=x"(v) : "xm"(half));
  }
  static TENSORNORM_INLINE void pack_half(const Floats& v, Shorts& half) {
    asm("vcvtps2ph {$0, %1, %0|%0, %1, 0}" : "=x"(half) : "x"(v));
  }
};
#endif

#if TENSORNORM_HAS_AVX512 && !defined(__clang__)
template <>
struct VectorOps<Avx512> {
  using Floats = Vec<float, 16>;
  using Doubles = Vec<double, 8>;
  using Words = Vec<std::uint32_t, 16>;
  using Shorts = Vec<std::uint16_t, 16>;

  static TENSORNORM_INLINE void broadcast(const float& value, Floats& v) {
    asm("vbroadcastss {%1, %0|%0, %1}" : "=v"(v) : "m"(value));
  }
  static TENSORNORM_INLINE void broadcast(const double& value, Doubles& v) {
    asm("vbroadcastsd {%1, %0|%0, %1}" : "=v"(v) : "m"(value));
  }
  static TENSORNORM_INLINE void widen(const Vec<float, 8>& half, Doubles& v) {
    asm("vcvtps2pd {%1, %0|%0, %1}" : "=v"(v) : "vm"(half));
  }
  static TENSORNORM_INLINE void widen(const Floats& v, Doubles& low, Doubles& high) {
    asm("vcvtps2pd {%t1, %0|%0, %t1}" : "=v"(low) : "v"(v));
    asm("vextractf64x4 {$1, %1, %t0|%t0, %1, 1}\n\tvcvtps2pd {%t0, %0|%0, %t0}" : "=v"(high) : "v"(v));
  }
  static TENSORNORM_INLINE void narrow(const Doubles& low, const Doubles& high, Floats& v) {
    Floats upper;
    asm("vcvtpd2ps {%1, %t0|%t0, %1}" : "=v"(v) : "v"(low));
    asm("vcvtpd2ps {%1, %t0|%t0, %1}" : "=v"(upper) : "v"(high));
    asm("vinsertf64x4 {$1, %t1, %0, %0|%0, %0, %t1, 1}" : "+v"(v) : "v"(upper));
  }
  static TENSORNORM_INLINE void widen(const Shorts& narrow, Words& wide) {
    asm("vpmovzxwd {%1, %0|%0, %1}" : "=v"(wide) : "vm"(narrow));
  }
  static TENSORNORM_INLINE void narrow(const Words& wide, Shorts& narrow) {
    asm("vpmovdw {%1, %0|%0, %1}" : "=v"(narrow) : "v"(wide));
  }
  static TENSORNORM_INLINE void load_half(const Eigen::half* p, Floats& v) {
    Shorts half;
    std::memcpy(&half, p, sizeof half);
    asm("vcvtph2ps {%1, %0|%0, %1}" : "=v"(v) : "vm"(half));
  }
  static TENSORNORM_INLINE void pack_half(const Floats& v, Shorts& half) {
    asm("vcvtps2ph {$0, %1, %0|%0, %1, 0}" : "=v"(half) : "v"(v));
  }
};
#endif

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END
