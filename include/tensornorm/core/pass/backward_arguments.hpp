// What a backward pass is given, and what its two shapes share.
#pragma once

#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/kernel/run_values.hpp"
#include "tensornorm/core/pass/gradient_tile.hpp"
#include "tensornorm/core/pass/parameters.hpp"
#include "tensornorm/core/pass/part_sums.hpp"
#include "tensornorm/core/plan/plan.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {
namespace core {

// Elements of which dx is to hold the gradient of the result. If plan.params_apart: part `part` of `parts` of the lines
// of the bins, whose xhat has the coefficients hi, scale and shift. Else: positions [p0, p1) of the lines of the map
// bins, of which the first has the number `first` in `map_bins`.
template <class Scalar>
struct ResultGradientRange {
  const Plan& plan;
  BinRange bins;
  Arena memory;  // for three arrays by bin, or as normalizing with parameters apart needs
  Index part = 0, parts = 1;
  const ParamOf<Scalar>*hi = nullptr, *scale = nullptr, *shift = nullptr;
  Index p0 = 0, p1 = 0;
  const Axes* map_bins = nullptr;
  Index first = 0;
};

template <class Scalar>
struct BackwardArguments : Parameters<ParamOf<Scalar>>, ParameterGradients<ParamOf<Scalar>> {
  const Scalar *x, *dy;
  Scalar* dx;  // x or dy themselves, or disjoint from both; null: not wanted
  const ParamOf<Scalar>*hi = nullptr, *lo = nullptr, *rstd = nullptr;  // of it, in the layer's order (Axis::stat)
  bool wants_dx = false;                                               // known before dx has memory
  const RankSums* ranks = nullptr;                                     // null: x has all values of its statistics
  void (*add)(const GradientTile<Scalar>& tile) = nullptr;             // add_gradient; null: dx is stored
  // Writes the gradient of the result to dx, which is dy, before the pass first reads it. Null: dy holds it already.
  const FunctionRef<void(const ResultGradientRange<Scalar>& range)>* write_range = nullptr;

  Index values(const Plan& plan) const { return ranks == nullptr ? plan.stat_size : ranks->values; }
  bool (*run_columns)(const BackwardArguments& arguments, const Plan& plan) = nullptr;  // as ForwardArguments has it

  void put(const GradientTile<Scalar>& tile) const { add == nullptr ? tile.put() : add(tile); }
};

// Whether dx takes the place of what the map reads.
template <class Scalar>
bool is_in_place(const BackwardArguments<Scalar>& a) {
  return a.dx == a.x || a.dx == a.dy || a.add != nullptr;
}

// Whether no cache keeps x, dy and dx: the map reads ahead of itself then, and dx goes past the cache where it can.
template <class Scalar>
bool outgrows_cache(const Plan& plan) {
  return outgrows_cache(3 * plan.elements * static_cast<Index>(sizeof(Scalar)));
}
template <class Scalar>
bool goes_past_cache(const BackwardArguments<Scalar>& a, const Plan& plan) {
  return !is_in_place(a) && outgrows_cache<Scalar>(plan);
}

// Whether each statistic is its one element's mean: y is beta then and dx is 0, where rounding would leave some of dy.
template <class Scalar>
bool is_of_one(const BackwardArguments<Scalar>& a, const Plan& plan) {
  return a.values(plan) == 1 && a.centred && !a.is_frozen();
}

// What Xhat needs of the statistics of a run of bins: hi, -rstd and -lo * rstd.
template <class Scalar, class T>
void get_xhat(const BackwardArguments<Scalar>& a, const BinRun& run, T* hi, T* scale, T* shift) {
  const bool is_one = run.stat_stride == 0;
  Index k = 0;
  for (Vec<T, 4> root, low; run.stat_stride == 1 && k + 4 <= run.n; k += 4) {
    std::memcpy(hi + run.first + k, a.hi + run.stat + k, sizeof root);
    std::memcpy(&root, a.rstd + run.stat + k, sizeof root);
    std::memcpy(&low, a.lo + run.stat + k, sizeof low);
    root = -root;
    low *= root;
    std::memcpy(scale + run.first + k, &root, sizeof root);
    std::memcpy(shift + run.first + k, &low, sizeof low);
  }
  for (Index stat = run.stat + k * run.stat_stride; k < (is_one ? 1 : run.n); ++k, stat += run.stat_stride) {
    const Index i = run.first + k;
    hi[i] = a.hi[stat];
    scale[i] = -a.rstd[stat];
    shift[i] = a.lo[stat] * scale[i];
  }
  if (!is_one) return;
  for (T* const array : {hi, scale, shift}) fill_run(array + run.first, run.n, array[run.first]);
}

// To sums of p * q that left out the shifts of q. A sum of p may be infinite where there is none.
// @pre the sums were 0 before those
template <class T>
void add_shifts(const T* shift, const double* sum_p, Index n, double* sum_pq) {
  for (Index i = 0; i < n; ++i) {
    const double of_shift = static_cast<double>(shift[i]);
    if (!is_zero(of_shift)) sum_pq[i] += product(of_shift, sum_p[i]);
  }
}

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END
