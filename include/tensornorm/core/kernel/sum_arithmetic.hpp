// The arithmetic of reductions, one functor each. A functor hands out p and q, and the loops (row_reduce.hpp,
// column_reduce.hpp) sum p and p * q. It sees vectors only; an operand is a value for a whole row or lanes along it.
#pragma once

#include "tensornorm/core/kernel/operand.hpp"

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

// Deviations of doubles d with what rounds them to a grid (grid_rounding of core/pass/deviation_sums.hpp).
template <class Estimate>
struct GriddedDeviations {
  using Scalar = double;
  Deviations<double, Estimate> plain;
  Estimate grid_rounding;

  TENSORNORM_INLINE void prefetch(Index r, Index j) const { plain.prefetch(r, j); }

  template <class V>
  struct Row {
    RowOf<Deviations<double, Estimate>, V> plain;
    RowOf<Estimate, V> grid_rounding;

    // d rounded to the grid, and what that and the rounding of d lost.
    template <class At>
    TENSORNORM_INLINE void split(const At& at, V& coarse, V& fine) const {
      V x, e, c;
      plain.x.get(at, x);
      plain.estimate.get(at, e);
      grid_rounding.get(at, c);
      const V d = e - x, of_x = d - e;
      coarse = (d + c) - c;
      fine = (d - coarse) + ((e - (d - of_x)) - (x + of_x));
    }
  };
  template <class Isa, class V>
  TENSORNORM_INLINE void begin(Index r, Row<V>& row) const {
    plain.template begin<Isa>(r, row.plain);
    grid_rounding.template begin<Isa>(r, row.grid_rounding);
  }
};

// p = q = the coarse part.
template <class Estimate>
struct CoarseDeviations : GriddedDeviations<Estimate> {
  template <class V>
  using Row = typename GriddedDeviations<Estimate>::template Row<V>;
  template <class V, class At>
  TENSORNORM_INLINE void factors(const Row<V>& row, const At& at, V& p, V& q) const {
    V fine;
    row.split(at, p, fine);
    q = p;
  }
};

// p = the fine part, p * q = what the square of the coarse part lacks.
template <class Estimate>
struct FineDeviations : GriddedDeviations<Estimate> {
  template <class V>
  using Row = typename GriddedDeviations<Estimate>::template Row<V>;
  template <class V, class At>
  TENSORNORM_INLINE void factors(const Row<V>& row, const At& at, V& p, V& q) const {
    V coarse;
    row.split(at, coarse, p);
    q = (coarse + coarse) + p;
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
