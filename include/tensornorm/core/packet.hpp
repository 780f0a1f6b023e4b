// Vectors of an instruction set: loads that widen, stores that round once, parts of a vector, sums in double.
//
// Vectors pass by reference only: by value their ABI would depend on the compiler's flags.
#pragma once

#include <Eigen/Core>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "tensornorm/core/axis.hpp"
#include "tensornorm/core/isa.hpp"

namespace tensornorm {

// The type of parameters and statistics: double for double tensors, float for float and 16-bit ones.
template <class Scalar>
using ParamOf = std::conditional_t<std::is_same<Scalar, double>::value, double, float>;

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

// How a Scalar in memory becomes lanes of ParamOf<Scalar> and back: float and double are what they are.
template <class Isa, class Scalar>
struct Conversion {
  template <class V>
  static TENSORNORM_INLINE void load(const Scalar* p, V& v) {
    std::memcpy(&v, p, sizeof v);
  }
  template <class V>
  static TENSORNORM_INLINE void store(Scalar* p, const V& v) {
    std::memcpy(p, &v, sizeof v);
  }
};

// bfloat16 is the upper half of a float; the store rounds to nearest even and keeps NaN a NaN.
template <class Isa>
struct Conversion<Isa, Eigen::bfloat16> {
  static constexpr int kWidth = kLanes<Isa, float>;
  using Narrow = Vec<std::uint16_t, kWidth>;
  using Bits = Vec<std::uint32_t, kWidth>;

  template <class V>
  static TENSORNORM_INLINE void load(const Eigen::bfloat16* p, V& v) {
    Narrow narrow;
    std::memcpy(&narrow, p, sizeof narrow);
    copy_bits(Bits(__builtin_convertvector(narrow, Bits) << 16), v);
  }
  template <class V>
  static TENSORNORM_INLINE void store(Eigen::bfloat16* p, const V& v) {
    Bits bits;
    copy_bits(v, bits);
    const Bits rounded = (bits + (((bits >> 16) & 1) + 0x7fff)) >> 16;
    const Bits quiet = (bits >> 16) | 0x40;
    const Bits is_nan = Bits((bits & 0x7fffffff) > 0x7f800000);
    const Narrow narrow = __builtin_convertvector((rounded & ~is_nan) | (quiet & is_nan), Narrow);
    std::memcpy(static_cast<void*>(p), &narrow, sizeof narrow);
  }
};

// half: the processor's own conversion where there is one (the compilers offer it in different ways), else Eigen's.
template <class Isa>
struct Conversion<Isa, Eigen::half> {
  static constexpr int kWidth = kLanes<Isa, float>;

  template <class V>
  static TENSORNORM_INLINE void load(const Eigen::half* p, V& v) {
    if constexpr (Isa::has_f16c) {
#if defined(__clang__)
      typedef __fp16 Half __attribute__((vector_size(kWidth * 2)));
      Half half;
      std::memcpy(&half, p, sizeof half);
      v = __builtin_convertvector(half, V);
#else
      Vec<std::uint16_t, kWidth> half;
      std::memcpy(&half, p, sizeof half);
      asm("vcvtph2ps %1, %0" : "=x"(v) : "xm"(half));
#endif
    } else {
      for (int i = 0; i < kWidth; ++i) v[i] = static_cast<float>(p[i]);
    }
  }
  template <class V>
  static TENSORNORM_INLINE void store(Eigen::half* p, const V& v) {
    if constexpr (Isa::has_f16c) {
#if defined(__clang__)
      typedef __fp16 Half __attribute__((vector_size(kWidth * 2)));
      const Half half = __builtin_convertvector(v, Half);
#else
      Vec<std::uint16_t, kWidth> half;
      asm("vcvtps2ph $0, %1, %0" : "=x"(half) : "x"(v));
#endif
      std::memcpy(static_cast<void*>(p), &half, sizeof half);
    } else {
      for (int i = 0; i < kWidth; ++i) p[i] = static_cast<Eigen::half>(static_cast<float>(v[i]));
    }
  }
};

// A place in a row: a whole vector at column j, or the first n lanes of one (the others read 0 and are not written).
template <class Isa>
struct Whole {
  Index j;

