// RMSNorm: each sample divided by its root mean square over the trailing axes.
#pragma once

#include "tensornorm/requirements.hpp"

#include "tensornorm/layer.hpp"
#include "tensornorm/trailing_axes.hpp"

namespace tensornorm {

/// Options of RMSNorm.
struct RMSNormOptions {
  double eps = 1e-5;   ///< Added to the mean square; 0 is allowed.
  bool affine = true;  ///< Whether there is gamma.
};

/// Root mean square normalization: y = x / sqrt(mean(x^2) + eps) * gamma. The mean square is that of each row, over the
/// trailing axes. No mean is subtracted, and there is no beta.
///
/// Shapes: x, rows and gamma as those of LayerNorm. rstd is 1 / sqrt(mean(x^2) + eps) of each row, row-major.
///
/// Modes: train and eval mode compute the same.
///
/// Edges: where mean(x^2) + eps is 0, y and rstd are 0. NaN and infinity stay in their row.
///
/// Precision: a few squares are added in Param, and these sums in double. Source: Zhang and Sennrich 2019, equation 4,
/// with eps as PyTorch's RMSNorm.
template <class Scalar>
class RMSNorm : public Layer<RMSNorm<Scalar>, Scalar, false> {
  using Base = Layer<RMSNorm<Scalar>, Scalar, false>;
  friend Base;

 public:
  /// With gamma 1. Throws std::invalid_argument as the constructor of LayerNorm does.
  explicit RMSNorm(std::vector<Index> extents, const RMSNormOptions& options = {})
      : RMSNorm(core::TrailingAxes(std::move(extents)), options) {}

  /// The extents of the trailing axes.
  const std::vector<Index>& extents() const { return axes_.extents(); }
  /// The options that the layer was made with.
  const RMSNormOptions& options() const { return options_; }

 private:
  RMSNorm(core::TrailingAxes axes, const RMSNormOptions& options)
      : Base(options.eps, false, options.affine ? axes.count() : 0, false), axes_(std::move(axes)), options_(options) {}

  core::Axes axes(const core::Shape& x, bool) const { return axes_.axes(x); }

  core::TrailingAxes axes_;
  RMSNormOptions options_;
};

}  // namespace tensornorm
