// BackwardMap: dx from x, dy and the sums of a statistic, by coefficients that a bin has, gamma in them.
#pragma once

#include <cstring>

#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/pass/backward_arguments.hpp"
#include "tensornorm/core/pass/backward_sums.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {
namespace core {

template <class Scalar>
class BackwardMap {
 public:
  using T = ParamOf<Scalar>;

  // All outlive this.
  BackwardMap(const BackwardArguments<Scalar>& arguments, const Plan& plan, const BackwardPlan& backward_plan)
      : a_(arguments), plan_(plan), backward_plan_(backward_plan), of_one_(is_of_one(a_, plan_)),
        streams_(goes_past_cache(a_, plan_)) {}

  // Bytes for the coefficients of so many bins.
  static Index bytes(Index bins) { return 5 * Arena::bytes<T>(bins); }

  // Whether dx goes past the cache where it can.
  bool streams() const { return streams_; }
  // Where arrays begin that the map reads beside dx.
  Index in_line() const { return in_line_beside(a_.dx, plan_.map_walk, streams_, is_in_place(a_)); }

  // dx of positions [p0, p1) of the lines of some bins, of which the first has this number; the reads that come `ahead`
  // elements later are prepared.
  void put(const BinRange& bins, Index bin, const BackwardSums<T>& sums, Index p0, Index p1, Index ahead,
           Arena memory) const {
    Coefficients c;
    for (T** const array : {&c.hi, &c.minus_rstd, &c.scale, &c.slope, &c.shift}) *array = memory.take<T>(bins.size());
    for_each_bin_run(backward_plan_.map_bins, bin, bins.size(), [&](const BinRun& run) { set(c, sums, run); });
    // Frozen statistics are constants: dx = dy * scale whatever x holds, which is y of dy.
    const T* const slope = a_.is_frozen() ? nullptr : c.slope;
    plan_.map_walk.visit(bins.group, bins.k0, bins.k1, p0, p1, [&](const Tile& tile) {
      a_.put({plan_.map_walk.columns(),
              a_.x,
              a_.dy,
              a_.dx,
              c.hi,
              c.minus_rstd,
              c.scale,
              slope,
              c.shift,
              nullptr,
              tile,
              {streams_, is_in_place(a_), ahead}});
    });
  }

 private:
  // Coefficients of dx by bin.
  struct Coefficients {
    T *hi, *minus_rstd, *scale, *slope, *shift;
  };

  // Two at a time, where each bin has a statistic and a gamma of its own, side by side. Returns how many.
  Index set_pairs(const Coefficients& c, const BackwardSums<T>& sums, const BinRun& run, double n) const {
    const bool fits = run.stat_stride == 1 && run.param_stride == 1 && a_.gamma != nullptr && a_.centred;
    if (!fits || a_.is_frozen() || of_one_) return 0;
    Index k = 0;
    for (; k + 2 <= run.n; k += 2) {
      const Index i = run.first + k, stat = run.stat + k;
      Vec<T, 2> root, gamma;
      Pair r, lo, g, gx, slope, shift;
      std::memcpy(c.hi + i, a_.hi + stat, 2 * sizeof(T));
      std::memcpy(&root, a_.rstd + stat, sizeof root);
      std::memcpy(&gamma, a_.gamma + run.param + k, sizeof gamma);
      load_pair(a_.rstd + stat, r);
      load_pair(a_.lo + stat, lo);
      load_pair(sums.g() + stat, g);
      load_pair(sums.gx() + stat, gx);
      find_coefficients(lo, r, g, gx, n, slope, shift);
      gamma *= root;
      root = -root;
      std::memcpy(c.minus_rstd + i, &root, sizeof root);
      std::memcpy(c.scale + i, &gamma, sizeof gamma);
      store_pair(slope, c.slope + i);
      store_pair(shift, c.shift + i);
    }
    return k;
  }

  void set(const Coefficients& c, const BackwardSums<T>& sums, const BinRun& run) const {
    const double n = a_.is_unit ? 1 : static_cast<double>(a_.values(plan_));
    if (run.stat_stride == 0) return set_of_one(c, sums, run, n);
    for (Index k = set_pairs(c, sums, run, n); k < run.n; ++k) {
      set_one(c, sums, run.first + k, run.stat + k * run.stat_stride, run.param + k * run.param_stride, n);
    }
  }
  void set_of_one(const Coefficients& c, const BackwardSums<T>& sums, const BinRun& run, double n) const {
    const Index first = run.first;
    set_one(c, sums, first, run.stat, run.param, n);
    for (T* const array : {c.hi, c.minus_rstd, c.slope, c.shift}) fill_run(array + first, run.n, array[first]);
    if (run.param_stride == 0 || a_.gamma == nullptr || of_one_)
      return fill_run(c.scale + first, run.n, c.scale[first]);
    const T rstd = a_.is_frozen() ? -a_.rstd[run.stat] : a_.rstd[run.stat];
    Index k = 0;
    for (Vec<T, 4> v; run.param_stride == 1 && k + 4 <= run.n; k += 4) {
      std::memcpy(&v, a_.gamma + run.param + k, sizeof v);
      v *= rstd;
      std::memcpy(c.scale + first + k, &v, sizeof v);
    }
    for (; k < run.n; ++k) c.scale[first + k] = rstd * a_.gamma[run.param + k * run.param_stride];
  }
  void set_one(const Coefficients& c, const BackwardSums<T>& sums, Index i, Index stat, Index param, double n) const {
    const T scale = of_one_ ? T(0) : a_.rstd[stat] * a_.gamma_at(param);
    if (a_.is_frozen()) {
      c.hi[i] = c.minus_rstd[i] = c.slope[i] = 0;
      c.scale[i] = -scale;
      c.shift[i] = T(-0.0);
      return;
    }
    double slope = 0, shift = 0;
    if (!of_one_) {
      find_coefficients(static_cast<double>(a_.lo[stat]), static_cast<double>(a_.rstd[stat]),
                        a_.centred ? sums.g()[stat] : 0, sums.gx()[stat], n, slope, shift);
      if (a_.is_unit && is_of_eps(static_cast<double>(a_.rstd[stat]))) slope = shift = 0;
    }
    c.hi[i] = a_.hi[stat];
    c.minus_rstd[i] = -a_.rstd[stat];
    c.scale[i] = scale;
    c.slope[i] = static_cast<T>(slope);
    c.shift[i] = static_cast<T>(shift);
  }

  // Whether the divisor of a unit was the root of eps, which is constant, but for what rounding may do to rstd.
  bool is_of_eps(double rstd) const {
    return rstd * rstd * a_.eps >= 1 - 4 * static_cast<double>(std::numeric_limits<T>::epsilon());
  }

  const BackwardArguments<Scalar>& a_;
  const Plan& plan_;
  const BackwardPlan& backward_plan_;
  bool of_one_, streams_;
};

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END
