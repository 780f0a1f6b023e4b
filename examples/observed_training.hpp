#pragma once

// Training as covariate_shift watches it: what the network can do, what reaches its last hidden layer, and how far the
// gradients shift.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <limits>
#include <random>
#include <utility>
#include <vector>

#include "digits_data.hpp"
#include "gradient_shift.hpp"
#include "network.hpp"
#include "training.hpp"

namespace digits {

struct Steps {
  int count, between_observations;
  float rate;
  double max_norm;  // of all gradients together; infinity does not clip
  unsigned seed;
};

using Percentiles = std::array<double, 3>;  // the 15th, 50th and 85th

struct Observation {
  int step;
  double train_loss, clipped;      // mean, and the share of clipped steps, since the last observation
  Score test;                      // now
  std::vector<Percentiles> units;  // of what reaches each unit of the last hidden layer
  std::vector<GradientShift> shifts;

  const Percentiles& middle_unit() const { return units[units.size() / 2]; }
};

/// NaN when a value is not finite.
inline Percentiles percentiles(std::vector<float> values) {
  const auto finite = [](float value) { return std::isfinite(value); };
  const double nan = std::numeric_limits<double>::quiet_NaN();
  if (values.empty() || !std::all_of(values.begin(), values.end(), finite)) return {nan, nan, nan};
  std::sort(values.begin(), values.end());
  const auto at = [&](std::size_t percent) { return values[percent * (values.size() - 1) / 100]; };
  return {at(15), at(50), at(85)};
}

/// What reaches the nonlinearity of each unit of the last hidden layer, over all images. The last two layers of a
/// network are that nonlinearity and the linear map to the logits.
inline std::vector<Percentiles> inputs_of_units(const Network& network, const Matrix& images) {
  constexpr Index kRows = 500;
  std::vector<std::vector<float>> values;
  for (Index first = 0; first < images.rows(); first += kRows) {
    const Matrix inputs =
        network.infer(images.middleRows(first, std::min(kRows, images.rows() - first)), network.size() - 2);
    values.resize(static_cast<std::size_t>(inputs.cols()));
    for (Index unit = 0; unit < inputs.cols(); ++unit) {
      const auto of_unit = inputs.col(unit);
      std::vector<float>& all = values[static_cast<std::size_t>(unit)];
      all.insert(all.end(), of_unit.begin(), of_unit.end());
    }
  }
  std::vector<Percentiles> units;
  units.reserve(values.size());
  for (std::vector<float>& of_unit : values) units.push_back(percentiles(std::move(of_unit)));
  return units;
}

/// One step of gradient descent by the gradients that are there; whether they were clipped.
inline bool descend(Network& network, const Steps& steps) {
  bool clipped = false;
  if (std::isfinite(steps.max_norm)) {
    tensornorm::ClipGradNormOptions options;
    options.error_if_nonfinite = false;  // a rate too large shows in its loss
    clipped = tensornorm::clip_grad_norm(steps.max_norm, options, network.gradients()) > steps.max_norm;
  }
  network.step(steps.rate);
  return clipped;
}

/// One step of training, with all that can be learned from it.
struct Passage {
  int step;
  double loss, clipped;  // mean, and the share of clipped steps, since the last one shown
  const Dataset& batch;
  const Network &before, &after;  // with the gradients of the batch, and after the step
};

/// Trains a new network and shows every steps.between_observations-th step.
/// visit(passage): looks on; what it does changes nothing of what is learned.
template <class Build, class Visit>
void train_steps(const Build& build, const Dataset& data, const Steps& steps, const Visit& visit) {
  std::mt19937 random(steps.seed);
  Network network = build(data.shape, random);
  Batches batches(data, random);
  const int between = steps.between_observations;
  double loss = 0, clipped = 0;
  for (int step = 1; step <= steps.count; ++step) {
    const Dataset batch = batches.next();
    loss += differentiate(network, batch);
    if (step % between != 0) {
      clipped += descend(network, steps);
      continue;
    }
    const Network before = network;
    clipped += descend(network, steps);
    visit(Passage{step, loss / between, clipped / between, batch, before, network});
    loss = clipped = 0;
  }
}

/// watch(observation): as they come.
template <class Build, class Watch>
std::vector<Observation> train_observed(const Build& build, const Split& data, const Steps& steps, const Watch& watch) {
  std::vector<Observation> observations;
  train_steps(build, data.train, steps, [&](const Passage& now) {
    observations.push_back({now.step, now.loss, now.clipped, test(now.after, data.test),
                            inputs_of_units(now.after, data.test.images),
                            gradient_shifts(now.before, now.after, now.batch)});
    watch(observations.back());
  });
  return observations;
}

/// The loss on data.test, summed on the way: that rewards a rate that learns soon and one that ends well.
template <class Build>
double summed_loss(const Build& build, const Split& data, const Steps& steps) {
  double loss = 0;
  train_steps(build, data.train, steps, [&](const Passage& now) { loss += test(now.after, data.test).loss; });
  return loss;
}

}  // namespace digits
