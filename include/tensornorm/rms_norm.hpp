// RMSNorm: each sample divided by its root mean square over the trailing axes.
#pragma once

#include "tensornorm/requirements.hpp"

#include "tensornorm/layer.hpp"
#include "tensornorm/trailing_axes.hpp"

namespace tensornorm {

struct RMSNormOptions {
  double eps = 1e-5;
  bool affine = true;
};

/// Root mean square normalization: y = x / sqrt(mean(x^2) + eps) * gamma over the trailing axes, whose extents the
/// layer is made with. It takes no mean away and has no beta.
///
/// x: (..., extents), rank as many as the extents or more, any layout. gamma: the extents, flattened in row-major order
/// whatever the layout of x; rstd: 1 / sqrt(mean(x^2) + eps) for each index of the leading axes, row-major. Train and
/// eval mode compute the same.
/// Precision: the mean square in double; dx and dgamma are summed in double.
/// Edges: an empty x gives an empty y; mean(x^2) + eps = 0 gives y = 0; NaN and Inf stay in their row.
/// The constructor throws std::invalid_argument without extents, on one below 1, on an eps below 0 or not finite.
/// Source: Zhang and Sennrich 2019, equation 4, with eps as PyTorch's RMSNorm.
template <class Scalar>
class RMSNorm : public Layer<RMSNorm<Scalar>, Scalar, false> {
  using Base = Layer<RMSNorm<Scalar>, Scalar, false>;
  friend Base;

 public:
  explicit RMSNorm(std::vector<Index> extents, const RMSNormOptions& options = {})
      : RMSNorm(core::TrailingAxes(std::move(extents)), options) {}

  const std::vector<Index>& extents() const { return axes_.extents(); }
  const RMSNormOptions& options() const { return options_; }

 private:
  RMSNorm(core::TrailingAxes axes, const RMSNormOptions& options)
      : Base(options.eps, false, options.affine ? axes.count() : 0, false), axes_(std::move(axes)), options_(options) {}

  core::Axes axes(const core::Shape& x, bool) const { return axes_.axes(x); }

  core::TrailingAxes axes_;
  RMSNormOptions options_;
};

}  // namespace tensornorm
