// RMSNorm: each sample divided by its root mean square over the trailing axes.
#pragma once

#include "tensornorm/requirements.hpp"

#include <initializer_list>
#include <optional>
#include <utility>
#include <vector>

#include "tensornorm/layer.hpp"
#include "tensornorm/trailing_axes.hpp"

namespace tensornorm {

/// Options of RMSNorm.
struct RMSNormOptions {
  double eps = 1e-5;   ///< Added to the mean square; 0 is allowed.
  bool affine = true;  ///< Whether there is gamma.
  /// The first of the axes that are normalized over, negative: from the end. nullopt: they are the trailing ones. If
  /// samples are columns it is 0.
  std::optional<Index> axis;
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
      : RMSNorm(core::TrailingAxes(std::move(extents), options.axis), options) {}
  /// The same with the usual options but eps.
  template <class Eps, class = std::enable_if_t<std::is_floating_point<Eps>::value>>
  RMSNorm(std::vector<Index> extents, Eps eps)
      : RMSNorm(std::move(extents), core::with_eps<RMSNormOptions>(static_cast<double>(eps))) {}
  /// Over one axis.
  template <class Int, class = std::enable_if_t<std::is_integral<Int>::value>>
  explicit RMSNorm(Int extent, const RMSNormOptions& options = {})
      : RMSNorm(std::vector<Index>(1, static_cast<Index>(extent)), options) {}
  /// Over one axis, with the usual options but eps.
  template <class Int, class Eps,
            class = std::enable_if_t<std::is_integral<Int>::value && std::is_floating_point<Eps>::value>>
  RMSNorm(Int extent, Eps eps) : RMSNorm(std::vector<Index>(1, static_cast<Index>(extent)), eps) {}
  /// With extents in braces.
  template <class Int, class = std::enable_if_t<std::is_integral<Int>::value>>
  // NOLINTNEXTLINE(google-explicit-constructor): as explicit as the others
  explicit RMSNorm(std::initializer_list<Int> extents, const RMSNormOptions& options = {})
      : RMSNorm(std::vector<Index>(extents.begin(), extents.end()), options) {}
  /// The same with the usual options but eps.
  template <class Int, class Eps,
            class = std::enable_if_t<std::is_integral<Int>::value && std::is_floating_point<Eps>::value>>
  RMSNorm(std::initializer_list<Int> extents, Eps eps)
      : RMSNorm(std::vector<Index>(extents.begin(), extents.end()), eps) {}
  /// With extents of another type, such as std::vector<int>.
  template <class Extents,
            class = decltype(std::declval<const Extents&>().begin() != std::declval<const Extents&>().end())>
  explicit RMSNorm(const Extents& extents, const RMSNormOptions& options = {})
      : RMSNorm(std::vector<Index>(extents.begin(), extents.end()), options) {}
  /// A layer of nothing, to be assigned to: its calls throw std::invalid_argument.
  RMSNorm() : Base(1e-5, false, 0, false) {}

  /// The extents of the trailing axes.
  const std::vector<Index>& extents() const { return axes_.extents(); }
  /// The options of the layer.
  const RMSNormOptions& options() const { return options_; }

 private:
  void describe(std::ostream& out) const {
    out << "RMSNorm(" << core::as_tuple(extents()) << ", eps=" << options_.eps
        << ", affine=" << (options_.affine ? "True" : "False") << ')';
  }

  RMSNorm(core::TrailingAxes axes, const RMSNormOptions& options)
      : Base(options.eps, false, options.affine ? axes.count() : 0, false), axes_(std::move(axes)), options_(options) {}

  core::Axes axes(const core::Shape& x, bool) const { return axes_.axes(x); }

  core::TrailingAxes axes_;
  RMSNormOptions options_;
};

}  // namespace tensornorm
