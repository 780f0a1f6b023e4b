// LayerNorm: each sample normalized over its trailing axes.
#pragma once

#include "tensornorm/requirements.hpp"

#include <initializer_list>
#include <optional>
#include <utility>
#include <vector>

#include "tensornorm/layer.hpp"
#include "tensornorm/trailing_axes.hpp"

namespace tensornorm {

/// Options of LayerNorm.
struct LayerNormOptions {
  double eps = 1e-5;   ///< Added to the variance; 0 is allowed.
  bool affine = true;  ///< Whether there are gamma and beta.
  bool bias = true;    ///< false: there is no beta.
  /// The first of the axes that are normalized over, negative: from the end. nullopt: they are the trailing ones. If
  /// samples are columns it is 0.
  std::optional<Index> axis;
};

/// Layer normalization: y = (x - mean) / sqrt(var + eps) * gamma + beta. Mean and biased variance are those of each
/// row, over the trailing axes. The layer is made with the extents of these axes.
///
/// Shapes: x is (..., extents) in any layout; a row is all elements of one index of the leading axes. gamma and beta
/// have a value for each element of a row, in row-major order for every layout of x. mean and rstd have a value for
/// each row, row-major.
///
/// Modes: train and eval mode compute the same.
///
/// Edges: a constant row, such as one of one element, gives y = beta; with eps = 0 its rstd and dx are 0. NaN and
/// infinity stay in their row.
///
/// Precision: as BatchNorm. Source: Ba, Kiros and Hinton 2016, equation 4, over the axes of PyTorch's LayerNorm.
template <class Scalar>
class LayerNorm : public Layer<LayerNorm<Scalar>, Scalar, false> {
  using Base = Layer<LayerNorm<Scalar>, Scalar, false>;
  friend Base;

 public:
  /// With gamma 1 and beta 0. Throws std::invalid_argument when there is no extent or there are more than 15, an extent
  /// is below 1, their product exceeds Index, or eps is negative or not finite.
  explicit LayerNorm(std::vector<Index> extents, const LayerNormOptions& options = {})
      : LayerNorm(core::TrailingAxes(std::move(extents), options.axis), options) {}
  /// The same with the usual options but eps.
  template <class Eps, class = std::enable_if_t<std::is_floating_point<Eps>::value>>
  LayerNorm(std::vector<Index> extents, Eps eps)
      : LayerNorm(std::move(extents), core::with_eps<LayerNormOptions>(static_cast<double>(eps))) {}
  /// Over one axis.
  template <class Int, class = std::enable_if_t<std::is_integral<Int>::value>>
  explicit LayerNorm(Int extent, const LayerNormOptions& options = {})
      : LayerNorm(std::vector<Index>(1, static_cast<Index>(extent)), options) {}
  /// Over one axis, with the usual options but eps.
  template <class Int, class Eps,
            class = std::enable_if_t<std::is_integral<Int>::value && std::is_floating_point<Eps>::value>>
  LayerNorm(Int extent, Eps eps) : LayerNorm(std::vector<Index>(1, static_cast<Index>(extent)), eps) {}
  /// With extents in braces.
  template <class Int, class = std::enable_if_t<std::is_integral<Int>::value>>
  // NOLINTNEXTLINE(google-explicit-constructor): as explicit as the others
  explicit LayerNorm(std::initializer_list<Int> extents, const LayerNormOptions& options = {})
      : LayerNorm(std::vector<Index>(extents.begin(), extents.end()), options) {}
  /// The same with the usual options but eps.
  template <class Int, class Eps,
            class = std::enable_if_t<std::is_integral<Int>::value && std::is_floating_point<Eps>::value>>
  LayerNorm(std::initializer_list<Int> extents, Eps eps)
      : LayerNorm(std::vector<Index>(extents.begin(), extents.end()), eps) {}
  /// With extents of another type, such as std::vector<int>.
  template <class Extents,
            class = decltype(std::declval<const Extents&>().begin() != std::declval<const Extents&>().end())>
  explicit LayerNorm(const Extents& extents, const LayerNormOptions& options = {})
      : LayerNorm(std::vector<Index>(extents.begin(), extents.end()), options) {}
  /// A layer of nothing, to be assigned to: its calls throw std::invalid_argument.
  LayerNorm() : Base(1e-5, true, 0, false) {}

  using Base::beta, Base::dbeta, Base::mean;

  /// The extents of the trailing axes.
  const std::vector<Index>& extents() const { return axes_.extents(); }
  /// The options of the layer.
  const LayerNormOptions& options() const { return options_; }

 private:
  void describe(std::ostream& out) const {
    out << "LayerNorm(" << core::as_tuple(extents()) << ", eps=" << options_.eps
        << ", affine=" << (options_.affine ? "True" : "False") << ", bias=" << (options_.bias ? "True" : "False")
        << ')';
  }

  LayerNorm(core::TrailingAxes axes, const LayerNormOptions& options)
      : Base(options.eps, true, options.affine ? axes.count() : 0, options.bias), axes_(std::move(axes)),
        options_(options) {}

  core::Axes axes(const core::Shape& x, bool) const { return axes_.axes(x); }

  core::TrailingAxes axes_;
  LayerNormOptions options_;
};

}  // namespace tensornorm
