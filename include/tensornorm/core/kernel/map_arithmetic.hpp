// The arithmetic of maps, one functor each, a value for each element; and the coefficients of dx. `inputs`: the tensors
// it reads. `has_many_values`: four rows of it need more than 16 registers. It sees vectors only; map.hpp owns the
// loop, and an operand is a value for a whole row or lanes along it.
//
// hi + lo is the mean: hi rounded to the tensor's precision, lo what the rounding lost. x - hi is exact where it
// matters and lo is so small that folding it into a constant cancels nothing, so no digit of x is lost at any offset.
// It is written hi - x, which takes x straight from memory; the sign goes into the factor that follows.
#pragma once

#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/kernel/operand.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {
namespace core {

// (hi - x) * scale: xhat without its shift.
template <class S, class Stat>
struct Unshifted {
  static constexpr int by_column = 2 * Stat::by_column;
  Rows<S> x;
  Stat hi, scale;

  TENSORNORM_INLINE void prefetch(Index r, Index j) const { x.prefetch(r, j); }

  template <class V>
  struct Row {
    RowOf<Rows<S>, V> x;
    RowOf<Stat, V> hi, scale;
  };
  template <class Isa, class V>
  TENSORNORM_INLINE void begin(Index r, Row<V>& row) const {
    x.template begin<Isa>(r, row.x);
    hi.template begin<Isa>(r, row.hi);
    scale.template begin<Isa>(r, row.scale);
  }
  template <class V, class At>
  TENSORNORM_INLINE void value(const Row<V>& row, const At& at, V& result) const {
    V mean, a;
    row.x.get(at, result);
    row.hi.get(at, mean);
    row.scale.get(at, a);
    mean -= result;
    multiply(mean, a, result);
  }
};

// The same + shift: xhat with scale = -rstd and shift = -lo * rstd; y, where gamma and beta are folded in.
template <class S, class Stat>
struct Xhat {
  using Scalar = S;
  static constexpr int inputs = 1, by_column = 3 * Stat::by_column;
  static constexpr bool has_many_values = false;
  Unshifted<S, Stat> unshifted;
  Stat shift;

  TENSORNORM_INLINE void prefetch(Index r, Index j) const { unshifted.prefetch(r, j); }

  template <class V>
  struct Row {
    RowOf<Unshifted<S, Stat>, V> unshifted;
    RowOf<Stat, V> shift;
  };
  template <class Isa, class V>
  TENSORNORM_INLINE void begin(Index r, Row<V>& row) const {
    unshifted.template begin<Isa>(r, row.unshifted);
    shift.template begin<Isa>(r, row.shift);
  }
  template <class V, class At>
  TENSORNORM_INLINE void value(const Row<V>& row, const At& at, V& xhat) const {
    V b;
    unshifted.value(row.unshifted, at, xhat);
    row.shift.get(at, b);
    xhat += b;
  }
};

// y = xhat * gamma + beta.
template <class S, class Stat, class Param>
struct Normalize {
  using Scalar = S;
  static constexpr int inputs = 1, by_column = Xhat<S, Stat>::by_column + 2 * Param::by_column;
  static constexpr bool has_many_values = false;
  Xhat<S, Stat> xhat;
  Param gamma, beta;

  TENSORNORM_INLINE void prefetch(Index r, Index j) const { xhat.prefetch(r, j); }

  template <class V>
  struct Row {
    RowOf<Xhat<S, Stat>, V> xhat;
    RowOf<Param, V> gamma, beta;
  };
  template <class Isa, class V>
  TENSORNORM_INLINE void begin(Index r, Row<V>& row) const {
    xhat.template begin<Isa>(r, row.xhat);
    gamma.template begin<Isa>(r, row.gamma);
    beta.template begin<Isa>(r, row.beta);
  }
  template <class V, class At>
  TENSORNORM_INLINE void value(const Row<V>& row, const At& at, V& y) const {
    V g, b;
    xhat.value(row.xhat, at, y);
    row.gamma.get(at, g);
    row.beta.get(at, b);
    multiply(y, g, y);
    y += b;
  }
};

// y = a + b.
template <class S>
struct Plus {
  using Scalar = S;
  static constexpr int inputs = 2, by_column = 0;
  static constexpr bool has_many_values = false;
  Rows<S> a, b;

