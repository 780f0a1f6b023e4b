#pragma once

// What covariate_shift compares: the tutorial's rivals of BatchNorm, and its kin.

#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "arms.hpp"
#include "digits_data.hpp"

namespace digits {

struct ShiftArm {
  std::string network, name;
  Build build;
  double max_norm = std::numeric_limits<double>::infinity();  // of the gradients
  bool whitened_input = false;
  float rate_of_plain = 0;  // that part of the rate of the first arm, "plain"; 0: a rate chosen for this arm
};

/// Ten groups of ten channels each: the covariance of 100 channels over a batch of 60 has no full rank. Groups are the
/// answer of Huang et al. 2018, Decorrelated Batch Normalization.
inline std::unique_ptr<Layer> whitening(Shape shape) {
  tensornorm::WhiteningOptions options;
  options.channel_axis = -1;
  options.groups = shape.channels / 10;
  options.eps = 1e-3;
  return normalization(tensornorm::Whitening<float>(shape.channels, options), shape);
}

/// Pixels without what they have in common, by the covariance of the training images. eps keeps those that hardly ever
/// hold ink from being blown up.
inline Split whiten(const Split& data) {
  tensornorm::WhiteningOptions options;
  options.affine = false;
  options.eps = 1e-2;
  tensornorm::Whitening<float> pixels(data.train.images.cols(), options);
  pixels.fit(data.train.images);
  Split whitened = data;
  whitened.train.images = pixels.infer(data.train.images);
  whitened.test.images = pixels.infer(data.test.images);
  return whitened;
}

constexpr double kMaxNorm = 1;  // the best of 0.03, 0.1, 0.3, 1, 3 and 10, on the images that the rates are chosen by

inline std::vector<ShiftArm> shift_arms() {
  const double no_bound = std::numeric_limits<double>::infinity();
  return {{"dense", "plain", dense(nothing)},
          {"dense", "small rate", dense(nothing), no_bound, false, 0.1f},
          {"dense", "clipping", dense(nothing), kMaxNorm},
          {"dense", "whitened input", dense(nothing), no_bound, true},
          {"dense", "Whitening", dense(whitening)},
          {"dense", "BatchNorm", dense(batch_norm)},
          {"dense", "slow BatchNorm", dense(batch_norm), no_bound, false, 0.1f},
          {"dense", "LayerNorm", dense(layer_norm)},
          {"dense", "RMSNorm", dense(rms_norm)},
          {"convolutional", "none", convolutional(nothing)},
          {"convolutional", "BatchNorm", convolutional(batch_norm)},
          {"convolutional", "InstanceNorm", convolutional(instance_norm)},
          {"convolutional", "GroupNorm", convolutional(group_norm)}};
}

}  // namespace digits
