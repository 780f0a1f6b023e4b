// What a backward pass is given, and what its two shapes share.
#pragma once

#include "tensornorm/core/kernel/map.hpp"
#include "tensornorm/core/kernel/run_values.hpp"
#include "tensornorm/core/pass/parameters.hpp"
#include "tensornorm/core/pass/part_sums.hpp"
#include "tensornorm/core/plan/plan.hpp"

namespace tensornorm {
namespace core {

template <class Scalar>
struct BackwardArguments : Parameters<ParamOf<Scalar>>, ParameterGradients<ParamOf<Scalar>> {
  const Scalar *x, *dy;
  Scalar* dx;  // x or dy themselves, or disjoint from both; null: not wanted
  const ParamOf<Scalar>*hi = nullptr, *lo = nullptr, *rstd = nullptr;  // of it, in the layer's order (Axis::stat)

  bool wants_parameters() const { return this->dgamma != nullptr || this->dbeta != nullptr; }
};

template <class Scalar>
bool is_in_place(const BackwardArguments<Scalar>& a) {
  return a.dx == a.x || a.dx == a.dy;
}

template <class Scalar>
bool goes_past_cache(const BackwardArguments<Scalar>& a, const Plan& plan) {
  return !is_in_place(a) && outgrows_cache(3 * plan.elements * static_cast<Index>(sizeof(Scalar)));
}

// Whether each statistic is its one element's mean: y is beta then and dx is 0, where rounding would leave some of dy.
template <class Scalar>
bool is_of_one(const BackwardArguments<Scalar>& a, const Plan& plan) {
  return plan.stat_size == 1 && a.centred && !a.is_frozen();
}

// What dx needs of a statistic, from the sums of g and g * xhat over its n elements.
template <class T>
struct InputCoefficients {
  T slope = 0, shift = 0;

  InputCoefficients() = default;
  InputCoefficients(T lo, T rstd, double sum_g, double sum_gx, double n) {
    const double r = static_cast<double>(rstd), s = -r * (sum_gx / n);
    slope = static_cast<T>(s);
    shift = static_cast<T>(-r * (sum_g / n) - s * r * static_cast<double>(lo));
  }
};

}  // namespace core
}  // namespace tensornorm
