// Moments: count, mean and squared deviations of a set of numbers, in a form that merges and keeps every digit.
#pragma once

#include <cmath>
#include <limits>
#include <type_traits>

#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/kernel/double_double.hpp"
#include "tensornorm/core/plan/axis.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {
namespace core {

// The mean is estimate + correction, kept apart: near a large offset their sum would round what the correction holds.
struct Moments {
  Index n;
  double estimate, correction;
  double m2;         // sum of (x - mean)^2
  double m2_lo = 0;  // what the rounding of m2 lost, where it is known

  double mean() const { return estimate + correction; }
  double var() const { return m2 / static_cast<double>(n); }
};

// From the sums of d = x - estimate and of d^2 over n numbers, share = 1 / n; exact in exact arithmetic for any
// estimate.
inline Moments moments_about(double estimate, Index n, double share, double sum_d, double sum_d2) {
  const double correction = product(sum_d, share);
  const double m2 = sum_d2 - product(sum_d, correction);
  return {n, estimate, correction, not_negative(m2)};
}

// The same in double-double.
inline Moments moments_about(double estimate, Index n, const DoubleDouble& sum_d, const DoubleDouble& sum_d2) {
  const DoubleDouble correction = quotient(sum_d, static_cast<double>(n)), squares = product(sum_d, correction);
  const DoubleDouble mean = sum({estimate, 0}, correction), m2 = sum(sum_d2, {-squares.high, -squares.low});
  return {n, mean.high, mean.low, m2.high, m2.low};
}

// True when m2 lost digits to cancellation: the square of the mean's distance from the estimate exceeds so many
// variances. The tolerance is for n times that difference.
inline bool is_far(const Moments& m, double variances = 1, double tolerance = 0) {
  const double distance = product(static_cast<double>(m.n) * m.correction, m.correction);
  const double difference = distance - product(variances, m.m2);
  return difference > tolerance && !is_nan(difference);
}

// The union of two disjoint sets (Chan, Golub and LeVeque 1979, formula 2.1), in double-double: associative but for
// its rounding.
inline Moments merge(const Moments& a, const Moments& b) {
  if (a.n == 0) return b;
  if (b.n == 0) return a;
  const double n = static_cast<double>(a.n + b.n);
  const DoubleDouble delta = sum(two_sum(b.estimate, -a.estimate), two_sum(b.correction, -a.correction));
  const DoubleDouble moved = quotient(product(delta, static_cast<double>(b.n)), n);
  const DoubleDouble mean = sum(two_sum(a.estimate, a.correction), moved);
  const DoubleDouble square = product(product(delta, moved), static_cast<double>(a.n));
  const DoubleDouble m2 = sum(sum(DoubleDouble{a.m2, a.m2_lo}, DoubleDouble{b.m2, b.m2_lo}), square);
  return {a.n + b.n, mean.high, mean.low, m2.high, m2.low};
}

// What a map needs of a statistic: the mean as hi + lo, and 1 / sqrt(var + eps).
template <class T>
struct Statistic {
  T hi = 0, lo = 0, rstd = 0;
};

// 1 / sqrt(high + low), nearly always correctly rounded: high is a rounded sum, low what the rounding lost. One step of
// Newton's rule, whose residual is kept in two parts. @pre high > 0 and finite
inline double precise_reciprocal_root(double high, double low) {
  int exponent = 0;
  std::frexp(high, &exponent);
  exponent -= exponent % 2;  // the square of the power by which the root is scaled
  high = std::ldexp(high, -exponent);
  low = std::ldexp(low, -exponent);
  const double root = 1 / std::sqrt(high);
  const double square = product(root, root), of_square = std::fma(root, root, -square);
  const double one = product(high, square), of_one = std::fma(high, square, -one);
  const double residual = (1 - one) - (of_one + (product(high, of_square) + product(low, square)));
  return std::ldexp(root + product(root / 2, residual), -exponent / 2);
}

// 1 / sqrt(var + eps), and 0 where that is no T: a slice that is constant, or as good as, becomes beta.
template <class T>
T reciprocal_std(const DoubleDouble& var, double eps) {
  const DoubleDouble all = sum(var, DoubleDouble{eps, 0});
  if (is_nan(all.high) || all.high < 0) return std::numeric_limits<T>::quiet_NaN();
  if (is_zero(all.high)) return T(0);
  if (std::is_same<T, double>::value && is_finite(all.high))
    return static_cast<T>(precise_reciprocal_root(all.high, all.low));
  const double result = 1 / std::sqrt(all.high);
  const T largest = (std::numeric_limits<T>::max)();
  return static_cast<T>(result > static_cast<double>(largest) ? 0 : result);
}
template <class T>
T reciprocal_std(double var, double eps) {
  return reciprocal_std<T>(DoubleDouble{var, 0}, eps);
}

template <class T>
Statistic<T> finish(const Moments& m, const DoubleDouble& var, double eps) {
  Statistic<T> s;
  s.hi = static_cast<T>(m.mean());
  s.lo = static_cast<T>((m.estimate - static_cast<double>(s.hi)) + m.correction);
  s.rstd = reciprocal_std<T>(var, eps);
  return s;
}
template <class T>
Statistic<T> finish(const Moments& m, double var, double eps) {
  return finish<T>(m, DoubleDouble{var, 0}, eps);
}
template <class T>
Statistic<T> finish(const Moments& m, double eps) {
  return finish<T>(m, m.var(), eps);
}

// A mean that is midway between two T, as the mean of a few values often is, is the upper one: the roundings of a merge
// are not to decide.
template <class T>
void round_ties_up(const Moments& m, Statistic<T>& s) {
  const T next = std::nextafter(s.hi, std::numeric_limits<T>::infinity());
  const double gap = static_cast<double>(next) - static_cast<double>(s.hi),
               lo = (m.estimate - static_cast<double>(s.hi)) + m.correction;
  if (is_nan(lo) || is_nan(gap) || 2 * lo < product(gap, 1 - 0x1p-20)) return;
  s.hi = next;
  s.lo = static_cast<T>(lo - gap);
}

// The least variance that sums of squares in T give: smaller ones lost digits to underflow, unless eps hides that.
template <class T>
constexpr double least_trusted_var(double eps) {
  constexpr double kTiny = std::is_same<T, double>::value ? 1e-280 : 1e-28;
  return eps < kTiny * 1e17 ? kTiny : 0;
}

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END
