#pragma once

// A small feed-forward network on plain Eigen. The normalization in the middle of it is the library's.

#include <cmath>
#include <cstddef>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include <tensornorm/tensornorm.hpp>

namespace digits {

using tensornorm::Index;

/// One sample a row: its values are height x width x channels, channels last.
using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using RowVector = Eigen::RowVectorXf;

struct Shape {
  Index height, width, channels;

  Index size() const { return height * width * channels; }
};

/// What a layer does. The network keeps every x and y, so that a layer holds nothing but its parameters.
class Layer {
 public:
  virtual ~Layer() = default;
  virtual void forward(const Matrix& x, Matrix& y) = 0;      // training
  virtual void infer(const Matrix& x, Matrix& y) const = 0;  // testing
  virtual void backward(const Matrix& x, const Matrix& y, const Matrix& dy, Matrix& dx) = 0;
  virtual void step(float /*rate*/) {}
};

/// Weights and bias of a linear map, and one step of plain stochastic gradient descent.
class Linear {
 public:
  /// Gaussian weights that keep the variance of a signal: standard deviation 1 / sqrt(inputs).
  Linear(Index inputs, Index outputs, std::mt19937& random)
      : weight_(inputs, outputs), bias_(RowVector::Zero(outputs)) {
    std::normal_distribution<float> normal(0, 1 / std::sqrt(static_cast<float>(inputs)));
    for (float& weight : weight_.reshaped()) weight = normal(random);
  }

  template <class X, class Y>
  void forward(const X& x, Y&& y) const {
    y.noalias() = x * weight_;
    y.rowwise() += bias_;
  }

  template <class X, class Dy, class Dx>
  void backward(const X& x, const Dy& dy, Dx&& dx) {
    dweight_.noalias() = x.transpose() * dy;
    dbias_ = dy.colwise().sum();
    dx.noalias() = dy * weight_.transpose();
  }

  void step(float rate) {
    weight_ -= rate * dweight_;
    bias_ -= rate * dbias_;
  }

 private:
  Matrix weight_, dweight_;
  RowVector bias_, dbias_;
};

class Dense final : public Layer {
 public:
  Dense(Index inputs, Index outputs, std::mt19937& random) : linear_(inputs, outputs, random) {}

  void forward(const Matrix& x, Matrix& y) override { infer(x, y); }
  void infer(const Matrix& x, Matrix& y) const override { linear_.forward(x, y); }
  void backward(const Matrix& x, const Matrix&, const Matrix& dy, Matrix& dx) override { linear_.backward(x, dy, dx); }
  void step(float rate) override { linear_.step(rate); }

 private:
  Linear linear_;
};

/// 3 x 3, zero padding of one: every pixel of y is one row of patches times the weights.
class Convolution final : public Layer {
 public:
  Convolution(Shape in, Index channels, Index stride, std::mt19937& random)
      : in_(in), out_{(in.height - 1) / stride + 1, (in.width - 1) / stride + 1, channels}, stride_(stride),
        linear_(kTaps * in.channels, channels, random) {}

  Shape output() const { return out_; }

  void forward(const Matrix& x, Matrix& y) override {
    gather(x, patches_);
    convolve(patches_, y);
  }

  void infer(const Matrix& x, Matrix& y) const override {
    Matrix patches;
    gather(x, patches);
    convolve(patches, y);
  }

  void backward(const Matrix& x, const Matrix&, const Matrix& dy, Matrix& dx) override {
    linear_.backward(patches_, pixels(dy), dpatches_);
    dx.setZero(x.rows(), x.cols());
    for_each_tap(x.rows(), [&](Index row, Index tap, Index sample, Index pixel) {
      dx.row(sample).segment(pixel, in_.channels) += dpatches_.row(row).segment(tap, in_.channels);
    });
  }

  void step(float rate) override { linear_.step(rate); }

 private:
  static constexpr Index kTaps = 9;

  Eigen::Map<const Matrix> pixels(const Matrix& y) const { return {y.data(), y.size() / out_.channels, out_.channels}; }

