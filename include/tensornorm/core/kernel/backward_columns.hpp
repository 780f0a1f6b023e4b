// Backward of a tile of columns that a cache holds: the sums, dgamma, dbeta and dx of a strip of columns in one kernel,
// as ForwardColumns.
#pragma once

#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/kernel/map_arithmetic.hpp"
#include "tensornorm/core/kernel/sums.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {
namespace core {

// The bits are those of ColumnReduce, RoundSums and Map, and of what Backward computes between them.
template <class Scalar>
struct BackwardColumns {
  Rows<Scalar> x, dy;
  Index rows, cols;
  const float *hi, *lo, *rstd;  // by column, as are all arrays
  const float* gamma;           // null: 1
  bool centred;
  float *dgamma, *dbeta;  // null: not wanted
  Scalar* dx;
  Index stride;  // of dx's rows
  bool adds;     // to what dx holds. @pre the lanes divide cols: no two vectors overlap, but one may come twice

  template <class Isa>
  bool fills() const {
    return fill_strip<Isa, float>(cols);
  }

  template <class Isa>
  TENSORNORM_INLINE void run() const {
    const BackwardColumns k = *this;  // in registers: what is stored below cannot change it
    constexpr int lanes = kLanes<Isa, float>;
    for (Index j = 0; j < k.cols; j += 2 * lanes) {
      k.run_strip<Isa>({(std::min)(j, k.cols - lanes)}, {(std::min)(j + lanes, k.cols - lanes)});
    }
  }

 private:
  template <class Isa>
  struct Coefficients {
    using V = Vec<float, kLanes<Isa, float>>;
    V hi, minus_rstd, scale, slope, shift;
  };

  // Two vectors of columns. The last ones overlap what was done, or one another.
  template <class Isa>
  TENSORNORM_INLINE void run_strip(const FullVector<Isa>& at, const FullVector<Isa>& next) const {
    using V = typename Coefficients<Isa>::V;
    Coefficients<Isa> c0, c1;
    load(at.j, c0);
    load(next.j, c1);
    WideSum<Isa, float> g0(V{}), g1(V{}), gx0(V{}), gx1(V{});
    const Index x_stride = x.stride, dy_stride = dy.stride;
    const Scalar *from = x.p, *gradient = dy.p;
    for (Index left = rows; left > 0; left -= kFloatAdds) {
      Sums<V> s0, s1;
      for (Index i = (std::min)(left, kFloatAdds); i > 0; --i, from += x_stride, gradient += dy_stride) {
        V x0, x1, dy0, dy1;
        at.load(from, x0);
        next.load(from, x1);
        at.load(gradient, dy0);
        next.load(gradient, dy1);
        s0.add(dy0, V((c0.hi - x0) * c0.minus_rstd));
        s1.add(dy1, V((c1.hi - x1) * c1.minus_rstd));
      }
      g0.add(s0.p);
      g1.add(s1.p);
      gx0.add(s0.pq);
      gx1.add(s1.pq);
    }
    finish<Isa>(at.j, g0, gx0, c0);
    finish<Isa>(next.j, g1, gx1, c1);
    adds ? put_rows<true>(at, next, c0, c1) : put_rows<false>(at, next, c0, c1);
  }

  template <bool is_added, class Isa>
  TENSORNORM_INLINE void put_rows(const FullVector<Isa>& at, const FullVector<Isa>& next, const Coefficients<Isa>& c0,
                                  const Coefficients<Isa>& c1) const {
    using V = typename Coefficients<Isa>::V;
    const Index x_stride = x.stride, dy_stride = dy.stride, dx_stride = stride;
    const Scalar *from = x.p, *gradient = dy.p;
    Scalar* to = dx;
    for (Index i = rows; i > 0; --i, from += x_stride, gradient += dy_stride, to += dx_stride) {
      V x0, x1, dy0, dy1;
      at.load(from, x0);
      next.load(from, x1);
      at.load(gradient, dy0);
      next.load(gradient, dy1);
      put(c0, x0, dy0);
      put(c1, x1, dy1);
      if constexpr (is_added) {
        V before0, before1;
        at.load(to, before0);
        next.load(to, before1);
        dy0 += before0;
        dy1 += before1;
      }
      at.store(to, dy0);
      next.store(to, dy1);
    }
  }

