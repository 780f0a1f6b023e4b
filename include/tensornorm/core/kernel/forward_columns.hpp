// Forward of a tile of columns that a cache holds, at once: estimates, sums, statistics and y of a strip of columns
// stay in registers, where one kernel after the other would store and load them.
#pragma once

#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/kernel/finish_sums.hpp"
#include "tensornorm/core/kernel/operand.hpp"
#include "tensornorm/core/kernel/post_ops.hpp"
#include "tensornorm/core/kernel/sums.hpp"
#include "tensornorm/core/plan/sample_points.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {
namespace core {

// The bits are those of SampleColumns, ColumnReduce, FinishSums and Map. Where a statistic cannot be trusted, y is not
// written.
template <class Scalar>
struct ForwardColumns {
  Rows<Scalar> x;
  Index rows, cols;
  const SamplePoints& points;
  const FinishRule& rule;     // by reference: vectors are broadcast from it, and the rest of this stays in registers
  float *hi, *lo, *rstd;      // by column, as are all arrays
  double* m2;                 // null: not wanted
  const float *gamma, *beta;  // null: 1 and 0
  const float *clip_low, *clip_high;  // between which y is clipped; null: it is not
  Scalar* y;
  Index stride;  // of y's rows
  bool* trusted;

  template <class Isa>
  bool fills() const {
    return fill_strip<Isa, float>(cols);
  }

  template <class Isa>
  TENSORNORM_INLINE void run() const {
    const ForwardColumns k = *this;  // in registers: what is stored below cannot change it
    *trusted = k.find_statistics<Isa>();
    if (*trusted) k.clip_low == nullptr ? k.put<Isa, false>() : k.put<Isa, true>();
  }

 private:
  // A strip is two vectors wide. The last one's overlap what was done, or one another.
  template <class Isa>
  TENSORNORM_INLINE Index place(Index j) const {
    return (std::min)(j, cols - kLanes<Isa, float>);
  }

  template <class Isa>
  TENSORNORM_INLINE bool find_statistics() const {
    constexpr int lanes = kLanes<Isa, float>;
    using V = Vec<float, lanes>;
    const Index x_stride = x.stride;
    const bool centred = rule.centred;
    FinishLanes<Isa> finish(rule);
    for (Index j = 0; j < cols; j += 2 * lanes) {
      const FullVector<Isa> at{place<Isa>(j)}, next{place<Isa>(j + lanes)};
      V e0{}, e1{};
      if (centred) estimate<Isa>(at, next, e0, e1);
      WideSum<Isa, float> sum0(V{}), sum1(V{}), squares0(V{}), squares1(V{});
      const Scalar* row = x.p;
      for (Index left = rows; left > 0; left -= kFloatAdds) {
        Sums<V> s0, s1;
        for (Index i = (std::min)(left, kFloatAdds); i > 0; --i, row += x_stride) {
          V x0, x1;
          at.load(row, x0);
          next.load(row, x1);
          x0 = e0 - x0;
          x1 = e1 - x1;
          s0.add(x0, x0);
          s1.add(x1, x1);
        }
        sum0.add(s0.p);
        sum1.add(s1.p);
        squares0.add(s0.pq);
        squares1.add(s1.pq);
      }
      finish_vector<Isa>(at.j, e0, sum0, squares0, finish);
      finish_vector<Isa>(next.j, e1, sum1, squares1, finish);
    }
    return !finish.has_doubt();
  }

  template <class Isa, class V>
  TENSORNORM_INLINE void estimate(const FullVector<Isa>& at, const FullVector<Isa>& next, V& e0, V& e1) const {
    const float share = 1.0F / static_cast<float>(points.count);
    for (int i = 0; i < points.count; ++i) {
      V x0, x1;
      at.load(x.p + points.offsets[i], x0);
      next.load(x.p + points.offsets[i], x1);
      e0 += x0;
      e1 += x1;
    }
    e0 *= share;
    e1 *= share;
  }

  template <class Isa, class V>
  TENSORNORM_INLINE void finish_vector(Index j, const V& e, const WideSum<Isa, float>& sum,
                                       WideSum<Isa, float>& squares, FinishLanes<Isa>& finish) const {
    V high, low, root;
    finish.take(e, sum, squares, high, low, root);
    std::memcpy(hi + j, &high, sizeof high);
    std::memcpy(lo + j, &low, sizeof low);
    std::memcpy(rstd + j, &root, sizeof root);
    if (m2 != nullptr) squares.store(m2 + j);
  }

  template <class Isa, bool clips>
  TENSORNORM_INLINE void put() const {
    constexpr int lanes = kLanes<Isa, float>;
    using V = Vec<float, lanes>;
    const Index n = rows, x_stride = x.stride, y_stride = stride;
    V least{}, most{};
    if constexpr (clips) {
      VectorOps<Isa>::broadcast(*clip_low, least);
      VectorOps<Isa>::broadcast(*clip_high, most);
    }
    for (Index j = 0; j < cols; j += 2 * lanes) {
      const FullVector<Isa> at{place<Isa>(j)}, next{place<Isa>(j + lanes)};
      V hi0, scale0, shift0, hi1, scale1, shift1;
      load_coefficients(at.j, hi0, scale0, shift0);
      load_coefficients(next.j, hi1, scale1, shift1);
      const Scalar* from = x.p;
      Scalar* to = y;
      for (Index i = n; i > 0; --i, from += x_stride, to += y_stride) {
        V y0, y1;
        at.load(from, y0);
        next.load(from, y1);
        y0 = hi0 - y0;
        y1 = hi1 - y1;
        multiply(y0, scale0, y0);
        multiply(y1, scale1, y1);
        y0 += shift0;
        y1 += shift1;
        if constexpr (clips) {
          clip(least, most, y0);
          clip(least, most, y1);
        }
        at.store(to, y0);
        next.store(to, y1);
      }
    }
  }

  // y = (hi - x) * scale + shift.
  template <class V>
  TENSORNORM_INLINE void load_coefficients(Index j, V& high, V& scale, V& shift) const {
    V factor = 1.0F - V{}, offset{};
    std::memcpy(&high, hi + j, sizeof high);
    std::memcpy(&shift, lo + j, sizeof shift);
    std::memcpy(&scale, rstd + j, sizeof scale);
    if (gamma != nullptr) std::memcpy(&factor, gamma + j, sizeof factor);
    if (beta != nullptr) std::memcpy(&offset, beta + j, sizeof offset);
    scale = -scale * factor;
    multiply(shift, scale, shift);
    shift = offset + shift;
  }
};

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END
