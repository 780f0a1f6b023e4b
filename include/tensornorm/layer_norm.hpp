// LayerNorm: each sample normalized over its trailing axes.
#pragma once

#include "tensornorm/requirements.hpp"

#include "tensornorm/layer.hpp"
#include "tensornorm/trailing_axes.hpp"

namespace tensornorm {

struct LayerNormOptions {
  double eps = 1e-5;
  bool affine = true;
  bool bias = true;  // false: gamma without beta
};

/// Layer normalization: y = (x - mean) / sqrt(var + eps) * gamma + beta, with mean and biased variance over the
/// trailing axes, whose extents the layer is made with.
///
/// x: (..., extents), rank as many as the extents or more, any layout. gamma, beta: the extents, flattened in row-major
/// order whatever the layout of x; mean, rstd: one for each index of the leading axes, row-major. Train and eval mode
/// compute the same. One element gives y = beta.
/// Edges: an empty x gives an empty y; var + eps = 0 gives y = beta; NaN and Inf stay in their row.
/// Precision: statistics in double, the mean kept as two Params: no offset of x costs digits of y.
/// The constructor throws std::invalid_argument without extents, on one below 1, on an eps below 0 or not finite.
/// Source: Ba, Kiros and Hinton 2016, equation 4, over the axes PyTorch's LayerNorm takes.
template <class Scalar>
class LayerNorm : public Layer<LayerNorm<Scalar>, Scalar, false> {
  using Base = Layer<LayerNorm<Scalar>, Scalar, false>;
  friend Base;

 public:
  explicit LayerNorm(std::vector<Index> extents, const LayerNormOptions& options = {})
      : LayerNorm(core::TrailingAxes(std::move(extents)), options) {}

  using Base::beta, Base::dbeta, Base::mean;

  const std::vector<Index>& extents() const { return axes_.extents(); }
  const LayerNormOptions& options() const { return options_; }

 private:
  LayerNorm(core::TrailingAxes axes, const LayerNormOptions& options)
      : Base(options.eps, true, options.affine ? axes.count() : 0, options.bias), axes_(std::move(axes)),
        options_(options) {}

  core::Axes axes(const core::Shape& x, bool) const { return axes_.axes(x); }

  core::TrailingAxes axes_;
  LayerNormOptions options_;
};

}  // namespace tensornorm
