// Statistics from the sums of deviations, a vector of them at a time: with short rows the root, the division and the
// rounding of one after the other would take longer than the rows.
#pragma once

#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/kernel/moments.hpp"
#include "tensornorm/core/kernel/packet.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {
namespace core {

// root = 1 / sqrt(sum) of doubles with a float's exponents, V a double or lanes of them and Bits an integer: guessed
// from the bits of its argument to 3.4e-2 (Lomont 2003), then by Newton's rule to 1.8e-3, 4.7e-6 and 3.3e-11: half a
// thousandth of a float's last place.
template <class Bits, class V>
TENSORNORM_INLINE void reciprocal_root(const V& sum, V& root) {
  const V half = 0.5 * sum;
  Bits bits;
  copy_bits(sum, bits);
  bits = 0x5fe6eb50c7b537a9 - (bits >> 1);
  copy_bits(bits, root);
  for (int step = 0; step < 3; ++step) {
    V square = half * root;
    multiply(square, root, square);
    root *= 1.5 - square;
  }
}

// Statistics of float and 16-bit tensors, as arrays.
struct StatisticArrays {
  float *hi, *lo, *rstd;
  float *scale, *shift;  // -rstd, -lo * rstd

  // Those of the places from j on that a vector holds.
  template <class V>
  TENSORNORM_INLINE void put(Index j, const V& high, const V& low, const V& root) const {
    const V slope = -root, offset = low * slope;
    std::memcpy(hi + j, &high, sizeof high);
    std::memcpy(lo + j, &low, sizeof low);
    std::memcpy(rstd + j, &root, sizeof root);
    std::memcpy(scale + j, &slope, sizeof slope);
    std::memcpy(shift + j, &offset, sizeof offset);
  }
};

// Whether any bit of a vector of integers is set.
template <int lanes>
TENSORNORM_INLINE bool has_bits(const Vec<std::uint64_t, lanes>& bits) {
  std::uint64_t values[static_cast<std::size_t>(lanes)], any = 0;
  std::memcpy(values, &bits, sizeof values);
  for (const std::uint64_t v : values) any |= v;
  return any != 0;
}

// What of n squares of deviations eps hides: an estimate that is so little off raises no doubt.
constexpr double hidden_by(double eps, double n) { return 1e-20 * eps * n; }

// How statistics follow from sums.
struct FinishRule {
  double n, eps, least_var, floor;  // rstd = 1 / sqrt(max(var + eps, floor))
  bool centred;                     // false: the mean is taken to be the estimate

  double share() const { return 1 / n; }
  double minus_share() const { return centred ? -1 / n : 0; }
  double hidden() const { return hidden_by(eps, n); }
  // Below any sum that is trusted: the root of a smaller one would be no float.
  double least_sum() const { return (std::max)(1e-30, floor); }
};

// The arithmetic of one statistic (V is double, Bits an integer) or of lanes of them.
template <class V, class Bits>
struct FinishArithmetic {
  V n, share, minus_share, eps, least_var, hidden, least_sum;
  Bits doubt{};  // not 0 where anything was doubtful

  // From the sum of squares about an estimate, `moment` about the mean and 1 / sqrt(var + eps).
  TENSORNORM_INLINE void take(const V& correction, V& moment, V& root) {
    V excess = n * correction, var, doubtful;
    multiply(excess, correction, excess);
    moment -= excess;
    multiply(moment, share, var);
    multiply(V(moment + hidden), share, doubtful);
    Bits distant, tiny, wild;  // by the sign; by the sign; by any bit, as inf - inf is NaN
    copy_bits(V((moment - excess) + hidden), distant);
    copy_bits(V(doubtful - least_var), tiny);
    copy_bits(V(var - var), wild);
    doubt |= ((distant | tiny) >> 63) | wild;
    const V sum = var + eps;
    reciprocal_root<Bits>(V(sum > least_sum ? sum : least_sum), root);
  }
};

// The same of a vector of float statistics, whose sums are its lower and its upper half.
template <class Isa>
struct FinishLanes {
  static constexpr int floats = kLanes<Isa, float>, lanes = kLanes<Isa, double>;
  using F = Vec<float, floats>;
  using V = Vec<double, lanes>;
  FinishArithmetic<V, Vec<std::uint64_t, lanes>> arithmetic;

