// DoubleDouble: a number of twice the digits of double.
#pragma once

#include <cmath>

#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/kernel/rounding.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {
namespace core {

// high + low: high is rounded to double, low is what the rounding lost. Where high is not finite, low is 0.
//
// two_sum is exact (Knuth, The Art of Computer Programming 2, 4.2.2, theorem B). The others lose a few of the 106 bits
// (Dekker 1971): of the result, or in a sum of numbers with opposite signs, of the larger one.
struct DoubleDouble {
  double high, low;
};

inline DoubleDouble two_sum(double a, double b) {
  const double high = a + b, of_b = high - a;
  return {high, is_finite(high) ? (a - (high - of_b)) + (b - of_b) : 0};
}
inline DoubleDouble sum(const DoubleDouble& a, const DoubleDouble& b) {
  const DoubleDouble high = two_sum(a.high, b.high);
  return is_finite(high.high) ? two_sum(high.high, high.low + (a.low + b.low)) : high;
}

inline DoubleDouble product(const DoubleDouble& a, const DoubleDouble& b) {
  const double high = product(a.high, b.high);
  if (!is_finite(high)) return {high, 0};
  return two_sum(high, std::fma(a.high, b.high, -high) + (product(a.high, b.low) + product(a.low, b.high)));
}
inline DoubleDouble product(const DoubleDouble& a, double b) { return product(a, DoubleDouble{b, 0}); }

// @pre b is finite and not 0
inline DoubleDouble quotient(const DoubleDouble& a, double b) {
  const double high = a.high / b;
  if (!is_finite(high)) return {high, 0};
  return two_sum(high, (std::fma(-high, b, a.high) + a.low) / b);
}

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END
