#pragma once

// The learning rate of an arm: every arm chooses from the same grid, on images held back from training.

#include <array>
#include <cstddef>
#include <limits>

#include "digits_data.hpp"

namespace digits {

constexpr std::array<float, 5> kRates{0.1f, 0.3f, 1, 3, 10};

/// What rates are chosen on; the test images play no part.
inline Split validation_of(const Dataset& train, unsigned seed) {
  constexpr Index kTuning = 6000;  // enough to choose a rate by; MNIST has ten times as many
  return split(first_images(train, kTuning), seed);
}

/// The rate of the lowest loss; losses[i] belongs to kRates[i].
inline float best_rate(const std::array<double, kRates.size()>& losses) {
  float best = kRates[0];
  double lowest = std::numeric_limits<double>::infinity();
  for (std::size_t i = 0; i < kRates.size(); ++i) {
    if (losses[i] < lowest) {  // false for the NaN of a run that diverged
      lowest = losses[i];
      best = kRates[i];
    }
  }
  return best;
}

}  // namespace digits