  TENSORNORM_INLINE explicit FinishLanes(const FinishRule& rule) {
    VectorOps<Isa>::broadcast(rule.n, arithmetic.n);
    VectorOps<Isa>::broadcast(rule.share(), arithmetic.share);
    VectorOps<Isa>::broadcast(rule.minus_share(), arithmetic.minus_share);
    VectorOps<Isa>::broadcast(rule.eps, arithmetic.eps);
    VectorOps<Isa>::broadcast(rule.least_var, arithmetic.least_var);
    VectorOps<Isa>::broadcast(rule.hidden(), arithmetic.hidden);
    VectorOps<Isa>::broadcast(rule.least_sum(), arithmetic.least_sum);
  }

  // The squares become sums of squares about the mean.
  TENSORNORM_INLINE void take(const F& estimate, const WideSum<Isa, float>& sum, WideSum<Isa, float>& squares, F& hi,
                              F& lo, F& rstd) {
    V low, high, of_low, of_high, root_low, root_high, rounded_low, rounded_high;
    VectorOps<Isa>::widen(estimate, low, high);
    multiply(sum.low, arithmetic.minus_share, of_low);
    multiply(sum.high, arithmetic.minus_share, of_high);
    arithmetic.take(of_low, squares.low, root_low);
    arithmetic.take(of_high, squares.high, root_high);
    VectorOps<Isa>::narrow(V(low + of_low), V(high + of_high), hi);
    VectorOps<Isa>::widen(hi, rounded_low, rounded_high);
    of_low += low - rounded_low;
    of_high += high - rounded_high;
    VectorOps<Isa>::narrow(of_low, of_high, lo);
    VectorOps<Isa>::narrow(root_low, root_high, rstd);
  }
  TENSORNORM_INLINE bool has_doubt() const { return has_bits<lanes>(arithmetic.doubt); }
};

// For float and 16-bit tensors, what `finish` computes of moments_about, and whether any of it cannot be trusted: an
// estimate more than a standard deviation off, or sums that overflowed, underflowed or are NaN.
struct FinishSums {
  FinishRule rule;
  Index count;
  float* estimate;         // arrays of `count`, with memory up to the next multiple of kMostTogether
  double *sum_d, *sum_d2;  // d = estimate - x
  double* m2;
  StatisticArrays to;
  bool* trusted;

  static constexpr Index kMostTogether = 16;

  template <class Isa>
  bool fills() const {
    return true;
  }

  template <class Isa>
  TENSORNORM_INLINE void run() const {
    *trusted = count < kFew ? take_each() : take_vectors<Isa>();
  }

 private:
  static constexpr Index kFew = 4;  // fewer are faster one by one, with the same bits

  // Both say whether nothing was doubtful.
  TENSORNORM_INLINE bool take_each() const {
    FinishArithmetic<double, std::uint64_t> a{rule.n,         rule.share(),  rule.minus_share(), rule.eps,
                                              rule.least_var, rule.hidden(), rule.least_sum()};
    for (Index s = 0; s < count; ++s) {
      const double e = static_cast<double>(estimate[s]), correction = product(sum_d[s], a.minus_share);
      double root;
      m2[s] = sum_d2[s];
      a.take(correction, m2[s], root);
      const float hi = static_cast<float>(e + correction);
      to.put(s, hi, static_cast<float>((e - static_cast<double>(hi)) + correction), static_cast<float>(root));
    }
    return a.doubt == 0;
  }

