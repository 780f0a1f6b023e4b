#pragma once

// What is compared: two networks, each once bare and once with every normalization that applies.

#include <functional>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "digits_data.hpp"
#include "network.hpp"

namespace digits {

using Normalize = std::function<std::unique_ptr<Layer>(Shape)>;
using Build = std::function<Network(Shape, std::mt19937&)>;

struct Arm {
  std::string network, name;
  Build build;
};

template <class Norm>
std::unique_ptr<Layer> normalization(Norm norm, Shape shape) {
  return std::make_unique<Normalization<Norm>>(std::move(norm), shape);
}

inline std::unique_ptr<Layer> nothing(Shape) { return nullptr; }

inline std::unique_ptr<Layer> batch_norm(Shape shape) {
  tensornorm::BatchNormOptions options;
  options.channel_axis = -1;
  return normalization(tensornorm::BatchNorm<float>(shape.channels, options), shape);
}

inline std::unique_ptr<Layer> instance_norm(Shape shape) {
  tensornorm::InstanceNormOptions options;
  options.channel_axis = -1;
  options.affine = true;
  return normalization(tensornorm::InstanceNorm<float>(shape.channels, options), shape);
}

/// Four groups.
inline std::unique_ptr<Layer> group_norm(Shape shape) {
  tensornorm::GroupNormOptions options;
  options.channel_axis = -1;
  return normalization(tensornorm::GroupNorm<float>(4, shape.channels, options), shape);
}

inline std::unique_ptr<Layer> layer_norm(Shape shape) {
  return normalization(tensornorm::LayerNorm<float>({shape.height, shape.width, shape.channels}), shape);
}

inline std::unique_ptr<Layer> rms_norm(Shape shape) {
  return normalization(tensornorm::RMSNorm<float>({shape.height, shape.width, shape.channels}), shape);
}

/// Three hidden layers of 100 sigmoids, normalized before the sigmoid, as in Ioffe & Szegedy 2015, section 4.1.
inline Build dense(const Normalize& normalize) {
  return [normalize](Shape in, std::mt19937& random) {
    constexpr Index kHidden = 100;
    Network network;
    Index inputs = in.size();
    for (int i = 0; i < 3; ++i) {
      network.add<Dense>(inputs, kHidden, random);
      network.add(normalize({1, 1, kHidden}));
      network.add<Sigmoid>();
      inputs = kHidden;
    }
    network.add<Dense>(inputs, kClasses, random);
    return network;
  };
}

/// Three 3 x 3 convolutions of 8, 16 and 16 channels, normalized before the ReLU. Two of them halve the image, three
/// halve a large one (MNIST), for the sake of time.
inline Build convolutional(const Normalize& normalize) {
  return [normalize](Shape shape, std::mt19937& random) {
    const int first_stride = shape.size() > 400 ? 2 : 1;
    Network network;
    for (const auto& [channels, stride] : {std::pair{8, first_stride}, {16, 2}, {16, 2}}) {
      shape = network.add<Convolution>(shape, channels, stride, random).output();
      network.add(normalize(shape));
      network.add<Relu>();
    }
    network.add<Dense>(shape.size(), kClasses, random);
    return network;
  };
}

inline std::vector<Arm> all_arms() {
  return {{"dense", "none", dense(nothing)},
          {"dense", "BatchNorm", dense(batch_norm)},
          {"dense", "LayerNorm", dense(layer_norm)},
          {"dense", "RMSNorm", dense(rms_norm)},
          {"convolutional", "none", convolutional(nothing)},
          {"convolutional", "BatchNorm", convolutional(batch_norm)},
          {"convolutional", "InstanceNorm", convolutional(instance_norm)},
          {"convolutional", "GroupNorm", convolutional(group_norm)},
          {"convolutional", "LayerNorm", convolutional(layer_norm)}};
}

}  // namespace digits