  void convolve(const Matrix& patches, Matrix& y) const {
    y.resize(patches.rows() / (out_.height * out_.width), out_.size());
    linear_.forward(patches, Eigen::Map<Matrix>(y.data(), patches.rows(), out_.channels));
  }

  void gather(const Matrix& x, Matrix& patches) const {
    patches.setZero(x.rows() * out_.height * out_.width, kTaps * in_.channels);
    for_each_tap(x.rows(), [&](Index row, Index tap, Index sample, Index pixel) {
      patches.row(row).segment(tap, in_.channels) = x.row(sample).segment(pixel, in_.channels);
    });
  }

  /// visit(row of the patches, first column of a tap, sample, first value of the pixel under the tap)
  template <class Visit>
  void for_each_tap(Index samples, const Visit& visit) const {
    Index row = 0;
    for (Index n = 0; n < samples; ++n)
      for (Index i = 0; i < out_.height; ++i)
        for (Index j = 0; j < out_.width; ++j, ++row)
          for (Index tap = 0; tap < kTaps; ++tap) {
            const Index y = i * stride_ + tap / 3 - 1;
            const Index x = j * stride_ + tap % 3 - 1;
            if (y >= 0 && y < in_.height && x >= 0 && x < in_.width)
              visit(row, tap * in_.channels, n, (y * in_.width + x) * in_.channels);
          }
  }

  Shape in_, out_;
  Index stride_;
  Linear linear_;
  Matrix patches_, dpatches_;
};

class Relu final : public Layer {
 public:
  void forward(const Matrix& x, Matrix& y) override { infer(x, y); }
  void infer(const Matrix& x, Matrix& y) const override { y = x.cwiseMax(0.0f); }
  void backward(const Matrix&, const Matrix& y, const Matrix& dy, Matrix& dx) override {
    dx = (y.array() > 0).select(dy, 0.0f);
  }
};

class Sigmoid final : public Layer {
 public:
  void forward(const Matrix& x, Matrix& y) override { infer(x, y); }
  void infer(const Matrix& x, Matrix& y) const override { y = (1 + (-x.array()).exp()).inverse(); }
  void backward(const Matrix&, const Matrix& y, const Matrix& dy, Matrix& dx) override {
    dx = dy.array() * y.array() * (1 - y.array());
  }
};

template <class Norm>
void descend(Norm& norm, float rate) {
  norm.gamma() -= rate * norm.dgamma();
  norm.beta() -= rate * norm.dbeta();
}

inline void descend(tensornorm::RMSNorm<float>& norm, float rate) { norm.gamma() -= rate * norm.dgamma(); }

/// Any layer of the library, on rows seen as images.
template <class Norm>
class Normalization final : public Layer {
 public:
  Normalization(Norm norm, Shape shape) : norm_(std::move(norm)), shape_(shape) {}

  void forward(const Matrix& x, Matrix& y) override {
    y.resizeLike(x);
    norm_.forward(images(x), images(y));
  }

  void infer(const Matrix& x, Matrix& y) const override {
    y.resizeLike(x);
    norm_.infer(images(x), images(y));
  }

  void backward(const Matrix& x, const Matrix&, const Matrix& dy, Matrix& dx) override {
    dx.resizeLike(dy);
    norm_.backward(images(x), images(dy), images(dx));
  }

  void step(float rate) override { descend(norm_, rate); }

 private:
  using Images = Eigen::Tensor<float, 4, Eigen::RowMajor>;  // N, H, W, C

  Eigen::TensorMap<const Images> images(const Matrix& x) const {
    return {x.data(), x.rows(), shape_.height, shape_.width, shape_.channels};
  }
  Eigen::TensorMap<Images> images(Matrix& x) const {
    return {x.data(), x.rows(), shape_.height, shape_.width, shape_.channels};
  }

  Norm norm_;
  Shape shape_;
};

class Network {
 public:
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
  Matrix infer(const Matrix& batch) const {
    Matrix x = batch, y;
    for (const auto& layer : layers_) {
      layer->infer(x, y);
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

  void step(float rate) {
    for (const auto& layer : layers_) layer->step(rate);
  }

 private:
  std::vector<std::unique_ptr<Layer>> layers_;
  std::vector<Matrix> values_;
};

}  // namespace digits
