// The arithmetic of every pass, one functor each. A functor sees vectors only; the loop shapes (row.hpp, column.hpp,
// map.hpp) own the loops, and an operand is a value for a whole row (PerRow) or lanes along it (PerColumn).
//
// hi + lo is the mean: hi rounded to the tensor's precision, lo what the rounding lost. x - hi is exact where it
// matters and lo is so small that folding it into a constant cancels nothing, so no digit of x is lost at any offset.
#pragma once

#include "tensornorm/core/operand.hpp"

namespace tensornorm {
namespace core {

// Reductions hand out p and q: the loop sums p and p * q.

// p = q = x - estimate: the sums of a mean and a variance about an estimate of the mean.
template <class S, class Estimate>
struct Deviations {
  using Scalar = S;
  Rows<S> x;
  Estimate estimate;

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
    p -= e;
    q = p;
  }
};

// p = dy, q = (x - hi) * rstd: the sums of dbeta and, up to lo, dgamma. rstd comes first: dy * (x - hi) may overflow.
template <class S, class Stat>
struct Gradients {
  using Scalar = S;
  Rows<S> x, dy;
  Stat hi, rstd;

  template <class V>
  struct Row {
    RowOf<Rows<S>, V> x, dy;
    RowOf<Stat, V> hi, rstd;
  };
  template <class Isa, class V>
  TENSORNORM_INLINE void begin(Index r, Row<V>& row) const {
    x.template begin<Isa>(r, row.x);
    dy.template begin<Isa>(r, row.dy);
    hi.template begin<Isa>(r, row.hi);
    rstd.template begin<Isa>(r, row.rstd);
  }
  template <class V, class At>
  TENSORNORM_INLINE void factors(const Row<V>& row, const At& at, V& p, V& q) const {
    V mean, scale;
    row.dy.get(at, p);
    row.x.get(at, q);
    row.hi.get(at, mean);
    row.rstd.get(at, scale);
    q = (q - mean) * scale;
  }
};

// p = dy * gamma, q = (x - hi) * rstd: the sums dx needs when gamma varies across a statistic.
template <class S, class Stat, class Param>
struct ScaledGradients {
  using Scalar = S;
  Gradients<S, Stat> gradients;
  Param gamma;

  template <class V>
  struct Row {
    RowOf<Gradients<S, Stat>, V> gradients;
    RowOf<Param, V> gamma;
  };
  template <class Isa, class V>
  TENSORNORM_INLINE void begin(Index r, Row<V>& row) const {
    gradients.template begin<Isa>(r, row.gradients);
    gamma.template begin<Isa>(r, row.gamma);
  }
  template <class V, class At>
  TENSORNORM_INLINE void factors(const Row<V>& row, const At& at, V& p, V& q) const {
    V g;
    gradients.factors(row.gradients, at, p, q);
    row.gamma.get(at, g);
    p *= g;
  }
};

// p = dy, q = xhat: the sums of dbeta and dgamma across statistics, each with its own lo.
template <class S, class Stat>
struct ParameterGradients {
  using Scalar = S;
  Gradients<S, Stat> gradients;
  Stat lo_rstd;

  template <class V>
  struct Row {
    RowOf<Gradients<S, Stat>, V> gradients;
    RowOf<Stat, V> lo_rstd;
  };
  template <class Isa, class V>
  TENSORNORM_INLINE void begin(Index r, Row<V>& row) const {
    gradients.template begin<Isa>(r, row.gradients);
    lo_rstd.template begin<Isa>(r, row.lo_rstd);
  }
  template <class V, class At>
  TENSORNORM_INLINE void factors(const Row<V>& row, const At& at, V& p, V& q) const {
    V shift;
    gradients.factors(row.gradients, at, p, q);
    row.lo_rstd.get(at, shift);
    q -= shift;
  }
};

// y = (x - hi) * scale + shift, with scale = rstd * gamma and shift = beta - lo * scale.
template <class S, class Coefficient>
struct Normalize {
  using Scalar = S;
  Rows<S> x;
  Coefficient hi, scale, shift;

