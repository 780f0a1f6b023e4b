#pragma once

// The layers of a small feed-forward network on plain Eigen. The normalization in the middle of it is the library's.

#include <cmath>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include <tensornorm/tensornorm.hpp>

namespace digits {

using tensornorm::GradientRef;
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
  virtual void add_gradients(std::vector<GradientRef>& /*all*/) {}   // those of the last backward
  virtual const Matrix* weight_gradient() const { return nullptr; }  // of a layer with weights
  virtual std::unique_ptr<Layer> clone() const = 0;
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

  void add_gradients(std::vector<GradientRef>& all) { all.insert(all.end(), {dweight_, dbias_}); }
  const Matrix& weight_gradient() const { return dweight_; }

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
  void add_gradients(std::vector<GradientRef>& all) override { linear_.add_gradients(all); }
  const Matrix* weight_gradient() const override { return &linear_.weight_gradient(); }
  std::unique_ptr<Layer> clone() const override { return std::make_unique<Dense>(*this); }

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
  void add_gradients(std::vector<GradientRef>& all) override { linear_.add_gradients(all); }
  const Matrix* weight_gradient() const override { return &linear_.weight_gradient(); }
  std::unique_ptr<Layer> clone() const override { return std::make_unique<Convolution>(*this); }

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
  std::unique_ptr<Layer> clone() const override { return std::make_unique<Relu>(*this); }
};

class Sigmoid final : public Layer {
 public:
  void forward(const Matrix& x, Matrix& y) override { infer(x, y); }
  void infer(const Matrix& x, Matrix& y) const override { y = (1 + (-x.array()).exp()).inverse(); }
  void backward(const Matrix&, const Matrix& y, const Matrix& dy, Matrix& dx) override {
    dx = dy.array() * y.array() * (1 - y.array());
  }
  std::unique_ptr<Layer> clone() const override { return std::make_unique<Sigmoid>(*this); }
};

template <class Norm>
void descend(Norm& norm, float rate) {
  norm.gamma() -= rate * norm.dgamma();
  norm.beta() -= rate * norm.dbeta();
}

template <class Norm>
void add_gradients(Norm& norm, std::vector<GradientRef>& all) {
  all.insert(all.end(), {norm.dgamma(), norm.dbeta()});
}

// RMSNorm has no beta.
inline void descend(tensornorm::RMSNorm<float>& norm, float rate) { norm.gamma() -= rate * norm.dgamma(); }
inline void add_gradients(tensornorm::RMSNorm<float>& norm, std::vector<GradientRef>& all) {
  all.emplace_back(norm.dgamma());
}

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
  void add_gradients(std::vector<GradientRef>& all) override { digits::add_gradients(norm_, all); }
  std::unique_ptr<Layer> clone() const override { return std::make_unique<Normalization>(*this); }

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

}  // namespace digits
