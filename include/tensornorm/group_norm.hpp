// GroupNorm: groups of channels of each sample normalized over their channels and spatial axes.
#pragma once

#include "tensornorm/requirements.hpp"

#include "tensornorm/layer.hpp"

namespace tensornorm {

/// Options of GroupNorm.
struct GroupNormOptions {
  double eps = 1e-5;       ///< Added to the variance; 0 is allowed.
  bool affine = true;      ///< Whether there are gamma and beta.
  Index channel_axis = 1;  ///< The axis of the channels, never axis 0; negative: from the end.
};

/// Group normalization: y = (x - mean) / sqrt(var + eps) * gamma + beta. Mean and biased variance are those of each
/// group of each sample, over the channels of the group and space. A group is channels / groups neighbouring channels.
///
/// Shapes: x is (N, ..., channels, ...) of rank 2 or more, in any layout. Axis 0 is the batch. gamma and beta have the
/// extents (channels): a value for each channel, not for each group. mean and rstd have N * groups values, row-major.
///
/// Modes: train and eval mode compute the same.
///
/// Edges: a constant group, such as one of one element, gives y = beta; with eps = 0 its rstd and dx are 0. NaN and
/// infinity stay in their group.
///
/// Precision: as BatchNorm. Source: Wu and He 2018, equations 1 to 7.
template <class Scalar>
class GroupNorm : public Layer<GroupNorm<Scalar>, Scalar, false> {
  using Base = Layer<GroupNorm<Scalar>, Scalar, false>;
  friend Base;

 public:
  /// With gamma 1 and beta 0. Throws std::invalid_argument when groups or channels is below 1, groups does not divide
  /// channels, eps is negative or not finite, or channel_axis is 0.
  GroupNorm(Index groups, Index channels, const GroupNormOptions& options = {})
      : Base(options.eps, true, checked(groups, channels, options), true), groups_(groups), channels_(channels),
        options_(options) {}

  using Base::beta, Base::dbeta, Base::mean;

  /// The number of groups.
  Index groups() const { return groups_; }
  /// The number of channels.
  Index channels() const { return channels_; }
  /// The options that the layer was made with.
  const GroupNormOptions& options() const { return options_; }

 private:
  static Index checked(Index groups, Index channels, const GroupNormOptions& options) {
    core::check_that(groups > 0 && channels > 0, groups, " groups of ", channels,
                     " channels: at least 1 of each is needed");
    core::check_that(channels % groups == 0, groups, " groups do not divide ", channels, " channels");
    core::check_that(options.channel_axis != 0, "channel_axis is ", options.channel_axis, " but axis 0 is the batch");
    return options.affine ? channels : 0;
  }

  core::Axes axes(const core::Shape& x, bool) const {
    const int c = core::channel_axis(x, options_.channel_axis, channels_, 1);
    const core::AxisSet group = core::axis(c), within_group = core::axis(c + 1);
    return core::make_axes(core::split_axis(x, c, groups_), core::axis(0) | group, group | within_group);
  }

  Index groups_, channels_;
  GroupNormOptions options_;
};

}  // namespace tensornorm
