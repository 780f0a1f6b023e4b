#pragma once

// A small feed-forward network.

#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

#include "layers.hpp"

namespace digits {

/// Layers in a row. A copy has the same parameters and gradients, and no batch yet.
class Network {
 public:
  Network() = default;
  Network(const Network& other) : Network(other, other, 0) {}
  Network(Network&&) = default;
  Network& operator=(Network&&) = default;

  /// Copies of the first `count` layers of `below` and of those of `above` from there on.
  Network(const Network& below, const Network& above, std::size_t count) {
    for (std::size_t i = 0; i < above.size(); ++i) layers_.push_back((i < count ? below : above)[i].clone());
  }

  std::size_t size() const { return layers_.size(); }
  const Layer& operator[](std::size_t i) const { return *layers_[i]; }

  void add(std::unique_ptr<Layer> layer) {
    if (layer) layers_.push_back(std::move(layer));
  }

  template <class L, class... Arguments>
  L& add(Arguments&&... arguments) {
    layers_.push_back(std::make_unique<L>(std::forward<Arguments>(arguments)...));
    return static_cast<L&>(*layers_.back());
  }

  /// The logits of a training batch; valid until the next call.
  const Matrix& forward(const Matrix& batch) {
    values_.resize(layers_.size() + 1);
    values_[0] = batch;
    for (std::size_t i = 0; i < layers_.size(); ++i) layers_[i]->forward(values_[i], values_[i + 1]);
    return values_.back();
  }

  /// The logits with the weights and running statistics as they are; const, so nothing is learned from test images.
  Matrix infer(const Matrix& batch) const { return infer(batch, size()); }

  /// The same after the first `count` layers.
  Matrix infer(const Matrix& batch, std::size_t count) const {
    Matrix x = batch, y;
    for (std::size_t i = 0; i < count; ++i) {
      layers_[i]->infer(x, y);
      x.swap(y);
    }
    return x;
  }

  /// After forward(batch): takes the gradient by the logits back through every layer, to that by the batch.
  Matrix backward(Matrix dy) {
    Matrix dx;
    for (std::size_t i = layers_.size(); i-- > 0;) {
      layers_[i]->backward(values_[i], values_[i + 1], dy, dx);
      dy.swap(dx);
    }
    return dy;
  }

  /// After backward: the gradients of all parameters. Valid until a layer is added or the batch has another size.
  std::vector<GradientRef> gradients() {
    std::vector<GradientRef> all;
    for (const auto& layer : layers_) layer->add_gradients(all);
    return all;
  }

  void step(float rate) {
    for (const auto& layer : layers_) layer->step(rate);
  }

 private:
  std::vector<std::unique_ptr<Layer>> layers_;
  std::vector<Matrix> values_;
};

}  // namespace digits