  template <class Scalar, class V>
  TENSORNORM_INLINE void load(const Scalar* row, V& v) const {
    Conversion<Isa, Scalar>::load(row + j, v);
  }
  template <class Scalar, class V>
  TENSORNORM_INLINE void store(Scalar* row, const V& v) const {
    Conversion<Isa, Scalar>::store(row + j, v);
  }
};

template <class Isa>
struct Some {
  Index j;
  int n;

  template <class Scalar, class V>
  TENSORNORM_INLINE void load(const Scalar* row, V& v) const {
    alignas(64) Scalar lanes[kLanes<Isa, ParamOf<Scalar>>] = {};
    std::memcpy(static_cast<void*>(lanes), row + j, static_cast<std::size_t>(n) * sizeof(Scalar));
    Conversion<Isa, Scalar>::load(lanes, v);
  }
  template <class Scalar, class V>
  TENSORNORM_INLINE void store(Scalar* row, const V& v) const {
    alignas(64) Scalar lanes[kLanes<Isa, ParamOf<Scalar>>];
    Conversion<Isa, Scalar>::store(lanes, v);
    std::memcpy(static_cast<void*>(row + j), lanes, static_cast<std::size_t>(n) * sizeof(Scalar));
  }
};

template <class T, class V>
TENSORNORM_INLINE void broadcast(T value, V& v) {
  v = value - V{};
}

// Clears every lane outside [first, last).
template <class T, int lanes>
TENSORNORM_INLINE void keep_lanes(int first, int last, Vec<T, lanes>& v) {
  using Int = std::conditional_t<sizeof(T) == 8, std::int64_t, std::int32_t>;
  Vec<Int, lanes> lane, bits;
  for (int i = 0; i < lanes; ++i) lane[i] = i;
  copy_bits(v, bits);
  bits &= Vec<Int, lanes>((lane >= Int(first)) & (lane < Int(last)));
  copy_bits(bits, v);
}

// Lanes of double that take a vector's lanes in: two registers for a vector of float, one for a vector of double.
template <class T, int lanes>
struct WideSum;

template <int lanes>
struct WideSum<double, lanes> {
  Vec<double, lanes> sum{};

  TENSORNORM_INLINE void add(const Vec<double, lanes>& v) { sum += v; }
  TENSORNORM_INLINE void add_to(double* out) const {
    Vec<double, lanes> total;
    std::memcpy(&total, out, sizeof total);
    total += sum;
    std::memcpy(out, &total, sizeof total);
  }
  TENSORNORM_INLINE double total() const {
    double result = 0;
    for (int i = 0; i < lanes; ++i) result += sum[i];
    return result;
  }
};

template <int lanes>
struct WideSum<float, lanes> {
  WideSum<double, lanes / 2> low, high;

  TENSORNORM_INLINE void add(const Vec<float, lanes>& v) {
    using Doubles = Vec<double, lanes / 2>;
    if constexpr (lanes == 4) {
      low.add(__builtin_convertvector(__builtin_shufflevector(v, v, 0, 1), Doubles));
      high.add(__builtin_convertvector(__builtin_shufflevector(v, v, 2, 3), Doubles));
    } else {
      low.add(__builtin_convertvector(__builtin_shufflevector(v, v, 0, 1, 2, 3), Doubles));
      high.add(__builtin_convertvector(__builtin_shufflevector(v, v, 4, 5, 6, 7), Doubles));
    }
  }
  TENSORNORM_INLINE void add_to(double* out) const {
    low.add_to(out);
    high.add_to(out + lanes / 2);
  }
  TENSORNORM_INLINE double total() const {
    WideSum<double, lanes / 2> both = low;
    both.add(high.sum);
    return both.total();
  }
};

}  // namespace core
}  // namespace tensornorm