  template <class Isa>
  TENSORNORM_INLINE bool take_vectors() const {
    constexpr int floats = kLanes<Isa, float>;
    for (Index j = count; j % floats != 0; ++j) {  // what fills the last vector up raises no doubt
      estimate[j] = 0;
      sum_d[j] = 0;
      sum_d2[j] = rule.n;
    }
    FinishLanes<Isa> finish(rule);
    for (Index j = 0; j < count; j += floats) {
      Vec<float, floats> e, hi, lo, rstd;
      std::memcpy(&e, estimate + j, sizeof e);
      WideSum<Isa, float> squares(sum_d2 + j);
      finish.take(e, WideSum<Isa, float>(sum_d + j), squares, hi, lo, rstd);
      squares.store(m2 + j);
      to.put(j, hi, lo, rstd);
    }
    return !finish.has_doubt();
  }
};

// rstd = 1 / sqrt(var + eps) for float and 16-bit tensors, and whether all can be trusted: those whose var + eps is
// negative, NaN, infinite or hardly above 0 cannot.
struct ReciprocalRoots {
  Index count;
  double eps;
  const float* var;
  float* rstd;
  bool* trusted;

  static bool can_trust(double sum) { return is_finite(sum) && sum >= kLeast; }

  template <class Isa>
  bool fills() const {
    return fill_vectors<Isa, float>(count);
  }

  template <class Isa>
  TENSORNORM_INLINE void run() const {
    constexpr int floats = kLanes<Isa, float>, lanes = kLanes<Isa, double>;
    if (Isa::is_baseline && count < floats) return take_each();
    using V = Vec<double, lanes>;
    using Bits = Vec<std::uint64_t, lanes>;
    V add, least;
    VectorOps<Isa>::broadcast(eps, add);
    VectorOps<Isa>::broadcast(kLeast, least);
    Bits doubt{};
    for (Index i = 0; i < count; i += floats) {
      const Index j = (std::min)(i, count - floats);
      Vec<float, floats> v, r;
      V sum[2], root[2];
      std::memcpy(&v, var + j, sizeof v);
      VectorOps<Isa>::widen(v, sum[0], sum[1]);
      for (int part = 0; part < 2; ++part) {
        sum[part] += add;
        Bits tiny, wild;  // by the sign; by any bit, as inf - inf is NaN
        copy_bits(V(sum[part] - least), tiny);
        copy_bits(V(sum[part] - sum[part]), wild);
        doubt |= (tiny >> 63) | wild;
        reciprocal_root<Bits>(V(sum[part] > least ? sum[part] : least), root[part]);
      }
      VectorOps<Isa>::narrow(root[0], root[1], r);
      std::memcpy(rstd + j, &r, sizeof r);
    }
    *trusted = !has_bits<lanes>(doubt);
  }

 private:
  static constexpr double kLeast = 1e-70;  // whose root a float holds

  TENSORNORM_INLINE void take_each() const {
    *trusted = true;
    for (Index i = 0; i < count; ++i) {
      const double sum = static_cast<double>(var[i]) + eps;
      double root;
      reciprocal_root<std::uint64_t>(sum > kLeast ? sum : kLeast, root);
      rstd[i] = static_cast<float>(root);
      *trusted = *trusted && can_trust(sum);
    }
  }
};

// rstd of variances `stride` apart: neighbours in lanes; those that ReciprocalRoots does not trust one by one.
template <class T>
void find_roots(const T* var, Index n, Index stride, double eps, T* rstd) {
  constexpr bool in_lanes = std::is_same<T, float>::value;
  bool trusted = false;
  if constexpr (in_lanes) {
    if (stride <= 1) core::dispatch(ReciprocalRoots{n, eps, var, rstd, &trusted});
    if (trusted) return;
  }
  for (Index k = 0; k < n; ++k) {
    const double v = static_cast<double>(var[k * stride]);
    const bool is_known = in_lanes && stride <= 1 && ReciprocalRoots::can_trust(v + eps);
    if (!is_known) rstd[k] = reciprocal_std<T>(v, eps);
  }
}

// scale = -rstd * gamma, where rstd is.
template <class T>
void scale_roots(const T* gamma, Index n, T* scale) {
  Index i = 0;
  for (Vec<T, 4> g, v; i + 4 <= n; i += 4) {
    std::memcpy(&g, gamma + i, sizeof g);
    std::memcpy(&v, scale + i, sizeof v);
    v = -v * g;
    std::memcpy(scale + i, &v, sizeof v);
  }
  for (; i < n; ++i) scale[i] = -scale[i] * gamma[i];
}

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END
