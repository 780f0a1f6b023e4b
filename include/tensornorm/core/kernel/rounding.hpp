// Products that round before anything is added to them.
//
// + - * /, the square root and std::fma round once each, as IEEE 754 says: so results are the same bits on every
// machine. A compiler may fuse a product with the sum that it goes to, which then rounds once for both: GCC where the
// processor can, clang within an expression too, and anywhere under -ffast-math. So each product that goes to a sum is
// made here. GCC is told that an empty assembly may have changed it: that takes no instruction. Clang has a pragma.
// -ffast-math overrules it: there a fence is needed. Clang drops a fence unless sums may be reordered, so they may in
// that line.
#pragma once

#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/kernel/isa.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {
namespace core {

// result = a * b, of numbers or vectors that fit a register.
template <class V>
TENSORNORM_INLINE void multiply(const V& a, const V& b, V& result) {
#if defined(__clang__) && defined(TENSORNORM_FAST_MATH)
  result = a * b;
  {
#pragma clang fp reassociate(on)
    result = __arithmetic_fence(result);
  }
#elif defined(__clang__)
#pragma clang fp contract(off)
  result = a * b;
#else
  result = a * b;
#if defined(__x86_64__)
  asm("" : "+v"(result));
#elif defined(__aarch64__)
  asm("" : "+w"(result));
#endif
#endif
}

// a * b, of numbers.
inline double product(double a, double b) {
  multiply(a, b, a);
  return a;
}
inline float product(float a, float b) {
  multiply(a, b, a);
  return a;
}

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END
