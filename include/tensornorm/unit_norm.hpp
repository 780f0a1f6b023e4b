// UnitNorm: each vector along an axis divided by its length.
#pragma once

#include "tensornorm/requirements.hpp"

#include "tensornorm/layer.hpp"

namespace tensornorm {

/// Options of UnitNorm.
struct UnitNormOptions {
  double eps = 1e-12;  ///< The least sum of squares; 0 is allowed.
  Index axis = -1;     ///< The axis of the vectors, negative: from the end.
};

/// Unit (L2) normalization: y = x / sqrt(max(sum(x^2), eps)), of each vector along an axis: embeddings, query and key
/// vectors, where a product of two is then a cosine.
///
/// Shapes: x of any rank and extents. There are no parameters. rstd is 1 / sqrt(max(sum(x^2), eps)) of each vector,
/// row-major.
///
/// Modes: train and eval mode compute the same.
///
/// Edges: a vector of zeros stays one. Where sum(x^2) is eps or less, but for a rounding, y = x / sqrt(eps), which
/// backward takes as a product with a constant; with eps = 0, y and dx are 0. NaN and infinity stay in their vector.
///
/// Precision: as RMSNorm. Lengths of double vectors must lie between 1e-150 and 1e150. Source: Keras 3,
/// UnitNormalization. PyTorch's normalize divides by max(sqrt(sum(x^2)), eps), with an eps that is the root of this
/// one.
template <class Scalar>
class UnitNorm : public Layer<UnitNorm<Scalar>, Scalar, false> {
  using Base = Layer<UnitNorm<Scalar>, Scalar, false>;
  friend Base;

 public:
  /// Throws std::invalid_argument when eps is negative or not finite.
  explicit UnitNorm(const UnitNormOptions& options = {})
      : Base(options.eps, false, 0, false, true), options_(options) {}

  /// The options of the layer.
  const UnitNormOptions& options() const { return options_; }

 private:
  void describe(std::ostream& out) const {
    out << "UnitNorm(axis=" << options_.axis << ", eps=" << options_.eps << ')';
  }

  core::Axes axes(const core::Shape& x, bool) const {
    const Index axis = options_.axis < 0 ? options_.axis + x.rank : options_.axis;
    core::check_that(axis >= 0 && axis < x.rank, "axis is ", options_.axis, " but x has extents ", x);
    return core::make_axes(x, core::axes_below(x.rank) & ~core::axis(static_cast<int>(axis)), 0);
  }

  UnitNormOptions options_;
};

}  // namespace tensornorm