  template <class Isa>
  TENSORNORM_INLINE void load(Index j, Coefficients<Isa>& c) const {
    std::memcpy(&c.hi, hi + j, sizeof c.hi);
    std::memcpy(&c.minus_rstd, rstd + j, sizeof c.minus_rstd);
    c.minus_rstd = -c.minus_rstd;
  }

  // dgamma and dbeta, and the coefficients of dx.
  template <class Isa>
  TENSORNORM_INLINE void finish(Index j, WideSum<Isa, float>& g, WideSum<Isa, float>& gx, Coefficients<Isa>& c) const {
    using V = typename Coefficients<Isa>::V;
    using D = Vec<double, kLanes<Isa, double>>;
    V low, root, factor = 1.0F - V{};
    std::memcpy(&low, lo + j, sizeof low);
    std::memcpy(&root, rstd + j, sizeof root);
    if (gamma != nullptr) std::memcpy(&factor, gamma + j, sizeof factor);
    c.scale = root * factor;
    D offset_low, offset_high, lo_low, lo_high, root_low, root_high, factor_low, factor_high;
    VectorOps<Isa>::widen(V(low * c.minus_rstd), offset_low, offset_high);
    add_shift(offset_low, g.low, gx.low);
    add_shift(offset_high, g.high, gx.high);
    round(g, dbeta, j);
    round(gx, dgamma, j);
    VectorOps<Isa>::widen(low, lo_low, lo_high);
    VectorOps<Isa>::widen(root, root_low, root_high);
    VectorOps<Isa>::widen(factor, factor_low, factor_high);
    D slope_low, slope_high, shift_low, shift_high;
    find(lo_low, root_low, factor_low, g.low, gx.low, slope_low, shift_low);
    find(lo_high, root_high, factor_high, g.high, gx.high, slope_high, shift_high);
    VectorOps<Isa>::narrow(slope_low, slope_high, c.slope);
    VectorOps<Isa>::narrow(shift_low, shift_high, c.shift);
  }

  // As add_shifts.
  template <class D>
  static TENSORNORM_INLINE void add_shift(const D& shift, const D& sum_p, D& sum_pq) {
    D more;
    multiply(shift, sum_p, more);
    const auto is_zero = (shift <= 0) & (shift >= 0);  // == would warn
    sum_pq += is_zero ? D{} : more;
  }

  template <class Isa>
  static TENSORNORM_INLINE void round(const WideSum<Isa, float>& sum, float* to, Index j) {
    if (to == nullptr) return;
    Vec<float, kLanes<Isa, float>> rounded;
    VectorOps<Isa>::narrow(sum.low, sum.high, rounded);
    std::memcpy(to + j, &rounded, sizeof rounded);
  }

  template <class D>
  TENSORNORM_INLINE void find(const D& low, const D& root, const D& factor, const D& g, const D& gx, D& slope,
                              D& shift) const {
    D of_g{}, of_gx;
    if (centred) multiply(factor, g, of_g);
    multiply(factor, gx, of_gx);
    find_coefficients(low, root, D(D{} + of_g), D(D{} + of_gx), static_cast<double>(rows), slope, shift);
  }

  // dy becomes dx, as InputGradient has it.
  template <class C, class V>
  static TENSORNORM_INLINE void put(const C& c, const V& x, V& dy) {
    V dx;
    multiply(V((c.hi - x) * c.minus_rstd), c.slope, dx);
    multiply(dy, c.scale, dy);
    dy = dy + (dx + c.shift);
  }
};

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END
