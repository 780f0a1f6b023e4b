// The arithmetic of reductions, one functor each. A functor hands out p and q, and the loops (row_reduce.hpp,
// column_reduce.hpp) sum p and p * q. It sees vectors only; an operand is a value for a whole row or lanes along it.
#pragma once

#include <cmath>

#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/kernel/operand.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {
namespace core {

// p = q = estimate - x: the sums of a mean and a variance about an estimate of the mean.
template <class S, class Estimate>
struct Deviations {
  using Scalar = S;
  Rows<S> x;
  Estimate estimate;

  TENSORNORM_INLINE void prefetch(Index r, Index j) const { x.prefetch(r, j); }

  template <class V>
  struct Row {
    RowOf<Rows<S>, V> x;
    RowOf<Estimate, V> estimate;
  };
  template <class Isa, class V>
  TENSORNORM_INLINE void begin(Index r, Row<V>& row) const {
    x.template begin<Isa>(r, row.x);
    estimate.template begin<Isa>(r, row.estimate);
  }
  template <class V, class At>
  TENSORNORM_INLINE void factors(const Row<V>& row, const At& at, V& p, V& q) const {
    V e;
    row.x.get(at, p);
    row.estimate.get(at, e);
    p = e - p;
    q = p;
  }
};

// The same of doubles, scaled by powers of two that keep squares within double: down before the difference is taken,
// which then does not overflow, or up after it.
template <class Estimate>
struct ScaledDeviations {
  using Scalar = double;
  Deviations<double, Estimate> plain;
  PerRowOrAll<double> down, up;

  TENSORNORM_INLINE void prefetch(Index r, Index j) const { plain.prefetch(r, j); }

  template <class V>
  struct Row {
    RowOf<Deviations<double, Estimate>, V> plain;
    RowOf<PerRowOrAll<double>, V> down, up;
  };
  template <class Isa, class V>
  TENSORNORM_INLINE void begin(Index r, Row<V>& row) const {
    plain.template begin<Isa>(r, row.plain);
    down.template begin<Isa>(r, row.down);
    up.template begin<Isa>(r, row.up);
  }
  template <class V, class At>
  TENSORNORM_INLINE void factors(const Row<V>& row, const At& at, V& p, V& q) const {
    V e, before, after;
    row.plain.x.get(at, p);
    row.plain.estimate.get(at, e);
    row.down.get(at, before);
    row.up.get(at, after);
    multiply(e, before, e);
    multiply(p, before, p);
    p = (e - p) * after;  // exact: a power of two
    q = p;
  }
};

// Which digits of the deviations of doubles are summed. The high ones are the deviations rounded to a grid. They and
// their squares are multiples of its step and of the square of that, which add up without rounding. The low digits are
// what the rounding to the grid lost, and so little that the rounding of their sums does not count. (Pre-rounding:
// Rump, Ogita and Oishi 2008; Demmel and Nguyen 2013.)
enum class Digits { kAll, kHigh, kLow };

// Whether deviations with this sum of squares have a grid. Else the square of its step would underflow, or a square of
// a deviation overflow.
inline bool has_grid(double m2) { return 1e-250 < m2 && m2 < 1e250; }

// The c by which d + c - c rounds d to the grid, where m2 is the sum of all d^2. Let h be the least integer with m2 <=
// 2^(2h). Then |d| <= 2^h. The step of the grid is 2^(h - 26), the last place of c = 1.5 * 2^(h + 26). So m2 is at most
// 2^52 squares of the step.
// @pre has_grid(m2)
inline double grid_rounding(double m2) {
  int exponent = 0;
  std::frexp(m2, &exponent);
  const int h = (exponent > 0 ? exponent + 1 : exponent) / 2;
  return std::ldexp(1.5, h + 26);
}

// Of the deviations of doubles, p = q = the high digits; or p = the low ones, and p * q what the square of the high
// ones lacks.
template <class Estimate, Digits digits>
struct DeviationDigits {
  using Scalar = double;
  Deviations<double, Estimate> plain;
  Estimate grid_rounding;

  TENSORNORM_INLINE void prefetch(Index r, Index j) const { plain.prefetch(r, j); }

  template <class V>
  struct Row {
    RowOf<Deviations<double, Estimate>, V> plain;
    RowOf<Estimate, V> grid_rounding;
  };
  template <class Isa, class V>
  TENSORNORM_INLINE void begin(Index r, Row<V>& row) const {
    plain.template begin<Isa>(r, row.plain);
    grid_rounding.template begin<Isa>(r, row.grid_rounding);
  }
  template <class V, class At>
  TENSORNORM_INLINE void factors(const Row<V>& row, const At& at, V& p, V& q) const {
    V x, e, c;
    row.plain.x.get(at, x);
    row.plain.estimate.get(at, e);
    row.grid_rounding.get(at, c);
    const V d = e - x, high = (d + c) - c;
    p = q = high;
    if constexpr (digits == Digits::kLow) {
      const V of_x = d - e;
      p = (d - high) + ((e - (d - of_x)) - (x + of_x));  // with what the rounding of d lost
      q = (high + high) + p;
    }
  }
};

// p = dy * gamma, q = xhat: the sums of dx, and without gamma those of dbeta and dgamma. Where all of a sum has one
// statistic, q is Unshifted: what a shift adds follows from the sum of p.
template <class S, class Value, class Param>
struct Gradients {
  using Scalar = S;
  Value xhat;
  Rows<S> dy;
  Param gamma;

  TENSORNORM_INLINE void prefetch(Index r, Index j) const {
    xhat.prefetch(r, j);
    dy.prefetch(r, j);
  }

  template <class V>
  struct Row {
    RowOf<Value, V> xhat;
    RowOf<Rows<S>, V> dy;
    RowOf<Param, V> gamma;
  };
  template <class Isa, class V>
  TENSORNORM_INLINE void begin(Index r, Row<V>& row) const {
    xhat.template begin<Isa>(r, row.xhat);
    dy.template begin<Isa>(r, row.dy);
    gamma.template begin<Isa>(r, row.gamma);
  }
  template <class V, class At>
  TENSORNORM_INLINE void factors(const Row<V>& row, const At& at, V& p, V& q) const {
    V g;
    xhat.value(row.xhat, at, q);
    row.dy.get(at, p);
    row.gamma.get(at, g);
    multiply(p, g, p);
  }
};

// p = q = |x| * factor: the sums of a 1-norm and a 2-norm.
template <class S, class Factor>
struct Magnitudes : WithOperand<S, Factor> {
  template <class V>
  using Row = typename WithOperand<S, Factor>::template Row<V>;

  template <class V, class At>
  TENSORNORM_INLINE void factors(const Row<V>& row, const At& at, V& p, V& q) const {
    using T = ParamOf<S>;
    constexpr int lanes = sizeof(V) / sizeof(T);
    Vec<typename LaneMasks<T, lanes>::Int, lanes> bits;
    row.x.get(at, p);
    magnitude_bits<T, lanes>(p, bits);
    copy_bits(bits, p);
    row.operand.get(at, q);
    multiply(p, q, p);
    q = p;
  }
};

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END
