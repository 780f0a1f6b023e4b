#pragma once

// Internal covariate shift as Santurkar et al. 2018, How Does Batch Normalization Help Optimization?, define it.

#include <cstddef>
#include <vector>

#include "digits_data.hpp"
#include "network.hpp"
#include "training.hpp"

namespace digits {

/// Between the gradient G of a layer's weights and G', the gradient that the step of the layers below makes of it.
struct GradientShift {
  double norm;    // |G|
  double l2;      // |G - G'|: 0 without shift
  double cosine;  // of the angle between G and G': 1 without shift
};

inline GradientShift shift_between(const Matrix& before, const Matrix& after) {
  const Eigen::MatrixXd g = before.cast<double>(), moved = after.cast<double>();
  return {g.norm(), (g - moved).norm(), g.cwiseProduct(moved).sum() / (g.norm() * moved.norm())};
}

/// Definition 2.1 for every layer with weights but the first, which has none below; a normalization and an activation
/// count to the layer before them. All gradients are those of one batch.
/// before: after differentiate(before, batch); after: the same network once it has taken its step.
inline std::vector<GradientShift> gradient_shifts(const Network& before, const Network& after, const Dataset& batch) {
  std::vector<GradientShift> shifts;
  for (std::size_t i = 1; i < before.size(); ++i) {
    const Matrix* gradient = before[i].weight_gradient();
    if (!gradient) continue;
    Network moved_below(after, before, i);
    differentiate(moved_below, batch);
    shifts.push_back(shift_between(*gradient, *moved_below[i].weight_gradient()));
  }
  return shifts;
}

}  // namespace digits