  TENSORNORM_INLINE void prefetch(Index r, Index j) const {
    a.prefetch(r, j);
    b.prefetch(r, j);
  }

  template <class V>
  struct Row {
    RowOf<Rows<S>, V> a, b;
  };
  template <class Isa, class V>
  TENSORNORM_INLINE void begin(Index r, Row<V>& row) const {
    a.template begin<Isa>(r, row.a);
    b.template begin<Isa>(r, row.b);
  }
  template <class V, class At>
  TENSORNORM_INLINE void value(const Row<V>& row, const At& at, V& y) const {
    V other;
    row.a.get(at, y);
    row.b.get(at, other);
    y = y + other;
  }
};

// y = x * factor.
template <class S, class Factor>
struct Scaled : WithOperand<S, Factor> {
  template <class V>
  using Row = typename WithOperand<S, Factor>::template Row<V>;

  template <class V, class At>
  TENSORNORM_INLINE void value(const Row<V>& row, const At& at, V& y) const {
    V f;
    row.x.get(at, y);
    row.operand.get(at, f);
    y *= f;
  }
};

// y = x between -limit and limit; NaN, which compares with nothing, stays.
template <class S, class Limit>
struct Clamped : WithOperand<S, Limit> {
  template <class V>
  using Row = typename WithOperand<S, Limit>::template Row<V>;

  template <class V, class At>
  TENSORNORM_INLINE void value(const Row<V>& row, const At& at, V& y) const {
    V most;
    row.x.get(at, y);
    row.operand.get(at, most);
    const V least = -most;
    y = y > most ? most : y;
    y = y < least ? least : y;
  }
};

// What dx needs of a statistic, from the sums of g and g * xhat over its n elements; V is double, or lanes of it.
template <class V>
TENSORNORM_INLINE void find_coefficients(const V& lo, const V& rstd, const V& sum_g, const V& sum_gx, double n,
                                         V& slope, V& shift) {
  V of_g, of_lo;
  slope = -rstd * (sum_gx / n);
  multiply(V(-rstd), V(sum_g / n), of_g);
  multiply(V(slope * rstd), lo, of_lo);
  shift = of_g - of_lo;
}

// dx = dy * gamma * scale + ((hi - x) * minus_rstd * slope + shift). Every coefficient is of the order of rstd, so none
// overflows or underflows before dx does.
template <class S, class Stat, class Param>
struct InputGradient {
  using Scalar = S;
  static constexpr int inputs = 2, by_column = 5 * Stat::by_column + Param::by_column;
  static constexpr bool has_many_values = Stat::by_column == 0;
  Rows<S> x, dy;
  Stat hi, minus_rstd, scale, slope, shift;
  Param gamma;

  TENSORNORM_INLINE void prefetch(Index r, Index j) const {
    x.prefetch(r, j);
    dy.prefetch(r, j);
  }

  template <class V>
  struct Row {
    RowOf<Rows<S>, V> x, dy;
    RowOf<Stat, V> hi, minus_rstd, scale, slope, shift;
    RowOf<Param, V> gamma;
  };
  template <class Isa, class V>
  TENSORNORM_INLINE void begin(Index r, Row<V>& row) const {
    x.template begin<Isa>(r, row.x);
    dy.template begin<Isa>(r, row.dy);
    hi.template begin<Isa>(r, row.hi);
    minus_rstd.template begin<Isa>(r, row.minus_rstd);
    scale.template begin<Isa>(r, row.scale);
    slope.template begin<Isa>(r, row.slope);
    shift.template begin<Isa>(r, row.shift);
    gamma.template begin<Isa>(r, row.gamma);
  }
  template <class V, class At>
  TENSORNORM_INLINE void value(const Row<V>& row, const At& at, V& dx) const {
    V g, mean, r, a, b, c, factor;
    row.x.get(at, dx);
    row.hi.get(at, mean);
    row.minus_rstd.get(at, r);
    row.slope.get(at, b);
    row.shift.get(at, c);
    row.dy.get(at, g);
    row.gamma.get(at, factor);
    row.scale.get(at, a);
    mean = (mean - dx) * r;
    multiply(mean, b, dx);
    g *= factor;
    multiply(g, a, g);
    dx = g + (dx + c);
  }
};

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END
