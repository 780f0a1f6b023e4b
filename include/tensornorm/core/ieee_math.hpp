// Floating point arithmetic as IEEE 754 says, also in programs that are compiled with -ffast-math or -Ofast.
//
// Under these flags corrections of what rounding lost vanish. So functions that add or multiply floating point numbers
// stand between the two macros: all of core/kernel, core/pass, core/clip and core/whitening. Tests for NaN and infinity
// vanish too, and GCC decides comparisons with NaN as it likes, between the macros too. So where a number may be NaN or
// infinite, the functions below look at its bits.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__FAST_MATH__) || defined(__ASSOCIATIVE_MATH__) || defined(__RECIPROCAL_MATH__) || \
    defined(__NO_SIGNED_ZEROS__) || (__FINITE_MATH_ONLY__ + 0) > 0
#define TENSORNORM_FAST_MATH
#endif

#if defined(TENSORNORM_FAST_MATH) && defined(__clang__)
#define TENSORNORM_IEEE_MATH_BEGIN _Pragma("float_control(push)") _Pragma("float_control(precise, on)")
#define TENSORNORM_IEEE_MATH_END _Pragma("float_control(pop)")
#elif defined(TENSORNORM_FAST_MATH)
#define TENSORNORM_IEEE_MATH_BEGIN                                                                        \
  _Pragma("GCC push_options") _Pragma("GCC optimize(\"no-fast-math\", \"no-unsafe-math-optimizations\")") \
      _Pragma("GCC optimize(\"no-associative-math\", \"no-reciprocal-math\")")                            \
          _Pragma("GCC optimize(\"no-finite-math-only\", \"signed-zeros\")")
#define TENSORNORM_IEEE_MATH_END _Pragma("GCC pop_options")
#else
#define TENSORNORM_IEEE_MATH_BEGIN
#define TENSORNORM_IEEE_MATH_END
#endif

namespace tensornorm {
namespace core {

// The bits of a number but for its sign.
inline std::uint64_t magnitude_of(const double& value) {
  std::uint64_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits & ~(std::uint64_t{1} << 63);
}
constexpr std::uint64_t kInfinityBits = std::uint64_t{0x7ff} << 52;

inline bool is_finite(const double& value) { return magnitude_of(value) < kInfinityBits; }
inline bool is_nan(const double& value) { return magnitude_of(value) > kInfinityBits; }
inline bool is_zero(const double& value) { return magnitude_of(value) == 0; }

// 0 in the place of a negative number; NaN stays.
inline double not_negative(const double& value) { return !is_nan(value) && value < 0 ? 0 : value; }

}  // namespace core
}  // namespace tensornorm