  template <class V>
  struct Row {
    RowOf<Rows<S>, V> x;
    RowOf<Coefficient, V> hi, scale, shift;
  };
  template <class Isa, class V>
  TENSORNORM_INLINE void begin(Index r, Row<V>& row) const {
    x.template begin<Isa>(r, row.x);
    hi.template begin<Isa>(r, row.hi);
    scale.template begin<Isa>(r, row.scale);
    shift.template begin<Isa>(r, row.shift);
  }
  template <class V, class At>
  TENSORNORM_INLINE void value(const Row<V>& row, const At& at, V& y) const {
    V mean, a, b;
    row.x.get(at, y);
    row.hi.get(at, mean);
    row.scale.get(at, a);
    row.shift.get(at, b);
    y = (y - mean) * a + b;
  }
};

// y = xhat * gamma + beta with xhat = (x - hi) * rstd - lo * rstd, where statistics and parameters cross.
template <class S, class Stat, class Gamma, class Beta>
struct NormalizeAcross {
  using Scalar = S;
  Normalize<S, Stat> xhat;
  Gamma gamma;
  Beta beta;

  template <class V>
  struct Row {
    RowOf<Normalize<S, Stat>, V> xhat;
    RowOf<Gamma, V> gamma;
    RowOf<Beta, V> beta;
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
    y = y * g + b;
  }
};

// dx = dy * scale: statistics that are constants. x is not read, whatever it holds.
template <class S, class Coefficient>
struct ScaledGradient {
  using Scalar = S;
  Rows<S> dy;
  Coefficient scale;

  template <class V>
  struct Row {
    RowOf<Rows<S>, V> dy;
    RowOf<Coefficient, V> scale;
  };
  template <class Isa, class V>
  TENSORNORM_INLINE void begin(Index r, Row<V>& row) const {
    dy.template begin<Isa>(r, row.dy);
    scale.template begin<Isa>(r, row.scale);
  }
  template <class V, class At>
  TENSORNORM_INLINE void value(const Row<V>& row, const At& at, V& dx) const {
    V a;
    row.dy.get(at, dx);
    row.scale.get(at, a);
    dx *= a;
  }
};

// dx = dy * scale + ((x - hi) * rstd * slope + shift): the input gradient with gamma and rstd in scale. Every
// coefficient is of the order of rstd, so none overflows or underflows before dx does.
template <class S, class Coefficient>
struct InputGradient {
  using Scalar = S;
  Rows<S> x, dy;
  Coefficient hi, rstd, scale, slope, shift;

  template <class V>
  struct Row {
    RowOf<Rows<S>, V> x, dy;
    RowOf<Coefficient, V> hi, rstd, scale, slope, shift;
  };
  template <class Isa, class V>
  TENSORNORM_INLINE void begin(Index r, Row<V>& row) const {
    x.template begin<Isa>(r, row.x);
    dy.template begin<Isa>(r, row.dy);
    hi.template begin<Isa>(r, row.hi);
    rstd.template begin<Isa>(r, row.rstd);
    scale.template begin<Isa>(r, row.scale);
    slope.template begin<Isa>(r, row.slope);
    shift.template begin<Isa>(r, row.shift);
  }
  // dx from any gradient g that reaches xhat: dy itself, or dy * gamma.
  template <class V, class At>
  TENSORNORM_INLINE void through(const Row<V>& row, const At& at, const V& g, V& dx) const {
    V mean, r, a, b, c;
    row.x.get(at, dx);
    row.hi.get(at, mean);
    row.rstd.get(at, r);
    row.scale.get(at, a);
    row.slope.get(at, b);
    row.shift.get(at, c);
    dx = g * a + ((dx - mean) * r * b + c);
  }
  template <class V, class At>
  TENSORNORM_INLINE void value(const Row<V>& row, const At& at, V& dx) const {
    V g;
    row.dy.get(at, g);
    through(row, at, g, dx);
  }
};

// The same where gamma crosses the statistics.
template <class S, class Stat, class Param>
struct InputGradientAcross {
  using Scalar = S;
  InputGradient<S, Stat> gradient;
  Param gamma;

  template <class V>
  struct Row {
    RowOf<InputGradient<S, Stat>, V> gradient;
    RowOf<Param, V> gamma;
  };
  template <class Isa, class V>
  TENSORNORM_INLINE void begin(Index r, Row<V>& row) const {
    gradient.template begin<Isa>(r, row.gradient);
    gamma.template begin<Isa>(r, row.gamma);
  }
  template <class V, class At>
  TENSORNORM_INLINE void value(const Row<V>& row, const At& at, V& dx) const {
    V g, gamma_lanes;
    row.gradient.dy.get(at, g);
    row.gamma.get(at, gamma_lanes);
    g *= gamma_lanes;
    gradient.through(row.gradient, at, g, dx);
  }
};

}  // namespace core
}  // namespace tensornorm
